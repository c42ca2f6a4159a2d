// Attention: what each row pattern sees, gradients of the reference, and the fast path against it.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/attention.h"
#include "base/error.h"

#include <cmath>
#include <limits>

#include "attention_patterns.h"
#include "op_test.h"

namespace memring::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Extents {
  int64_t batch, heads, kv_heads, head_dim;
};

template <class T>
struct Inputs {
  Tensor<T> q, d_o;
  std::vector<Tensor<T>> k, v;

  Inputs(const Pattern& pattern, Extents e, double scale = 1) {
    const auto n = static_cast<int64_t>(pattern.rows.size());
    q = Tensor<T>(random<float>({e.batch, e.heads, n, e.head_dim}, 1, scale));
    d_o = Tensor<T>(random<float>({e.batch, e.heads, n, e.head_dim}, 2));
    for (size_t s = 0; s < pattern.spans.size(); ++s) {
      const Shape shape{e.batch, e.kv_heads, static_cast<int64_t>(pattern.spans[s].size()), e.head_dim};
      k.push_back(Tensor<T>(random<float>(shape, 10 + s, scale)));
      v.push_back(Tensor<T>(random<float>(shape, 20 + s)));
    }
  }
};

template <class T>
struct Results {
  Tensor<T> o, lse, dq;
  std::vector<Tensor<T>> dk, dv;
};

/// Both directions; dk and dv start with random numbers, everything else with NaN.
template <class T>
Results<T> run(Queue& queue, const Pattern& pattern, const Inputs<T>& in) {
  Results<T> out;
  out.o = out.dq = Tensor<T>(in.q.shape);
  out.lse = Tensor<T>(Shape{in.q.shape[0], in.q.shape[1], in.q.shape[2]});
  for (Tensor<T>* t : {&out.o, &out.dq, &out.lse})
    std::fill(t->data.begin(), t->data.end(), std::numeric_limits<T>::quiet_NaN());
  std::vector<KeySpan> spans;
  for (size_t s = 0; s < in.k.size(); ++s) {
    out.dk.push_back(random<T>(in.k[s].shape, 30 + s));
    out.dv.push_back(random<T>(in.k[s].shape, 40 + s));
  }
  for (size_t s = 0; s < in.k.size(); ++s)
    spans.push_back({in.k[s], in.v[s], out.dk[s], out.dv[s], row_table(pattern.spans[s])});
  LocalAttention attention;
  attention.forward(queue, out.o, out.lse, in.q, row_table(pattern.rows), spans);
  attention.backward(queue, out.dq, in.d_o, out.o, out.lse, in.q, row_table(pattern.rows), spans);
  return out;
}

template <class T>
void expect_close(const Results<T>& found, const Results<double>& expected, double tolerance) {
  // Where a row sees nothing both are -inf; the helper's scale leaves those out.
  expect_close(found.lse, expected.lse, tolerance, "lse");
  expect_close(found.o, expected.o, tolerance, "o");
  expect_close(found.dq, expected.dq, 4 * tolerance, "dq");
  for (size_t s = 0; s < found.dk.size(); ++s) {
    expect_close(found.dk[s], expected.dk[s], 4 * tolerance, fmt::format("dk of span {}", s));
    expect_close(found.dv[s], expected.dv[s], 4 * tolerance, fmt::format("dv of span {}", s));
  }
}

std::string text(const Pattern& p, Extents e) {
  std::string spans;
  for (const Rows& rows : p.spans) spans += fmt::format(" {}", rows.size());
  return fmt::format("{}, {} rows, keys{}, batch {}, {} heads on {} of {}", p.name, p.rows.size(), spans, e.batch,
                     e.heads, e.kv_heads, e.head_dim);
}

