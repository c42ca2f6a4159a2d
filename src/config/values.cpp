// Numbers go through from_chars and fmt's shortest form, so a printed configuration reads back to the same bits.
// SPDX-License-Identifier: Apache-2.0
#include "config/values.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "config/nearest.h"
#include "config/scanner.h"

namespace memring {
namespace {

enum class Fault : uint8_t { None, Kind, Range };

template <class T>
struct Parsed {
  T value{};
  Fault fault = Fault::Kind;
};

template <class T>
Parsed<T> parse_number(std::string_view text) {
  Parsed<T> parsed;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed.value);
  if (end != text.data() + text.size() || text.empty()) return parsed;
  if (error == std::errc::result_out_of_range)
    parsed.fault = Fault::Range;
  else if (error == std::errc())
    parsed.fault = Fault::None;
  return parsed;
}

Parsed<double> parse_real(std::string_view text) {
  auto parsed = parse_number<double>(text);
  if (parsed.fault == Fault::None && !std::isfinite(parsed.value)) parsed.fault = Fault::Kind;
  return parsed;
}

template <class T>
Parsed<T> parse_integer(std::string_view text) {
  auto parsed = parse_number<T>(text);
  if (parsed.fault == Fault::None) return parsed;
  // A negative number for an unsigned field, and integers written as 1e6 or 100.0, are still integers.
  const auto real = parse_real(text);
  if (real.fault != Fault::None || real.value != std::floor(real.value)) return parsed;
  if (real.value < 0 && std::is_unsigned_v<T>) return {T{}, Fault::Range};
  if (std::abs(real.value) > 9007199254740992.0) return {T{}, Fault::Range};  // 2^53: exact in double up to here
  return {static_cast<T>(real.value), Fault::None};
}

Parsed<int64_t> parse_size(std::string_view text) {
  int shift = 0;
  const size_t digits = text.find_last_of("0123456789");
  if (digits != std::string_view::npos && digits + 1 < text.size()) {
    const std::string_view suffix = trim(text.substr(digits + 1));
    if (suffix == "k" || suffix == "K" || suffix == "KiB")
      shift = 10;
    else if (suffix == "M" || suffix == "MiB")
      shift = 20;
    else if (suffix == "G" || suffix == "GiB")
      shift = 30;
    else
      return {};
    text = text.substr(0, digits + 1);
  }
  auto parsed = parse_integer<int64_t>(text);
  if (parsed.fault != Fault::None) return parsed;
  const int64_t most = std::numeric_limits<int64_t>::max() >> shift;
  if (parsed.value > most || parsed.value < -most) return {0, Fault::Range};
  parsed.value *= int64_t{1} << shift;
  return parsed;
}

Parsed<double> parse_duration(std::string_view text) {
  const size_t first = text.find(':');
  if (first == std::string_view::npos) return parse_real(text);
  const size_t second = text.find(':', first + 1);
  if (second == std::string_view::npos) return {};
  const auto hours = parse_number<uint32_t>(text.substr(0, first));
  const auto minutes = parse_number<uint32_t>(text.substr(first + 1, second - first - 1));
  const auto seconds = parse_real(text.substr(second + 1));
  if (hours.fault != Fault::None || minutes.fault != Fault::None || seconds.fault != Fault::None) return {};
  if (minutes.value >= 60 || seconds.value >= 60 || seconds.value < 0) return {};
  return {hours.value * 3600.0 + minutes.value * 60.0 + seconds.value, Fault::None};
}

Parsed<bool> parse_boolean(std::string_view text) {
  if (text == "true" || text == "on" || text == "1") return {true, Fault::None};
  if (text == "false" || text == "off" || text == "0") return {false, Fault::None};
  return {};
}

bool inside(const ValueRange& range, double value) {
  return (range.without_low ? value > range.low : value >= range.low) &&
         (range.without_high ? value < range.high : value <= range.high);
}

std::string_view kind_words(ValueKind kind) {
  switch (kind) {
    case ValueKind::Boolean:
      return "true or false";
    case ValueKind::Integer:
      return "an integer";
    case ValueKind::Size:
      return "an integer (k, M, G = 1024, 1024^2, 1024^3)";
    case ValueKind::Real:
      return "a number";
    case ValueKind::Duration:
      return "seconds or hh:mm:ss";
    case ValueKind::Choice:
      return "one of";
    case ValueKind::Text:
      return "text";
  }
  return "";
}

/// A limit in words; whole numbers in full (an integer in fmt's shortest form may become 1e+06).
std::string limit_text(double limit) {
  if (limit == std::floor(limit) && std::abs(limit) < 9e18) return fmt::format("{}", static_cast<int64_t>(limit));
  return fmt::format("{}", limit);
}

std::string range_words(const ValueRange& range) {
  std::string low = (range.without_low ? "more than " : "at least ") + limit_text(range.low);
  if (std::isinf(range.high)) return low;
  if (!range.without_low && !range.without_high) return limit_text(range.low) + " to " + limit_text(range.high);
  return low + (range.without_high ? " and less than " : " and at most ") + limit_text(range.high);
}

std::string join(const std::vector<std::string_view>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

[[noreturn]] void refuse(const Option& option, std::string_view text, const std::string& place, Fault fault) {
  const bool numeric = option.kind != ValueKind::Boolean && option.kind != ValueKind::Text;
  const std::string wanted = numeric ? fmt::format("{}, {}", kind_words(option.kind), range_words(option.range))
                                     : std::string(kind_words(option.kind));
  throw Error(
      ExitCode::Usage,
      fmt::format("{}: {} = '{}' is {}; expected {}", place, option.key, text,
                  fault == Fault::Range ? "out of range" : fmt::format("not {}", kind_words(option.kind)), wanted),
      fmt::format("Set it as in this example: {} = {}", option.key, option.example));
}

/// Checks the option's range and narrows to the field's own type.
template <class To, class From>
To accept(const Option& option, std::string_view text, const std::string& place, const Parsed<From>& parsed) {
  if (parsed.fault != Fault::None) refuse(option, text, place, parsed.fault);
  if (!inside(option.range, static_cast<double>(parsed.value))) refuse(option, text, place, Fault::Range);
  return static_cast<To>(parsed.value);
}

void check_choice(const Option& option, std::string_view text, const std::string& place) {
  const auto has = [&](const std::vector<std::string_view>& names) {
    for (std::string_view name : names)
      if (name == text) return true;
    return false;
  };
  if (has(option.choices)) return;
  const std::string valid = join(option.choices, ", ");
  if (has(option.later))
    throw Error(ExitCode::Usage,
                fmt::format("{}: {} = {}: this build does not have it yet; it has {}", place, option.key, text, valid),
                std::string(option.later_hint));
  throw Error(
      ExitCode::Usage, fmt::format("{}: {} = '{}' is none of its values; expected {}", place, option.key, text, valid),
      fmt::format("Did you mean '{}'? Set {} to one of these values.", nearest(text, option.choices), option.key));
}

}  // namespace

void set_value(const Option& option, Config& config, std::string_view text, const std::string& place) {
  const Field field = option.field(config);
  switch (option.kind) {
    case ValueKind::Boolean: {
      const auto parsed = parse_boolean(text);
      if (parsed.fault != Fault::None) refuse(option, text, place, parsed.fault);
      *std::get<bool*>(field) = parsed.value;
      return;
    }
    case ValueKind::Integer:
      if (auto* narrow = std::get_if<int*>(&field))
        **narrow = accept<int>(option, text, place, parse_integer<int64_t>(text));
      else if (auto* whole = std::get_if<uint64_t*>(&field))
        **whole = accept<uint64_t>(option, text, place, parse_integer<uint64_t>(text));
      else
        *std::get<int64_t*>(field) = accept<int64_t>(option, text, place, parse_integer<int64_t>(text));
      return;
    case ValueKind::Size:
      *std::get<int64_t*>(field) = accept<int64_t>(option, text, place, parse_size(text));
      return;
    case ValueKind::Real:
      *std::get<double*>(field) = accept<double>(option, text, place, parse_real(text));
      return;
    case ValueKind::Duration:
      *std::get<double*>(field) = accept<double>(option, text, place, parse_duration(text));
      return;
    case ValueKind::Choice:
      check_choice(option, text, place);
      *std::get<std::string*>(field) = text;
      return;
    case ValueKind::Text:
      for (char c : text)
        if (static_cast<unsigned char>(c) < 0x20)
          throw Error(
              ExitCode::Usage,
              fmt::format("{}: {} holds a control character (0x{:02x})", place, option.key, static_cast<int>(c)),
              fmt::format("Set {} to printable text, for example {}.", option.key, option.example));
      *std::get<std::string*>(field) = text;
      return;
  }
}

std::string value_text(const Option& option, const Config& config) {
  Config copy = config;
  return std::visit(
      [](auto* value) {
        if constexpr (std::is_same_v<decltype(value), std::string*>)
          return *value;
        else
          return fmt::format("{}", *value);
      },
      option.field(copy));
}

std::string describe_values(const Option& option) {
  switch (option.kind) {
    case ValueKind::Boolean:
      return "true | false";
    case ValueKind::Choice:
      return join(option.choices, " | ");
    case ValueKind::Text:
      return "text";
    case ValueKind::Integer:
      return "integer, " + range_words(option.range);
    case ValueKind::Size:
      return "integer (may end in k, M, G), " + range_words(option.range);
    case ValueKind::Real:
      return "number, " + range_words(option.range);
    case ValueKind::Duration:
      return "seconds or hh:mm:ss, " + range_words(option.range);
  }
  return {};
}

}  // namespace memring
