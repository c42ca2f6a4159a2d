// SPDX-License-Identifier: Apache-2.0
#include "model/rope_scaling_json.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"

namespace memring {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<std::string_view, RopeScaling>, 6> kTypes = {{{"default", RopeScaling::None},
                                                                             {"linear", RopeScaling::Linear},
                                                                             {"dynamic", RopeScaling::Dynamic},
                                                                             {"yarn", RopeScaling::Yarn},
                                                                             {"llama3", RopeScaling::Llama3},
                                                                             {"longrope", RopeScaling::LongRope}}};

/// Reads keys of the object; null is as good as absent.
class Keys {
 public:
  Keys(json object, std::string place) : object_(std::move(object)), place_(std::move(place)) {}

  [[noreturn]] void bad(const std::string& finding) const {
    throw Error(ExitCode::Data, fmt::format("{}: {}", place_, finding),
                "Give rope_scaling as the config.json of a model for transformers has it.");
  }
  bool has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }
  std::string text(const char* key) const {
    if (!object_.at(key).is_string()) bad(fmt::format("{} = {}; a text was expected", key, object_.at(key).dump()));
    return object_.at(key);
  }
  double number(const char* key) const {
    if (!has(key)) bad(fmt::format("{} is missing", key));
    if (!object_.at(key).is_number()) bad(fmt::format("{} = {}; a number was expected", key, object_.at(key).dump()));
    return object_.at(key);
  }
  double positive(const char* key) const {
    const double value = number(key);
    if (!(value > 0)) bad(fmt::format("{} = {}; a number above 0 was expected", key, value));
    return value;
  }
  int64_t length(const char* key) const {
    constexpr double kMost = int64_t{1} << 40;
    const double value = number(key);
    if (!(value >= 1 && value <= kMost)) bad(fmt::format("{} = {}; a number of positions was expected", key, value));
    return static_cast<int64_t>(value);
  }
  double number_or(const char* key, double otherwise) const { return has(key) ? number(key) : otherwise; }
  /// Python's `get(key) or otherwise`.
  double set_or(const char* key, double otherwise) const {
    const double value = number_or(key, 0);
    return value != 0 ? value : otherwise;
  }
  /// A null is false here: transformers takes it for the value.
  bool flag_or(const char* key, bool otherwise) const {
    if (!object_.contains(key)) return otherwise;
    if (!has(key)) return false;
    if (!object_.at(key).is_boolean())
      bad(fmt::format("{} = {}; true or false was expected", key, object_.at(key).dump()));
    return object_.at(key);
  }
  std::vector<double> numbers(const char* key, size_t count) const {
    if (!has(key)) bad(fmt::format("{} is missing", key));
    const json& list = object_.at(key);
    std::vector<double> values;
    for (const json& value : list)
      if (list.is_array() && value.is_number() && value > 0) values.push_back(value);
    if (!list.is_array() || values.size() != list.size() || values.size() != count)
      bad(fmt::format("{} has {} numbers above 0; head_dim / 2 = {} were expected", key, values.size(), count));
    return values;
  }

 private:
  json object_;
  std::string place_;
};

RopeScaling scaling_of(const Keys& keys) {
  const char* key = keys.has("rope_type") ? "rope_type" : "type";
  if (!keys.has(key)) return RopeScaling::None;
  const std::string type = keys.text(key);
  std::string known;
  for (const auto& [name, scaling] : kTypes) {
    if (name == type) return scaling;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
  }
  keys.bad(fmt::format("{} = \"{}\" is unknown; {} were expected", key, type, known));
}

}  // namespace

RotarySettings parse_rope_scaling(std::string_view text, const RopeScalingContext& context, const std::string& place) {
  json object = json::parse(text, nullptr, false);
  const bool readable = object.is_object() || object.is_null();
  if (object.is_null()) object = json::object();
  const Keys keys(readable ? std::move(object) : json::object(), place + ": rope_scaling");
  if (!readable) keys.bad("it is not a JSON object");
  if (keys.number_or("partial_rotary_factor", 1) != 1)
    keys.bad("partial_rotary_factor is not 1; memring turns whole heads only");

  RotarySettings r;
  r.theta = keys.has("rope_theta") ? keys.positive("rope_theta") : context.theta;
  r.scaling = scaling_of(keys);
  if (r.scaling == RopeScaling::None) return r;

  const bool of_window = r.scaling != RopeScaling::Linear && r.scaling != RopeScaling::Dynamic;
  const char* kOriginal = "original_max_position_embeddings";
  r.original_length = of_window && keys.has(kOriginal) ? keys.length(kOriginal) : context.max_positions;
  const bool ratio = r.scaling == RopeScaling::Yarn || r.scaling == RopeScaling::LongRope;
  r.factor = ratio && !keys.has("factor")
                 ? static_cast<double>(context.max_positions) / static_cast<double>(r.original_length)
                 : keys.positive("factor");
  if (r.scaling == RopeScaling::Yarn) {
    r.beta_fast = keys.set_or("beta_fast", r.beta_fast);
    r.beta_slow = keys.set_or("beta_slow", r.beta_slow);
    r.mscale = keys.number_or("mscale", 0);
    r.mscale_all_dim = keys.number_or("mscale_all_dim", 0);
    r.truncate = keys.flag_or("truncate", true);
    if (!(r.theta > 1)) keys.bad(fmt::format("rope_theta = {}; yarn needs frequencies that fall", r.theta));
    if (!(r.beta_slow > 0 && r.beta_slow <= r.beta_fast))
      keys.bad(fmt::format("beta_slow = {} and beta_fast = {}; the first was expected to be above 0 and no more",
                           r.beta_slow, r.beta_fast));
  } else if (r.scaling == RopeScaling::Llama3) {
    r.low_freq_factor = keys.number("low_freq_factor");
    r.high_freq_factor = keys.number("high_freq_factor");
    if (!(r.low_freq_factor > 0 && r.low_freq_factor < r.high_freq_factor))
      keys.bad(
          fmt::format("low_freq_factor = {} and high_freq_factor = {}; the first was expected to be above 0 and less",
                      r.low_freq_factor, r.high_freq_factor));
  } else if (r.scaling == RopeScaling::LongRope) {
    r.short_factor = keys.numbers("short_factor", static_cast<size_t>(context.head_dim / 2));
    r.long_factor = keys.numbers("long_factor", static_cast<size_t>(context.head_dim / 2));
  }
  if (ratio && keys.has("attention_factor")) r.attention_factor = keys.number("attention_factor");
  return r;
}

}  // namespace memring
