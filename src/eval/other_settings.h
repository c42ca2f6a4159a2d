// What an evaluation computes otherwise than the training of its model did: told, for the losses are those of another
// model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "config/config.h"

namespace memring {

/// Of one section of the configuration: those of its settings that differ, in words.
struct OtherSettings {
  std::string section, trained, evaluated;
};

/// Of the sections that say what a model computes. Keys that only count at the start of a training are left out.
std::vector<OtherSettings> other_settings(const Config& trained, const Config& evaluated);

/// "lora: trained with alpha 6, evaluated with alpha 12", a line each.
std::string to_text(const std::vector<OtherSettings>&);
/// Adds {"lora": {"trained": "alpha 6", "evaluated": "alpha 12"}}, ...
void add_to(nlohmann::ordered_json&, const std::vector<OtherSettings>&);

}  // namespace memring
