// SPDX-License-Identifier: Apache-2.0
#include "model/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace memring {
namespace {

std::vector<double> plain(double theta, int64_t half) {
  std::vector<double> inverse(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i)
    inverse[static_cast<size_t>(i)] = std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
  return inverse;
}

/// theta such that the lowest frequency is divided by s and the highest stays.
double ntk_theta(double theta, double s, int64_t head_dim) {
  const auto d = static_cast<double>(head_dim);
  return theta * std::pow(s, d / (d - 2));
}

double dynamic_factor(const RotarySettings& r, int64_t length) {
  const double longest = static_cast<double>(std::max(length, r.original_length));
  // s L / N - (s - 1), so that it is 1 at N whatever s.
  return r.factor * (longest / static_cast<double>(r.original_length) - 1) + 1;
}

/// The share of each frequency that stays as it is, from 1 (many turns in the original window) to 0.
std::vector<double> kept_shares(const RotarySettings& r, int64_t head_dim) {
  const auto d = static_cast<double>(head_dim), window = static_cast<double>(r.original_length);
  const auto dimension_of = [&](double turns) {
    return d * std::log(window / (turns * 2 * std::numbers::pi)) / (2 * std::log(r.theta));
  };
  double low = dimension_of(r.beta_fast), high = dimension_of(r.beta_slow);
  if (r.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, d - 1);
  if (low == high) high += 0.001;  // as the released code: a step
  std::vector<double> kept(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < kept.size(); ++i)
    kept[i] = 1 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return kept;
}

double llama3_frequency(const RotarySettings& r, double inverse) {
  const double turns = static_cast<double>(r.original_length) * inverse / (2 * std::numbers::pi);
  const double kept = (turns - r.low_freq_factor) / (r.high_freq_factor - r.low_freq_factor);
  return inverse * ((1 - std::clamp(kept, 0.0, 1.0)) / r.factor + std::clamp(kept, 0.0, 1.0));
}

/// YaRN's temperature as a factor of cosine and sine.
double yarn_factor(double s, double mscale) { return s > 1 ? 0.1 * mscale * std::log(s) + 1 : 1; }

double attention_factor(const RotarySettings& r) {
  switch (r.scaling) {
    case RopeScaling::Yarn:
    case RopeScaling::RevisedYarn:
      if (r.attention_factor) return *r.attention_factor;
      if (r.mscale != 0 && r.mscale_all_dim != 0)
        return yarn_factor(r.factor, r.mscale) / yarn_factor(r.factor, r.mscale_all_dim);
      return yarn_factor(r.factor, 1);
    case RopeScaling::LongRope:
      if (r.attention_factor) return *r.attention_factor;
      if (r.factor <= 1) return 1;
      return std::sqrt(1 + std::log(r.factor) / std::log(static_cast<double>(r.original_length)));
    default:
      return 1;
  }
}

std::vector<double> scaled(const RotarySettings& r, int64_t head_dim, int64_t length) {
  const int64_t half = head_dim / 2;
  if (r.scaling == RopeScaling::Ntk) return plain(ntk_theta(r.theta, r.factor, head_dim), half);
  if (r.scaling == RopeScaling::Dynamic) return plain(ntk_theta(r.theta, dynamic_factor(r, length), head_dim), half);

  std::vector<double> inverse = plain(r.theta, half);
  const bool blends =
      r.scaling == RopeScaling::Parts || r.scaling == RopeScaling::Yarn || r.scaling == RopeScaling::RevisedYarn;
  const std::vector<double> kept = blends ? kept_shares(r, head_dim) : std::vector<double>();
  const std::vector<double>& divisors = length > r.original_length ? r.long_factor : r.short_factor;
  for (size_t i = 0; i < inverse.size(); ++i) {
    switch (r.scaling) {
      case RopeScaling::Linear:
        inverse[i] /= r.factor;
        break;
      case RopeScaling::Parts:
      case RopeScaling::Yarn:
        inverse[i] *= (1 - kept[i]) / r.factor + kept[i];
        break;
      case RopeScaling::RevisedYarn:
        inverse[i] /= (1 - kept[i]) * r.factor + kept[i];
        break;
      case RopeScaling::Llama3:
        inverse[i] = llama3_frequency(r, inverse[i]);
        break;
      case RopeScaling::LongRope:
        inverse[i] /= divisors[i];
        break;
      default:
        break;
    }
  }
  return inverse;
}

}  // namespace

RotaryScale rotary_scale(const RotarySettings& settings, int64_t head_dim, int64_t length) {
  return {scaled(settings, head_dim, length), attention_factor(settings)};
}

}  // namespace memring