// The whole matrix of probabilities, with visibility from the pattern's description and not from its rows.
TEST(Attention, ReferenceEqualsTheMaskedSoftmaxMatrixOfEachPattern) {
  const Extents e{2, 4, 2, 3};
  for (const Pattern& pattern : every_pattern()) {
    SCOPED_TRACE(text(pattern, e));
    const Inputs<double> in(pattern, e);
    Queue oracle = reference_queue();
    const Results<double> found = run(oracle, pattern, in);
    Tensor<double> o(found.o.shape), lse(found.lse.shape);
    const auto n = static_cast<int>(pattern.rows.size());
    for (int64_t m = 0; m < e.batch * e.heads; ++m)
      for (int i = 0; i < n; ++i) {
        const int64_t kv = m / e.heads * e.kv_heads + m % e.heads / 2, at = m * n + i;
        double sum = 0;
        for (size_t s = 0; s < in.k.size(); ++s)
          for (int j = 0; j < static_cast<int>(pattern.spans[s].size()); ++j) {
            if (!pattern.visible(i, static_cast<int>(s), j)) continue;
            const int64_t key = (kv * static_cast<int64_t>(pattern.spans[s].size()) + j) * e.head_dim;
            double score = 0;
            for (int64_t c = 0; c < e.head_dim; ++c) score += in.q[at * e.head_dim + c] * in.k[s][key + c];
            const double weight = std::exp(score / std::sqrt(3.0));
            sum += weight;
            for (int64_t c = 0; c < e.head_dim; ++c) o[at * e.head_dim + c] += weight * in.v[s][key + c];
          }
        for (int64_t c = 0; c < e.head_dim && sum > 0; ++c) o[at * e.head_dim + c] /= sum;
        lse[at] = std::log(sum);
      }
    expect_close(found.o, o, 1e-13, "o");
    expect_close(found.lse, lse, 1e-13, "lse");
  }
}

TEST(Attention, ReferenceGradientMatchesFiniteDifferencesForEachPattern) {
  for (const Pattern& pattern : every_pattern())
    for (const Extents& e : {Extents{1, 1, 1, 4}, {2, 2, 1, 2}}) {
      SCOPED_TRACE(text(pattern, e));
      const Inputs<double> start(pattern, e);
      Queue queue = reference_queue();
      const size_t spans = pattern.spans.size();
      auto inputs_at = [&](const Tensors& x) {
        Inputs<double> in = start;
        in.q = x[0];
        for (size_t s = 0; s < spans; ++s) in.k[s] = x[1 + s], in.v[s] = x[1 + spans + s];
        return in;
      };
      const Differentiable attention{[&](const Tensors& x) { return Tensors{run(queue, pattern, inputs_at(x)).o}; },
                                     [&](const Tensors& x, const Tensors& d) {
                                       Inputs<double> in = inputs_at(x);
                                       in.d_o = d[0];
                                       Results<double> out = run(queue, pattern, in);
                                       Tensors gradient{out.dq};
                                       for (auto [found, stream] : {std::pair{&out.dk, 30u}, {&out.dv, 40u}})
                                         for (size_t s = 0; s < spans; ++s) {
                                           const auto before = random<double>((*found)[s].shape, stream + s);
                                           for (int64_t i = 0; i < before.size(); ++i) (*found)[s][i] -= before[i];
                                           gradient.push_back((*found)[s]);
                                         }
                                       return gradient;
                                     }};
      Tensors at{start.q};
      at.insert(at.end(), start.k.begin(), start.k.end());
      at.insert(at.end(), start.v.begin(), start.v.end());
      expect_gradient(attention, at);
    }
}

struct Case {
  Pattern pattern;
  Extents extents;
};

