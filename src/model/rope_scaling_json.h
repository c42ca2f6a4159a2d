// Settings of rotary frequencies from the rope_scaling of a Hugging Face config.json.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "model/rotary.h"

namespace memring {

/// What the configuration says beside its rope_scaling.
struct RopeScalingContext {
  double theta = 10000;       ///< rope_theta; one inside rope_scaling goes before it
  int64_t head_dim = 0;       ///< even
  int64_t max_positions = 0;  ///< max_position_embeddings
};

/// `json`: the object, in the older form (`type`, rope_theta beside it) or that of transformers 5 (rope_parameters), or
/// null for none. A key that is absent or null has the meaning that it has in transformers 5 (modeling_rope_utils.py).
/// Throws Error(Data) beginning with `place` for an unknown rope_type and for a key that is missing or of no use.
RotarySettings parse_rope_scaling(std::string_view json, const RopeScalingContext&, const std::string& place);

}  // namespace memring
