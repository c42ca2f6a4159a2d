// Start and end of a rank under MPI.
// SPDX-License-Identifier: Apache-2.0
#include "dist/session.h"

#include <mpi.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>

namespace memring {
namespace {

// Longer than mpirun needs to end a job after rank 0's abort: SIGTERM at once, SIGKILL a second later.
constexpr std::chrono::milliseconds kRankZeroFirst{2500};

// Without the domain: what schedulers and users call the node.
std::string host_name() {
  char name[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0;
  MPI_Get_processor_name(name, &length);
  const std::string host(name);
  return host.substr(0, host.find('.'));
}

}  // namespace

struct Session::State {
  std::string host;
  Communicator world;
  int node_rank = 0, node_size = 1;
};

Session::Session(int& argc, char**& argv) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
  const std::string host = host_name();
  state_.reset(new State{host, Communicator::of_all_ranks(host)});
  if (provided < MPI_THREAD_SERIALIZED)
    fail(Error(ExitCode::Internal, "this MPI library was built without MPI_THREAD_SERIALIZED",
               "Use an MPI with thread support, for instance Debian's Open MPI."));
  if (size() == 1) return;
  MPI_Comm node = MPI_COMM_NULL;
  if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank(), MPI_INFO_NULL, &node) != MPI_SUCCESS)
    fail(Error(ExitCode::Internal, "MPI cannot tell which ranks share this host"));
  MPI_Comm_rank(node, &state_->node_rank);
  MPI_Comm_size(node, &state_->node_size);
  MPI_Comm_free(&node);
}

Session::~Session() {
  if (std::uncaught_exceptions() > 0) return;
  state_.reset();
  MPI_Finalize();
}

Communicator& Session::world() { return state_->world; }
int Session::rank() const { return state_->world.rank(); }
int Session::size() const { return state_->world.size(); }
const std::string& Session::host() const { return state_->host; }
int Session::node_rank() const { return state_->node_rank; }
int Session::node_size() const { return state_->node_size; }

void Session::fail(const Error& error) {
  const int code = static_cast<int>(error.code());
  // A handler that asks for a save would keep this process alive until mpirun's SIGKILL.
  std::signal(SIGTERM, SIG_DFL);
  if (rank() > 0) std::this_thread::sleep_for(kRankZeroFirst);
  std::string text = "memring: ";
  if (size() > 1) text += fmt::format("rank {} of {} ({}): ", rank(), size(), host());
  text += error.what();
  text += '\n';
  if (!error.hint().empty()) text += "  " + error.hint() + '\n';
  std::fflush(stdout);
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
  if (size() > 1) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

}  // namespace memring