/// One row, primes, one block, several and partial blocks both ways, all group sizes, head sizes off the vector width
/// and beyond one packed part, several spans, nothing at all.
std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const Pattern& pattern : every_pattern()) cases.push_back({pattern, {2, 4, 2, 8}});
  for (const Extents& e :
       {Extents{1, 1, 1, 1}, {1, 2, 1, 3}, {1, 1, 1, 31}, {2, 4, 1, 20}, {1, 1, 1, 80}, {1, 1, 1, 131}})
    cases.push_back({causal(67), e});
  cases.push_back({causal(128), {1, 4, 4, 32}});
  cases.push_back({causal(307), {1, 2, 2, 16}});
  cases.push_back({rmt_block(16, 128), {2, 2, 1, 16}});
  cases.push_back({rmt_block(70, 200), {1, 2, 1, 64}});
  cases.push_back({uio_encoder(8, 256), {1, 2, 2, 16}});
  cases.push_back({uio_decoder(150, 131), {1, 4, 1, 12}});
  cases.push_back({window(401, 37), {1, 1, 1, 16}});
  cases.push_back({window(290, 200), {1, 1, 1, 24}});
  cases.push_back({sinks(401, 37, 5, 0, 0), {1, 2, 1, 16}});
  cases.push_back({sinks(300, 290, 0, 3, 270), {1, 1, 1, 24}});
  cases.push_back({future(290), {1, 1, 1, 16}});
  cases.push_back({blind(140), {1, 2, 2, 16}});
  cases.push_back({shuffled(211, 300), {1, 2, 1, 16}});
  cases.push_back({shuffled(3, 270), {3, 1, 1, 8}});
  cases.push_back({uio_decoder(0, 5), {1, 2, 2, 8}});
  cases.push_back({uio_decoder(9, 0), {1, 2, 2, 8}});
  cases.push_back({causal(5), {0, 2, 1, 8}});
  cases.push_back({{"no keys", causal(70).rows, {}, {}}, {2, 2, 2, 8}});
  cases.push_back({{"empty span", causal(70).rows, {Rows{}}, {}}, {2, 2, 1, 8}});
  return cases;
}

TEST(Attention, AgreesWithTheDoubleReference) {
  for (const auto& [pattern, e] : every_case()) {
    SCOPED_TRACE(text(pattern, e));
    Queue oracle = reference_queue();
    const auto expected = run(oracle, pattern, Inputs<double>(pattern, e));
    const Inputs<float> in(pattern, e);
    on_queues(every_queue(), [&](Queue& queue) { expect_close(run(queue, pattern, in), expected, 5e-6); });
  }
}

TEST(Attention, BitsDoNotDependOnTheNumberOfThreads) {
  auto options = fast_queues();
  for (size_t i = 0, n = options.size(); i < n; ++i) {
    options.push_back(options[i]);
    options.back().products = Products::Bf16;
  }
  for (const auto& [pattern, e] : every_case()) {
    SCOPED_TRACE(text(pattern, e));
    const Inputs<float> in(pattern, e);
    on_queues(options, [&](Queue& queue) {
      if (queue.threads() == 1) return;
      Queue::Options alone = queue.options();
      alone.threads = 1;
      Queue one_thread(alone);
      const auto found = run(queue, pattern, in), expected = run(one_thread, pattern, in);
      expect_same_bits(found.lse, expected.lse, "lse");
      expect_same_bits(found.o, expected.o, "o");
      expect_same_bits(found.dq, expected.dq, "dq");
      for (size_t s = 0; s < found.dk.size(); ++s) {
        expect_same_bits(found.dk[s], expected.dk[s], "dk");
        expect_same_bits(found.dv[s], expected.dv[s], "dv");
      }
    });
  }
}

template <class T>
double relative_error(const Tensor<T>& found, const Tensor<double>& expected) {
  double error = 0, norm = 0;
  for (int64_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(found[i]) - expected[i];
    error += difference * difference, norm += expected[i] * expected[i];
  }
  return std::sqrt(error / norm);
}

