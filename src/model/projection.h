// A linear layer of the decoder as its tensors in Params, with the low-rank update that somebody trains on it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_layer/linear_layer.h"
#include "model/params.h"

namespace memring {

/// The numbers of its tensors. Several may name one weight: whoever reads the same base with other updates (an encoder)
/// has projections of its own over it.
struct Projection {
  int weight = 0;
  int lora_a = -1, lora_b = -1;  ///< -1: no update
  double scale = 1;              ///< alpha / rank

  LinearLayer::Weights weights(const Params&) const;
  LinearLayer::Gradients gradients(const Params&) const;
};

}  // namespace memring
