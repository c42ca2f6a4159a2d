// Ring attention against attention over all rows on one rank; the plan of who holds what; its balance.
// SPDX-License-Identifier: Apache-2.0
#include "dist/ring_attention.h"
#include "base/error.h"

#include <gtest/gtest.h>

#include <cmath>

#include "../ops/attention_patterns.h"
#include "place.h"
#include "ranks.h"

namespace memring {
namespace {

TEST(RingPlan, GivesEachRowToOneRank) {
  for (int ranks = 1; ranks <= 9; ++ranks)
    for (int64_t rows : {0, 1, 2, 3, 7, 16, 17, 100, 257}) {
      const RingPlan plan(rows, ranks);
      std::vector<int> owners(static_cast<size_t>(rows));
      for (int rank = 0; rank < ranks; ++rank) {
        const std::vector<int32_t> mine = plan.rows_of(rank);
        EXPECT_EQ(std::ssize(mine), plan.count(rank));
        EXPECT_LE(plan.count(rank), plan.most());
        EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
        for (const int32_t row : mine) ++owners[static_cast<size_t>(row)];
        // Counted one by one, and as what lies within.
        for (const Range wanted : {Range{0, rows}, Range{rows / 3, rows / 2}, Range{rows, rows}}) {
          const auto inside =
              std::count_if(mine.begin(), mine.end(), [&](int32_t r) { return wanted.begin <= r && r < wanted.end; });
          const auto [low, high] = plan.within(rank, wanted);
          EXPECT_EQ(low.size() + high.size(), inside) << rows << " rows on " << ranks << " ranks, rank " << rank;
        }
      }
      EXPECT_EQ(std::count(owners.begin(), owners.end(), 1), rows) << rows << " rows on " << ranks << " ranks";
    }
}

TEST(RingPlan, WithBlocksEachRankHoldsWholeOnes) {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const int64_t rows : {0, 1, 63, 64, 65, 320, 1000, 1027}) {
      const RingPlan plan(rows, ranks, 64);
      std::vector<int> block_of(static_cast<size_t>(rows + 63) / 64, -1);
      int64_t held = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        held += plan.count(rank);
        int64_t here = 0;
        for (const int32_t row : plan.rows_of(rank)) {
          // A block begins at a multiple of its size here too, and is on no other rank.
          EXPECT_EQ(row % 64, here++ % 64) << rows << " rows on " << ranks;
          int& owner = block_of[static_cast<size_t>(row / 64)];
          EXPECT_TRUE(owner == -1 || owner == rank);
          owner = rank;
        }
      }
      EXPECT_EQ(held, rows);
    }
}

TEST(RingPlan, EveryRankMeetsAllKeysOnce) {
  for (int ranks = 1; ranks <= 6; ++ranks) {
    const RingPlan plan(100, ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<int> met(static_cast<size_t>(ranks));
      for (int hop = 0; hop < ranks; ++hop) {
        ++met[static_cast<size_t>(plan.owner(rank, hop))];
        EXPECT_EQ(plan.reader(plan.owner(rank, hop), hop), rank);
      }
      EXPECT_EQ(std::count(met.begin(), met.end(), 1), ranks);
    }
  }
}

TEST(RingPlan, CausalWorkDiffersByAtMostFivePercentFrom64RowsARank) {
  for (int ranks = 2; ranks <= 16; ++ranks)
    for (int64_t rows : {64 * ranks, 64 * ranks + 1, 65 * ranks - 1, 100 * ranks + 7, 1000 * ranks + 13}) {
      const RingPlan plan(rows, ranks);
      const std::vector<Row> all = test::causal(static_cast<int>(rows)).rows;
      int64_t least = INT64_MAX, most = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const int64_t pairs = visible_pairs(rows_at(all, plan.rows_of(rank)), all);
        least = std::min(least, pairs);
        most = std::max(most, pairs);
      }
      EXPECT_LE(static_cast<double>(most), 1.05 * static_cast<double>(least)) << rows << " rows on " << ranks;
    }
}

struct Extents {
  int64_t batch, heads, kv_heads, dim;
};

template <class T>
struct Tensors {
  std::vector<T> q, k, v, d_o, o, lse, dq, dk, dv;
};

/// Rows `numbers` of [matrices, rows, dim].
template <class T>
std::vector<T> rows_of(const std::vector<T>& all, int64_t matrices, int64_t dim, const std::vector<int32_t>& numbers) {
  std::vector<T> mine;
  const int64_t rows = std::ssize(all) / std::max<int64_t>(matrices * dim, 1);
  for (int64_t m = 0; m < matrices; ++m)
    for (const int32_t row : numbers) {
      const auto from = all.begin() + (m * rows + row) * dim;
      mine.insert(mine.end(), from, from + dim);
    }
  return mine;
}

