// What operators say their products keep on a thread, against what a new thread has kept behind them.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/product_copies.h"

#include <functional>
#include <thread>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/linear/linear.h"
#include "kernels/linear_layer/linear_layer.h"
#include "layer_parameters.h"
#include "op_test.h"

namespace memring::test {
namespace {

ProductCopies kept_behind(Products products, const std::function<void(Queue&)>& work) {
  ProductCopies kept;
  std::thread([&] {
    Queue::Options options;
    options.products = products;
    Queue queue(options);
    work(queue);
    kept = product_copies(products);
  }).join();
  return kept;
}

void expect_copies(const ProductCopies& planned, const std::function<void(Queue&)>& work) {
  const ProductCopies kept = kept_behind(Products::Bf16, work);
  EXPECT_EQ(kept.left, planned.left);
  EXPECT_EQ(kept.right, planned.right);
  EXPECT_GT(planned.bytes(Products::Bf16, 1), 0);
  EXPECT_EQ(planned.bytes(Products::F32, 2), 2 * planned.bytes(Products::Bf16, 1)) << "blocks as large as operands";
}

TEST(ProductCopies, PackedByOneDnnAreAFewBlocksAThreadAtTheMost) {
  constexpr int64_t kMiB = 1 << 20;
  const ProductCopies large = ProductCopies::of(kMiB, 1, 8);
  EXPECT_EQ(large.bytes(Products::F32, 1), 8 * kMiB);
  EXPECT_EQ(large.bytes(Products::F32, 3), 3 * 8 * kMiB);
  EXPECT_GT(large.bytes(Products::Bf16, 1), 32 * kMiB) << "rounded ones are whole";
}

TEST(ProductCopies, OfLinearLayersAreThoseThatItPlans) {
  const int64_t rows = 37;
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{16, 48}, {48, 16}}) {
    const auto x = random<float>({rows, in}, 1), w = random<float>({out, in}, 2), dy = random<float>({rows, out}, 3);
    auto y = dy, dx = x, dw = w;
    const auto forward = [&](Queue& queue) { Linear::forward(queue, y, Write::Overwrite, x, w); };
    expect_copies(Linear::copies(rows, in, out, false), forward);
    expect_copies(Linear::copies(rows, in, out, true), [&](Queue& queue) {
      forward(queue);
      Linear::input_gradient(queue, dx, Write::Overwrite, dy, w);
      Linear::weight_gradient(queue, dw, dy, x);
    });
  }
}

TEST(ProductCopies, OfLayersWithAnUpdateToo) {
  const int64_t rows = 37, in = 16, out = 8;
  const auto x = random<float>({rows, in}, 1), dy = random<float>({rows, out}, 2);
  auto y = dy, dx = x;
  for (const int64_t rank : {3, 24}) {  // where the weight counts, and where the update does
    LayerParameters<float> layer(out, in, {.rank = rank}, 3), d = layer;
    Scratch scratch(LinearLayer::scratch_bytes(DType::F32, rows, rank));
    const auto forward = [&](Queue& queue) {
      LinearLayer::forward(queue, y, Write::Overwrite, x, layer.weights(), scratch);
    };
    expect_copies(LinearLayer::copies(rows, in, out, rank, false), forward);
    expect_copies(LinearLayer::copies(rows, in, out, rank, true), [&](Queue& queue) {
      forward(queue);
      LinearLayer::input_gradient(queue, dx, Write::Overwrite, dy, layer.weights(), scratch);
      LinearLayer::weight_gradients(queue, d.gradients(), dy, x, layer.weights(), scratch);
    });
  }
  EXPECT_EQ(LinearLayer::copies(rows, in, out, 0, true), Linear::copies(rows, in, out, true));
}

TEST(ProductCopies, OfTheHeadAreThoseOfAChunk) {
  const int64_t rows = 1030, dim = 8, vocab = 21;
  const auto hidden = random<float>({rows, dim}, 1), weight = random<float>({vocab, dim}, 2);
  Tensor<int32_t> targets(Shape{rows});
  Tensor<float> nll(Shape{rows});
  auto d_hidden = hidden, d_weight = weight;
  Scratch scratch(CrossEntropy::scratch_bytes(DType::F32, rows, vocab));
  expect_copies(CrossEntropy::copies(rows, dim, vocab, false),
                [&](Queue& queue) { CrossEntropy::forward(queue, nll, hidden, weight, token_ids(targets), scratch); });
  expect_copies(CrossEntropy::copies(rows, dim, vocab, true), [&](Queue& queue) {
    CrossEntropy::forward_backward(queue, nll, d_hidden, d_weight, hidden, weight, token_ids(targets), scratch);
  });
}

TEST(ProductCopies, AreTakenAtOnceWhereTheyAreReserved) {
  const ProductCopies wanted{100, 7};
  EXPECT_EQ(kept_behind(Products::Bf16, [&](Queue&) { reserve_product_copies(Products::Bf16, wanted); }), wanted);
}

}  // namespace
}  // namespace memring::test
