// Rotary frequencies: what the settings of a model make of them. The methods carry their usual names, and the settings
// mean what a Hugging Face config.json's rope_scaling means by them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"

namespace memring {

struct RotarySettings {
  double theta = 10000;  ///< base of the angles
  RopeScaling scaling = RopeScaling::None;
  double factor = 1;                                  ///< how many times longer the window becomes
  int64_t original_length = 0;                        ///< positions of the window before
  double beta_fast = 32, beta_slow = 1;               ///< blends: turns in that window from which on, and up to which
  double low_freq_factor = 1, high_freq_factor = 4;   ///< llama3: the same as parts of that window
  std::optional<double> attention_factor{};           ///< in place of the computed one
  double mscale = 0, mscale_all_dim = 0;              ///< yarn's temperature as DeepSeek's; used where both are not 0
  bool truncate = true;                               ///< blends: to whole dimensions
  std::vector<double> short_factor{}, long_factor{};  ///< longrope: [head_dim / 2] each
};

/// What an angle is made of: position times inverse[i]; its cosine and sine are multiplied by `factor`.
struct RotaryScale {
  std::vector<double> inverse;  ///< [head_dim / 2], falling
  double factor = 1;
};

/// With d = head_dim, half = d / 2, i < half, s = factor, N = original_length and t_i = theta^(-i / half) (Su et al.
/// 2021):
///   none          t_i
///   linear        t_i / s                                            (Chen et al. 2023, position interpolation)
///   ntk           theta becomes theta s^(d / (d-2)): t_0 stays, the last is t / s                       (as in CREAM)
///   dynamic       the same by s L / N - (s-1) in place of s, L = max(length, N)               (as in Hugging Face's)
///   parts         t_i ((1-m_i) / s + m_i): m_i falls from 1 to 0 between the dimensions that turn beta_fast and
///                 beta_slow times in N positions                              (Peng et al. 2023, the released code)
///   yarn          parts, and `factor` is 0.1 ln s + 1
///   revised_yarn  t_i / ((1-m_i) s + m_i), `factor` as yarn's                             (CREAM's released code)
///   llama3        by the turns in N positions: t_i / s below low_freq_factor, t_i above high_freq_factor, blended in
///                 between                                                                               (Llama 3.1)
///   longrope      t_i / short_factor[i] up to a length of N, t_i / long_factor[i] beyond it; `factor` is
///                 sqrt(1 + ln s / ln N)                                                       (Ding et al. 2024)
/// `length`: positions of the longest segment of the run; dynamic and longrope alone ask for it. The settings are
/// those that a configuration lets through (config/validate.cpp), or parse_rope_scaling.
RotaryScale rotary_scale(const RotarySettings&, int64_t head_dim, int64_t length);

}  // namespace memring
