// memring train: trains a configuration, or resumes it.
// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include "app/command.h"
#include "app/same_start.h"
#include "app/with_session.h"
#include "dist/separate_start.h"

namespace memring {

int run_train(const CommandLine& line) {
  SignalWatch signals;  // before the session: MPI's threads must inherit its mask
  return with_session(line.argc, line.argv, [&](Session& session) {
    refuse_separate_start(session);
    const Config config = load_config(line.arguments[0], line.overrides);
    session.watch(config.run.timeout);
    require_same_start(session, config);
    return static_cast<int>(train(config, session, signals));
  });
}

}  // namespace memring
