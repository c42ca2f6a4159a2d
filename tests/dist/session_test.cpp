// The session's place in the job, and bait for the test that watches rank_main.cpp report failures.
// SPDX-License-Identifier: Apache-2.0
#include "dist/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "ranks.h"

namespace memring {
namespace {

TEST(Session, KnowsItsPlaceOnTheHost) {
  EXPECT_EQ(session().rank(), world().rank());
  EXPECT_EQ(session().size(), world().size());
  EXPECT_EQ(world().name(), "world");
  EXPECT_FALSE(session().host().empty());
  EXPECT_EQ(session().host().find('.'), std::string::npos);
  // Tests run on one host.
  EXPECT_EQ(session().node().ranks, session().size());
  const int64_t mine = session().node().rank;
  std::vector<int64_t> ranks(static_cast<size_t>(session().size()));
  world().all_gather(flat(ranks), ConstView<int64_t>(&mine, {1}));
  std::sort(ranks.begin(), ranks.end());
  for (size_t i = 0; i < ranks.size(); ++i)
    EXPECT_EQ(ranks[i], static_cast<int64_t>(i)) << "node ranks number the host's ranks";
}

// Run by session_failure_test.cpp only.

TEST(Bait, DISABLED_FailsOnTheLastRank) { EXPECT_NE(session().rank(), session().size() - 1); }

TEST(Bait, DISABLED_FailsFatallyOnTheLastRankWhileOthersWait) {
  ASSERT_NE(session().rank(), session().size() - 1);
  world().barrier();
}

TEST(Bait, DISABLED_ThrowsOnTheLastRankWhileOthersWait) {
  if (session().rank() == session().size() - 1) throw std::runtime_error("thrown by the last rank");
  world().barrier();
}

}  // namespace
}  // namespace memring
