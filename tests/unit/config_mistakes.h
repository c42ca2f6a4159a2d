// What a test expects of a configuration that cannot be used.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "config/config.h"

namespace memring::test {

/// The message and hint of the usage error that this text and these overrides lead to; a failure when there is none.
inline std::string mistake(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_config(text, "runs.ini", overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Usage) << error.what();
    EXPECT_FALSE(error.hint().empty()) << error.what();
    EXPECT_TRUE(error.hint().empty() || error.hint().find_first_of(".=") != std::string::npos) << error.hint();
    return std::string(error.what()) + '\n' + error.hint();
  }
  ADD_FAILURE() << "accepted:\n" << text;
  return {};
}

/// All of `parts` are in it.
inline void expect_mistake(const std::string& text, const std::vector<std::string>& parts,
                           const std::vector<std::string>& overrides = {}) {
  const std::string found = mistake(text, overrides);
  for (const std::string& part : parts)
    EXPECT_NE(found.find(part), std::string::npos) << "no '" << part << "' in\n" << found << "\nof\n" << text;
}

}  // namespace memring::test
