// SPDX-License-Identifier: Apache-2.0
#include "eval/verify_rope.h"

#include <array>
#include <cmath>
#include <span>
#include <string_view>
#include <utility>

#include "eval/peer_entry.h"
#include "model/rope_scaling_json.h"

namespace memring {
namespace {

constexpr double kTolerance = 1e-12, kOfSingles = 1e-5;

constexpr const char* kRemedy =
    "Make the file again: entries of transformers are by their rope_scaling, those of cream by their name (ntk_, yarn_ "
    "or "
    "revised_yarn_).";
constexpr int64_t kMostPositions = int64_t{1} << 40;

int64_t head_dim_of(const PeerEntry& entry) {
  const int64_t head_dim = entry.integer("head_dim", 2, 1 << 16);
  entry.expect(head_dim % 2 == 0, fmt::format("head_dim of {} is {}, an odd number", entry.name(), head_dim));
  return head_dim;
}

RotaryScale of_transformers(const PeerEntry& entry, const std::string& place) {
  const int64_t head_dim = head_dim_of(entry);
  const RotarySettings settings = parse_rope_scaling(
      entry.text("rope_scaling"),
      {entry.positive("rope_theta"), head_dim, entry.integer("max_position_embeddings", 1, kMostPositions)}, place);
  // Without a length the model has just been made, and nothing has exceeded its window.
  return rotary_scale(settings, head_dim,
                      entry.has_attribute("sequence_length") ? entry.integer("sequence_length", 1, kMostPositions) : 0);
}

RotaryScale of_cream(const PeerEntry& entry) {
  constexpr std::array<std::pair<std::string_view, RopeScaling>, 3> kNames = {
      {{"cream/ntk_", RopeScaling::Ntk},
       {"cream/yarn_", RopeScaling::Yarn},
       {"cream/revised_yarn_", RopeScaling::RevisedYarn}}};
  RotarySettings settings;
  for (const auto& [name, scaling] : kNames)
    if (entry.name().starts_with(name)) settings.scaling = scaling;
  entry.expect(settings.scaling != RopeScaling::None, fmt::format("{} is no table that is known here", entry.name()));
  settings.theta = entry.positive("rope_theta");
  settings.factor = entry.positive("factor");
  settings.original_length = entry.integer("original_window", 1, kMostPositions);
  return rotary_scale(settings, head_dim_of(entry), settings.original_length);
}

/// NaN is the largest.
double larger(double a, double b) { return std::isnan(a) || a > b ? a : b; }

double largest_error(std::span<const double> found, std::span<const double> expected) {
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    largest = larger(largest, std::abs(found[i] - expected[i]) / (expected[i] == 0 ? 1 : std::abs(expected[i])));
  return largest;
}

void compare(Verification& result, const PeerEntry& entry, const RotaryScale& found) {
  const auto expected = entry.read<double>("inv_freq", {std::ssize(found.inverse)});
  const double factor = entry.number("attention_factor");
  const auto add = [&](const char* what, double error, double tolerance = kTolerance) {
    result.comparisons.push_back(
        {fmt::format("{} {}", entry.name(), what), error, tolerance, "largest relative error"});
  };
  add("inv_freq", largest_error(found.inverse, expected));
  if (entry.has("inv_freq_single")) {
    const auto single = entry.read<double>("inv_freq_single", {std::ssize(found.inverse)});
    add("inv_freq_single", largest_error(found.inverse, single), kOfSingles);
  }
  add("attention_factor", largest_error(std::span(&found.factor, 1), std::span(&factor, 1)));
}

}  // namespace

Verification verify_rope(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, "file of rotary frequencies");
  Verification result;
  int64_t tables = 0;
  for (const std::string& origin : file.groups()) {
    const PeerEntry group(file, origin, kRemedy);
    group.expect(origin == "transformers" || origin == "cream",
                 fmt::format("group {} is neither transformers nor cream", origin));
    for (const std::string& name : file.groups(origin)) {
      const PeerEntry entry(file, name, kRemedy);
      ++tables;
      compare(result, entry, origin == "cream" ? of_cream(entry) : of_transformers(entry, path + ": " + name));
    }
  }
  if (result.comparisons.empty())
    throw Error(ExitCode::Data, fmt::format("{} holds no entry of transformers or cream", path), kRemedy);
  double largest = 0;
  for (const Comparison& c : result.comparisons)
    if (c.tolerance == kTolerance) largest = larger(largest, c.error);
  result.setting = fmt::format("{} tables of rotary frequencies, largest relative error {:.2e}", tables, largest);
  return result;
}

}  // namespace memring
