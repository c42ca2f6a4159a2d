// Between text and the typed fields of a Config: one reader and one writer for every kind of value.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "config/options.h"

namespace memring {

/// Sets the option's field from text. `place` (`runs.ini:12`, `--model.layers`) starts the message.
/// Throws Error(Usage) when the text is not of the option's kind, out of range or none of its choices.
void set_value(const Option&, Config&, std::string_view text, const std::string& place);

/// The field's value as text that set_value reads back to the same value.
std::string value_text(const Option&, const Config&);

/// "integer, 1 or more", "none | rmt", ...: kind and range in words.
std::string describe_values(const Option&);

}  // namespace memring
