// Gradient synchronisation: shards, sums, flags and the norm of the mean gradient, the same on every rank.
// SPDX-License-Identifier: Apache-2.0
#include "dist/gradient_sync.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "place.h"
#include "ranks.h"

namespace memring {
namespace {

constexpr Diagnostic kKinds[] = {
    {"least", "{:.1g}", Combine::Min}, {"most", "{:.1g}", Combine::Max}, {"sum", "{:.1g}", Combine::Sum}};

Mesh mesh_of(Communicator& ranks) { return {ranks, {ranks.size(), 1, 1}}; }

StepSums sums_of(int rank) {
  StepSums sums;
  sums.nll = value_of<double>(rank, 0);
  sums.text_nll = value_of<double>(rank, 1);
  sums.targets = 10 + rank;
  sums.tokens = 100 + rank;
  sums.diagnostics = Diagnostics(kKinds);
  sums.diagnostics.values.assign(3, 1000.0 + rank);
  return sums;
}

/// In place.
template <class T>
ReducedStep reduce(GradientSync& sync, Queue& queue, std::vector<T>& gradients, const std::function<StepSums()>& ask) {
  const Placed there(queue, flat(gradients));
  const ReducedStep step = sync.reduce(queue, there, there, ask);
  there.fetch();
  return step;
}

template <class T>
std::vector<double> summed_gradients(int64_t count) {
  std::vector<double> sum(static_cast<size_t>(count));
  for (int rank = 0; rank < world().size(); ++rank)
    for (int64_t i = 0; i < count; ++i) sum[static_cast<size_t>(i)] += double(value_of<T>(rank, i));
  return sum;
}

template <class T>
void expect_reduced(int64_t count, double tolerance) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, count);
  std::vector<T> gradients = values_of<T>(world().rank(), count);
  const ReducedStep step = reduce(sync, queue, gradients, [&] { return sums_of(world().rank()); });

  StepSums expected;
  for (int rank = 0; rank < world().size(); ++rank) {
    expected.nll += sums_of(rank).nll;
    expected.text_nll += sums_of(rank).text_nll;
    expected.targets += sums_of(rank).targets;
    expected.tokens += sums_of(rank).tokens;
  }
  EXPECT_EQ(step.sums.nll, expected.nll);
  EXPECT_EQ(step.sums.text_nll, expected.text_nll);
  EXPECT_EQ(step.sums.targets, expected.targets);
  EXPECT_EQ(step.sums.tokens, expected.tokens);
  EXPECT_FALSE(step.sums.stop || step.sums.save || step.sums.time_over);
  EXPECT_EQ(step.loss(), expected.nll / expected.targets);
  EXPECT_TRUE(step.finite);

  const std::vector<double> sum = summed_gradients<T>(count);
  double square = 0;
  for (const double g : sum) square += g * g;
  const double norm = std::sqrt(square) / expected.targets;
  EXPECT_NEAR(step.norm, norm, tolerance * (1 + norm)) << count << " parameters";
  for (int64_t i = sync.shard().begin; i < sync.shard().end; ++i)
    ASSERT_NEAR(double(gradients[static_cast<size_t>(i)]), sum[static_cast<size_t>(i)], tolerance * 10)
        << "element " << i << " of " << count;

  // The optimizer's turn: every owner writes its shard, and everybody learns of it.
  std::vector<T> weights(static_cast<size_t>(count), T(-1));
  for (int64_t i = sync.shard().begin; i < sync.shard().end; ++i) weights[static_cast<size_t>(i)] = value_of<T>(99, i);
  const Placed there(queue, flat(weights));
  sync.gather(queue, there);
  there.fetch();
  expect_same(weights, values_of<T>(99, count), 0, count, "gathered weights");
}

TEST(GradientSync, SumsGradientsAndFindsTheNormOfTheirMean) {
  for (const int64_t count : {0, 1, 15, 17, 64, 1000, 300001}) {
    expect_reduced<float>(count, 1e-6);
    expect_reduced<double>(count, 1e-13);
  }
}

