// The numbers that fix a decoder's shape.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/lora_target.h"
#include "model/rotary.h"

namespace memring {

/// Low-rank updates of the decoder's linear layers.
struct LoraShape {
  int64_t rank = 0;  ///< 0: none
  double scale = 1;  ///< alpha / rank
  std::vector<LoraTarget> targets{};

  bool on(LoraTarget target) const {
    return rank > 0 && std::find(targets.begin(), targets.end(), target) != targets.end();
  }
};

struct ModelShape {
  int64_t layers = 1, dim = 16, heads = 2, kv_heads = 2, head_dim = 8, ffn = 32, vocab = 256;
  RotarySettings rotary{};
  double norm_eps = 1e-5;
  double init_std = 0.02, embedding_std = 0.02;  ///< of weights and of embeddings
  bool tied = true;                              ///< the head uses the embedding's weights
  LoraShape lora{};
};

}  // namespace memring
