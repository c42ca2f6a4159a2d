// The watchdog's thread. It calls nothing that the hanging thread may hold a lock of: no stdio, no MPI.
//
// Why the ranks' positions lie in shared memory: MPI is what hangs, a stopped rank can say nothing itself, and files in
// the run directory would have to be written all the time. Hosts share no memory, so each host speaks for its own
// ranks.
// SPDX-License-Identifier: Apache-2.0
#include "dist/watchdog.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"

namespace memring::supervision {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kPeriod{0.1};  // mpirun gives the survivors of a lost rank a second
constexpr Seconds kPatience{5};  // of those that do not speak, with the one that does

bool vanished(const Progress& rank) {
  const pid_t process = rank.process.load();
  return process > 0 && rank.phase.load() != Phase::End && ::kill(process, 0) != 0 && errno == ESRCH;
}

}  // namespace

struct Watchdog::State {
  State(Board shared, double seconds, Job whole)
      : board(shared), limit(seconds), job(std::move(whole)), pulses(board.ranks().size()), quiet(pulses.size()) {}

  Board board;
  const Seconds limit;
  const Job job;
  std::vector<int64_t> pulses;  ///< last seen, by rank of the host
  std::vector<Seconds> quiet;   ///< since that one came
  std::mutex mutex;
  std::condition_variable wake;
  bool ended = false;
  std::thread thread;

  void watch();
  std::vector<bool> lost() const;
  int64_t progress() const;
  void listen(Seconds elapsed);
  std::string hang() const;
  std::string report(const std::string& finding, const std::string& hint) const;
  std::string names(const std::vector<bool>& which) const;
  void speak(ExitCode code, const std::string& text) const;
};

/// "rank 1 of 3 (node17)", "ranks 1, 2 of 3 (node17)"; empty for none.
std::string Watchdog::State::names(const std::vector<bool>& which) const {
  std::string list;
  for (size_t i = 0; i < which.size(); ++i)
    if (which[i]) list += fmt::format("{}{}", list.empty() ? "" : ", ", board.ranks()[i].rank.load());
  if (list.empty()) return list;
  const bool several = std::count(which.begin(), which.end(), true) > 1;
  return fmt::format("{} {} of {} ({})", several ? "ranks" : "rank", list, job.ranks, job.host);
}

std::string Watchdog::State::report(const std::string& finding, const std::string& hint) const {
  std::string text = fmt::format("memring: {}\n", finding);
  for (const Progress& rank : board.ranks())
    text += fmt::format("  rank {} of {} ({}): {}\n", rank.rank.load(), job.ranks, job.host, describe(rank));
  if (static_cast<int>(board.ranks().size()) < job.ranks) text += "  Ranks of other hosts cannot be seen from here.\n";
  return text + "  Start the same command again to go on from the last checkpoint" + hint + ".\n";
}

std::string Watchdog::State::hang() const {
  std::vector<bool> silent, busy;
  for (size_t i = 0; i < quiet.size(); ++i) {
    silent.push_back(quiet[i] > limit / 2);
    busy.push_back(!waits(board.ranks()[i]));
  }
  std::string cause = "its ranks wait for each other, or for another host's";
  if (const std::string who = names(silent); !who.empty())
    cause = who + " no longer runs (suspended, or stuck in the system)";
  else if (const std::string worker = names(busy); !worker.empty())
    cause = worker + " does not finish its action";
  return report(fmt::format("no progress on {} for {:g} s: {}", job.host, limit.count(), cause),
                "; if one action may really take this long, raise run.timeout");
}

std::vector<bool> Watchdog::State::lost() const {
  std::vector<bool> lost;
  for (const Progress& rank : board.ranks()) lost.push_back(vanished(rank));
  return lost;
}

int64_t Watchdog::State::progress() const {
  int64_t sum = 0;
  for (const Progress& rank : board.ranks()) sum += rank.total();
  return sum;
}

void Watchdog::State::listen(Seconds elapsed) {
  board.mine().pulse.fetch_add(1);
  for (size_t i = 0; i < pulses.size(); ++i) {
    const int64_t now = board.ranks()[i].pulse.load();
    quiet[i] = std::exchange(pulses[i], now) == now ? quiet[i] + elapsed : Seconds(0);
  }
}

void Watchdog::State::speak(ExitCode code, const std::string& text) const {
  if (!board.claim(static_cast<int>(code))) return;
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(static_cast<int>(code));
}

void Watchdog::State::watch() {
  const Seconds period = std::min(kPeriod, limit / 10), most = std::min(Seconds(1), limit / 4);
  int64_t seen = progress();
  Seconds idle{0}, since_claim{0};
  Clock::time_point before = Clock::now();
  std::unique_lock lock(mutex);
  while (!wake.wait_for(lock, period, [&] { return ended; })) {
    const Clock::time_point now = Clock::now();
    // A process that was suspended (SIGSTOP, a scheduler's suspend) wakes to a late clock; it had no chance to
    // progress.
    const Seconds elapsed = std::min(Seconds(now - before), most);
    before = now;
    listen(elapsed);
    if (const int code = board.claimed(); code != 0) {
      // Another rank has said why. The launcher ends this one too, if it is one that cares.
      if ((since_claim += elapsed) > kPatience) ::_exit(code);
      continue;
    }
    if (const std::string who = names(lost()); !who.empty())
      speak(ExitCode::Internal,
            report(who + " has vanished: killed, out of memory, or crashed. Where the ranks were:", ""));
    const int64_t current = progress();
    idle = std::exchange(seen, current) == current ? idle + elapsed : Seconds(0);
    if (idle >= limit) speak(ExitCode::Again, hang());
  }
}

Watchdog::Watchdog(Board board, double seconds, Job job) {
  if (!(seconds > 0)) return;
  state_ = std::make_unique<State>(board, seconds, std::move(job));
  // Signals are the main thread's: the new thread inherits a mask that blocks them all.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  state_->thread = std::thread([state = state_.get()] { state->watch(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  if (!state_) return;
  {
    const std::lock_guard lock(state_->mutex);
    state_->ended = true;
  }
  state_->wake.notify_one();
  state_->thread.join();
}

}  // namespace memring::supervision
