// The schedule of Append: encodes and decodes of a stream over ranks that hold its memories and sum their adjoints.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "dist/message_lanes.h"
#include "schedule_cases.h"

namespace memring {
namespace {

Case append(int32_t ranks, int32_t segments, Policy policy = {}, int32_t streams = 1) {
  return {.dependency = Dependency::Append, .ranks = ranks, .streams = streams, .segments = segments, .policy = policy};
}

/// The policies of one shape: training with recompute and without, evaluation, and streams in flight.
template <class F>
void for_each_case(const F& f) {
  for (int32_t ranks = 1; ranks <= 4; ++ranks)
    for (int32_t segments = 1; segments <= 9; ++segments)
      for (int32_t streams = 1; streams <= 3; ++streams)
        for (int32_t in_flight : {1, 2})
          for (int policy = 0; policy < 3; ++policy) {
            if (in_flight > streams) continue;  // the same as one
            f(append(ranks, segments,
                     {.backward = policy < 2, .recompute = policy == 0, .in_flight = in_flight, .parts = streams},
                     streams));
          }
}

TEST(ScheduleAppend, IsValidForAllSmallShapesAndPolicies) {
  int schedules = 0, in_order = 0, buffered = 0;
  for_each_case([&](Case c) {
    for (const Messages messages : {Messages::Buffered, Messages::InOrder}) {
      c.policy.messages = messages;
      std::vector<Schedule> ranks = derive_all(c);
      EXPECT_EQ(joined(validate(ranks)), "") << describe(c);
      if (c.ranks == 1) continue;
      const bool deadlocks = !scheduling::replay_in_lanes(sources_of(lists_of(c))).empty();
      (messages == Messages::InOrder ? in_order : buffered) += deadlocks;
      schedules += messages == Messages::InOrder;
    }
  });
  fmt::print("{} schedules: {} deadlock in order, {} buffered\n", schedules, in_order, buffered);
  EXPECT_EQ(in_order, 0);
}

}  // namespace
}  // namespace memring
