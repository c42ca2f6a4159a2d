// Operators on bf16 storage: what is stored is the fp32 result of the rounded operands, rounded once.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <deque>

#include "base/error.h"
#include "base/profile.h"
#include "kernels/associative/associative.h"
#include "kernels/attention/attention.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/dpfp/dpfp.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/gated_unit/gated_unit.h"
#include "kernels/heads/heads.h"
#include "kernels/linear/linear.h"
#include "kernels/projections/projections.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/rows/rows.h"
#include "kernels/swiglu/swiglu.h"
#include "op_test.h"
#include "rope_tables.h"

namespace memring::test {
namespace {

Tensor<Bf16> stored(const Tensor<float>& x) {
  settle();
  Tensor<Bf16> y(x.shape);
  for (int64_t i = 0; i < x.size(); ++i) y.data[static_cast<size_t>(i)] = Bf16(x.data[static_cast<size_t>(i)]);
  return y;
}
Tensor<float> widened(const Tensor<Bf16>& x) {
  settle();
  Tensor<float> y(x.shape);
  for (int64_t i = 0; i < x.size(); ++i) y.data[static_cast<size_t>(i)] = x.data[static_cast<size_t>(i)].value();
  return y;
}

/// An operator's tensors, once stored in bf16 and once the same numbers in fp32.
class Both {
 public:
  /// In bf16 where `wide_` is false: both hold the same numbers.
  View<> rows(Shape shape) { return add(random<float>(shape, ++number_), true); }
  /// Sums and statistics: fp32 in either.
  View<> sums(Shape shape) { return add(random<float>(shape, ++number_), false); }
  /// None negative.
  View<> features(Shape shape) { return add(magnitudes(random<float>(shape, ++number_)), true); }
  View<> sums_of_features(Shape shape) { return add(magnitudes(random<float>(shape, ++number_)), false); }

  /// How far both may be apart. Another order of sums may round a stored number to the other side.
  struct Tolerances {
    double sums, rows;
  };

  /// Runs `op(operands)` on both; compares each tensor afterwards.
  template <class Op>
  static void compare(const char* what, const Op& op, const Tolerances& tolerances = {1e-5, 4e-3}) {
    SCOPED_TRACE(what);
    on_queues(every_queue(), [&](Queue& queue) {
      Both narrow(false), wide(true);
      op(queue, narrow);
      Queue reference = reference_queue();
      {
        const Entered entered(reference);
        op(reference, wide);
      }
      settle();
      ASSERT_EQ(narrow.sums_.size(), wide.sums_.size());
      for (size_t i = 0; i < wide.sums_.size(); ++i)
        expect_close(narrow.sums_[i], Tensor<double>(wide.sums_[i]), tolerances.sums, fmt::format("sums {}", i));
      for (size_t i = 0; i < wide.rows_.size(); ++i)
        expect_close(widened(narrow.stored_[i]), Tensor<double>(widened(stored(wide.rows_[i]))), tolerances.rows,
                     fmt::format("rows {}", i));
    });
  }

 private:
  explicit Both(bool wide) : wide_(wide) {}
  static Tensor<float> magnitudes(Tensor<float> x) {
    for (float& value : x.data) value = std::abs(value);
    return x;
  }
  View<> add(const Tensor<float>& numbers, bool rows) {
    if (!rows) return sums_.emplace_back(numbers).view();
    if (wide_) return rows_.emplace_back(widened(stored(numbers))).view();
    return stored_.emplace_back(stored(numbers)).view();
  }

