// The training loop.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "dist/session.h"
#include "train/stop.h"

namespace memring {

/// Trains, or resumes from the newest good checkpoint of the run directory; `told` are further lines of its start.
/// Collective. Returns 0 (done) or 75 (saved and stopped early); throws Error for everything else.
ExitCode train(const Config&, Session&, SignalWatch&, const std::vector<std::pair<std::string, std::string>>& told);

}  // namespace memring
