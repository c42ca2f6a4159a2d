// What model.from names: the checkpoint whose weights a new run starts with, and whether it is still the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "model/params.h"

namespace memring {

/// Before a new run claims its directory: throws what is wrong with model.from for a model of this layout, as far as
/// manifests tell: Error(Data) where there is no checkpoint, or one of other sizes, Error(Usage) for a model that
/// another program has written, or where a part of the model is frozen and model.from is not given. A run that has
/// checkpoints goes on from those. Collective.
void require_weights(const Config&, Communicator&, const Params&);

/// The checkpoint itself, or the good ones of a run or a folder, newest first; none where nothing is.
std::vector<CheckpointSummary> checkpoints_at(const std::string& path);

/// The folder of checkpoints of a run, or the folder itself.
std::string checkpoints_in(const std::string& path);

/// load_weights from the checkpoint that model.from names: its own, or, of a run or a folder of checkpoints, the newest
/// good one; damaged ones are named in `warnings`. What an adapter does not hold comes from its bases, which are added
/// to `bases`. Throws as require_weights and load_bases. Collective.
Matched load_named(Communicator&, const std::string& from, const FlatBuffer& layout, View<> weights,
                   std::vector<std::string>& warnings, std::vector<CheckpointSummary>& bases, Progress*);

/// Where a run that started with `then`, named by `from_then`, is to go on with model.from = `from_now`: what differs,
/// in words; empty where that holds the same checkpoint, by its digest, wherever it lies. A name that has not changed
/// may lead to nothing any more, or to a run that has gone on: the weights were loaded long ago.
std::string other_weights(const WeightsSource& then, const std::string& from_then, const std::string& from_now);

/// What was loaded, which tensors had no counterpart, and how the run `now`, whose data has this digest, differs from
/// the source's: a line each.
std::vector<std::string> describe_weights(const Matched&, const Config& now, const std::string& data_digest);

/// A warning where the scaling of `now` takes the window of this run for the one before, and the source was trained
/// with another; empty: nothing. Drawn positions (positions.kind) keep the window.
std::string doubtful_window(const Matched&, const Config& now);

}  // namespace memring
