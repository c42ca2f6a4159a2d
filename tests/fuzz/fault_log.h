// One line of docs/faults.md from a C++ test: the same as record_fault() of tests/e2e/runs.py.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace memring::test {

/// How often to do something: `short_form` in every run of the suite, `long_form` under launch/test.sh --long.
inline int64_t amount(int64_t short_form, int64_t long_form) {
  const char* wanted = std::getenv("MEMRING_LONG");
  return wanted && std::strcmp(wanted, "1") == 0 ? long_form : short_form;
}

/// Texts without quotes or backslashes. Written only when MEMRING_FAULT_LOG names a file.
inline void record_fault(const std::string& row, const std::string& fault, int64_t injected,
                         const std::string& result) {
  if (const char* log = std::getenv("MEMRING_FAULT_LOG"))
    std::ofstream(log, std::ios::app) << fmt::format(
        "{{\"row\": \"{}\", \"fault\": \"{}\", \"injected\": {}, \"result\": \"{}\"}}\n", row, fault, injected, result);
}

}  // namespace memring::test
