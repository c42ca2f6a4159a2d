// Evaluation: loss and perplexity of a trained model by position in the sequence, with its memory and with the
// memory reset at every segment. Memory use does not grow with the length of a sequence.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "dist/session.h"
#include "eval/trained_model.h"

namespace memring {

/// Positions [from, to) of all sequences.
struct PositionBucket {
  int64_t from = 0, to = 0;
  double nll = 0, tokens = 0;  ///< sum over counted targets; how many
  double divergence = 0;       ///< KL(base, model), the same sum; 0 where nobody teaches
  // Means; nothing where nothing was counted.
  std::optional<double> loss() const { return mean(nll); }
  std::optional<double> mean_divergence() const { return mean(divergence); }

 private:
  std::optional<double> mean(double sum) const { return tokens > 0 ? std::optional(sum / tokens) : std::nullopt; }
};

struct Perplexity {
  std::vector<PositionBucket> buckets;
  double seconds = 0;
  bool taught = false;         ///< objective.kind = distil: there are divergences
  PositionBucket all() const;  ///< of all positions
  std::optional<double> loss() const { return all().loss(); }
  double tokens() const { return all().tokens; }
};

/// What was evaluated on.
struct EvaluatedText {
  std::string path, digest;
  int64_t tokens = 0;     ///< of the file
  bool training = false;  ///< the model was trained on the same content
};

struct Evaluation {
  std::string checkpoint;
  std::vector<std::string> warnings;  ///< newer checkpoints that were passed over
  std::string unfinished;             ///< of the curriculum of its training; empty: nothing
  std::vector<OtherSettings> other;   ///< than in training
  int64_t step = 0, sequences = 0, length = 0;
  int64_t tail = 0;  ///< tokens of the last, shorter sequence; 0: there is none, or eval.sequences leaves it out
  EvaluatedText text;
  Perplexity as_trained;  ///< with config.memory.reset as given
  std::optional<Perplexity>
      reset;               ///< the control: reset at every segment; absent where nothing crosses segments anyway
  double peak_memory = 0;  ///< bytes, of the largest rank
};

/// Evaluates the chosen checkpoint on all the text, the tail that fills no whole sequence included, or on
/// eval.sequences of it. Collective, same result on every rank. Throws Error(Data) when there is no checkpoint or too
/// little data.
Evaluation evaluate(const Config&, const CheckpointChoice&, Session&);

std::string to_json(const Evaluation&);
std::string to_table(const Evaluation&);

}  // namespace memring
