// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy/cross_entropy.h"
#include "base/error.h"

#include <limits>

#include "base/random.h"
#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t rows, dim, vocab;
};
// Among them: several chunks of rows (513 and 1030), several blocks of a row's sum (vocab 20011).
const Extents kExtents[] = {{1, 1, 1},    {5, 7, 3},      {17, 32, 64}, {513, 5, 33},
                            {1030, 3, 7}, {35, 3, 20011}, {0, 4, 5},    {3, 0, 5}};

/// Random targets; every fifth is ignored, and the whole second chunk of 512 rows.
Tensor<int32_t> targets_for(const Extents& e) {
  Tensor<int32_t> targets(Shape{e.rows});
  const Random numbers(1, Purpose::Test);
  for (int64_t r = 0; r < e.rows; ++r)
    targets[r] = r % 5 == 4 || r / 512 == 1
                     ? kIgnoredTarget
                     : static_cast<int32_t>(numbers.below(static_cast<uint32_t>(r), static_cast<uint64_t>(e.vocab)));
  return targets;
}

template <class T>
struct Results {
  Tensor<T> nll_alone, nll, d_hidden, d_weight;
};
template <class T>
Results<T> run(Queue& queue, const Tensor<T>& hidden, const Tensor<T>& weight, const Tensor<int32_t>& targets) {
  const int64_t rows = hidden.shape[0], vocab = weight.shape[0];
  Results<T> r{random<T>({rows}, 5), random<T>({rows}, 6), random<T>(hidden.shape, 7), random<T>(weight.shape, 8)};
  Scratch scratch(CrossEntropy::scratch_bytes(dtype_of<T>(), rows, vocab));  // exactly what it says it needs
  CrossEntropy::forward(queue, r.nll_alone, hidden, weight, token_ids(targets), scratch);
  CrossEntropy::forward_backward(queue, r.nll, r.d_hidden, r.d_weight, hidden, weight, token_ids(targets), scratch);
  EXPECT_EQ(scratch.used(), 0);
  return r;
}

TEST(CrossEntropy, AgreesWithTheDoubleReference) {
  for (const Extents& e : kExtents) {
    SCOPED_TRACE(fmt::format("rows {}, dim {}, vocab {}", e.rows, e.dim, e.vocab));
    const auto hidden = random<float>({e.rows, e.dim}, 1), weight = random<float>({e.vocab, e.dim}, 2);
    const auto targets = targets_for(e);
    Queue oracle = reference_queue();
    const auto expected = run<double>(oracle, Tensor<double>(hidden), Tensor<double>(weight), targets);
    on_queues(every_queue(), [&](Queue& queue) {
      const auto found = run<float>(queue, hidden, weight, targets);
      expect_close(found.nll_alone, expected.nll, 1e-6, "nll of forward");
      expect_close(found.nll, expected.nll, 1e-6, "nll of forward_backward");
      // The reference in fp32 adds 20,011 exponentials one by one; the fast path sums them in blocks.
      const double tolerance = queue.reference(DType::F32) || queue.device() ? 2e-5 : 3e-6;
      expect_close(found.d_hidden, expected.d_hidden, tolerance, "d_hidden");
      expect_close(found.d_weight, expected.d_weight, tolerance, "d_weight");
      if (!queue.device()) return;  // on the host fp64 is the reference's
      const auto wide = run<double>(queue, Tensor<double>(hidden), Tensor<double>(weight), targets);
      expect_close(wide.nll, expected.nll, 1e-13, "nll in fp64");
      expect_close(wide.d_hidden, expected.d_hidden, 1e-13, "d_hidden in fp64");
      expect_close(wide.d_weight, expected.d_weight, 1e-13, "d_weight in fp64");
    });
  }
}

TEST(CrossEntropy, ReferenceGradientMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 2, 2}, {6, 5, 7}}) {
    const auto targets = targets_for(e);
    Queue queue = reference_queue();
    const Differentiable loss{[&](const Tensors& in) {
                                Tensor<double> sum(Shape{1});
                                for (double nll : run(queue, in[0], in[1], targets).nll.data) sum[0] += nll;
                                return Tensors{sum};
                              },
                              [&](const Tensors& in, const Tensors& d) {
                                auto r = run(queue, in[0], in[1], targets);
                                const auto before = random<double>(in[1].shape, 8);  // d_weight is accumulated
                                for (int64_t i = 0; i < before.size(); ++i)
                                  r.d_weight[i] = d[0][0] * (r.d_weight[i] - before[i]);
                                for (double& value : r.d_hidden.data) value *= d[0][0];
                                return Tensors{r.d_hidden, r.d_weight};
                              }};
    expect_gradient(loss, {random<double>({e.rows, e.dim}, 1), random<double>({e.vocab, e.dim}, 2)});
  }
}

