// Rules of scaled rotary frequencies.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "config/demand.h"
#include "config/number_list.h"

namespace memring {
namespace {

void validate_factors(std::string_view key, const std::string& text, const Config& c, const PlaceOf& place_of) {
  const auto factors = parse_numbers<double>(text);
  const auto usable = [](double factor) { return factor > 0 && std::isfinite(factor); };
  const int64_t half = c.model.head_dim / 2;
  demand(factors && std::all_of(factors->begin(), factors->end(), usable), place_of, {key},
         fmt::format("{} = '{}' is no list of numbers above 0", key, shown(text)),
         "Write the numbers with commas or spaces between them, for example 1,1.02,1.3.");
  demand(std::ssize(*factors) == half, place_of, {key, "rope.scaling"},
         fmt::format("{} has {} numbers, but model.head_dim / 2 = {} frequencies are to be divided", key,
                     factors->size(), half),
         "Give rope.short_factor and rope.long_factor a number for each pair of a head's dimensions.");
}

}  // namespace

void validate_rope(const Config& c, const PlaceOf& place_of) {
  const RopeConfig& r = c.rope;
  if (r.scaling == RopeScaling::None) return;
  const std::string_view scaling = word_of(r.scaling);
  demand(r.factor >= 1, place_of, {"rope.factor", "rope.scaling"},
         r.factor == 0
             ? fmt::format("rope.scaling = {} needs rope.factor", scaling)
             : fmt::format("rope.factor = {} would make the window shorter; 1 or more was expected", r.factor),
         "Set rope.factor to how many times longer the window becomes, for example 8.");
  const bool by_base = r.scaling == RopeScaling::Ntk || r.scaling == RopeScaling::Dynamic;
  demand(!by_base || c.model.head_dim >= 4, place_of, {"rope.scaling"},
         fmt::format("rope.scaling = {} with model.head_dim = 2: there is one frequency, and ntk keeps the highest",
                     scaling),
         "Set rope.scaling = linear, or wider heads (model.head_dim).");
  demand(!has_effect("rope.original_length", c) || r.original_length > 1, place_of, {"rope.original_length"},
         fmt::format("rope.original_length = {}; a window has 2 positions or more", r.original_length),
         "Set rope.original_length to the window of the training before, for example 4096.");
  if (has_effect("rope.beta_fast", c)) {
    demand(r.beta_slow <= r.beta_fast, place_of, {"rope.beta_slow", "rope.beta_fast"},
           fmt::format("rope.beta_slow = {} is more than rope.beta_fast = {}", r.beta_slow, r.beta_fast),
           "Set rope.beta_slow to at most rope.beta_fast; 1 and 32 are usual.");
    demand(c.model.rope_theta > 1, place_of, {"model.rope_theta"},
           fmt::format("model.rope_theta = {} with rope.scaling = {}, whose blend needs frequencies that fall",
                       c.model.rope_theta, scaling),
           "Set model.rope_theta to more than 1; 10000 is usual.");
  }
  demand(!has_effect("rope.low_freq_factor", c) || r.low_freq_factor < r.high_freq_factor, place_of,
         {"rope.low_freq_factor", "rope.high_freq_factor"},
         fmt::format("rope.low_freq_factor = {} is not less than rope.high_freq_factor = {}", r.low_freq_factor,
                     r.high_freq_factor),
         "Set rope.low_freq_factor to less than rope.high_freq_factor; 1 and 4 are usual.");
  if (r.scaling != RopeScaling::LongRope) return;
  validate_factors("rope.short_factor", r.short_factor, c, place_of);
  validate_factors("rope.long_factor", r.long_factor, c, place_of);
}

}  // namespace memring
