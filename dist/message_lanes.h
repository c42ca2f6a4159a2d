// Replays schedules as a device with one lane of messages a rank would: what may run ahead there, and what deadlocks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "dist/schedule_validator.h"

namespace memring::scheduling {

/// The actions of all ranks of a segment axis on a rendezvous machine (NCCL's order: GPU.md, section 4). The host puts
/// a rank's actions into two queues and waits for neither. The lane holds PostReceive, Send and Reduce; each starts
/// when it is at the head, and when all that the list has before it for the other queue is done. A message completes
/// when it is at the heads of both its lanes, a Reduce when it is at the heads of all. The compute queue holds the
/// rest; a Wait there lasts until its message is complete. Returns where each rank stands if none can go on, or which
/// messages meet that do not belong together; empty: all is done.
std::vector<std::string> replay_in_lanes(std::vector<ActionSource> ranks);

}  // namespace memring::scheduling