TEST(CrossEntropy, IsAccurateForLargeLogits) {
  // Logits of ±100 in each row; the target is the largest, the smallest, and one between.
  Tensor<float> hidden(Shape{3, 2}), weight(Shape{40, 2});
  for (int64_t j = 0; j < 40; ++j)
    weight[2 * j] = static_cast<float>(-100 + 5.125 * static_cast<double>(j)), weight[2 * j + 1] = 0.25f;
  for (int64_t r = 0; r < 3; ++r) hidden[2 * r] = 1, hidden[2 * r + 1] = 1;
  Tensor<int32_t> targets(Shape{3});
  targets[0] = 39, targets[1] = 0, targets[2] = 20;
  Queue oracle = reference_queue();
  const auto expected = run<double>(oracle, Tensor<double>(hidden), Tensor<double>(weight), targets);
  on_queues(every_queue(), [&](Queue& queue) {
    const auto found = run<float>(queue, hidden, weight, targets);
    for (int64_t r = 0; r < 3; ++r) EXPECT_NEAR(found.nll[r], expected.nll[r], 2e-7 * (1 + expected.nll[r])) << r;
    expect_close(found.d_hidden, expected.d_hidden, 1e-6, "d_hidden");
  });
}

TEST(CrossEntropy, Bf16ProductsSeeRoundedOperands) {
  const Extents e{35, 33, 129};
  const auto hidden = random<float>({e.rows, e.dim}, 1, 0.3), weight = random<float>({e.vocab, e.dim}, 2);
  const auto targets = targets_for(e);
  Queue oracle = reference_queue();
  const auto expected =
      run<double>(oracle, Tensor<double>(rounded_to_bf16(hidden)), Tensor<double>(rounded_to_bf16(weight)), targets);
  auto queues = every_queue();
  for (auto& options : queues) options.products = Products::Bf16;
  on_queues(queues, [&](Queue& queue) {
    const auto found = run<float>(queue, hidden, weight, targets);
    expect_close(found.nll, expected.nll, 1e-6, "nll");
    // The gradient of the logits is rounded as well, which the oracle does not do: half a unit of 8 bits for each
    // factor.
    expect_close(found.d_hidden, expected.d_hidden, 4e-3, "d_hidden");
    expect_close(found.d_weight, expected.d_weight, 4e-3, "d_weight");
  });
}

TEST(CrossEntropy, IgnoredRowsSendNothingAtAll) {
  on_queues(every_queue(), [](Queue& queue) {
    const auto hidden = random<float>({600, 8}, 1), weight = random<float>({9, 8}, 2);
    Tensor<int32_t> targets(Shape{600});
    for (int32_t& target : targets.data) target = kIgnoredTarget;
    const auto found = run<float>(queue, hidden, weight, targets);
    expect_same_bits(found.nll, Tensor<float>(Shape{600}), "nll");
    expect_same_bits(found.d_hidden, Tensor<float>(hidden.shape), "d_hidden");
    expect_same_bits(found.d_weight, random<float>(weight.shape, 8), "d_weight");
  });
}

TEST(CrossEntropy, AFrozenWeightChangesNothingElse) {
  for (const Extents& e : kExtents)
    on_queues(every_queue(), [&](Queue& queue) {
      const auto hidden = random<float>({e.rows, e.dim}, 1), weight = random<float>({e.vocab, e.dim}, 2);
      const auto targets = targets_for(e);
      const auto expected = run<float>(queue, hidden, weight, targets);
      Tensor<float> nll(Shape{e.rows}), d_hidden(hidden.shape);
      Scratch scratch(CrossEntropy::scratch_bytes(DType::F32, e.rows, e.vocab));
      CrossEntropy::forward_backward(queue, nll, d_hidden, {}, hidden, weight, token_ids(targets), scratch);
      expect_same_bits(nll, expected.nll, "nll");
      expect_same_bits(d_hidden, expected.d_hidden, "d_hidden");
    });
}

template <class T>
struct Distilled {
  Tensor<T> loss, d_hidden;
};
template <class T>
Distilled<T> distil(Queue& queue, const Tensor<T>& hidden, const Tensor<T>& taught, double share,
                    const Tensor<T>& weight, const Tensor<int32_t>& targets) {
  const int64_t rows = hidden.shape[0], vocab = weight.shape[0];
  Distilled<T> r{random<T>({rows}, 5), random<T>(hidden.shape, 7)};
  Scratch scratch(CrossEntropy::distil_scratch_bytes(dtype_of<T>(), rows, vocab));
  CrossEntropy::distil(queue, r.loss, r.d_hidden, hidden, taught, share, weight, token_ids(targets), scratch);
  EXPECT_EQ(scratch.used(), 0);
  return r;
}

TEST(CrossEntropy, DistilAgreesWithTheDoubleReference) {
  for (const Extents& e : kExtents)
    for (const double share : {0.0, 0.9, 1.0}) {
      if (e.vocab == 1) continue;  // its gradient is zero, of which roundings are no part
      SCOPED_TRACE(fmt::format("rows {}, dim {}, vocab {}, share {}", e.rows, e.dim, e.vocab, share));
      const auto hidden = random<float>({e.rows, e.dim}, 1), weight = random<float>({e.vocab, e.dim}, 2),
                 taught = random<float>({e.rows, e.dim}, 3);
      const auto targets = targets_for(e);
      Queue oracle = reference_queue();
      const auto expected = distil<double>(oracle, Tensor<double>(hidden), Tensor<double>(taught), share,
                                           Tensor<double>(weight), targets);
      on_queues(every_queue(), [&](Queue& queue) {
        const auto found = distil<float>(queue, hidden, taught, share, weight, targets);
        const double tolerance = queue.reference(DType::F32) || queue.device() ? 2e-5 : 3e-6;
        expect_close(found.loss, expected.loss, tolerance, "loss");
        expect_close(found.d_hidden, expected.d_hidden, tolerance, "d_hidden");
      });
    }
}