  bool wide_;
  uint64_t number_ = 0;
  std::deque<Tensor<float>> sums_, rows_;
  std::deque<Tensor<Bf16>> stored_;
};

TEST(Bf16Storage, OfRowsAndProducts) {
  Both::compare("Linear", [](Queue& queue, Both& t) {
    const View<> x = t.rows({5, 7}), w = t.rows({3, 7}), dy = t.rows({5, 3});
    Linear::forward(queue, t.rows({5, 3}), Write::Overwrite, x, w);
    Linear::forward(queue, t.sums({5, 3}), Write::Accumulate, x, w);
    Linear::input_gradient(queue, t.rows({5, 7}), Write::Accumulate, dy, w);
    Linear::input_gradient(queue, t.sums({5, 7}), Write::Accumulate, dy, w);
    Linear::weight_gradient(queue, t.sums({3, 7}), dy, x);
  });
  // One by one, or by as many as a device takes at once.
  for (const int64_t dim : {7, 16})
    Both::compare("RmsNorm", [dim](Queue& queue, Both& t) {
      const View<> x = t.rows({5, dim}), gain = t.rows({dim}), inv_rms = t.sums({5});
      RmsNorm::forward(queue, t.rows({5, dim}), inv_rms, x, gain, 1e-5);
      RmsNorm::backward(queue, t.rows({5, dim}), Write::Accumulate, t.sums({dim}), t.rows({5, dim}), x, gain, inv_rms);
      RmsNorm::backward(queue, t.rows({5, dim}), Write::Overwrite, t.sums({dim}), t.rows({5, dim}), x, gain, inv_rms);
    });
  Both::compare("SwiGlu", [](Queue& queue, Both& t) {
    const View<> gate = t.rows({5, 7}), up = t.rows({5, 7}), y = t.rows({5, 7});
    SwiGlu::forward(queue, y, gate, up);
    SwiGlu::backward(queue, gate, up, y, t.rows({5, 7}), gate, up);  // in place
  });
  Both::compare("Elementwise", [](Queue& queue, Both& t) {
    const View<> x = t.rows({5, 7});
    Elementwise::copy(queue, t.sums({5, 7}), x);
    Elementwise::copy(queue, x, t.sums({5, 7}));
    Elementwise::add(queue, x, x, t.rows({5, 7}));
    Elementwise::scale(queue, x, 0.3);
    Elementwise::fill(queue, t.rows({2}), 0.1);
  });
  Both::compare("Embedding", [](Queue& queue, Both& t) {
    static Tensor<int32_t> ids(Shape{4});
    ids.data = {2, 0, 2, 1};
    Embedding::forward(queue, t.rows({4, 6}), t.rows({3, 6}), token_ids(ids));
    Embedding::backward(queue, t.sums({3, 6}), t.rows({4, 6}), token_ids(ids));
  });
  for (const int64_t dim : {3, 24})
    Both::compare("MoveRows", [dim](Queue& queue, Both& t) {
      const std::vector<int32_t> to = {3, 0}, from = {1, 1};
      MoveRows::run(queue, t.sums({2, 4, dim}), to, Write::Accumulate, t.rows({2, 2, dim}), from);
      MoveRows::run(queue, t.rows({2, 4, dim}), to, Write::Overwrite, t.sums({2, dim}), from);
      MoveRows::sum(queue, t.sums({4, dim}), to, t.rows({2, 2, dim}), from);
    });
}

TEST(Bf16Storage, OfAttention) {
  for (const int64_t half : {1, 8}) {
    const Shape by_head{2, 3, 4, 2 * half}, by_row{8, 6 * half}, angles{1, 4, half};
    Both::compare("Heads", [&](Queue& queue, Both& t) {
      Heads::split(queue, t.rows(by_head), t.rows(by_row));
      Heads::merge(queue, t.rows(by_row), t.rows(by_head));
    });
    Both::compare("Rope", [&](Queue& queue, Both& t) {
      Tensor<int32_t> positions(Shape{4});
      for (int32_t i = 0; i < 4; ++i) positions[i] = 3 * i;
      const Tensor<double> inverse = frequencies(half, 100);
      const View<> cos = t.sums(angles), sin = t.sums(angles);
      Rope::table(queue, cos, sin, token_ids(positions), inverse.view(), 1);
      Rope::forward(queue, t.rows(by_head), t.rows(by_row), cos, sin);
      Rope::backward(queue, t.rows(by_row), t.rows(by_head), cos, sin);
    });
  }
  Both::compare("Attention", [](Queue& queue, Both& t) {
    std::vector<Row> rows;
    rows.reserve(5);
    for (int32_t i = 0; i < 5; ++i) rows.push_back({i, i, 0, i});
    // Of a head size whose weights no backend rounds.
    const Shape queries{2, 4, 5, 7}, keys{2, 2, 5, 7};
    const View<> q = t.rows(queries), o = t.sums(queries), lse = t.sums({2, 4, 5});
    const KeySpan span{t.rows(keys), t.rows(keys), t.sums(keys), t.rows(keys), row_table(rows)};
    LocalAttention::forward_part(queue, o, lse, Write::Overwrite, q, row_table(rows), {&span, 1});
    LocalAttention::backward_part(queue, t.rows(queries), Write::Overwrite, t.rows(queries), o, lse, q, row_table(rows),
                                  {&span, 1});
    settle();  // rows must stay until then
  });
}

// They store between the operators that they are made of: up to three roundings behind each other, of 4e-3 at most.
constexpr Both::Tolerances kFused{1.2e-2, 1.2e-2};

/// As it is, or with all that may be added, which rounds twice more.
struct Layers {
  bool added;
  static constexpr int64_t kRank = 2;

