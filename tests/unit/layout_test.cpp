// The layout of a segment: its parts follow each other, and who sees whom follows from the mask.
// SPDX-License-Identifier: Apache-2.0
#include "memory/layout.h"

#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

namespace memring {
namespace {

TEST(Layout, ItsPartsFollowEachOther) {
  const Layout layout{.front = 2, .text = 5, .back = 3};
  EXPECT_EQ(layout.rows(), 10);
  EXPECT_EQ(layout.front_rows(), (Range{0, 2}));
  EXPECT_EQ(layout.text_rows(), (Range{2, 7}));
  EXPECT_EQ(layout.back_rows(), (Range{7, 10}));
  EXPECT_EQ(std::ssize(layout.table()), 10);
  EXPECT_TRUE(Layout{}.table().empty());
}

/// How far each row sees from row 0 on.
std::vector<int32_t> horizon(const Layout& layout) {
  std::vector<int32_t> seen;
  for (const Row& row : layout.table()) {
    EXPECT_EQ(row.from, 0);
    EXPECT_EQ(row.position, row.order);
    seen.push_back(row.to);
  }
  return seen;
}

TEST(Layout, CausalRowsSeeUpToThemselvesAndBlocksOfMemoryAllOfTheirPart) {
  EXPECT_EQ(horizon({.front = 2, .text = 3, .back = 2}), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(horizon({.front = 2, .text = 3, .back = 2, .mask = MemoryMask::Block}),
            (std::vector<int32_t>{1, 1, 2, 3, 4, 6, 6}));
}

// Three memory rows behind six of text: the i-th sees 2 (i + 1) of these and itself, and stands where the next would.
TEST(Layout, MemoryRowsBehindTheTextMaySeeAPrefixOfIt) {
  const Layout layout{.text = 6, .back = 3, .mask = MemoryMask::Prefix};
  for (int32_t i = 0; i < 3; ++i)
    EXPECT_EQ(layout.row(6 + i), (Row{.position = 2 * (i + 1), .order = 6 + i, .from = 0, .to = 2 * (i + 1) - 1}));
  EXPECT_EQ(layout.row(4), (Row{.position = 4, .order = 4, .from = 0, .to = 4}));
}

TEST(Layout, RowsMaySeeKeysOfEarlierSegments) {
  const Layout layout{.text = 3, .sees_earlier = true};
  for (const Row& row : layout.table()) EXPECT_TRUE(sees(row, {.order = Layout::kEarlier}));
  EXPECT_FALSE(sees(Layout{.text = 3}.row(2), {.order = Layout::kEarlier}));
}

TEST(Layout, AWindowReachesOverTheSegmentsStartAsFarAsThereAreKeysAndSinksHaveOrdersOfTheirOwn) {
  const Layout first{.text = 4, .window = 3, .sinks = 1};
  EXPECT_EQ(first.row(0), (Row{0, kFirstSink, kFirstSink, kFirstSink}));
  EXPECT_EQ(first.row(1), (Row{1, 1, 0, 1}));
  EXPECT_EQ(first.row(3), (Row{3, 3, 1, 3}));
  EXPECT_TRUE(first.past_table().empty());
  const Layout later{.text = 4, .window = 6, .past_sinks = 1, .past = 5, .first = -3};
  EXPECT_EQ(later.row(0), (Row{0, 0, -3, 0}));
  EXPECT_EQ(later.row(3), (Row{3, 3, -2, 3}));
  std::vector<int32_t> orders;
  for (const Row& key : later.past_table()) orders.push_back(key.order);
  EXPECT_EQ(orders, (std::vector<int32_t>{kFirstSink, -5, -4, -3, -2, -1}));
}

}  // namespace
}  // namespace memring
