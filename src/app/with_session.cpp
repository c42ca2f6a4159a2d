// SPDX-License-Identifier: Apache-2.0
#include "app/with_session.h"

namespace memring {

Error as_error(const std::exception& exception) {
  if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
  if (dynamic_cast<const std::bad_alloc*>(&exception))
    return Error(ExitCode::Internal, "out of memory",
                 "Use a smaller data.micro_batch or model, more ranks, or a machine with more memory.");
  return Error(ExitCode::Internal, fmt::format("unexpected error: {}", exception.what()),
               "This is a bug in memring; please report it with the command line.");
}

int with_session(int argc, char** argv, const std::function<int(Session&)>& run) {
  Session session(argc, argv);
  try {
    return run(session);
  } catch (const std::exception& exception) {
    session.fail(as_error(exception));
  }
}

}  // namespace memring
