// The one file that is compiled with the version number.
// SPDX-License-Identifier: Apache-2.0
#include "base/version.h"

namespace memring {

const char* version() { return MEMRING_VERSION; }

std::string build() { return std::string(version()) + " (sources " + sources() + ")"; }

}  // namespace memring
