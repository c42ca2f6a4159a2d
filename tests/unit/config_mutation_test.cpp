// Configurations one character away from real ones, and every key against every kind of wrong value: what is accepted
// changes no key but that of the line that was touched; all else is refused with its place and the nearest key.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "base/error.h"
#include "config/config.h"
#include "config/options.h"
#include "config/scanner.h"
#include "config/values.h"
#include "files.h"

namespace memring {
namespace {

/// A text with one character replaced, inserted or taken out.
struct Mutation {
  std::string text;
  int64_t line = 0;  ///< of the character, from 1
};

enum class Change : uint8_t { Replace, Insert, Remove };

Mutation mutated(const std::string& original, size_t at, Change change, char letter) {
  const auto where = original.begin() + static_cast<std::string::difference_type>(at);
  Mutation mutation{original, 1 + std::count(original.begin(), where, '\n')};
  if (change == Change::Replace)
    mutation.text[at] = letter;
  else if (change == Change::Insert)
    mutation.text.insert(at, 1, letter);
  else
    mutation.text.erase(at, 1);
  return mutation;
}

/// Everything that the syntax turns on, at every place; and letters by chance.
std::vector<Mutation> mutations_of(const std::string& original) {
  constexpr std::string_view kSyntax = "#;[]= \n\"",
                             kLetters = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789\t\r._-+\\/:,\x01\xC3";
  std::vector<Mutation> mutations;
  std::mt19937 source(4);
  for (size_t at = 0; at < original.size(); ++at) {
    for (const Change change : {Change::Replace, Change::Insert}) {
      for (const char letter : kSyntax) mutations.push_back(mutated(original, at, change, letter));
      mutations.push_back(mutated(original, at, change, kLetters[source() % kLetters.size()]));
    }
    mutations.push_back(mutated(original, at, Change::Remove, 0));
  }
  return mutations;
}

std::set<std::string> keys_that_differ(const Config& a, const Config& b) {
  std::set<std::string> keys;
  for (const Option& option : options())
    if (value_text(option, a) != value_text(option, b)) keys.emplace(option.key);
  // What follows from other keys where it is not set.
  if (keys.contains("model.dim") || keys.contains("model.heads"))
    for (const char* derived : {"model.head_dim", "model.ffn", "model.kv_heads"}) keys.erase(derived);
  return keys;
}

/// Keys that the text sets in this line or the next one, which a line end taken out may have joined to it.
std::set<std::string> keys_at(const std::string& text, int64_t line) {
  std::set<std::string> keys;
  for (const Setting& setting : scan_ini(text, "real.ini"))
    for (const int64_t near : {line, line + 1})
      if (setting.place == fmt::format("real.ini:{}", near)) keys.insert(setting.key);
  return keys;
}

/// The refusal names the file and a line, and what else was probably meant.
void expect_refusal(const Error& error, const Mutation& mutation) {
  const std::string what = error.what();
  const std::string& hint = error.hint();
  EXPECT_EQ(error.code(), ExitCode::Usage) << what;
  EXPECT_TRUE(what.starts_with("mutated.ini:")) << what << "\nof\n" << mutation.text;
  EXPECT_FALSE(hint.empty()) << what;
  const bool unknown =
      what.find("unknown key") != std::string::npos || what.find("unknown section") != std::string::npos;
  EXPECT_TRUE(!unknown || hint.find("Did you mean '") != std::string::npos) << hint;
}

TEST(ConfigMutation, OneCharacterChangesAtMostTheKeysOfItsLineOrIsRefusedWithItsPlace) {
  for (const char* name : {"quickstart.ini", "long.ini"}) {
    const std::string original = test::content_of(std::string(MEMRING_CONFIGS "/") + name);
    const Config meant = parse_config(original, name);
    int same = 0, other = 0, refused = 0;
    for (const Mutation& mutation : mutations_of(original)) {
      try {
        const auto changed = keys_that_differ(meant, parse_config(mutation.text, "mutated.ini"));
        const auto touched = keys_at(original, mutation.line);
        EXPECT_TRUE(std::includes(touched.begin(), touched.end(), changed.begin(), changed.end()))
            << testing::PrintToString(changed) << " changed by line " << mutation.line << " of\n"
            << mutation.text;
        ++(changed.empty() ? same : other);
      } catch (const Error& error) {
        expect_refusal(error, mutation);
        ++refused;
      }
    }
    // Most of these files are comments; all three outcomes must have been met.
    EXPECT_GT(same, 1000) << name;
    EXPECT_GT(other, 50) << name;
    EXPECT_GT(refused, 1000) << name;
  }
}

TEST(ConfigMutation, EveryKeyRefusesWhatIsNotOfItsKindAndNamesItselfWithAnExample) {
  const std::vector<std::string> never = {"",      "perhaps", "nan", "-nan", "inf", "1e999", "0x10",
                                          "1_0",   "1,0",     "+-1", "--1",  "1e",  "1 2",   ".",
                                          "\"1\"", "１",      "1h",  "{}",   "!"};
  for (const Option& option : options()) {
    if (option.kind == ValueKind::Text || option.kind == ValueKind::Path) continue;
    Config config;
    for (const std::string& text : never) {
      try {
        set_value(option, config, text, "place");
        ADD_FAILURE() << option.key << " = '" << text << "' was accepted as " << value_text(option, config);
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(fmt::format("place: {} = '{}'", option.key, text)), std::string::npos)
            << error.what();
        EXPECT_NE(error.hint().find(option.key), std::string::npos) << error.hint();
      }
    }
  }
}

TEST(ConfigMutation, EveryRangeRefusesWhatLiesJustOutsideAndTakesItsLimits) {
  const auto accepts = [](const Option& option, double value) {
    Config config;
    try {
      const bool whole = option.kind == ValueKind::Integer || option.kind == ValueKind::Size;
      set_value(option, config, whole ? fmt::format("{:.0f}", value) : fmt::format("{}", value), "place");
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("is out of range"), std::string::npos) << error.what();
      return false;
    }
    return true;
  };
  for (const Option& option : options()) {
    const auto& range = option.range;
    if (option.range.low == 0 && option.range.high == 0) continue;  // no numbers
    const bool whole = option.kind == ValueKind::Integer || option.kind == ValueKind::Size;
    EXPECT_EQ(accepts(option, range.low), !range.without_low) << option.key;
    EXPECT_FALSE(accepts(option, whole ? range.low - 1 : range.low - 1e-9)) << option.key;
    if (range.high > 1e300) continue;
    EXPECT_EQ(accepts(option, range.high), !range.without_high) << option.key;
    EXPECT_FALSE(accepts(option, whole ? range.high + 1 : range.high + 1e-9)) << option.key;
  }
}

TEST(ConfigMutation, TextsAreUtf8AndPrintable) {
  const Option& path = *find_option("data.path");
  const auto accepts = [&](std::string_view text) {
    Config config;
    try {
      set_value(path, config, text, "place");
    } catch (const Error&) {
      return false;
    }
    return config.data.path == text;
  };
  for (const char* text :
       {"b\u00fccher.h5", "\u672c.h5", "\U0001F4DA.h5", "\u07ff\u0800\uffff", "\U0010FFFF", "a b", ""})
    EXPECT_TRUE(accepts(text)) << text;
  for (const char* text : {"\x80", "\xC3", "\xC3(", "\xE2\x82", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "a\nb", "a\tb", "\x7F"})
    EXPECT_FALSE(accepts(text)) << testing::PrintToString(text);
}

}  // namespace
}  // namespace memring
