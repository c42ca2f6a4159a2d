// Samplers of position ids: samples of a short window whose ids come from a long one, so that a model learns the long
// one from the short. Pure functions: every random number is an argument (data/positions.h draws them). They agree,
// integer for integer, with what the authors released (tests/golden/peers/samplers.h5).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "config/words.h"

namespace memring {

/// Ascending ids, run by run.
using IdRuns = std::vector<Range>;

int64_t count_of(const IdRuns&);
/// Writes count_of(runs) ids.
void write_ids(const IdRuns& runs, std::span<int32_t> ids);

/// CREAM (Wu et al. 2024, arXiv 2406.07138): three runs. Head and tail, of `ends` tokens each, have the first and the
/// last ids of [0, factor * window); the middle's last id falls around the centre. With ends = window / 3 a sample
/// covers as many long distances as it can (relativity), with a few tokens it keeps neighbours together (continuity).
struct Cream {
  int64_t window = 0;  ///< tokens of a sample; more than 2 * ends
  int64_t factor = 1;  ///< target / window
  double sigma = 3;    ///< of the Gaussian, in half steps
  CreamForm form = CreamForm::Code;

  int64_t target() const { return factor * window; }
  int64_t relativity_ends() const { return window / 3; }
  int64_t continuity_ends() const { return 4 * factor; }  ///< the paper's 32 at factor 8

  /// The Gaussian's distribution function at x half steps; its centre is 1 + factor.
  double cdf(double x) const;
  /// r = 2 alpha in [2, 2 factor] for u in [0, 1). Code: as released, which clamps what lies outside and truncates.
  /// Renormalised: the paper's truncated Gaussian, rounded to the nearest half step.
  int64_t half_steps(double u) const;
  /// The middle's last id is uniform in [low, high], both included.
  struct Interval {
    int64_t low, high;
  };
  Interval middle_ends(int64_t ends, int64_t r) const;

  IdRuns positions(int64_t ends, int64_t middle_end) const;
  /// The tokens of a document (of more than `window`) that get these positions: its first, its last, and those at the
  /// positions of the middle where they lie before the tail, else the last before the tail. (The released code asks
  /// only that they lie in the document, and so takes tokens twice.)
  IdRuns tokens(int64_t ends, int64_t middle_end, int64_t document) const;
};

/// PoSE (Zhu et al. 2024, arXiv 2309.10400): two runs, the second `skip` ids later. n tokens, 1 <= first <= (n + 1) /
/// 2, skip <= target - n.
IdRuns pose_positions(int64_t n, int64_t first, int64_t skip);
/// The first tokens of a document, and those before second_end, which is n to its length.
IdRuns pose_tokens(int64_t n, int64_t first, int64_t second_end);

/// RandPos (Ruoss et al. 2023, arXiv 2305.16843): the drawn ids, in order.
void randpos_positions(std::span<int32_t> draw);

/// LongRecipe (Hu et al. 2024, arXiv 2409.00509), which keeps sentences together and spreads them.
/// Lengths of the sentences of a text: each ends with a split token, the last with the text.
std::vector<int64_t> sentence_lengths(std::span<const int32_t> tokens, std::span<const int32_t> split);
/// Ids of a text of these sentences. `slots`: one a sentence, ascending, from [0, target - tokens + sentences);
/// sentence 0 takes slot 0 whatever was drawn.
void longrecipe_spread(std::span<const int64_t> sentences, std::span<const int64_t> slots, std::span<int32_t> spread);
/// 0 .. first - 1, and then the spread: written over it.
void longrecipe_positions(int64_t first, std::span<int32_t> spread);

}  // namespace memring
