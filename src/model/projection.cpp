// SPDX-License-Identifier: Apache-2.0
#include "model/projection.h"

namespace memring {

LinearLayer::Weights Projection::weights(const Params& params) const {
  if (lora_a < 0) return {params.weight(weight)};
  return {.weight = params.weight(weight),
          .lora_a = params.weight(lora_a),
          .lora_b = params.weight(lora_b),
          .lora_scale = scale};
}

LinearLayer::Gradients Projection::gradients(const Params& params) const {
  if (lora_a < 0) return {params.grad(weight)};
  return {.weight = params.grad(weight), .lora_a = params.grad(lora_a), .lora_b = params.grad(lora_b)};
}

}  // namespace memring
