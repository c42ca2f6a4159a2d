// What a run says when it starts: the facts of its log's first lines, and warnings about a mesh or hosts that waste
// time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "data/dataset.h"
#include "dist/mesh.h"
#include "dist/session.h"
#include "engine/engine.h"
#include "runlog/runlog.h"
#include "train/curriculum.h"

namespace memring {

/// "4 on node1, 4 on node2"; of many hosts the first few, and how many ranks the others have.
std::string hosts_text(const std::vector<std::pair<std::string, int>>& hosts);
/// Collective.
StartFacts start_facts(const Config&, Session&, Mesh&, Engine&, const Dataset&, const Curriculum&);
/// Bits depend on the instruction set, and so on which host a rank runs: legal, but to be known. Collective.
void warn_about_mixed_hosts(Communicator& world, Engine&, RunLog&);
/// Cores of the job that stay idle, and variables that would make fewer threads of those asked for.
void warn_about_threads(const NodeShare&, const ThreadCount&, RunLog&);
/// More ranks than sequences or segments, or a schedule with gaps.
void warn_about_idle_ranks(Engine&, MeshShape, RunLog&);
/// A batch that holds a sequence of the text more than once.
void warn_about_repeats(const DataConfig&, const Dataset&, RunLog&);
/// What is trained, where none of its gradients was anything but 0 in a first step, of sequences of this shape.
void warn_about_unreached(const Config&, const SequenceShape&, RunLog&);
/// How often a run of this budget goes over the sequences of its data; 0: no budget of steps or tokens ends it.
double passes(const RunConfig&, const DataConfig&, int64_t sequences);
/// log.schedule: this rank's actions of the longest shape.
void print_schedule(Executor&, int rank);

}  // namespace memring
