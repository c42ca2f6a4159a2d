// Start and end of a rank under MPI.
// SPDX-License-Identifier: Apache-2.0
#include "dist/session.h"

#include <fcntl.h>
#include <mpi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "base/as_error.h"
#include "base/machine.h"
#include "base/surroundings.h"
#include "base/threads.h"
#include "dist/watchdog.h"

namespace memring {
namespace {

// Longer than mpirun needs to end a job after rank 0's abort: SIGTERM at once, SIGKILL a second later.
constexpr std::chrono::milliseconds kRankZeroFirst{2500};

// Without the domain: what schedulers and users call the node.
std::string node_name() {
  char name[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0;
  MPI_Get_processor_name(name, &length);
  const std::string host(name);
  return host.substr(0, host.find('.'));
}

/// Cores that any of these ranks may run on: a launcher may have bound each to a core, to a socket, or to nothing.
int cores_of(MPI_Comm node) {
  const cpu_set_t mine = allowed_cores();
  cpu_set_t all;
  CPU_ZERO(&all);
  if (MPI_Allreduce(&mine, &all, sizeof mine, MPI_BYTE, MPI_BOR, node) != MPI_SUCCESS) return CPU_COUNT(&mine);
  return CPU_COUNT(&all);
}

/// A container may see more cores than it has time for.
int cores_within_quota(int cores) {
  const double quota = cpu_quota();
  return quota > 0 ? std::min(cores, std::max(1, static_cast<int>(std::lround(quota)))) : cores;
}

/// Memory that the ranks of a host share until the last of them ends, zero at first. It has a name only while they open
/// it, so nothing is left behind. Throws the same Error on every rank of the host.
void* share_memory(MPI_Comm node, size_t bytes) {
  int rank = 0, failed = 0;
  MPI_Comm_rank(node, &rank);
  std::array<char, 64> name{};
  if (rank == 0) std::snprintf(name.data(), name.size(), "/memring-board-%d", static_cast<int>(getpid()));
  MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, node);
  int reason = 0;  // an errno: MPI and close() below would change it
  const auto map = [&](int flags) -> void* {
    const int file = shm_open(name.data(), O_RDWR | O_CLOEXEC | flags, 0600);
    if (file < 0) return reason = errno, MAP_FAILED;
    // Not ftruncate: where there is no room, the first write would end the process.
    void* mapped = MAP_FAILED;
    reason = flags == 0 ? 0 : posix_fallocate(file, 0, static_cast<off_t>(bytes));
    if (reason == 0) {
      mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
      if (mapped == MAP_FAILED) reason = errno;
    }
    close(file);
    return mapped;
  };
  void* memory = MAP_FAILED;
  if (rank == 0) {
    shm_unlink(name.data());  // of a job killed in this very moment, whose process id has come round
    memory = map(O_CREAT | O_EXCL);
  }
  MPI_Barrier(node);
  if (rank > 0) memory = map(0);
  const int mine = memory == MAP_FAILED ? std::max(reason, 1) : 0;
  MPI_Allreduce(&mine, &failed, 1, MPI_INT, MPI_MAX, node);
  if (rank == 0) shm_unlink(name.data());
  if (failed == ENOMEM) throw out_of_memory(static_cast<int64_t>(bytes));
  if (failed != 0)
    throw Error(ExitCode::Io, fmt::format("the ranks of a host cannot share memory: {}", std::strerror(failed)),
                "Make /dev/shm writable, with some free space.");
  return memory;
}

/// A process id that all ranks of the host know each other by; 0 where they live in separate containers.
int visible_process(MPI_Comm node, int ranks) {
  const int mine = getpid();
  std::vector<int> all(static_cast<size_t>(ranks));
  MPI_Allgather(&mine, 1, MPI_INT, all.data(), 1, MPI_INT, node);
  int seen = std::all_of(all.begin(), all.end(), [](int process) { return kill(process, 0) == 0 || errno == EPERM; });
  MPI_Allreduce(MPI_IN_PLACE, &seen, 1, MPI_INT, MPI_MIN, node);
  return seen ? mine : 0;
}

}  // namespace

struct Session::State {
  std::string host;
  Communicator world;
  NodeShare node;
  std::optional<Board> board;
  std::unique_ptr<supervision::Watchdog> watchdog;
};

Session::Session(int& argc, char**& argv) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
  const std::string host = node_name();
  state_ = std::make_unique<State>(State{host, Communicator::of_all_ranks(host), {}, {}, {}});
  if (provided < MPI_THREAD_SERIALIZED)
    fail(Error(ExitCode::Internal, "this MPI library was built without MPI_THREAD_SERIALIZED",
               "Use an MPI with thread support, for instance Debian's Open MPI."));
  NodeShare& share = state_->node;
  share.cores = cores_within_quota(process_cores());
  if (size() == 1) {
    static std::vector<std::byte> alone(Board::bytes(1));  // outlives the watchdog
    state_->board.emplace(alone.data(), 1, 0);
  } else {
    join_node();
  }
  share.progress = &state_->board->mine();
  share.progress->rank = rank();
}

