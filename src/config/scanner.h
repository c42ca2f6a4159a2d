// Reads ini text (`[section]`, `key = value`) into settings that remember where they came from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memring {

/// One `key = value`: the full key (`section.key`) and the place that messages name (`runs.ini:12` or
/// `--model.layers`).
struct Setting {
  std::string key, value, place;
};

/// Sections may come again; a key may not. `#` and `;` start a comment at the start of a line or after white space, so
/// a path may contain them. A header that is commented out ends the section above it. A value in double quotes keeps
/// its spaces, `#` and `;` (`\"` and `\\` inside). CRLF line ends and a UTF-8 byte order mark are accepted. `name`
/// stands for the file in messages. Throws Error(Usage) with file and line for anything else, and for text that is not
/// text.
std::vector<Setting> scan_ini(std::string_view text, const std::string& name);

/// An override, with or without the leading dashes, as a setting whose place is `--section.key`; its value is taken as
/// it is. Throws Error(Usage) when there is no `=`.
Setting split_override(std::string_view text);

/// The value as scan_ini reads it back: in quotes only where it must be.
std::string quote_value(const std::string& value);

std::string_view trim(std::string_view text);

}  // namespace memring
