// SPDX-License-Identifier: Apache-2.0
#include "eval/verify_rope.h"

#include <array>
#include <cmath>
#include <span>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "io/hdf5.h"
#include "model/rope_scaling_json.h"

namespace memring {
namespace {

constexpr double kTolerance = 1e-12;

[[noreturn]] void bad(const Hdf5File& file, const std::string& finding) {
  throw Error(ExitCode::Data, fmt::format("{}: {}", file.path(), finding),
              "Make the file again: entries of transformers are by their rope_scaling, those of cream by their name "
              "(ntk_, yarn_ or revised_yarn_).");
}

double positive(const Hdf5File& file, const char* name, const std::string& entry) {
  const double value = file.number_attribute(name, entry);
  if (!(value > 0)) bad(file, fmt::format("{} of {} is {}; more than 0 was expected", name, entry, value));
  return value;
}

int64_t integer(const Hdf5File& file, const char* name, const std::string& entry, Range range) {
  const int64_t value = file.integer_attribute(name, entry);
  if (value < range.begin || value >= range.end)
    bad(file, fmt::format("{} of {} is {}; {} to {} was expected", name, entry, value, range.begin, range.end - 1));
  return value;
}

int64_t length(const Hdf5File& file, const char* name, const std::string& entry) {
  return integer(file, name, entry, {1, int64_t{1} << 40});
}

int64_t head_dim_of(const Hdf5File& file, const std::string& entry) {
  const int64_t head_dim = integer(file, "head_dim", entry, {2, 1 << 16});
  if (head_dim % 2 != 0) bad(file, fmt::format("head_dim of {} is {}, an odd number", entry, head_dim));
  return head_dim;
}

RotaryScale of_transformers(const Hdf5File& file, const std::string& entry) {
  const int64_t head_dim = head_dim_of(file, entry);
  const RotarySettings settings = parse_rope_scaling(
      file.text_attribute("rope_scaling", entry),
      {positive(file, "rope_theta", entry), head_dim, length(file, "max_position_embeddings", entry)},
      fmt::format("{}: {}", file.path(), entry));
  // Without a length the model has just been made, and nothing has exceeded its window.
  return rotary_scale(settings, head_dim,
                      file.has_attribute("sequence_length", entry) ? length(file, "sequence_length", entry) : 0);
}

RotaryScale of_cream(const Hdf5File& file, const std::string& entry) {
  constexpr std::array<std::pair<std::string_view, RopeScaling>, 3> kNames = {
      {{"cream/ntk_", RopeScaling::Ntk},
       {"cream/yarn_", RopeScaling::Yarn},
       {"cream/revised_yarn_", RopeScaling::RevisedYarn}}};
  RotarySettings settings;
  for (const auto& [name, scaling] : kNames)
    if (entry.starts_with(name)) settings.scaling = scaling;
  if (settings.scaling == RopeScaling::None) bad(file, fmt::format("{} is no table that is known here", entry));
  settings.theta = positive(file, "rope_theta", entry);
  settings.factor = positive(file, "factor", entry);
  settings.original_length = length(file, "original_window", entry);
  return rotary_scale(settings, head_dim_of(file, entry), settings.original_length);
}

/// NaN is the largest.
double larger(double a, double b) { return std::isnan(a) || a > b ? a : b; }

double largest_error(std::span<const double> found, std::span<const double> expected) {
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    largest = larger(largest, std::abs(found[i] - expected[i]) / (expected[i] == 0 ? 1 : std::abs(expected[i])));
  return largest;
}

void compare(Verification& result, const Hdf5File& file, const std::string& entry, const RotaryScale& found) {
  const std::vector<double> expected = file.read<double>(entry + "/inv_freq");
  const double factor = file.number_attribute("attention_factor", entry);
  if (expected.size() != found.inverse.size())
    bad(file, fmt::format("{}/inv_freq has {} numbers; head_dim / 2 = {} were expected", entry, expected.size(),
                          found.inverse.size()));
  const auto add = [&](const char* what, double error) {
    result.comparisons.push_back({fmt::format("{} {}", entry, what), error, kTolerance, "largest relative error"});
  };
  add("inv_freq", largest_error(found.inverse, expected));
  add("attention_factor", largest_error(std::span(&found.factor, 1), std::span(&factor, 1)));
}

}  // namespace

Verification verify_rope(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, "file of rotary frequencies");
  Verification result;
  for (const std::string& origin : file.groups()) {
    if (origin != "transformers" && origin != "cream")
      bad(file, fmt::format("group {} is neither transformers nor cream", origin));
    for (const std::string& entry : file.groups(origin))
      compare(result, file, entry, origin == "cream" ? of_cream(file, entry) : of_transformers(file, entry));
  }
  if (result.comparisons.empty()) bad(file, "it holds no entry of transformers or cream");
  double largest = 0;
  for (const Comparison& c : result.comparisons) largest = larger(largest, c.error);
  result.setting = fmt::format("{} tables of rotary frequencies, largest relative error {:.2e}",
                               result.comparisons.size() / 2, largest);
  return result;
}

}  // namespace memring
