// Fuzz target: any text as a configuration file. It is refused as Usage with a place and a hint, or means the same when
// it is written out and read again.
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "config/config.h"

using namespace memring;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  std::string rendered;
  try {
    rendered = render_config(parse_config({reinterpret_cast<const char*>(bytes), count}, "fuzz.ini"));
  } catch (const Error& error) {
    if (error.code() == ExitCode::Usage && *error.what() && !error.hint().empty()) return 0;
    std::fprintf(stderr, "refused with code %d: %s (%s)\n", static_cast<int>(error.code()), error.what(),
                 error.hint().c_str());
    std::abort();
  }
  const std::string again = render_config(parse_config(rendered, "rendered.ini"));
  if (again != rendered) {
    std::fprintf(stderr, "changed by writing and reading:\n%s\n---\n%s\n", rendered.c_str(), again.c_str());
    std::abort();
  }
  return 0;
}
