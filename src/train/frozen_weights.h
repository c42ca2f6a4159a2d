// Weights that a run leaves frozen (model.train): its checkpoints do not hold them, and name by digest the checkpoint
// that does, their base. Such a checkpoint is an adapter; its base may be one too.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "model/params.h"

namespace memring {

/// Whether checkpoints of a run with this configuration may lack tensors of its model.
bool is_adapter(const Config&);

/// The checkpoints that an adapter rests on, as they were loaded: its base, that one's where it is an adapter too, ...
using Bases = std::vector<CheckpointSummary>;

/// Fills those tensors of `weights` [missing.size], fp32 or fp64, that `missing` names, from the base of an adapter, or
/// from that one's base; those that none of them has stay in `missing`. A base is known by its digest, and the first
/// good one counts: kept beside the adapter (kept_bases.h), where it lay then, at `from` (a checkpoint or a run; may be
/// empty), at the adapter's own model.from. Throws Error(Data) with what is in each place where none is good, Error(Io)
/// where the system refuses to read one. Collective.
Bases load_bases(Communicator&, CheckpointSummary adapter, const std::string& from, FlatBuffer& missing, View<> weights,
                 Progress*);

/// The same for all that the model leaves frozen, which the bases must have. Collective.
Bases load_frozen(Communicator&, const CheckpointSummary& adapter, const ModelConfig&, const Params&, View<> weights,
                  Progress*);

/// Throws Error(Usage) where some of what stays `fresh` is frozen: no checkpoint of the run would tell its values.
void expect_frozen(const std::vector<FlatEntry>& fresh, const Params&, const ModelConfig&);

}  // namespace memring
