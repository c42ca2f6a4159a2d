// SPDX-License-Identifier: Apache-2.0
#include "train/soundness.h"

#include <algorithm>

#include "base/error.h"

namespace memring {

void judge(TrainState& state, const ReducedStep& reduced, double chance) {
  constexpr double kMemory = 0.9;                           // of the running average: some 10 steps
  constexpr double kTolerance = 1;                          // nats
  constexpr double kNoGuess = 0.9;                          // of the loss of guessing: whoever is below it knows more
  if (reduced.sums.targets <= 0 && reduced.finite) return;  // such a step says nothing
  state.sound = reduced.finite;
  if (!reduced.finite) return;
  state.loss = reduced.text_loss();  // guessing has no such limit for a divergence
  state.mean_loss = state.mean_loss == 0 ? state.loss : kMemory * state.mean_loss + (1 - kMemory) * state.loss;
  state.best_loss = state.best_loss == 0 ? state.mean_loss : std::min(state.best_loss, state.mean_loss);
  const double told = std::min(state.best_loss + kTolerance, kNoGuess * chance);
  const double most =
      reduced.norm > 0 ? std::max(chance, state.best_loss + kTolerance) : std::max(state.best_loss, told);
  state.sound = state.loss <= most;
}

std::string describe_loss(const TrainState& state) {
  return fmt::format("loss {:.2f}, best average {:.2f}", state.loss, state.best_loss);
}

}  // namespace memring
