// Threads: how many compute and who says so, and that work is complete whatever team OpenMP delivers.
// SPDX-License-Identifier: Apache-2.0
#include "base/threads.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "base/surroundings.h"

namespace memring {
namespace {

/// Variables for the time of a test; those of a job that runs the tests are out of sight.
class ThreadVariables : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kNames)
      if (const char* value = std::getenv(name)) before_[name] = value;
    clear();
  }
  void TearDown() override {
    clear();
    for (const auto& [name, value] : before_) setenv(name.c_str(), value.c_str(), 1);
  }
  static void clear() {
    for (const char* name : kNames) unsetenv(name);
  }

 private:
  static constexpr std::array kNames{"OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE",
                                     "OMPI_COMM_WORLD_RANK"};
  std::map<std::string, std::string> before_;
};

void expect_threads(int wanted, int cores, int threads, const std::string& reason) {
  const ThreadCount found = thread_count(wanted, cores);
  EXPECT_EQ(found.threads, threads) << reason;
  EXPECT_EQ(found.reason, reason);
}

TEST_F(ThreadVariables, DeviceThreadsThenOpenMpThenSlurmThenCores) {
  expect_threads(0, 4, 4, "cores");
  setenv("SLURM_CPUS_PER_TASK", "3", 1);
  expect_threads(0, 4, 3, "SLURM_CPUS_PER_TASK");
  setenv("OMP_NUM_THREADS", " 2,4", 1);
  expect_threads(0, 4, 2, "OMP_NUM_THREADS");
  expect_threads(7, 4, 7, "device.threads");
}

TEST_F(ThreadVariables, NoMoreThanCoresOrTheLimit) {
  setenv("OMP_NUM_THREADS", "64", 1);
  expect_threads(0, 8, 8, "OMP_NUM_THREADS = 64, but 8 cores for this rank");
  expect_threads(0, 1, 1, "OMP_NUM_THREADS = 64, but one core for this rank");
  setenv("OMP_THREAD_LIMIT", "3", 1);
  setenv("OMP_NUM_THREADS", "4", 1);
  expect_threads(0, 8, 3, "OMP_NUM_THREADS = 4, at most OMP_THREAD_LIMIT");
  expect_threads(5, 8, 5, "device.threads");
}

TEST_F(ThreadVariables, WhatIsNoNumberDoesNotCount) {
  for (const char* value : {"", "many", "0", "-3", "99999999999999"}) {
    setenv("OMP_NUM_THREADS", value, 1);
    setenv("SLURM_CPUS_PER_TASK", value, 1);
    expect_threads(0, 2, 2, "cores");
  }
}

TEST_F(ThreadVariables, HalfAJobIdleIsToldUnlessSomebodyMeantIt) {
  EXPECT_EQ(idle_cores({1, "cores", false}, 1), "");
  setenv("SLURM_CPUS_ON_NODE", "8", 1);
  EXPECT_EQ(idle_cores({3, "cores", false}, 2), "");
  EXPECT_NE(idle_cores({2, "cores", false}, 2).find("4 cores for each rank"), std::string::npos);
  EXPECT_EQ(idle_cores({1, "OMP_NUM_THREADS", true}, 2), "");
  setenv("SLURM_CPUS_PER_TASK", "2", 1);
  EXPECT_EQ(idle_cores({2, "OMP_NUM_THREADS", true}, 2), "");
  EXPECT_NE(idle_cores({1, "OMP_NUM_THREADS", true}, 2).find("set device.threads = 2"), std::string::npos);
}

#ifndef MEMRING_STD_THREADS
// A thread of a team gets no team of its own: OpenMP then delivers one thread whatever is asked for, as it does under a
// limit.
TEST(SmallTeam, RunsEveryPartOnce) {
  std::vector<std::array<int64_t, 3>> parts;
#pragma omp parallel num_threads(2)
#pragma omp master
  parallel_ranges(5, 23, [&](int64_t begin, int64_t end, int thread) { parts.push_back({begin, end, thread}); });
  EXPECT_EQ(parts, (std::vector<std::array<int64_t, 3>>{{0, 4, 0}, {4, 9, 1}, {9, 13, 2}, {13, 18, 3}, {18, 23, 4}}));
}

#endif

// tests/unit/CMakeLists.txt runs this with OMP_THREAD_LIMIT=1, OMP_DYNAMIC=true and OMP_MAX_ACTIVE_LEVELS=0 too.
TEST(SmallTeam, IsNotDeliveredWhateverTheEnvironmentSays) {
  EXPECT_NO_THROW(start_threads(3));
  EXPECT_EQ(std::getenv("OMP_THREAD_LIMIT"), nullptr);
  for (const std::string& entry : set_aside_variables())
    EXPECT_EQ(std::getenv(entry.substr(0, entry.find('=')).c_str()), nullptr) << entry;
}

TEST(SmallTeam, ThatTheSystemDeliversIsAnError) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer needs more memory than this test leaves";
#endif
  const auto start_in_little_memory = [] {
    rlimit limit{};
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = rlim_t{2} << 30;  // stacks take 8 MiB each
    setrlimit(RLIMIT_AS, &limit);
    try {
      start_threads(2000);
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n%s\n", error.what(), error.hint().c_str());
      std::_Exit(static_cast<int>(error.code()));
    }
    std::_Exit(0);
  };
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(start_in_little_memory(), testing::ExitedWithCode(74),
              "2000 threads were to compute, and the system starts [0-9]+: .*\n.*ulimit -u.*device.threads");
}

}  // namespace
}  // namespace memring