// Each rank starts its ranges at a pace of its own, as in Verb::Reduce's common order; a step may start only some.
TEST(GradientSync, BucketsThatTravelWhileARankComputesLeaveTheSameBits) {
  constexpr int64_t kCount = 5000;
  Queue queue = queue_under_test();
  const std::vector<Range> layers{{3500, 4500}, {2600, 3500}, {2500, 2600}, {400, 2500}};
  Mesh mesh = mesh_of(world());
  GradientSync whole(mesh, kCount);
  for (const int64_t bucket : {1, 700, 1500, 100000}) {
    GradientSync early(mesh, kCount, GradientSync::Order::OfRanks, bucket);
    for (int step = 0; step < 3; ++step) {
      std::vector<float> expected = values_of<float>(world().rank() + 10 * step, kCount), found = expected;
      const ReducedStep a = reduce(whole, queue, expected, [&] { return StepSums{}; });
      const Placed there(queue, flat(found));
      for (size_t layer = 0; layer < layers.size() && static_cast<int>(layer) <= 2 * step; ++layer) {
        early.start(queue, there, layers[layer]);
        for (int i = 0; i < world().rank(); ++i) early.progress();
      }
      const ReducedStep b = early.reduce(queue, there, there, [&] { return StepSums{}; });
      there.fetch();
      expect_same(found, expected, early.shard().begin, early.shard().end, "bucket of " + std::to_string(bucket));
      EXPECT_EQ(a.norm, b.norm);
    }
  }
}

TEST(GradientSync, ShardsAreAlignedAndNearEqual) {
  for (const int64_t count : {0, 1, 15, 17, 64, 1000, 300001}) {
    Mesh mesh = mesh_of(world());
    const GradientSync sync(mesh, count);
    ASSERT_EQ(sync.bounds().size(), static_cast<size_t>(world().size()) + 1);
    EXPECT_EQ(sync.bounds().front(), 0);
    EXPECT_EQ(sync.bounds().back(), count);
    for (size_t rank = 0; rank + 1 < sync.bounds().size(); ++rank) {
      const int64_t begin = sync.bounds()[rank], end = sync.bounds()[rank + 1];
      EXPECT_TRUE(begin % GradientSync::kAlignment == 0 || begin == count)
          << "shard " << rank << " starts at " << begin;
      EXPECT_LE(std::abs(double(end - begin) - double(count) / world().size()), 2 * GradientSync::kAlignment);
    }
  }
}

// Shards, and with them who adds up what, differ between any two numbers of ranks.
TEST(GradientSync, OfExactSumsInNoOrderHasTheBitsOfOneRank) {
  Queue queue = queue_under_test();
  Communicator alone = world().split(world().rank(), 0, "alone");
  Mesh mesh_alone = mesh_of(alone), mesh = mesh_of(world());
  for (const int64_t count : {0, 1, 1023, 5000, 100003}) {
    std::vector<Exact> all(static_cast<size_t>(count)), mine = all;
    for (int rank = 0; rank < world().size(); ++rank)
      for (int64_t i = 0; i < count; ++i) {
        const Exact term(value_of<double>(rank, i));
        all[static_cast<size_t>(i)] += term;
        if (rank == world().rank()) mine[static_cast<size_t>(i)] += term;
      }
    std::vector<float> expected(static_cast<size_t>(count)), found = expected;
    GradientSync one(mesh_alone, count, GradientSync::Order::None), sync(mesh, count, GradientSync::Order::None);
    StepSums sums;
    sums.targets = world().size();
    const double norm = one.reduce(queue, flat(all), flat(expected), [&] { return sums; }).norm;
    sums.targets = 1;
    EXPECT_EQ(sync.reduce(queue, flat(mine), flat(found), [&] { return sums; }).norm, norm) << count;
    for (int64_t i = sync.shard().begin; i < sync.shard().end; ++i)
      ASSERT_EQ(found[static_cast<size_t>(i)], expected[static_cast<size_t>(i)]) << i << " of " << count;
  }
}

