// SPDX-License-Identifier: Apache-2.0
#include "data/position_samplers.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace memring {
namespace {

constexpr int64_t kGrid = 1000;  // points of the released inverse transform

/// x(u) where cdf(x) = u, linear between grid points x(0 .. kGrid - 1) and clamped to their ends, as np.interp does.
template <class X, class F>
double interpolated_inverse(X x, F cdf, double u) {
  int64_t next = 0;  // the first point beyond u
  for (int64_t end = kGrid; next < end;) {
    const int64_t centre = (next + end) / 2;
    if (cdf(x(centre)) <= u)
      next = centre + 1;
    else
      end = centre;
  }
  if (next == 0) return x(0);
  const int64_t j = next - 1;
  if (next == kGrid || cdf(x(j)) == u) return x(j);
  return (x(next) - x(j)) / (cdf(x(next)) - cdf(x(j))) * (u - cdf(x(j))) + x(j);
}

}  // namespace

int64_t count_of(const IdRuns& runs) {
  return std::accumulate(runs.begin(), runs.end(), int64_t{0}, [](int64_t sum, Range r) { return sum + r.size(); });
}

void write_ids(const IdRuns& runs, std::span<int32_t> ids) {
  auto out = ids.begin();
  for (const Range& run : runs) {
    std::iota(out, out + run.size(), static_cast<int32_t>(run.begin));
    out += run.size();
  }
}

double Cream::cdf(double x) const {
  const double centre = 1 + static_cast<double>(factor);
  return 0.5 * (1 + std::erf((x - centre) / (sigma * std::numbers::sqrt2)));
}

int64_t Cream::half_steps(double u) const {
  if (factor == 1) return 2;  // the grid has no width
  const double low = 2, high = 2 * static_cast<double>(factor), step = (high - low) / (kGrid - 1);
  const auto x = [&](int64_t j) { return j == kGrid - 1 ? high : static_cast<double>(j) * step + low; };
  const auto distribution = [&](double value) { return cdf(value); };
  if (form == CreamForm::Code) return static_cast<int64_t>(interpolated_inverse(x, distribution, u));
  const double inside = cdf(low) + u * (cdf(high) - cdf(low));
  return std::llround(interpolated_inverse(x, distribution, inside));
}

Cream::Interval Cream::middle_ends(int64_t ends, int64_t r) const {
  const int64_t middle = window - 2 * ends;
  // In the order of the released code: true division by two, truncation at the end.
  return {static_cast<int64_t>(static_cast<double>(ends) + static_cast<double>((middle - 1) * r) / 2.0),
          static_cast<int64_t>(static_cast<double>(r) / 2.0 * static_cast<double>(window)) - ends - 1};
}

IdRuns Cream::positions(int64_t ends, int64_t middle_end) const {
  const int64_t middle = window - 2 * ends;
  return {{0, ends}, {middle_end + 1 - middle, middle_end + 1}, {target() - ends, target()}};
}

IdRuns Cream::tokens(int64_t ends, int64_t middle_end, int64_t document) const {
  const int64_t tail = document - ends, end = middle_end < tail ? middle_end + 1 : tail;
  return {{0, ends}, {end - (window - 2 * ends), end}, {tail, document}};
}

IdRuns pose_positions(int64_t n, int64_t first, int64_t skip) { return {{0, first}, {first + skip, n + skip}}; }

IdRuns pose_tokens(int64_t n, int64_t first, int64_t second_end) {
  return {{0, first}, {second_end - (n - first), second_end}};
}

void randpos_positions(std::span<int32_t> draw) { std::ranges::sort(draw); }

std::vector<int64_t> sentence_lengths(std::span<const int32_t> tokens, std::span<const int32_t> split) {
  std::vector<int64_t> lengths;
  for (size_t begin = 0, end = 0; begin < tokens.size(); begin = end) {
    const auto border = std::ranges::find_first_of(tokens.subspan(begin), split);
    end = std::min(static_cast<size_t>(border - tokens.subspan(begin).begin()) + begin + 1, tokens.size());
    lengths.push_back(static_cast<int64_t>(end - begin));
  }
  return lengths;
}

void longrecipe_spread(std::span<const int64_t> sentences, std::span<const int64_t> slots, std::span<int32_t> spread) {
  auto out = spread.begin();
  int64_t before = 0;  // ids that earlier sentences take beyond their slots
  for (size_t s = 0; s < sentences.size(); ++s) {
    std::iota(out, out + sentences[s], static_cast<int32_t>((s == 0 ? 0 : slots[s]) + before));
    out += sentences[s];
    before += sentences[s] - 1;
  }
}

void longrecipe_positions(int64_t first, std::span<int32_t> spread) {
  std::iota(spread.begin(), spread.begin() + first, 0);
}

}  // namespace memring
