// How a rule that joins several keys is refused. Private to src/config.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/error.h"
#include "config/options.h"
#include "config/validate.h"

namespace memring {

/// Starts the message with the place of the first of `keys` that was set by hand.
inline void demand(bool holds, const PlaceOf& place_of, std::initializer_list<std::string_view> keys,
                   const std::string& message, const std::string& hint) {
  if (holds) return;
  std::string place;
  for (std::string_view key : keys)
    if (place.empty()) place = place_of(key);
  throw Error(ExitCode::Usage, place.empty() ? message : place + ": " + message, hint);
}

/// A rule must not ask for another value of a key that has no effect: on the command line that would be refused.
inline bool has_effect(std::string_view key, const Config& c) { return unmet_conditions(*find_option(key), c).empty(); }

/// The rules of [rope].
void validate_rope(const Config&, const PlaceOf&);

}  // namespace memring