TEST(Attention, Bf16ProductsErrAtMostThreeTimesAsMuchAsTheReferenceWithRoundedOperands) {
  for (const auto& [pattern, e] : {Case{causal(307), {1, 2, 1, 16}}, {shuffled(211, 300), {2, 2, 2, 40}}}) {
    SCOPED_TRACE(text(pattern, e));
    Queue oracle = reference_queue();
    Queue::Options rounding = oracle.options();
    rounding.products = Products::Bf16;
    Queue rounded(rounding);
    const Inputs<float> in(pattern, e);
    const auto exact = run(oracle, pattern, Inputs<double>(pattern, e));
    const auto reference = run(rounded, pattern, in);
    auto queues = fast_queues();
    for (Queue::Options& options : queues) options.products = Products::Bf16;
    on_queues(queues, [&](Queue& queue) {
      const auto found = run(queue, pattern, in);
      auto expect_error = [](const Tensor<float>& f, const Tensor<float>& r, const Tensor<double>& x,
                             const char* what) {
        EXPECT_LT(relative_error(f, x), 3 * relative_error(r, x)) << what;
        EXPECT_GT(relative_error(f, x), 0.2 * relative_error(r, x)) << what << ": are its products rounded at all?";
      };
      expect_error(found.o, reference.o, exact.o, "o");
      expect_error(found.dq, reference.dq, exact.dq, "dq");
      expect_error(found.dk[0], reference.dk[0], exact.dk[0], "dk");
      expect_error(found.dv[0], reference.dv[0], exact.dv[0], "dv");
    });
  }
}

TEST(Attention, ScoresOfTwoHundredStayFiniteAndRight) {
  const Extents e{1, 2, 1, 16};
  for (const Pattern& pattern : {causal(150), rmt_block(20, 120), shuffled(90, 200)}) {
    SCOPED_TRACE(text(pattern, e));
    Queue oracle = reference_queue();
    const auto expected = run(oracle, pattern, Inputs<double>(pattern, e, 7));
    double largest = 0;
    for (double lse : expected.lse.data) largest = std::max(largest, std::isfinite(lse) ? lse : 0);
    EXPECT_GT(largest, 150) << "the inputs do not reach the scores that this test is about";
    // A score of 200 in fp32 is off by up to 1e-5 in rounding alone, and so is the exponent.
    on_queues(every_queue(),
              [&](Queue& queue) { expect_close(run(queue, pattern, Inputs<float>(pattern, e, 7)), expected, 5e-5); });
  }
}

TEST(Attention, KeysInSeveralSpansCountAsMuchAsInOne) {
  const Pattern whole = causal(200);
  const Extents e{1, 2, 1, 16};
  const Inputs<float> in(whole, e);
  for (const std::vector<int>& cuts : {std::vector<int>{0, 64, 200}, {0, 37, 37, 38, 200}, {0, 199, 200}}) {
    Pattern parts{"parts", whole.rows, {}, {}};
    Inputs<float> split = in;
    split.k.clear(), split.v.clear();
    for (size_t c = 1; c < cuts.size(); ++c) {
      parts.spans.emplace_back(whole.rows.begin() + cuts[c - 1], whole.rows.begin() + cuts[c]);
      auto cut = [&](const Tensor<float>& x) {  // kv_heads = 1: keys of the only matrix
        Tensor<float> part(Shape{1, 1, cuts[c] - cuts[c - 1], e.head_dim});
        std::copy_n(x.data.begin() + cuts[c - 1] * e.head_dim, part.size(), part.data.begin());
        return part;
      };
      split.k.push_back(cut(in.k[0]));
      split.v.push_back(cut(in.v[0]));
    }
    on_queues(every_queue(), [&](Queue& queue) {
      const auto one = run(queue, whole, in), several = run(queue, parts, split);
      expect_close(several.o, Tensor<double>(one.o), 2e-6, "o");
      expect_close(several.lse, Tensor<double>(one.lse), 2e-6, "lse");
      expect_close(several.dq, Tensor<double>(one.dq), 5e-6, "dq");
    });
  }
}

TEST(Attention, SpansWithoutGradientViewsChangeNoOtherGradient) {
  const Pattern pattern = uio_decoder(40, 70);
  const Inputs<float> in(pattern, {1, 2, 1, 16});
  on_queues(every_queue(), [&](Queue& queue) {
    const auto expected = run(queue, pattern, in);
    auto dk = random<float>(in.k[1].shape, 31), dv = random<float>(in.k[1].shape, 41);
    Tensor<float> dq(in.q.shape);
    const std::vector<KeySpan> spans{{in.k[0], in.v[0], {}, {}, row_table(pattern.spans[0])},
                                     {in.k[1], in.v[1], dk, dv, row_table(pattern.spans[1])}};
    LocalAttention().backward(queue, dq, in.d_o, expected.o, expected.lse, in.q, row_table(pattern.rows), spans);
    expect_same_bits(dq, expected.dq, "dq");
    expect_same_bits(dk, expected.dk[1], "dk");
    expect_same_bits(dv, expected.dv[1], "dv");
  });
}

