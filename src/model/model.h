// Model: what is learned, the decoder and its memory, over one registry of tensors. It exists before any memory is
// taken: how many numbers it has, and what its cells take, is known from here on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "memory/memory.h"
#include "model/llama.h"
#include "model/params.h"

namespace memring {

struct Model {
  /// Declares the decoder's tensors, then the memory's.
  Model(const ModelShape& shape, const MemorySettings& settings)
      : llama(shape, params), memory(make_memory(settings, llama, params)) {}

  Params params;
  Llama llama;
  std::unique_ptr<Memory> memory;  ///< never null
};

}  // namespace memring
