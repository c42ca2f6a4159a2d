// The watchdog in a child process without MPI: it ends what hangs, and nothing else.
// SPDX-License-Identifier: Apache-2.0
#include "dist/watchdog.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>
#include <thread>

namespace memring {
namespace {

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

TEST(Watchdog, EndsAHangingProcessWithItsLine) {
  const Ended ended = in_child([] {
    Progress progress;
    progress.step = 12, progress.action = 345, progress.peer = 2, progress.segment = 17, progress.layer = 3;
    progress.verb = "Wait";
    const Watchdog watchdog(progress, 0.5, "rank 3 of 8 (node17)");
    std::this_thread::sleep_for(std::chrono::seconds(20));
  });
  EXPECT_EQ(ended.code, 75);
  EXPECT_GE(ended.seconds, 0.5);
  EXPECT_LT(ended.seconds, 5);
  const std::string line =
      "memring: rank 3 of 8 (node17): no progress for 0.5 s at step 12, action 345 (Wait, peer rank 2, segment 17, "
      "layer 3).";
  EXPECT_EQ(ended.output.substr(0, line.size()), line);
  EXPECT_EQ(std::count(ended.output.begin(), ended.output.end(), '\n'), 1) << ended.output;
}

TEST(Watchdog, LetsSlowProgressGoOn) {
  const Ended ended = in_child([] {
    Progress progress;
    const Watchdog watchdog(progress, 1.5, "rank 0");
    for (int i = 0; i < 8; ++i) {
      std::this_thread::sleep_for(milliseconds(300));
      ++(i % 2 ? progress.step : progress.action);
    }
  });
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_GE(ended.seconds, 2.3);
  EXPECT_EQ(ended.output, "");
}

TEST(Watchdog, WithoutALimitNeverFires) {
  const Ended ended = in_child([] {
    Progress progress;
    const Watchdog watchdog(progress, 0, "rank 0");
    std::this_thread::sleep_for(milliseconds(300));
  });
  EXPECT_EQ(ended.code, 0) << ended.output;
}

TEST(Watchdog, EndsAtOnceWithItsScope) {
  Progress progress;
  const auto start = Clock::now();
  { const Watchdog watchdog(progress, 3600, "rank 0"); }
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 0.5);
}

TEST(Watchdog, DoesNotCountSuspendedTime) {
  const Ended ended = in_child(
      [] {
        Progress progress;
        const Watchdog watchdog(progress, 1.5, "rank 0");
        for (int i = 0; i < 8; ++i, ++progress.action) std::this_thread::sleep_for(milliseconds(100));
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
    Progress progress;
    const Watchdog watchdog(progress, 30, "rank 0");
    for (int i = 0; i < 20; ++i) {
      kill(getpid(), SIGUSR1);
      if (handled_by != gettid()) _exit(1);
    }
  });
  EXPECT_EQ(ended.code, 0);
}

}  // namespace
}  // namespace memring
