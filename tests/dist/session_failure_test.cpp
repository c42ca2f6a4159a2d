// How a job ends when a rank fails: with that rank's exit code, its message once, and soon, whatever the others wait
// for.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

namespace {

struct Ended {
  int code = -1;
  std::string output;
  double seconds = 0;
};

Ended run(int ranks, const std::string& program) {
  std::string command = ranks ? std::string(MEMRING_MPIEXEC) + " -n " + std::to_string(ranks) + " " : std::string();
  command = "timeout -k 1 30 " + command + program + " 2>&1";
  const auto start = std::chrono::steady_clock::now();
  Ended ended;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  for (size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) ended.output.append(buffer.data(), n);
  const int status = pclose(pipe);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  ended.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return ended;
}

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

void expect_end(const Ended& ended, int code, const std::string& message) {
  EXPECT_EQ(ended.code, code) << ended.output;
  EXPECT_EQ(count(ended.output, message), 1) << "'" << message << "' should be there once:\n" << ended.output;
  EXPECT_LT(ended.seconds, 10);
}

const std::string kProgram = MEMRING_FAILING_RANK;
const std::string kTests =
    std::string(MEMRING_RANK_TESTS) + " --gtest_also_run_disabled_tests --gtest_filter=Bait.DISABLED_";

TEST(FailingRank, EndsTheRanksThatWaitForIt) {
  for (const int code : {65, 75}) {
    const Ended ended = run(3, kProgram + " one " + std::to_string(code));
    expect_end(ended, code, "memring: rank 1 of 3 (");
    expect_end(ended, code, "): the reservoir is empty\n  Fill it.\n");
  }
}

TEST(FailingRank, LeavesItsMessagesInFlight) {
  expect_end(run(2, kProgram + " messages-in-flight 74"), 74, "): the reservoir is empty\n");
}

TEST(FailingRank, SaysOnceWhatAllRanksFind) {
  for (const char* scenario : {" all ", " all-with-signal-handlers "}) {
    const Ended ended = run(4, kProgram + scenario + "2");
    expect_end(ended, 2, "memring: rank 0 of 4 (");
    expect_end(ended, 2, "the reservoir is empty");
  }
}

// mpirun ends the ranks of a job that fails by SIGTERM; nobody takes it any more for a wish to save.
TEST(FailingRank, EndsAtOnceBySigtermWhereSignalsAreBlocked) {
  const Ended ended = run(2, kProgram + " signals-blocked 65");
  EXPECT_EQ(ended.code, 143) << ended.output;
  EXPECT_EQ(count(ended.output, "the reservoir is empty"), 0) << "it waited for rank 0's word:\n" << ended.output;
}

TEST(FailingRank, InAWorldOfOneJustExits) {
  for (const int ranks : {0, 1}) {
    const Ended ended = run(ranks, kProgram + " all 65");
    expect_end(ended, 65, "memring: the reservoir is empty\n  Fill it.\n");
  }
}

TEST(FailingRank, DoesNotOutliveAKilledPeer) {
  const Ended ended = run(3, kProgram + " killed 0");
  EXPECT_EQ(ended.code, 137) << ended.output;
  EXPECT_LT(ended.seconds, 10);
}

TEST(FailingRank, IsNotSeenInAGoodRun) {
  const Ended ended = run(3, kProgram + " none 2");
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_EQ(ended.output, "");
}

TEST(RankTests, FailWhenAnyRankFails) {
  const Ended ended = run(3, kTests + "FailsOnTheLastRank");
  expect_end(ended, 1, "failed on rank 2 of 3");
}

TEST(RankTests, EndWhenARankLeavesTheOthersWaiting) {
  expect_end(run(3, kTests + "FailsFatally*"), 1, "a fatal test failure");
  expect_end(run(3, kTests + "Throws*"), 71, "thrown by the last rank");
}

}  // namespace
