// How the tables of config keys are written: a key is declared once, in the options_*.cpp of its section, with its
// field (whose initialiser in config.h is the default), how a value is written, its range or choices, a sentence of
// help and an example. Everything else follows from the tables. Private to src/config.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "config/conditions.h"
#include "config/options.h"

namespace memring::declare {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();
constexpr double kInt32Max = std::numeric_limits<int32_t>::max();
constexpr Decides kNumbers = Decides::Numbers;
using namespace counts;  // the conditions of keys

template <auto Section, auto Key>
Field field_of(Config& config) {
  auto& value = config.*Section.*Key;
  if constexpr (std::is_enum_v<std::remove_reference_t<decltype(value)>>)
    return WordField(&value);
  else
    return &value;
}

using Getter = Field (*)(Config&);
using Text = std::string_view;

inline Option boolean(Text key, Getter get, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Boolean, decides, help, example};
}
inline Option integer(Text key, Getter get, ValueRange range, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Integer, decides, help, example, range};
}
inline Option size(Text key, Getter get, ValueRange range, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Size, decides, help, example, range};
}
inline Option real(Text key, Getter get, ValueRange range, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Real, decides, help, example, range};
}
inline Option duration(Text key, Getter get, Text help, Text example) {
  return {key, get, ValueKind::Duration, {}, help, example, {0, kNoLimit}};
}
inline Option text(Text key, Getter get, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Text, decides, help, example};
}
inline Option path(Text key, Getter get, Text help, Text example) {
  return {key, get, ValueKind::Path, {}, help, example};
}
inline std::vector<Text> words_of(Getter get) {
  Config any;
  return std::get<WordField>(get(any)).names();
}
inline Option choice(Text key, Getter get, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Choice, decides, help, example, {}, words_of(get)};
}
/// A choice whose `later` names are known to the design but not to this build.
inline Option choice(Text key, Getter get, std::vector<Text> later, Text later_hint, Text help, Text example,
                     Decides decides = {}) {
  return {key, get, ValueKind::Choice, decides, help, example, {}, words_of(get), std::move(later), later_hint};
}
inline Option checkpoint_of(Text key, Getter get, Text help, Text example) {
  return {key, get, ValueKind::Checkpoint, {}, help, example};
}

/// A key that means one start of the program, which no later start may repeat by itself.
inline Option of_one_start(Option option) {
  option.of_one_start = true;
  return option;
}

constexpr ValueRange at_least(double low) { return {low, kNoLimit}; }
constexpr ValueRange above(double low) { return {low, kNoLimit, true, false}; }
constexpr ValueRange count_from(double low) { return {low, kInt32Max}; }

std::vector<Option> machine_options();   ///< run, mesh, device
std::vector<Option> model_options();     ///< model, rope, memory, segment, tbptt
std::vector<Option> data_options();      ///< data, positions, task, curriculum
std::vector<Option> training_options();  ///< objective, optimizer, checkpoint, log, eval

}  // namespace memring::declare
