// The mechanisms' constructors, one file each; make_memory chooses.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "memory/memory.h"

namespace memring {

std::unique_ptr<Memory> make_no_memory();
std::unique_ptr<Memory> make_armt(const MemorySettings&, const ModelShape&, Params&);
std::unique_ptr<Memory> make_rmt(const MemorySettings&, const ModelShape&, Params&);

}  // namespace memring
