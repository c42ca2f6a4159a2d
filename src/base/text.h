// Numbers and the user's own words as people read them, for messages and summaries.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

namespace memring {

/// "1,048,112"
inline std::string grouped(int64_t value) {
  const std::string digits = fmt::format("{}", value);
  const size_t first = value < 0 ? 1 : 0;
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

/// "2026-11-27T07:40:05Z"
inline std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

/// "812 B", "3.4 MB", "100.0 GB": powers of 1000, as disks and rates are given.
inline std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  int unit = 0;
  for (; bytes >= 999.95 && unit < 5; ++unit) bytes /= 1000;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

/// What the user wrote, inside a message: at most a line of it, control characters as \xNN.
inline std::string shown(std::string_view text) {
  constexpr size_t kMost = 80;
  const auto inside_character = [&](size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
  size_t end = std::min(text.size(), kMost);
  while (end > 0 && end < text.size() && inside_character(end)) --end;
  std::string result;
  for (const char c : text.substr(0, end)) {
    const auto byte = static_cast<unsigned char>(c);
    result += byte < 0x20 || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  if (end < text.size()) result += fmt::format("... ({} bytes)", grouped(static_cast<int64_t>(text.size())));
  return result;
}

}  // namespace memring