  Both::Tolerances tolerances() const { return added ? Both::Tolerances{3e-2, 3e-2} : kFused; }
  LinearLayer::Weights weights(Both& t, int64_t out, int64_t in) const {
    if (!added) return {t.rows({out, in})};
    return {t.rows({out, in}), t.rows({out}), t.rows({kRank, in}), t.rows({out, kRank}), 0.5};
  }
  LinearLayer::Gradients gradients(Both& t, int64_t out, int64_t in) const {
    if (!added) return {t.sums({out, in})};
    return {t.sums({out, in}), t.sums({out}), t.sums({kRank, in}), t.sums({out, kRank})};
  }
};

TEST(Bf16Storage, OfFusedOperators) {
  for (const Layers layers : {Layers{false}, Layers{true}}) {
    SCOPED_TRACE(layers.added ? "with bias, update and norms" : "plain");
    Both::compare(
        "LinearLayer",
        [&](Queue& queue, Both& t) {
          const View<> x = t.rows({5, 7}), dy = t.rows({5, 6});
          const LinearLayer::Weights weights = layers.weights(t, 6, 7);
          Scratch scratch(LinearLayer::scratch_bytes(DType::F32, 5, Layers::kRank));
          LinearLayer::forward(queue, t.rows({5, 6}), Write::Accumulate, x, weights, scratch);
          LinearLayer::forward(queue, t.sums({5, 6}), Write::Overwrite, x, weights, scratch);
          LinearLayer::input_gradient(queue, t.rows({5, 7}), Write::Accumulate, dy, weights, scratch);
          LinearLayer::weight_gradients(queue, layers.gradients(t, 6, 7), dy, x, weights, scratch);
        },
        layers.tolerances());
    Both::compare(
        "GatedUnit",
        [&](Queue& queue, Both& t) {
          const View<> x = t.rows({5, 7}), y = t.rows({5, 6});
          const GatedUnit::Parts parts{t.rows({5, 6}), t.rows({5, 6})};
          const GatedUnit::Weights weights{layers.weights(t, 6, 7), layers.weights(t, 6, 7)};
          Scratch scratch(LinearLayer::scratch_bytes(DType::F32, 5, Layers::kRank));
          GatedUnit::forward(queue, y, parts, x, weights, scratch);
          GatedUnit::backward(queue, t.rows({5, 7}), {layers.gradients(t, 6, 7), layers.gradients(t, 6, 7)}, y, parts,
                              x, weights, scratch);
        },
        layers.tolerances());
    for (const std::vector<int32_t>& asking : {std::vector<int32_t>{}, {1, 3}})
      Both::compare(
          asking.empty() ? "Projections" : "Projections of some rows",
          [&](Queue& queue, Both& t) {
            const int64_t rows = 4, queries = asking.empty() ? rows : std::ssize(asking);
            const Projections::Widths widths{7, 4, 2, 6, Layers::kRank, layers.added};
            const Shape of_queries{2, 4, queries, 6}, of_keys{2, 2, rows, 6};
            const View<> normed = t.rows({2 * rows, 7});
            Projections::Weights weights{layers.weights(t, 24, 7), layers.weights(t, 12, 7), layers.weights(t, 12, 7)};
            Projections::Gradients d{layers.gradients(t, 24, 7), layers.gradients(t, 12, 7),
                                     layers.gradients(t, 12, 7)};
            if (layers.added) {
              weights.q_norm = t.rows({6});
              weights.k_norm = t.rows({6});
              weights.norm_eps = 0.1;
              d.q_norm = t.sums({6});
              d.k_norm = t.sums({6});
            }
            const RopeAngles angles{t.sums({1, rows, 3}), t.sums({1, rows, 3})};
            const Projections::Queries which{asking, {t.sums({1, queries, 3}), t.sums({1, queries, 3})}};
            Scratch scratch(Projections::scratch_bytes(DType::F32, 2 * rows, 2 * queries, widths, true));
            Projections::forward(queue, {t.rows(of_queries), t.rows(of_keys), t.rows(of_keys)}, normed, weights, angles,
                                 which, scratch);
            Projections::backward(queue, t.rows({2 * rows, 7}), d,
                                  {t.rows(of_queries), t.rows(of_keys), t.rows(of_keys)}, normed, weights, angles,
                                  which, scratch);
          },
          layers.tolerances());
  }
}

TEST(Bf16Storage, OperandsThatAreStoredAreChecked) {
  Queue queue;
  const auto zeros = [](Shape shape) { return Tensor<Bf16>(shape); };
  Tensor<Bf16> x = zeros({5, 7}), y = zeros({5, 3}), table = zeros({4, 7}), w = zeros({3, 7}), wrong = zeros({3, 6});
  EXPECT_THROW(Linear::forward(queue, y, Write::Overwrite, x, wrong), ShapeError);
  EXPECT_THROW(Linear::input_gradient(queue, x, Write::Overwrite, y, wrong), ShapeError);
  EXPECT_THROW(Linear::weight_gradient(queue, w, y, x), ShapeError) << "its sums are fp32";
  Tensor<int32_t> ids(Shape{5});
  EXPECT_THROW(Embedding::forward(queue, x, wrong, token_ids(ids)), ShapeError);
  EXPECT_THROW(Embedding::backward(queue, table, x, token_ids(ids)), ShapeError) << "its sums are fp32";
}

TEST(Bf16Storage, NotesAnOperatorsTimeOnce) {
  Profile profile;
  Queue queue;
  queue.set_profile(&profile);
  Tensor<Bf16> x(Shape{5, 7}), y(Shape{5, 3}), w(Shape{3, 7});
  Linear::forward(queue, y, Write::Overwrite, x, w);
  Elementwise::scale(queue, y, 2);
  ASSERT_EQ(profile.lines().size(), 2u);
  for (const Profile::Line& line : profile.lines()) EXPECT_EQ(line.calls, 1) << line.name;
}

TEST(Bf16Storage, OfAnOperatorThatThrowsStaysAsItWas) {
  Queue queue = reference_queue();
  queue.add_poll([] { throw Error(ExitCode::Numeric, "planted"); });
  Tensor<Bf16> x(Shape{5, 7}), y(Shape{5, 3}), w(Shape{3, 7});
  for (Bf16& value : y.data) value = Bf16(3);
  EXPECT_THROW(Linear::forward(queue, y, Write::Overwrite, x, w), Error);
  for (const Bf16& value : y.data) EXPECT_EQ(value.value(), 3);
}

TEST(Bf16Storage, OfLossAndMemory) {
  static Tensor<int32_t> targets(Shape{4});
  targets.data = {2, kIgnoredTarget, 5, 1};
  Both::compare("CrossEntropy", [](Queue& queue, Both& t) {
    Scratch scratch(CrossEntropy::scratch_bytes(DType::BF16, 4, 9));
    const View<> hidden = t.rows({4, 6}), weight = t.rows({9, 6});
    CrossEntropy::forward(queue, t.sums({4}), hidden, weight, token_ids(targets), scratch);
  });
  // The gradient of logits is rounded on a device, where it is a factor of products, and then what is stored.
  Both::compare("CrossEntropy and its gradients",
                [](Queue& queue, Both& t) {
                  Scratch scratch(CrossEntropy::distil_scratch_bytes(DType::BF16, 4, 9));
                  const View<> hidden = t.rows({4, 6}), weight = t.rows({9, 6});
                  CrossEntropy::forward_backward(queue, t.sums({4}), t.rows({4, 6}), t.sums({9, 6}), hidden, weight,
                                                 token_ids(targets), scratch);
                  CrossEntropy::distil(queue, t.sums({4}), t.rows({4, 6}), hidden, t.rows({4, 6}), 0.7, weight,
                                       token_ids(targets), scratch);
                },
                {4e-3, 8e-3});
  Both::compare("Dpfp", [](Queue& queue, Both& t) {
    const View<> x = t.rows({3, 2});
    Dpfp::forward(queue, t.rows({3, 12}), x, 3);
    Dpfp::backward(queue, t.rows({3, 2}), t.rows({3, 12}), x, 3);
  });
  // A device rounds what is a factor of products: the state, and what is written.
  Both::compare(
      "Associative",
      [](Queue& queue, Both& t) {
        const int64_t rows = 3, keys = 12, dim = 4;
        Tensor<double> smallest(Shape{2});
        Scratch scratch(std::max(Associative::write_backward_scratch_bytes(DType::BF16, rows, keys, dim),
                                 Associative::read_backward_scratch_bytes(DType::BF16, rows, keys, dim)));
        const View<> k = t.features({rows, keys}), v = t.rows({rows, dim}), gate = t.rows({rows}),
                     A = t.sums({keys, dim}), z = t.sums_of_features({keys});
        Associative::write(queue, t.sums({keys, dim}), t.sums({keys}), {k, v, gate}, A, z, smallest.view(), scratch);
        Associative::write_backward(queue, {t.rows({rows, keys}), t.rows({rows, dim}), t.rows({rows})},
                                    t.sums({keys, dim}), t.sums({keys}), t.sums({keys, dim}), t.sums({keys}),
                                    {k, v, gate}, A, z, scratch);
        Associative::read_backward(queue, t.rows({rows, keys}), t.sums({keys, dim}), t.sums({keys}),
                                   t.rows({rows, dim}), t.features({rows, keys}), A, z, scratch);
        Associative::read(queue, t.rows({rows, dim}), k, A, z, smallest.view(), scratch);
      },
      {8e-3, 1.2e-2});
}

}  // namespace
}  // namespace memring::test
