// A small program that fails in the ways a training run can, started by session_failure_test.cpp:
// failing_rank SCENARIO EXIT_CODE
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "dist/session.h"
#include "dist/transport.h"

namespace memring {
namespace {

void run(Session& session, std::string_view scenario, ExitCode code) {
  const Error error(code, "the reservoir is empty", "Fill it.");
  Communicator& world = session.world();
  const auto transport = host_transport(world);
  Queue queue;
  const int rank = session.rank(), peer = (rank + 1) % session.size();
  std::vector<float> data(1 << 20);
  const View<float> view(data.data(), {1 << 20});
  if (scenario == "all") throw error;
  if (scenario == "all-with-signal-handlers") {
    std::signal(SIGTERM, [](int) {});
    throw error;
  }
  if (scenario == "one") {
    std::signal(SIGTERM, [](int) {});  // as in training, where it asks for a save
    if (rank == 1) throw error;
    transport->receive(queue, view, peer, 0).join(queue);
  }
  if (scenario == "signals-blocked") {  // as in training, where a thread waits for them
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    if (rank > 0) {
      std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        kill(getpid(), SIGTERM);
      }).detach();
      throw error;
    }
    world.barrier();
  }
  if (scenario == "messages-in-flight") {
    Transfer sent = transport->send(queue, view, peer, 0), received = transport->receive(queue, view, peer, 1);
    if (rank == 1) throw error;
    received.join(queue);
  }
  if (scenario == "killed") {
    if (rank == 1) std::raise(SIGKILL);
    world.barrier();
  }
}

}  // namespace
}  // namespace memring

int main(int argc, char** argv) {
  memring::Session session(argc, argv);
  try {
    memring::run(session, argv[1], static_cast<memring::ExitCode>(std::atoi(argv[2])));
  } catch (const memring::Error& error) {
    session.fail(error);
  }
}
