// Numbers go through from_chars and fmt's shortest form, so a printed configuration reads back to the same bits.
// SPDX-License-Identifier: Apache-2.0
#include "config/values.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/home.h"
#include "base/text.h"
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
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
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
  if (real.fault == Fault::Range) return {T{}, Fault::Range};
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
    case ValueKind::Path:
    case ValueKind::Checkpoint:
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
      fmt::format("{}: {} = '{}' is {}; expected {}", place, option.key, shown(text),
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
      ExitCode::Usage,
      fmt::format("{}: {} = '{}' is none of its values; expected {}", place, option.key, shown(text), valid),
      fmt::format("Did you mean '{}'? Set {} to one of these values.", nearest(text, option.choices), option.key));
}

ResumeFrom parse_resume(const Option& option, std::string_view text, const std::string& place) {
  constexpr size_t kDigits = 18;  // what an int64_t holds
  for (const auto& word : words(ResumeFrom::What{}))
    if (text == word.name) return {word.value};
  if (!text.empty() && text.size() <= kDigits && text.find_first_not_of("0123456789") == std::string_view::npos)
    return {ResumeFrom::What::Step, parse_number<int64_t>(text).value};
  throw Error(ExitCode::Usage,
              fmt::format("{}: {} = '{}' is none of its values; expected newest, sound, a step", place, option.key,
                          shown(text)),
              fmt::format("Give newest, sound, or the step of a checkpoint, for example --{}=sound.", option.key));
}

/// Bytes of the sequence that UTF-8 has at the start of `text` (not empty); 0 where it is none (RFC 3629, section 4).
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  const size_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool beyond = (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  return overlong || beyond ? 0 : length;
}

/// Texts go into HDF5 attributes and JSON, which hold UTF-8, and into messages, which should be one line.
void check_text(const Option& option, std::string_view text, const std::string& place) {
  const auto refuse_byte = [&](size_t index, const char* what) {
    throw Error(ExitCode::Usage,
                fmt::format("{}: byte {} of {} is {} (0x{:02x}); expected printable UTF-8 text", place, index,
                            option.key, what, static_cast<unsigned char>(text[index])),
                fmt::format("Set {} to printable UTF-8 text, for example {}; rename the file if it must be.",
                            option.key, option.example));
  };
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7F) refuse_byte(i, "a control character");
    const size_t length = utf8_length(text.substr(i));
    if (length == 0) refuse_byte(i, "not UTF-8");
    i += length;
  }
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
      std::get<WordField>(field).set(text);
      return;
    case ValueKind::Checkpoint:
      *std::get<ResumeFrom*>(field) = parse_resume(option, text, place);
      return;
    case ValueKind::Text:
      check_text(option, text, place);
      *std::get<std::string*>(field) = text;
      return;
    case ValueKind::Path:
      check_text(option, text, place);
      *std::get<std::string*>(field) = expand_home(std::string(text));
      return;
  }
}

std::string value_text(const Option& option, const Config& config) {
  Config copy = config;
  return std::visit(
      [](const auto& field) {
        if constexpr (std::is_same_v<decltype(field), const WordField&>)
          return std::string(field.word());
        else if constexpr (std::is_same_v<decltype(field), ResumeFrom* const&>)
          return field->what == ResumeFrom::What::Step ? std::to_string(field->step)
                                                       : std::string(word_of(field->what));
        else
          return fmt::format("{}", *field);
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
    case ValueKind::Path:
      return "path";
    case ValueKind::Checkpoint:
      return "newest | sound | a step";
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
