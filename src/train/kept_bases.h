// The base of an adapter, kept in the adapter's own run: without it a checkpoint that holds only what was trained is
// worth nothing, and the run that the base is of removes it as it goes on (checkpoint.keep), or somebody removes that
// run.
//
//   <run>/checkpoints/base-<digest>/   hard links to the base's two files, or a copy of them
//
// A link and not a mark in the other run: that may be read-only, or another user's, and takes no orders from here. No
// program changes a committed checkpoint's files in place, so both names hold the same bytes for ever, at no cost.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace memring {

/// Where the checkpoint of this digest is kept for those of `directory`, which holds checkpoints.
std::string kept_base(const std::string& directory, const std::string& digest);

/// Keeps `base` for the checkpoints of `directory`, whole or not at all, in place of a damaged one: as hard links;
/// where the system refuses them (another file system, another user's files) as a verified copy, if it lies in the
/// directory of a run. Otherwise somebody has put it there to stay. Returns what was done, or why nothing
/// was, in words; empty: it is kept already.
/// Throws Error(Data) where the base is there no more, and Error(Io) where it cannot be kept. For rank 0, under the
/// run's lock.
std::string keep_base(const CheckpointSummary& base, const std::string& directory, Progress*);

/// Removes what is kept for no checkpoint, where `directory` holds none at all: all bases but these. Best effort.
void forget_bases_but(const std::vector<CheckpointSummary>& needed, const std::string& directory);

}  // namespace memring
