// GoogleTest under MPI: every rank runs the same tests in the same order. Rank 0 reports; another rank prints its
// failures only. A failure on any rank fails the program, and an exception, a death or a fatal failure ends the
// whole job: its rank has left the tests' messages, and the others would wait for ever.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "base/error.h"
#include "ranks.h"

namespace memring {
namespace {

Session* current = nullptr;

class RankPrinter : public testing::EmptyTestEventListener {
  // GoogleTest holds the lock of current_test_info() while it reports a result.
  void OnTestStart(const testing::TestInfo& test) override {
    test_ = fmt::format("{}.{}", test.test_suite_name(), test.name());
  }

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    if (session().rank() > 0) {
      fmt::print("rank {}: {}: {}:{}: {}\n", session().rank(), test_, result.file_name() ? result.file_name() : "",
                 result.line_number(), result.summary());
      std::fflush(stdout);
    }
    if (result.fatally_failed() && session().size() > 1)
      session().fail(Error(ExitCode::Mismatch, fmt::format("a fatal test failure: {}", result.summary())));
  }

  std::string test_;
};

// Listeners that raise failures stand behind those that hear of them.
class RankReport : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo& test) override {
    const int64_t mine = test.result()->Failed();
    std::vector<int64_t> failed(static_cast<size_t>(session().size()));
    world().all_gather(flat(failed), ConstView<int64_t>(&mine, {1}));
    std::string ranks;
    for (size_t rank = 0; rank < failed.size(); ++rank)
      if (failed[rank]) ranks += fmt::format("{}{}", ranks.empty() ? "" : ", ", rank);
    if (!ranks.empty() && session().rank() == 0 && session().size() > 1)
      ADD_FAILURE() << test.test_suite_name() << "." << test.name() << " failed on rank " << ranks << " of "
                    << session().size();
  }
};

}  // namespace

Session& session() { return *current; }

}  // namespace memring

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  memring::Session session(argc, argv);
  memring::current = &session;
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (session.rank() > 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new memring::RankPrinter);
  listeners.Append(new memring::RankReport);
  GTEST_FLAG_SET(catch_exceptions, false);
  try {
    return RUN_ALL_TESTS();
  } catch (const memring::Error& error) {
    session.fail(error);
  } catch (const std::exception& error) {
    session.fail(memring::Error(memring::ExitCode::Internal, error.what()));
  }
}
