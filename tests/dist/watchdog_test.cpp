// The watchdog in child processes without MPI, which share a board as the ranks of a host do: it ends what hangs, names
// the rank that is to blame, and ends nothing else.
// SPDX-License-Identifier: Apache-2.0
#include "dist/watchdog.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>
#include <thread>

namespace memring {
namespace {

using supervision::Watchdog;

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Ended {
  int code = -1;
  std::string output;
  double seconds = 0;
};

// Runs `body` in a child, whose exit code is 0 unless somebody ends it, and lets `meanwhile` see its process id.
Ended in_child(
    const std::function<void()>& body, const std::function<void(pid_t)>& meanwhile = [](pid_t) {}) {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe(ends.data()), 0);
  const auto start = Clock::now();
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    body();
    _exit(0);
  }
  close(ends[1]);
  meanwhile(child);
  Ended ended;
  std::array<char, 4096> buffer;
  for (ssize_t n = 0; (n = read(ends[0], buffer.data(), buffer.size())) > 0;)
    ended.output.append(buffer.data(), size_t(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  ended.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return ended;
}

/// A board for `ranks` processes, in memory that children made by fork share.
class Shared {
 public:
  explicit Shared(int ranks)
      : ranks_(ranks),
        memory_(mmap(nullptr, Board::bytes(ranks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    for (int rank = 0; rank < ranks; ++rank) board(rank).mine().rank = rank;
  }
  ~Shared() { munmap(memory_, Board::bytes(ranks_)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  /// The board as rank `rank` makes it; its position is fresh afterwards.
  Board board(int rank) const { return {memory_, ranks_, rank}; }

 private:
  int ranks_;
  void* memory_;
};

Board alone() {
  static const Shared shared(1);
  return shared.board(0);
}

void sleep_seconds(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

void stand(Progress& progress, Verb verb, int peer) {
  progress.step = 12, progress.action = 345, progress.peer = peer, progress.segment = 17, progress.layer = 3;
  progress.phase = Phase::Schedule, progress.verb = verb;
}

/// Two ranks: a child with rank 1, which does `other`, and rank 0, which waits with a limit of 0.6 s.
Ended two_ranks(
    const std::function<void(Board)>& other, const std::function<void(pid_t)>& meanwhile = [](pid_t) {}) {
  const Shared shared(2);
  return in_child([&] {
    const Board first = shared.board(0);
    stand(first.mine(), Verb::Wait, 1);
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // the launcher's part
      const Board second = shared.board(1);
      second.mine().rank = 1;
      second.mine().process = getpid();
      other(second);
      _exit(0);
    }
    while (first.ranks()[1].process.load() == 0) sleep_seconds(0.01);
    {
      const Watchdog watchdog(first, 0.6, {"node17", 2});
      meanwhile(child);
      sleep_seconds(20);
    }
    kill(child, SIGKILL);
  });
}

TEST(Watchdog, EndsAHangingProcessWithItsPosition) {
  const Ended ended = in_child([] {
    const Board board = alone();
    stand(board.mine(), Verb::Wait, 2);
    const Watchdog watchdog(board, 0.5, {"node17", 1});
    sleep_seconds(20);
  });
  EXPECT_EQ(ended.code, 75);
  EXPECT_GE(ended.seconds, 0.5);
  EXPECT_LT(ended.seconds, 5);
  EXPECT_EQ(
      ended.output,
      "memring: no progress on node17 for 0.5 s: its ranks wait for each other, or for another host's\n"
      "  rank 0 of 1 (node17): step 12, action 345: Wait, peer rank 2, segment 17, layer 3\n"
      "  Start the same command again to go on from the last checkpoint; if one action may really take this long, "
      "raise run.timeout.\n");
}

TEST(Progress, NamesTheEndsOfTheModel) {
  Progress progress;
  stand(progress, Verb::Forward, -1);
  progress.layers = 4;
  const auto place = [&](int layer) {
    progress.layer = layer;
    const std::string text = describe(progress);
    return text.substr(text.find("17, ") + 4);
  };
  EXPECT_EQ(place(-1), "compose and embed");
  EXPECT_EQ(place(0), "layer 0");
  EXPECT_EQ(place(3), "layer 3");
  EXPECT_EQ(place(4), "final norm, head and loss");
}

TEST(Watchdog, NamesTheRankThatDoesNotFinishItsAction) {
  const Ended ended = two_ranks([](Board board) {
    stand(board.mine(), Verb::Backward, -1);
    const Watchdog watchdog(board, 60, {"node17", 2});
    sleep_seconds(20);
  });
  EXPECT_EQ(ended.code, 75);
  EXPECT_NE(ended.output.find(": rank 1 of 2 (node17) does not finish its action\n"), std::string::npos)
      << ended.output;
  EXPECT_NE(ended.output.find("  rank 1 of 2 (node17): step 12, action 345: Backward, segment 17, layer 3\n"),
            std::string::npos)
      << ended.output;
  EXPECT_EQ(count(ended.output, "memring:"), 1) << "one rank speaks for all:\n" << ended.output;
}

TEST(Watchdog, NamesTheRankWhoseProcessIsStopped) {
  const Ended ended = two_ranks([](Board board) {
    stand(board.mine(), Verb::Wait, 0);
    const Watchdog watchdog(board, 60, {"node17", 2});
    raise(SIGSTOP);
  });
  EXPECT_EQ(ended.code, 75);
  EXPECT_NE(ended.output.find(": rank 1 of 2 (node17) no longer runs"), std::string::npos) << ended.output;
}

TEST(Watchdog, NamesTheRankThatHasVanished) {
  const auto reap = [](pid_t child) { waitpid(child, nullptr, 0); };  // as mpirun does
  const Ended ended = two_ranks([](Board) { raise(SIGKILL); }, reap);
  EXPECT_EQ(ended.code, 71);
  EXPECT_NE(ended.output.find("memring: rank 1 of 2 (node17) has vanished"), std::string::npos) << ended.output;
  EXPECT_LT(ended.seconds, 3);
}

TEST(Watchdog, LetsARankGoThatIsDone) {
  const Ended ended = two_ranks([](Board board) { board.mine().enter(Phase::End); },
                                [](pid_t child) { waitpid(child, nullptr, 0), sleep_seconds(0.4), _exit(0); });
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output, "");
}

TEST(Watchdog, CountsTheProgressOfAnyRankOfTheHost) {
  const Ended ended = two_ranks(
      [](Board board) {
        for (;; board.mine().advance()) sleep_seconds(0.02);
      },
      [](pid_t) { sleep_seconds(2), _exit(0); });
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output, "");
}

TEST(Watchdog, IsSilentWhereAnotherRankHasSpoken) {
  const Ended ended = two_ranks([](Board board) { board.claim(65), sleep_seconds(60); });
  EXPECT_EQ(ended.code, 65);
  EXPECT_EQ(ended.output, "");
}

TEST(Watchdog, LetsSlowProgressGoOn) {
  const Ended ended = in_child([] {
    const Board board = alone();
    const Watchdog watchdog(board, 1.5, {"node17", 1});
    for (int i = 0; i < 8; ++i) {
      std::this_thread::sleep_for(milliseconds(300));
      ++(i % 3 == 0 ? board.mine().step : i % 3 == 1 ? board.mine().action : board.mine().work);
    }
  });
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_GE(ended.seconds, 2.3);
  EXPECT_EQ(ended.output, "");
}

TEST(Watchdog, WithoutALimitNeverFires) {
  const Ended ended = in_child([] {
    const Watchdog watchdog(alone(), 0, {"node17", 1});
    std::this_thread::sleep_for(milliseconds(300));
  });
  EXPECT_EQ(ended.code, 0) << ended.output;
}

TEST(Watchdog, EndsAtOnceWithItsScope) {
  const auto start = Clock::now();
  { const Watchdog watchdog(alone(), 3600, {"node17", 1}); }
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 0.5);
}

TEST(Watchdog, DoesNotCountSuspendedTime) {
  const Ended ended = in_child(
      [] {
        const Board board = alone();
        const Watchdog watchdog(board, 1.5, {"node17", 1});
        for (int i = 0; i < 8; ++i, board.mine().advance()) std::this_thread::sleep_for(milliseconds(100));
      },
      [](pid_t child) {
        std::this_thread::sleep_for(milliseconds(300));
        kill(child, SIGSTOP);
        std::this_thread::sleep_for(milliseconds(2500));
        kill(child, SIGCONT);
      });
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_GE(ended.seconds, 2.8);
}

TEST(Watchdog, LeavesSignalsToTheMainThread) {
  const Ended ended = in_child([] {
    static std::atomic<pid_t> handled_by{0};
    signal(SIGUSR1, [](int) { handled_by = gettid(); });
    const Watchdog watchdog(alone(), 30, {"node17", 1});
    for (int i = 0; i < 20; ++i) {
      kill(getpid(), SIGUSR1);
      if (handled_by != gettid()) _exit(1);
    }
  });
  EXPECT_EQ(ended.code, 0);
}

}  // namespace
}  // namespace memring
