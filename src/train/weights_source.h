// What model.from names: the checkpoint whose weights a new run starts with, and whether it is still the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"

namespace memring {

/// The path of the checkpoint that model.from names: its own, or the newest of a run or of a folder of checkpoints.
/// Throws Error(Data) where there is none, and Error(Usage) for a model that another program has written.
std::string find_weights(const std::string& from);

/// Before a new run claims its directory: throws what find_weights or match_weights finds wrong with model.from for a
/// model of this layout. A run that has checkpoints goes on from those. Collective.
void require_weights(const Config&, Communicator&, const FlatBuffer& layout);

/// Where a run that started with `then`, named by `from_then`, is to go on with model.from = `from_now`: what differs,
/// in words; empty where that holds the same checkpoint, by its digest, wherever it lies. A name that has not changed
/// may lead to nothing any more, or to a run that has gone on: the weights were loaded long ago.
std::string other_weights(const WeightsSource& then, const std::string& from_then, const std::string& from_now);

/// What was loaded, which tensors had no counterpart, and how the run `now`, whose data has this digest, differs from
/// the source's: a line each.
std::vector<std::string> describe_weights(const Matched&, const Config& now, const std::string& data_digest);

}  // namespace memring
