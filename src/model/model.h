// Model: what is learned, the decoder and its memory, over one registry of tensors. It exists before any memory is
// taken: how many numbers it has, and what its cells take, is known from here on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "memory/memory.h"
#include "model/llama.h"
#include "model/params.h"

namespace memring {

/// The vector that stands where a text is asked for once more (kRepeatToken). Whoever asks for none does without it.
constexpr const char* kRepeatVector = "memory.repeat_token";

struct Model {
  /// Declares the decoder's tensors, then the memory's.
  Model(const ModelShape& shape, const MemorySettings& settings)
      : llama(shape, params), memory(make_memory(settings, llama, params)) {
    // It starts as one more token would.
    if (settings.repeats)
      repeat_token = params.declare(kRepeatVector, {shape.dim}, {.std = shape.embedding_std}, false);
  }

  Params params;
  Llama llama;
  std::unique_ptr<Memory> memory;  ///< never null
  int repeat_token = -1;           ///< [dim]; -1: nothing is repeated
};

}  // namespace memring
