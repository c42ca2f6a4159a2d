// Names of tensors, as people read and choose them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "model/params.h"

namespace memring {

/// "model.layers.*.mlp.up_proj.weight (4), memory.tokens": how many there are of each, without the layers' numbers.
/// No more than `most` of these patterns.
std::string names_of(const std::vector<FlatEntry>& tensors, size_t most);

/// Whether it is a low-rank update of a layer of the decoder (a memory's own are not).
bool is_lora(const std::string& name);

/// Trains what a list like "memory, model.layers.*.mlp.*" names, and freezes the rest. `*` stands for any text; all,
/// memory and lora are words for patterns of their own. Throws Error(Usage) for what names no tensor.
void train_named(Params&, const std::string& list);

/// Throws Error(Usage) where the list trains tensors of the decoder itself.
void expect_frozen_decoder(const Params&, const std::string& list);

}  // namespace memring
