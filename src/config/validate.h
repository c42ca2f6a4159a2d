// What is checked once all values are known: derived values and combinations of keys.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "config/config.h"

namespace memring {

/// Where a key was set (`runs.ini:12`, `--model.heads`), or empty where it has its default.
using PlaceOf = std::function<std::string(std::string_view key)>;

/// Fills in the values that are 0 = derived: kv_heads, head_dim, ffn; and those that others decide: run.steps where
/// run.tokens alone is set, data.length under curriculum.stages, rope.original_length of a scaling that asks for it.
/// Throws Error(Usage) where they do not come out whole.
void derive(Config&, const PlaceOf&);

/// Throws Error(Usage) for the first combination that cannot work, naming its keys, their values and the place of one
/// of them.
void validate(const Config&, const PlaceOf&);

/// The rules of training alone: what an evaluation or a saved run need not keep.
void validate_training(const Config&, const PlaceOf&);

}  // namespace memring
