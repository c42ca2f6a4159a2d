// Start and end of a rank under MPI.
// SPDX-License-Identifier: Apache-2.0
#include "dist/session.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <thread>

#include "base/machine.h"

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

/// Cores that any of these ranks may run on: a launcher may have bound each to a core, to a socket, or to nothing.
int cores_of(MPI_Comm node) {
  cpu_set_t mine, all;
  CPU_ZERO(&mine);
  CPU_ZERO(&all);
  if (sched_getaffinity(0, sizeof mine, &mine) != 0) return machine_cores();
  if (MPI_Allreduce(&mine, &all, sizeof mine, MPI_BYTE, MPI_BOR, node) != MPI_SUCCESS) return CPU_COUNT(&mine);
  return CPU_COUNT(&all);
}

}  // namespace

struct Session::State {
  std::string host;
  Communicator world;
  NodeShare node;
};

Session::Session(int& argc, char**& argv) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
  const std::string host = host_name();
  state_ = std::make_unique<State>(State{host, Communicator::of_all_ranks(host), {}});
  if (provided < MPI_THREAD_SERIALIZED)
    fail(Error(ExitCode::Internal, "this MPI library was built without MPI_THREAD_SERIALIZED",
               "Use an MPI with thread support, for instance Debian's Open MPI."));
  state_->node.cores = process_cores();
  if (size() == 1) return;
  MPI_Comm node = MPI_COMM_NULL;
  if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank(), MPI_INFO_NULL, &node) != MPI_SUCCESS)
    fail(Error(ExitCode::Internal, "MPI cannot tell which ranks share this host"));
  NodeShare& share = state_->node;
  MPI_Comm_rank(node, &share.rank);
  MPI_Comm_size(node, &share.ranks);
  share.cores = std::max(1, std::min(process_cores(), cores_of(node) / share.ranks));
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
const NodeShare& Session::node() const { return state_->node; }

std::string Session::library() const {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0, level = 0;
  MPI_Get_library_version(text, &length);
  MPI_Query_thread(&level);
  const std::string_view version(text, static_cast<size_t>(length));
  return fmt::format("{}, MPI_THREAD_{}", version.substr(0, version.find_first_of(",\n")),
                     level == MPI_THREAD_MULTIPLE ? "MULTIPLE" : "SERIALIZED");
}

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
