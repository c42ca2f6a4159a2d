// Soundness: whether weights have learned, or are what a diverged run leaves behind. Such weights are often finite, and
// then nothing but the loss tells.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dist/gradient_sync.h"
#include "train/train_state.h"

namespace memring {

/// Takes in what a step found with the weights of `state`, before it changes them: they are sound where the gradient is
/// finite and the loss of the text, whatever else is trained, is at most `chance` (ln of the vocabulary: that of
/// guessing) or one nat above the best running average, whichever is larger. Weights so large that nothing comes
/// through them guess, too, but their gradient is zero: that is sound only at a loss as good as the best, or clearly
/// below that of guessing (nothing that is trained may be reached: one segment of a memory). The best outlives a change
/// of the curriculum's stage: to call a sound checkpoint unsound for a while keeps one more of them, to call a dead one
/// sound may cost the last good one.
void judge(TrainState& state, const ReducedStep& reduced, double chance);

/// "loss 2.31, best average 2.28"
std::string describe_loss(const TrainState& state);

}  // namespace memring