TEST(GradientSync, AnExactSumThatIsNotANumberIsNotFinite) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, 3000, GradientSync::Order::None);
  std::vector<Exact> sums(3000, Exact(1.0));
  if (world().rank() == world().size() - 1) sums[2500] += Exact(1e30);
  std::vector<float> gradients(3000);
  EXPECT_FALSE(sync.reduce(queue, flat(sums), flat(gradients), [&] { return sums_of(world().rank()); }).finite);
}

TEST(GradientSync, GivesTheSameBitsTwiceAndOnEveryRank) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, 100003);
  std::vector<double> norms;
  for (int run = 0; run < 2; ++run) {
    std::vector<float> gradients = values_of<float>(world().rank(), 100003);
    norms.push_back(reduce(sync, queue, gradients, [&] { return sums_of(world().rank()); }).norm);
  }
  EXPECT_EQ(norms[0], norms[1]);
  std::vector<double> all(static_cast<size_t>(world().size()));
  world().all_gather(flat(all), ConstView<double>(norms.data(), {1}));
  for (const double norm : all) EXPECT_EQ(norm, norms[0]);
}

TEST(GradientSync, AFlagOfAnyRankReachesAll) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, 32);
  for (int asking = 0; asking < world().size(); ++asking)
    for (bool StepSums::*flag : {&StepSums::stop, &StepSums::save, &StepSums::time_over}) {
      StepSums local = sums_of(world().rank());
      local.*flag = asking == world().rank();
      std::vector<float> gradients(32, 1.0f);
      const StepSums sums = reduce(sync, queue, gradients, [&] { return local; }).sums;
      EXPECT_TRUE(sums.*flag) << "asked by rank " << asking;
      EXPECT_EQ(int(sums.stop) + int(sums.save) + int(sums.time_over), 1);
    }
}

TEST(GradientSync, EachDiagnosticIsReducedInItsOwnWay) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, 32);
  std::vector<float> gradients(32, 1.0f);
  const int ranks = world().size();
  const Diagnostics all = reduce(sync, queue, gradients, [&] { return sums_of(world().rank()); }).sums.diagnostics;
  EXPECT_EQ(all.values, std::vector<double>({1000.0, 1000.0 + ranks - 1, ranks * (1000 + (ranks - 1) / 2.0)}));
  EXPECT_EQ(all.declared.data(), std::data(kKinds));
}

TEST(GradientSync, ANonFiniteGradientOrLossOfAnyRankReachesAll) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, 1000);
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    for (int rank = 0; rank < world().size(); ++rank) {
      std::vector<float> gradients(1000, 1.0f);
      if (world().rank() == rank) gradients[999] = static_cast<float>(bad);
      EXPECT_FALSE(reduce(sync, queue, gradients, [&] { return sums_of(world().rank()); }).finite)
          << "gradient of rank " << rank;
      gradients.assign(1000, 1.0f);
      StepSums local = sums_of(world().rank());
      if (world().rank() == rank) local.nll = bad;
      EXPECT_FALSE(reduce(sync, queue, gradients, [&] { return local; }).finite) << "loss of rank " << rank;
    }
}

TEST(GradientSync, WithoutTargetsTheNormIsZero) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, 100);
  std::vector<float> gradients(100, 0.0f);
  const ReducedStep step = reduce(sync, queue, gradients, [&] { return StepSums{}; });
  EXPECT_EQ(step.norm, 0);
  EXPECT_EQ(step.loss(), 0);
  EXPECT_TRUE(step.finite);
}

TEST(GradientSync, RefusesABufferOfAnotherSize) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, 100);
  std::vector<float> gradients(99);
  EXPECT_THROW(reduce(sync, queue, gradients, [&] { return StepSums{}; }), ShapeError);
  EXPECT_THROW(sync.gather(queue, flat(gradients)), ShapeError);
}

TEST(GradientSync, RefusesARangeThatDoesNotLieInFrontOfTheOneBefore) {
  Queue queue = queue_under_test();
  Mesh mesh = mesh_of(world());
  GradientSync sync(mesh, 100);
  std::vector<float> gradients(100);
  const Placed there(queue, flat(gradients));
  sync.start(queue, there, {50, 80});
  EXPECT_THROW(sync.start(queue, there, {10, 40}), Error);
}

}  // namespace
}  // namespace memring
