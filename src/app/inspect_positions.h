// memring inspect CONFIG --positions: the position ids that training would draw, and the distances that they cover.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace memring {

/// Prints the ids of the text of the first samples, and over many samples how evenly they cover the distances of
/// positions.target. `config`: a file, or a run directory. Needs no data, but for longrecipe. Throws Error where the
/// configuration is no usable one of a training run.
void print_positions(const std::string& config, const std::vector<std::string>& overrides);

}  // namespace memring
