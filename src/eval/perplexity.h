// Evaluation: loss and perplexity of a trained model by position in the sequence, with its memory and with the
// memory reset at every segment. Memory use does not grow with the length of a sequence.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "dist/session.h"

namespace memring {

/// Positions [from, to) of all sequences.
struct PositionBucket {
  int64_t from = 0, to = 0;
  double nll = 0, tokens = 0;  ///< sum over counted targets; how many
  double loss() const { return tokens > 0 ? nll / tokens : 0; }
};

struct Perplexity {
  std::vector<PositionBucket> buckets;
  double seconds = 0;
  double loss() const;
  double tokens() const;
};

struct Evaluation {
  std::string checkpoint;
  std::string unfinished;  ///< of the curriculum of its training; empty: nothing
  int64_t step = 0, sequences = 0, length = 0;
  Perplexity as_trained;  ///< with config.memory.reset as given
  std::optional<Perplexity>
      reset;               ///< the control: reset at every segment; absent where nothing crosses segments anyway
  double peak_memory = 0;  ///< bytes, of the largest rank
};

/// Evaluates the newest good checkpoint of config.run.dir, or the one named. Collective, same result on every rank.
/// Throws Error(Data) when there is no checkpoint or too little data.
Evaluation evaluate(const Config&, const std::string& checkpoint, Session&);

std::string to_json(const Evaluation&);
std::string to_table(const Evaluation&);

}  // namespace memring
