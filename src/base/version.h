// The program's version, for messages and checkpoints.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace memring {

const char* version();  ///< "0.1.0"

}  // namespace memring