TEST(CrossEntropy, DistilsReferenceGradientMatchesFiniteDifferences) {
  const Extents e{6, 5, 7};
  const auto targets = targets_for(e);
  const auto weight = random<double>({e.vocab, e.dim}, 2), taught = random<double>({e.rows, e.dim}, 3);
  Queue queue = reference_queue();
  for (const double share : {0.0, 0.6, 1.0}) {
    const Differentiable loss{
        [&](const Tensors& in) { return Tensors{distil(queue, in[0], taught, share, weight, targets).loss}; },
        [&](const Tensors& in, const Tensors& d) {
          auto r = distil(queue, in[0], taught, share, weight, targets);
          for (int64_t i = 0; i < r.d_hidden.size(); ++i) r.d_hidden[i] *= d[0][i / e.dim];
          return Tensors{r.d_hidden};
        }};
    expect_gradient(loss, {random<double>({e.rows, e.dim}, 1)});
  }
}

// By its two ends: nothing of the teacher is the loss as it was, and who is the teacher has nothing to learn from it.
TEST(CrossEntropy, DistilIsTheLossWithoutAShareAndZeroBesideOneself) {
  const Extents e{35, 33, 129};
  const auto hidden = random<float>({e.rows, e.dim}, 1), weight = random<float>({e.vocab, e.dim}, 2);
  const auto targets = targets_for(e);
  on_queues(every_queue(), [&](Queue& queue) {
    const auto expected = run<float>(queue, hidden, weight, targets);
    const auto alone = distil<float>(queue, hidden, random<float>(hidden.shape, 3), 0, weight, targets);
    expect_close(alone.loss, Tensor<double>(expected.nll), 2e-5, "nll");
    expect_close(alone.d_hidden, Tensor<double>(expected.d_hidden), 2e-5, "d_hidden");
    const auto itself = distil<float>(queue, hidden, hidden, 1, weight, targets);
    for (const float loss : itself.loss.data) EXPECT_NEAR(loss, 0, 1e-5);
    for (const float d : itself.d_hidden.data) EXPECT_NEAR(d, 0, 1e-5);
  });
}

TEST(CrossEntropy, NaNReachesTheLoss) {
  on_queues(every_queue(), [](Queue& queue) {
    auto hidden = random<float>({3, 8}, 1);
    const auto weight = random<float>({40, 8}, 2);
    hidden[9] = std::numeric_limits<float>::quiet_NaN();
    const auto found = run<float>(queue, hidden, weight, Tensor<int32_t>(Shape{3}));
    EXPECT_FALSE(found.nll[0] != found.nll[0]);
    EXPECT_TRUE(found.nll[1] != found.nll[1]);
  });
}

TEST(CrossEntropy, NamesTheFirstTargetOutsideTheVocabulary) {
  on_queues(every_queue(), [](Queue& queue) {
    Tensor<float> hidden(Shape{4, 2}), weight(Shape{11, 2}), nll(Shape{4});
    Tensor<int32_t> targets(Shape{4});
    targets[0] = kIgnoredTarget, targets[1] = -1, targets[2] = 11;
    Scratch scratch(1 << 12);
    EXPECT_EQ(message_of([&] { CrossEntropy::forward(queue, nll, hidden, weight, token_ids(targets), scratch); }),
              "target -1 at row 1 is outside the model's vocabulary (vocab = 11)");
  });
}

TEST(CrossEntropy, RefusesShapesThatDoNotFit) {
  Queue queue;
  Scratch scratch(1 << 12);
  Tensor<float> hidden(Shape{4, 2}), weight(Shape{11, 2}), nll(Shape{4}), wrong(Shape{11, 3});
  Tensor<int32_t> targets(Shape{4});
  EXPECT_THROW(CrossEntropy::forward(queue, nll, hidden, wrong, token_ids(targets), scratch), ShapeError);
  const TokenIds host_has_fewer{targets.view(), std::span<const int32_t>(targets.data).first(3)};
  EXPECT_THROW(CrossEntropy::forward(queue, nll, hidden, weight, host_has_fewer, scratch), ShapeError);
  EXPECT_THROW(CrossEntropy::forward_backward(queue, nll, wrong, weight, hidden, weight, token_ids(targets), scratch),
               ShapeError);
  EXPECT_THROW(CrossEntropy::forward_backward(queue, nll, hidden, weight, hidden, weight, token_ids(targets), scratch),
               Error);
}

}  // namespace
}  // namespace memring::test
