// The valid name that a misspelt one probably meant, for messages about keys, options, commands and choices.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace memring {

/// Smallest number of inserted, deleted, replaced or swapped neighbouring characters that turns `a` into `b`
/// (optimal string alignment distance).
int edit_distance(std::string_view a, std::string_view b);

/// The candidate with the smallest edit distance to `name`, the earliest of equals; empty when there are no candidates.
std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace memring