void Session::join_node() {
  MPI_Comm node = MPI_COMM_NULL;
  if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank(), MPI_INFO_NULL, &node) != MPI_SUCCESS)
    fail(Error(ExitCode::Internal, "MPI cannot tell which ranks share this host"));
  NodeShare& share = state_->node;
  MPI_Comm_rank(node, &share.rank);
  MPI_Comm_size(node, &share.ranks);
  share.cores = std::max(1, std::min(process_cores(), cores_within_quota(cores_of(node)) / share.ranks));
  try {
    state_->board.emplace(share_memory(node, Board::bytes(share.ranks)), share.ranks, share.rank);
  } catch (const Error& error) {
    fail(error);
  }
  state_->board->mine().process = visible_process(node, share.ranks);
  MPI_Barrier(node);  // all places are made
  MPI_Comm_free(&node);
}

Session::~Session() {
  if (std::uncaught_exceptions() > 0) return;
  // The watchdog sees to the end: a rank may hang before it comes here, while the others wait in MPI_Finalize.
  progress().enter(Phase::End);
  const std::unique_ptr<supervision::Watchdog> watchdog = std::move(state_->watchdog);
  state_.reset();
  MPI_Finalize();
}

void Session::watch(double seconds) {
  state_->watchdog =
      std::make_unique<supervision::Watchdog>(*state_->board, seconds, supervision::Watchdog::Job{host(), size()});
}

Communicator& Session::world() { return state_->world; }
int Session::rank() const { return state_->world.rank(); }
int Session::size() const { return state_->world.size(); }
const std::string& Session::host() const { return state_->host; }
const NodeShare& Session::node() const { return state_->node; }

std::vector<std::pair<std::string, int>> Session::hosts() {
  struct Place {
    char host[MPI_MAX_PROCESSOR_NAME];
    int rank, ranks;
  };
  Place mine{{}, node().rank, node().ranks};
  host().copy(mine.host, sizeof mine.host - 1);
  std::vector<Place> all(static_cast<size_t>(size()));
  constexpr auto kBytes = static_cast<int64_t>(sizeof(Place));
  world().all_gather(View<uint8_t>(reinterpret_cast<uint8_t*>(all.data()), {size(), kBytes}),
                     ConstView<uint8_t>(reinterpret_cast<const uint8_t*>(&mine), {kBytes}));
  std::vector<std::pair<std::string, int>> hosts;
  for (const Place& place : all)
    if (place.rank == 0) hosts.emplace_back(place.host, place.ranks);  // two hosts may have one name
  return hosts;
}

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
  // A handler that asks for a save, or a mask that leaves the signal to a thread which does, would keep this process
  // alive until mpirun's SIGKILL.
  std::signal(SIGTERM, SIG_DFL);
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  pthread_sigmask(SIG_UNBLOCK, &end, nullptr);
  if (rank() > 0) std::this_thread::sleep_for(kRankZeroFirst);
  if (state_->board && !state_->board->claim(code)) {  // another rank of this host has said why the job ends
    std::this_thread::sleep_for(kRankZeroFirst);
    std::_Exit(state_->board->claimed());
  }
  std::string text = "memring: ";
  if (size() > 1) text += fmt::format("rank {} of {} ({}): ", rank(), size(), host());
  text += error.what();
  text += '\n';
  if (!error.hint().empty()) text += "  " + error.hint() + '\n';
  std::fflush(stdout);
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
  if (size() > 1) MPI_Abort(MPI_COMM_WORLD, code);
  MPI_Finalize();  // nobody else is waited for, and Open MPI would leave a folder in TMPDIR
  std::_Exit(code);
}

}  // namespace memring
