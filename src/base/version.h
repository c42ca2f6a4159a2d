// Which program this is, for messages, checkpoints, and ranks that compare themselves.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace memring {

const char* version();  ///< "0.1.0"
const char* sources();  ///< "1a2b3c4d": a digest of the source files that it was built from
std::string build();    ///< "0.1.0 (sources 1a2b3c4d)"

}  // namespace memring
