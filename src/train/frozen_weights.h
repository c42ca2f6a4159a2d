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

/// Fills those tensors of `weights` [missing.size], fp32 or fp64, that `missing` names, from the base of an adapter,
/// which lies where it lay then, or at `from`; or from that one's base. Returns those that none of them has. Throws
/// Error(Data) with the digests of what there is, where the base is not. Collective.
std::vector<FlatEntry> load_base(Communicator&, const CheckpointInfo& adapter, const std::string& from,
                                 FlatBuffer missing, View<> weights, Progress*);

/// The same for all that the model leaves frozen, which the base must have. Collective.
void load_frozen(Communicator&, const CheckpointInfo& adapter, const ModelConfig&, const Params&, View<> weights,
                 Progress*);

/// Throws Error(Usage) where some of what stays `fresh` is frozen: no checkpoint of the run would tell its values.
void expect_frozen(const std::vector<FlatEntry>& fresh, const Params&, const ModelConfig&);

}  // namespace memring