// Its probability is 1 whatever the score is, so the gradient of the score is what rounding leaves of 0.
TEST(Attention, ALoneKeyIsCopiedAndItsScoreHasNoGradient) {
  const Pattern pattern = causal(1);
  on_queues(every_queue(), [&](Queue& queue) {
    const Inputs<float> in(pattern, {3, 1, 1, 21});
    const auto found = run(queue, pattern, in);
    expect_same_bits(found.o, in.v[0], "o");
    for (float dq : found.dq.data) ASSERT_NEAR(dq, 0, 1e-6);
  });
}

TEST(Attention, ARowThatSeesNothingIsZeroAndSendsNoGradient) {
  const Pattern pattern = blind(100);
  on_queues(every_queue(), [&](Queue& queue) {
    Inputs<float> in(pattern, {1, 1, 1, 8});
    for (int64_t i = 0; i < in.d_o.size(); ++i)
      if (i / 8 % 3 != 1) in.d_o[i] = 0;  // only blind rows have a gradient to send
    const auto found = run(queue, pattern, in);
    for (int64_t i = 0; i < in.q.size(); ++i) {
      if (i / 8 % 3 != 1) continue;
      ASSERT_EQ(found.o[i], 0) << "row " << i / 8;
      ASSERT_EQ(found.lse[i / 8], -kInfinity) << "row " << i / 8;
      ASSERT_EQ(found.dq[i], 0) << "row " << i / 8;
    }
    expect_same_bits(found.dk[0], random<float>(in.k[0].shape, 30), "dk");
    expect_same_bits(found.dv[0], random<float>(in.v[0].shape, 40), "dv");
  });
}

TEST(Attention, ANonFiniteQueryShowsInItsOwnRowAndInNoOther) {
  const Pattern pattern = causal(150);
  on_queues(every_queue(), [&](Queue& queue) {
    Inputs<float> in(pattern, {1, 1, 1, 8});
    in.q[77 * 8 + 3] = std::numeric_limits<float>::quiet_NaN();
    const auto found = run(queue, pattern, in);
    for (int64_t i = 0; i < in.q.size(); ++i) ASSERT_EQ(std::isnan(found.o[i]), i / 8 == 77) << "row " << i / 8;
  });
}

TEST(Attention, RefusesShapesThatDoNotFit) {
  Queue queue;
  LocalAttention attention;
  const Rows rows = causal(5).rows, few = causal(4).rows;
  Tensor<float> q({2, 4, 5, 8}), o({2, 4, 5, 8}), lse({2, 4, 5}), kv({2, 2, 5, 8}), thirds({2, 3, 5, 8}),
      other({2, 2, 5, 6});
  const Tensor<double> kv64({2, 2, 5, 8});
  auto message = [&](ConstView<> k, View<> dk, const Rows& query_rows, const Rows& key_rows) {
    const std::vector<KeySpan> spans{{k, kv, dk, {}, key_rows}};
    return message_of([&] { attention.forward(queue, o, lse, q, query_rows, spans); });
  };
  EXPECT_NE(message(kv, {}, few, rows).find("4 rows describe q"), std::string::npos);
  EXPECT_NE(message(kv, {}, rows, few).find("Attention k"), std::string::npos);
  EXPECT_NE(message(other, {}, rows, rows).find("Attention k"), std::string::npos);
  EXPECT_NE(message(kv64, {}, rows, rows).find("Attention k"), std::string::npos);
  EXPECT_NE(message(thirds, {}, rows, rows).find("4 heads are no multiple of 3"), std::string::npos);
  EXPECT_NE(message(kv, kv, rows, rows).find("only one of dk and dv"), std::string::npos);
}

}  // namespace
}  // namespace memring::test
