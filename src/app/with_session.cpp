// SPDX-License-Identifier: Apache-2.0
#include "app/with_session.h"

#include "app/same_start.h"
#include "base/as_error.h"

namespace memring {

int with_session(int argc, char** argv, const std::function<int(Session&)>& run) {
  Session session(argc, argv);
  try {
    require_same_program(session, argc > 1 ? argv[1] : "");
    return run(session);
  } catch (const std::exception& exception) {
    session.fail(as_error(exception));
  }
}

}  // namespace memring
