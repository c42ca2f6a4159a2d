// What all ranks wait for at the start, because another host has to do something first: a second's round after the
// other, so that a signal ends the wait and the watchdog sees that it is one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "dist/session.h"
#include "train/stop.h"

namespace memring {

/// Asks `done` on every rank once a second. True when all have said yes in one round, false when `seconds` are over.
/// Throws Error(Again) when a rank was told to stop. Collective.
bool wait_together(Session&, const SignalWatch&, double seconds, const std::function<bool()>& done);

}  // namespace memring
