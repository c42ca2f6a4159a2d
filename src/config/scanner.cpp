// One pass over the lines. Boost's own ini reader cuts values at every '#' and knows no line numbers, hence this one.
// SPDX-License-Identifier: Apache-2.0
#include "config/scanner.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace memring {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t'; }

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  });
}

std::string_view without_comment(std::string_view line) {
  for (size_t i = 0; i < line.size(); ++i)
    if ((line[i] == '#' || line[i] == ';') && (i == 0 || is_space(line[i - 1]))) return line.substr(0, i);
  return line;
}

/// The text between the quotes at the start of `text`; nothing when the closing quote is missing or more than a comment
/// follows it.
std::optional<std::string> unquote(std::string_view text) {
  std::string value;
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      if (!trim(without_comment(text.substr(i + 1))).empty()) return std::nullopt;
      return value;
    }
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\')) ++i;
    value += text[i];
  }
  return std::nullopt;
}

/// Whether a comment holds a section's header and nothing else. The bracket that opens it may have become the comment's
/// own mark: `#log]`.
bool hides_section(std::string_view comment) {
  while (!comment.empty() && (comment.front() == '#' || comment.front() == ';')) comment.remove_prefix(1);
  comment = trim(comment);
  if (!comment.ends_with(']')) return false;
  comment.remove_suffix(1);
  if (comment.starts_with('[')) comment.remove_prefix(1);
  return is_name(trim(comment));
}

void refuse_binary(std::string_view text, const std::string& name) {
  constexpr std::string_view kHdf5 = "\x89HDF";
  if (text.starts_with(kHdf5))
    throw Error(ExitCode::Usage, name + " is an HDF5 file, not a configuration",
                "Give an ini file here; `memring inspect` tells what an HDF5 file holds.");
  int64_t line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '\n') ++line;
    if (c >= 0x20 || c == '\t' || c == '\n' || c == '\r') continue;
    throw Error(ExitCode::Usage,
                fmt::format("{}:{}: byte {} is 0x{:02x}; a configuration is plain text", name, line, i, c),
                "Give an ini file ([section] and key = value lines), or save this one as UTF-8 text.");
  }
}

}  // namespace

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<Setting> scan_ini(std::string_view text, const std::string& name) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  refuse_binary(text, name);
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());

  std::vector<Setting> settings;
  std::map<std::string, std::string> places;
  std::string section;
  int64_t hidden = 0;  // the line that last commented a header out
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (raw.ends_with('\r')) raw.remove_suffix(1);

    const std::string place = fmt::format("{}:{}", name, number);
    auto fail = [&](const std::string& message, const std::string& hint) -> Error {
      return Error(ExitCode::Usage, place + ": " + message, hint);
    };
    const std::string_view line = trim(without_comment(raw));
    if (line.empty()) {
      // Its keys would fall to the section above, where some of them exist too (log.every, checkpoint.every).
      if (hides_section(trim(raw))) section.clear(), hidden = number;
      continue;
    }
    if (line.front() == '[') {
      const std::string_view inside = line.ends_with(']') ? trim(line.substr(1, line.size() - 2)) : std::string_view{};
      if (!is_name(inside))
        throw fail(fmt::format("'{}' is not a section", shown(line)),
                   "Write the section as [name], for example [model].");
      section = inside;
      continue;
    }
    const size_t equals = line.find('=');
    const std::string_view key = trim(line.substr(0, equals));
    if (equals == std::string_view::npos || !is_name(key))
      throw fail(fmt::format("'{}' is neither [section] nor key = value", shown(line)),
                 "Write key = value, or start the line with # if it is a comment.");
    if (section.empty())
      throw hidden
          ? fail(fmt::format("'{}' stands under the section header that line {} comments out", shown(key), hidden),
                 fmt::format("Take the comment mark out of line {}, or comment out its keys too.", hidden))
          : fail(fmt::format("'{}' stands before the first section", shown(key)),
                 "Put the [section] that the key belongs to in a line above it, for example [model].");

    std::string value(trim(line.substr(equals + 1)));
    if (value.starts_with('"')) {
      // From the raw line: what is between the quotes is no comment.
      auto quoted = unquote(trim(raw.substr(raw.find('=') + 1)));
      if (!quoted)
        throw fail(fmt::format("the quotes of '{}' do not close", shown(key)),
                   "End the value with a double quote, or use none.");
      value = *quoted;
    }
    std::string full = section + '.' + std::string(key);
    if (auto [first, fresh] = places.emplace(full, place); !fresh)
      throw fail(fmt::format("'{}' is set twice (first in {})", shown(full), first->second),
                 "Remove one of the two lines.");
    settings.push_back({std::move(full), std::move(value), place});
  }
  return settings;
}

Setting split_override(std::string_view text) {
  if (text.starts_with("--")) text.remove_prefix(2);
  const size_t equals = text.find('=');
  const std::string key(text.substr(0, equals));
  if (equals == std::string_view::npos || key.empty())
    throw Error(ExitCode::Usage, fmt::format("--{} has no value; expected --section.key=value", shown(text)),
                fmt::format("Write --{}=VALUE, without spaces round the equals sign.",
                            key.empty() ? "section.key" : shown(key)));
  return {key, std::string(text.substr(equals + 1)), "--" + shown(key)};
}

std::string quote_value(const std::string& value) {
  if (trim(value) == value && without_comment(value) == value && !value.starts_with('"')) return value;
  std::string quoted = "\"";
  for (char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace memring
