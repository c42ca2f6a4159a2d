// The mechanisms' constructors, one file each; make_memory chooses.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "memory/memory.h"

namespace memring {

/// Zeros in the rows of d_hidden that stand in a part of the layout.
void clear_rows(CellContext&, Range numbers);

std::unique_ptr<Memory> make_no_memory();
std::unique_ptr<Memory> make_armt(const MemorySettings&, const ModelShape&, Params&);
std::unique_ptr<Memory> make_halo(const MemorySettings&, const ModelShape&);
std::unique_ptr<Memory> make_rmt(const MemorySettings&, const ModelShape&, Params&);
std::unique_ptr<Memory> make_uio(const MemorySettings&, const Llama&, Params&);

}  // namespace memring
