// Whether an operator overwrites its output or adds to it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace memring {
enum class Write { Overwrite, Accumulate };
}