/// Forward and backward of the rows that are in `t`; dk and dv start from ones.
template <class T>
void run(AttentionExecutor& attention, Queue& queue, Tensors<T>& t, const std::vector<Row>& rows, Extents e) {
  const auto n = std::ssize(rows);
  const Shape queries{e.batch, e.heads, n, e.dim}, keys{e.batch, e.kv_heads, n, e.dim}, scalars{e.batch, e.heads, n};
  t.o.assign(t.q.size(), T(NAN));
  t.dq = t.o;
  t.lse.assign(static_cast<size_t>(scalars.elements()), T(NAN));
  t.dk.assign(t.k.size(), T(1));
  t.dv = t.dk;
  RowStore store;
  store.next_layout(queue);
  const RowTable table = store.add(queue, rows);
  const auto placed = [&](std::vector<T>& numbers, Shape shape) {
    return Placed(queue, View<T>(numbers.data(), shape));
  };
  const Placed q = placed(t.q, queries), d_o = placed(t.d_o, queries), k = placed(t.k, keys), v = placed(t.v, keys),
               o = placed(t.o, queries), lse = placed(t.lse, scalars), dq = placed(t.dq, queries),
               dk = placed(t.dk, keys), dv = placed(t.dv, keys);
  const KeySpan span{.k = k.view(), .v = v.view(), .dk = dk, .dv = dv, .rows = table};
  attention.forward(queue, o, lse, q.view(), table, {&span, 1});
  attention.backward(queue, dq, d_o.view(), o.view(), lse.view(), q.view(), table, {&span, 1});
  for (const Placed* result : {&o, &lse, &dq, &dk, &dv}) result->fetch();
}

template <class T>
void expect_close(const std::vector<T>& found, const std::vector<T>& expected, double tolerance, const char* what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  double error = 0, norm = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isinf(expected[i]) && found[i] == expected[i]) continue;  // the lse of a row that sees nothing
    error += std::pow(static_cast<double>(found[i] - expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(norm)) << what;
}

template <class T>
void expect_equal_to_one_rank(Transport& token, const test::Pattern& pattern, Extents e, double tolerance) {
  const std::vector<Row>& layout = pattern.rows;
  const auto n = std::ssize(layout);
  Queue queue = queue_under_test(n < 200 ? 1 : 2);
  Tensors<T> all;
  all.q = values_of<T>(1, e.batch * e.heads * n * e.dim);
  all.d_o = values_of<T>(2, e.batch * e.heads * n * e.dim);
  all.k = values_of<T>(3, e.batch * e.kv_heads * n * e.dim);
  all.v = values_of<T>(4, e.batch * e.kv_heads * n * e.dim);
  LocalAttention local;
  run(local, queue, all, layout, e);

  const RingPlan plan(n, world().size());
  const std::vector<int32_t> numbers = plan.rows_of(world().rank());
  const auto of_heads = [&](const std::vector<T>& x) { return rows_of(x, e.batch * e.heads, e.dim, numbers); };
  const auto of_kv_heads = [&](const std::vector<T>& x) { return rows_of(x, e.batch * e.kv_heads, e.dim, numbers); };
  Tensors<T> mine;
  mine.q = of_heads(all.q);
  mine.d_o = of_heads(all.d_o);
  mine.k = of_kv_heads(all.k);
  mine.v = of_kv_heads(all.v);
  over_ranks::RingAttention ring(token);
  ring.allocate(queue, ring.buffer_bytes(dtype_of<T>(), {e.batch, e.heads, e.kv_heads, e.dim}, plan, true));
  ring.enter(queue, plan, layout);
  const std::vector<Row> rows = rows_at(layout, numbers);
  run(ring, queue, mine, rows, e);

  expect_close(mine.lse, rows_of(all.lse, e.batch * e.heads, 1, numbers), tolerance, "lse");
  expect_close(mine.o, of_heads(all.o), tolerance, "o");
  expect_close(mine.dq, of_heads(all.dq), tolerance, "dq");
  expect_close(mine.dk, of_kv_heads(all.dk), tolerance, "dk");
  expect_close(mine.dv, of_kv_heads(all.dv), tolerance, "dv");

  const Tensors<T> once = mine;
  run(ring, queue, mine, rows, e);
  expect_same(mine.o, once.o, 0, std::ssize(mine.o), "o again");
  expect_same(mine.dq, once.dq, 0, std::ssize(mine.dq), "dq again");
  expect_same(mine.dk, once.dk, 0, std::ssize(mine.dk), "dk again");
  expect_same(mine.dv, once.dv, 0, std::ssize(mine.dv), "dv again");
}

// One row, fewer rows than chunks, primes, several blocks of the kernel; heads in groups; all kinds of masks.
TEST(RingAttention, EqualsAttentionOnOneRank) {
  const auto token = transport_under_test();
  for (const test::Pattern& pattern :
       {test::causal(0), test::causal(1), test::causal(2), test::causal(5), test::causal(13), test::causal(67),
        test::causal(700), test::rmt_block(3, 8), test::rmt_block(40, 300), test::window(131, 20), test::future(77)})
    for (const Extents& e : {Extents{1, 2, 2, 8}, Extents{2, 4, 2, 16}, Extents{1, 3, 1, 5}}) {
      SCOPED_TRACE(fmt::format("{}, {} rows, {} x {} heads on {}", pattern.name, pattern.rows.size(), e.batch, e.heads,
                               e.kv_heads));
      expect_equal_to_one_rank<float>(*token, pattern, e, 2e-6);
      if (pattern.rows.size() < 200) expect_equal_to_one_rank<double>(*token, pattern, e, 1e-14);
    }
}

TEST(RingAttention, EqualsAttentionOnOneRankInTinyMessages) {
  expect_equal_to_one_rank<float>(*transport_under_test(100), test::causal(150), {1, 4, 2, 16}, 2e-6);
}

}  // namespace
}  // namespace memring
