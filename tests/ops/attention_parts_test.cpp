// Attention whose keys come in parts, one call each, as they do on a ring: the same as in one call, and not less exact
// the more parts there are.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "attention_patterns.h"
#include "base/error.h"
#include "kernels/attention/attention.h"
#include "op_test.h"

namespace memring::test {
namespace {

constexpr int64_t kBatch = 2, kHeads = 4, kKvHeads = 2, kDim = 16;
const std::vector<int64_t> kParts{1, 2, 3, 4, 8, 16};

/// Keys part, part + parts, ... of [batch, kv_heads, keys, dim].
template <class T>
struct Part {
  Rows rows;
  std::vector<int64_t> numbers;

  Part(const Rows& all, int64_t parts, int64_t part) {
    for (int64_t i = part; i < std::ssize(all); i += parts) {
      rows.push_back(all[static_cast<size_t>(i)]);
      numbers.push_back(i);
    }
  }
  template <class F>
  void for_vectors(int64_t all, const F& f) const {
    // f(number of the vector in the part, and among all)
    settle();
    for (int64_t m = 0; m < kBatch * kKvHeads; ++m)
      for (size_t i = 0; i < numbers.size(); ++i)
        f(m * std::ssize(numbers) + static_cast<int64_t>(i), m * all + numbers[i]);
  }
  Tensor<T> take(const Tensor<T>& from) const {
    Tensor<T> part(Shape{kBatch, kKvHeads, std::ssize(numbers), kDim});
    for_vectors(from.shape[2], [&](int64_t here, int64_t there) {
      std::copy_n(from.data.begin() + there * kDim, kDim, part.data.begin() + here * kDim);
    });
    return part;
  }
  void put(Tensor<T>& to, const Tensor<T>& part) const {
    for_vectors(to.shape[2], [&](int64_t here, int64_t there) {
      std::copy_n(part.data.begin() + here * kDim, kDim, to.data.begin() + there * kDim);
    });
  }
};

template <class T>
struct Results {
  Tensor<T> o, lse, dq, dk, dv;
};

template <class T>
Results<T> in_parts(Queue& queue, const Pattern& pattern, int64_t parts) {
  const auto n = std::ssize(pattern.rows), keys = std::ssize(pattern.spans[0]);
  const Shape query_shape{kBatch, kHeads, n, kDim}, key_shape{kBatch, kKvHeads, keys, kDim};
  const Tensor<T> q(random<float>(query_shape, 1)), d_o(random<float>(query_shape, 2)), k(random<float>(key_shape, 3)),
      v(random<float>(key_shape, 4));
  Results<T> r{Tensor<T>(query_shape), Tensor<T>(Shape{kBatch, kHeads, n}), Tensor<T>(query_shape),
               Tensor<T>(key_shape), Tensor<T>(key_shape)};
  for (Tensor<T>* t : {&r.o, &r.lse, &r.dq})  // the first part overwrites
    std::fill(t->data.begin(), t->data.end(), std::numeric_limits<T>::quiet_NaN());
  for (const bool back : {false, true})
    for (int64_t p = 0; p < parts; ++p) {
      const Part<T> part(pattern.spans[0], parts, p);
      const Write write = p == 0 ? Write::Overwrite : Write::Accumulate;
      const Tensor<T> part_k = part.take(k), part_v = part.take(v);
      Tensor<T> dk(part_k.shape), dv(part_k.shape);
      const KeySpan span{part_k, part_v, dk, dv, row_table(part.rows)};
      if (back) {
        LocalAttention::backward_part(queue, r.dq, write, d_o, r.o, r.lse, q, row_table(pattern.rows), {&span, 1});
        part.put(r.dk, dk);
        part.put(r.dv, dv);
      } else {
        LocalAttention::forward_part(queue, r.o, r.lse, write, q, row_table(pattern.rows), {&span, 1});
      }
    }
  return r;
}

std::vector<Pattern> patterns() {
  return {causal(131), rmt_block(17, 90), window(150, 20), sinks(150, 20, 4, 0, 0), blind(70), future(9)};
}

template <class T>
void expect_close(const Results<T>& found, const Results<double>& expected, double tolerance) {
  expect_close(found.lse, expected.lse, tolerance, "lse");
  expect_close(found.o, expected.o, tolerance, "o");
  expect_close(found.dq, expected.dq, 4 * tolerance, "dq");
  expect_close(found.dk, expected.dk, 4 * tolerance, "dk");
  expect_close(found.dv, expected.dv, 4 * tolerance, "dv");
}

TEST(AttentionParts, EqualOneCall) {
  for (const Pattern& pattern : patterns()) {
    Queue oracle = reference_queue();
    const auto expected = in_parts<double>(oracle, pattern, 1);
    for (const int64_t parts : kParts) {
      SCOPED_TRACE(fmt::format("{}, {} rows in {} parts", pattern.name, pattern.rows.size(), parts));
      expect_close(in_parts<double>(oracle, pattern, parts), expected, 1e-13);
      on_queues(every_queue(),
                [&](Queue& queue) { expect_close(in_parts<float>(queue, pattern, parts), expected, 5e-6); });
    }
  }
}

double relative_error(const Tensor<float>& found, const Tensor<double>& expected) {
  double error = 0, norm = 0;
  for (int64_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
    norm += std::pow(expected[i], 2);
  }
  return std::sqrt(error / norm);
}

TEST(AttentionParts, ErrorDoesNotGrowWithTheirNumber) {
  const Pattern pattern = causal(256);
  Queue oracle = reference_queue();
  const auto exact = in_parts<double>(oracle, pattern, 1);
  on_queues(fast_queues(), [&](Queue& queue) {
    const auto errors = [&](int64_t parts) {
      const auto r = in_parts<float>(queue, pattern, parts);
      return std::array{relative_error(r.o, exact.o), relative_error(r.dq, exact.dq), relative_error(r.dk, exact.dk),
                        relative_error(r.dv, exact.dv)};
    };
    const auto one = errors(1);
    for (const int64_t parts : {2, 4, 8, 16}) {
      const auto several = errors(parts);
      for (size_t i = 0; i < one.size(); ++i)
        EXPECT_LT(several[i], 1.5 * one[i]) << parts << " parts, " << std::array{"o", "dq", "dk", "dv"}[i];
    }
  });
}

}  // namespace
}  // namespace memring::test
