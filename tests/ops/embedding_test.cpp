// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/embedding.h"

#include "base/random.h"
#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t rows, dim, vocab;
};
const Extents kExtents[] = {{1, 1, 1}, {5, 7, 3}, {64, 32, 11}, {257, 97, 13}, {0, 5, 3}, {3, 0, 2}, {0, 4, 0}};

Tensor<int32_t> ids_for(const Extents& e) {
  Tensor<int32_t> ids(Shape{e.rows});
  const Random numbers(1, Purpose::Test);
  for (int64_t r = 0; r < e.rows; ++r)
    ids[r] = static_cast<int32_t>(numbers.below(static_cast<uint32_t>(r), static_cast<uint64_t>(e.vocab)));
  return ids;
}

template <class T>
struct Results {
  Tensor<T> y, d_table;
};
template <class T>
Results<T> run(Queue& queue, const Extents& e) {
  const auto table = random<T>({e.vocab, e.dim}, 1), dy = random<T>({e.rows, e.dim}, 2);
  const auto ids = ids_for(e);
  Results<T> r{Tensor<T>(dy.shape), random<T>({e.vocab, e.dim}, 3)};
  Embedding::forward(queue, r.y, table, token_ids(ids));
  Embedding::backward(queue, r.d_table, dy, token_ids(ids));
  return r;
}

TEST(Embedding, AgreesWithTheDoubleReference) {
  for (const Extents& e : kExtents) {
    Queue oracle = reference_queue();
    const auto expected = run<double>(oracle, e);
    on_queues(every_queue(), [&](Queue& queue) {
      const auto found = run<float>(queue, e);
      expect_close(found.y, expected.y, 0, "y");
      expect_close(found.d_table, expected.d_table, 2e-6, "d_table");
    });
  }
}

template <class T>
void expect_bits_of_the_reference(Queue& queue, const Extents& e) {
  Queue reference = reference_queue();
  Tensor<T> expected;
  {
    const Entered entered(reference);
    expected = run<T>(reference, e).d_table;
  }
  expect_same_bits(run<T>(queue, e).d_table, expected, "d_table");
}

TEST(Embedding, SumsTheRowsOfAnIdInAscendingOrder) {
  on_queues(every_queue(), [](Queue& queue) {
    expect_bits_of_the_reference<float>(queue, {300, 67, 5});
    expect_bits_of_the_reference<double>(queue, {300, 33, 250});
  });
}

TEST(Embedding, ReferenceGradientMatchesFiniteDifferences) {
  const Extents e{5, 7, 3};
  const auto ids = ids_for(e);
  Queue queue = reference_queue();
  const Differentiable embedding{[&](const Tensors& in) {
                                   Tensor<double> y(Shape{e.rows, e.dim});
                                   Embedding::forward(queue, y, in[0], token_ids(ids));
                                   return Tensors{y};
                                 },
                                 [&](const Tensors& in, const Tensors& d) {
                                   Tensor<double> d_table(in[0].shape);
                                   Embedding::backward(queue, d_table, d[0], token_ids(ids));
                                   return Tensors{d_table};
                                 }};
  expect_gradient(embedding, {random<double>({e.vocab, e.dim}, 1)});
}

TEST(Embedding, SameBitsForAnyThreadCountAndAsTheReference) {
  const Extents e{500, 67, 5};
  Queue reference = reference_queue();
  const auto expected = run<float>(reference, e);
  for (int threads : {1, 2, 3, 5}) {
    Queue queue({.threads = threads});
    expect_same_bits(run<float>(queue, e).d_table, expected.d_table, "d_table");
  }
}

TEST(Embedding, DoesNothingForAFrozenTable) {
  on_queues(every_queue(), [](Queue& queue) {
    const auto dy = random<float>({5, 7}, 2);
    Embedding::backward(queue, {}, dy, token_ids(ids_for({5, 7, 3})));
  });
}

TEST(Embedding, NamesTheFirstTokenOutsideTheVocabulary) {
  Tensor<int32_t> ids(Shape{4});
  ids[2] = 11;
  ids[3] = -1;
  on_queues(every_queue(), [&](Queue& queue) {
    Tensor<float> table(Shape{11, 3}), y(Shape{4, 3});
    EXPECT_EQ(message_of([&] { Embedding::forward(queue, y, table, token_ids(ids)); }),
              "token 11 at row 2 is outside the model's vocabulary (vocab = 11)");
    EXPECT_EQ(message_of([&] { Embedding::backward(queue, table, y, token_ids(ids)); }),
              "token 11 at row 2 is outside the model's vocabulary (vocab = 11)");
  });
}

TEST(Embedding, RefusesShapesThatDoNotFit) {
  Queue queue;
  Tensor<int32_t> ids(Shape{4});
  Tensor<float> table(Shape{11, 3}), wrong(Shape{4, 4});
  EXPECT_THROW(Embedding::forward(queue, wrong, table, token_ids(ids)), ShapeError);
  EXPECT_THROW(Embedding::backward(queue, table, wrong, token_ids(ids)), ShapeError);
  const TokenIds host_has_fewer{ids.view(), std::span<const int32_t>(ids.data).first(3)};
  Tensor<float> y(Shape{4, 3});
  EXPECT_THROW(Embedding::forward(queue, y, table, host_has_fewer), ShapeError);
}

}  // namespace
}  // namespace memring::test
