// Attention of bf16 rows on a device, by products of a warp's matrices: against the reference in double at every border
// of its tiles, whole and in parts, and the same bits whatever the order of threads.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "attention_patterns.h"
#include "kernels/attention/attention.h"
#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t batch, heads, kv_heads, head_dim;
};

Tensor<Bf16> stored(const Tensor<double>& x) {
  Tensor<Bf16> y(x.shape);
  for (int64_t i = 0; i < x.size(); ++i) y[i] = Bf16(static_cast<float>(x[i]));
  return y;
}
Tensor<double> widened(const Tensor<Bf16>& x) {
  Tensor<double> y(x.shape);
  for (int64_t i = 0; i < x.size(); ++i) y[i] = static_cast<double>(x[i].value());
  return y;
}

struct Inputs {
  Tensor<Bf16> q, d_o;
  std::vector<Tensor<Bf16>> k, v;

  Inputs(const Pattern& pattern, Extents e) {
    const Shape queries{e.batch, e.heads, std::ssize(pattern.rows), e.head_dim};
    q = stored(Tensor<double>(random<float>(queries, 1)));
    d_o = stored(Tensor<double>(random<float>(queries, 2)));
    for (size_t s = 0; s < pattern.spans.size(); ++s) {
      const Shape keys{e.batch, e.kv_heads, std::ssize(pattern.spans[s]), e.head_dim};
      k.push_back(stored(Tensor<double>(random<float>(keys, 10 + s))));
      v.push_back(stored(Tensor<double>(random<float>(keys, 20 + s))));
    }
  }
};

/// Results in the type of sums: rounding to bf16 would hide what a kernel errs by.
template <class T>
struct Results {
  Tensor<T> o, lse, dq;
  std::vector<Tensor<T>> dk, dv;

  Results(const Pattern& pattern, Extents e)
      : o(Shape{e.batch, e.heads, std::ssize(pattern.rows), e.head_dim}),
        lse(Shape{e.batch, e.heads, std::ssize(pattern.rows)}),
        dq(o.shape) {
    for (const Rows& rows : pattern.spans) {
      const Shape keys{e.batch, e.kv_heads, std::ssize(rows), e.head_dim};
      dk.push_back(random<T>(keys, 30));
      dv.push_back(random<T>(keys, 40));
    }
    for (Tensor<T>* t : {&o, &lse, &dq}) std::fill(t->data.begin(), t->data.end(), std::numeric_limits<T>::quiet_NaN());
  }
};

Results<double> reference(const Pattern& pattern, const Inputs& in, Extents e) {
  Queue queue = reference_queue();
  const Entered entered(queue);
  Results<double> out(pattern, e);
  const Tensor<double> q = widened(in.q), d_o = widened(in.d_o);
  std::vector<Tensor<double>> k, v;
  std::vector<KeySpan> spans;
  for (size_t s = 0; s < in.k.size(); ++s) {
    k.push_back(widened(in.k[s]));
    v.push_back(widened(in.v[s]));
  }
  for (size_t s = 0; s < in.k.size(); ++s)
    spans.push_back({k[s], v[s], out.dk[s], out.dv[s], row_table(pattern.spans[s])});
  LocalAttention::forward_part(queue, out.o, out.lse, Write::Overwrite, q, row_table(pattern.rows), spans);
  LocalAttention::backward_part(queue, out.dq, Write::Overwrite, d_o, out.o, out.lse, q, row_table(pattern.rows),
                                spans);
  return out;
}

Results<float> on_device(Queue& queue, const Pattern& pattern, const Inputs& in, Extents e) {
  Results<float> out(pattern, e);
  std::vector<KeySpan> spans;
  for (size_t s = 0; s < in.k.size(); ++s)
    spans.push_back({in.k[s], in.v[s], out.dk[s], out.dv[s], row_table(pattern.spans[s])});
  LocalAttention::forward_part(queue, out.o, out.lse, Write::Overwrite, in.q, row_table(pattern.rows), spans);
  LocalAttention::backward_part(queue, out.dq, Write::Overwrite, in.d_o, out.o, out.lse, in.q, row_table(pattern.rows),
                                spans);
  settle();
  return out;
}

/// The norm of the difference, relative to that of what is expected and of as many numbers of 1e-3: a lone key's score
/// has no gradient. Infinities must be the same.
double relative_error(const Tensor<float>& found, const Tensor<double>& expected) {
  double error = 0, norm = 1e-6 * static_cast<double>(expected.size());
  for (int64_t i = 0; i < expected.size(); ++i) {
    if (std::isinf(expected[i]) && static_cast<double>(found[i]) == expected[i]) continue;
    error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
    norm += std::pow(expected[i], 2);
  }
  return error == 0 ? 0 : std::sqrt(error / norm);
}

// Weights of probabilities and scores are rounded to bf16: half a unit in the last place is 2e-3 of a number.
void expect_close(const Results<float>& found, const Results<double>& expected) {
  EXPECT_LT(relative_error(found.o, expected.o), 2.5e-3);
  EXPECT_LT(relative_error(found.lse, expected.lse), 2e-6);
  EXPECT_LT(relative_error(found.dq, expected.dq), 4e-3);
  for (size_t s = 0; s < found.dk.size(); ++s) {
    EXPECT_LT(relative_error(found.dk[s], expected.dk[s]), 4e-3) << "span " << s;
    EXPECT_LT(relative_error(found.dv[s], expected.dv[s]), 4e-3) << "span " << s;
  }
}

std::string text(const Pattern& pattern, Extents e) {
  return fmt::format("{}, {} rows, {} heads on {} of {}", pattern.name, pattern.rows.size(), e.heads, e.kv_heads,
                     e.head_dim);
}

/// [text n | memory m], causal: what ARMT's rows see.
Pattern armt(int m, int n) {
  Pattern pattern = causal(n + m);
  pattern.name = "ARMT";
  return pattern;
}

/// What a rank of a ring has of 2n causal rows, the first and the last n / 2 and a half or so, and keys of another
/// rank.
Pattern zigzag(int n) {
  const Rows all = causal(2 * n).rows;
  const int half = (n + 1) / 2;
  Rows rows(all.begin(), all.begin() + half);
  rows.insert(rows.end(), all.end() - (n - half), all.end());
  const Rows keys(all.begin() + half, all.begin() + half + n);
  return {"zigzag", rows, {keys}, {}};
}

std::vector<Pattern> layouts(int n) {
  return {armt(3, n),        zigzag(n),         causal(n),         rmt_block(n / 4 + 1, n),
          uio_encoder(1, n), uio_decoder(n, n), window(n, 40),     sinks(n, 40, std::min(n, 3), 2, 30),
          blind(n),          future(n),         shuffled(n, n + 5)};
}

// Pads: head sizes of no power of two; 63, 64 and 65 are the borders of a tile, 129 has three.
TEST(AttentionMma, AgreesWithTheDoubleReferenceAtTheBordersOfTiles) {
  on_queues(every_queue(), [](Queue& queue) {
    for (const int n : {1, 63, 64, 65, 129})
      for (const Pattern& pattern : layouts(n)) {
        const Extents e = n < 65 ? Extents{2, 2, 1, 32} : Extents{1, 2, 1, 64};
        SCOPED_TRACE(text(pattern, e));
        const Inputs in(pattern, e);
        expect_close(on_device(queue, pattern, in, e), reference(pattern, in, e));
      }
  });
}

TEST(AttentionMma, TakesEveryHeadSizeOfAMultipleOfEight) {
  on_queues(every_queue(), [](Queue& queue) {
    for (const int64_t dim : {8, 16, 40, 72, 128})
      for (const Pattern& pattern : {causal(70), uio_decoder(66, 20)}) {
        const Extents e{1, 4, 2, dim};
        SCOPED_TRACE(text(pattern, e));
        const Inputs in(pattern, e);
        expect_close(on_device(queue, pattern, in, e), reference(pattern, in, e));
      }
  });
}

// Each launch has another order of threads and of blocks.
TEST(AttentionMma, BitsDoNotDependOnTheOrderOfThreads) {
  const Extents e{1, 4, 2, 64};
  const Pattern pattern = sinks(150, 70, 3, 2, 60);
  const Inputs in(pattern, e);
  on_queues(every_queue(), [&](Queue& queue) {
    const Results<float> first = on_device(queue, pattern, in, e), second = on_device(queue, pattern, in, e);
    expect_same_bits(first.o, second.o, "o");
    expect_same_bits(first.lse, second.lse, "lse");
    expect_same_bits(first.dq, second.dq, "dq");
    for (size_t s = 0; s < first.dk.size(); ++s) {
      expect_same_bits(first.dk[s], second.dk[s], "dk");
      expect_same_bits(first.dv[s], second.dv[s], "dv");
    }
  });
}

/// Forward over every parts-th key at a time.
Results<float> in_parts(Queue& queue, const Pattern& pattern, const Inputs& in, Extents e, int64_t parts) {
  Results<float> out(pattern, e);
  const int64_t keys = std::ssize(pattern.spans[0]);
  for (int64_t part = 0; part < parts; ++part) {
    Rows rows;
    for (int64_t j = part; j < keys; j += parts) rows.push_back(pattern.spans[0][static_cast<size_t>(j)]);
    const Shape shape{e.batch, e.kv_heads, std::ssize(rows), e.head_dim};
    Tensor<Bf16> k(shape), v(shape);
    for (int64_t m = 0; m < e.batch * e.kv_heads; ++m)
      for (int64_t j = 0; j < shape[2]; ++j)
        for (int64_t c = 0; c < e.head_dim; ++c) {
          const int64_t to = (m * shape[2] + j) * e.head_dim + c, from = (m * keys + part + j * parts) * e.head_dim + c;
          k[to] = in.k[0][from];
          v[to] = in.v[0][from];
        }
    const KeySpan span{k, v, {}, {}, row_table(rows)};
    LocalAttention::forward_part(queue, out.o, out.lse, part == 0 ? Write::Overwrite : Write::Accumulate, in.q,
                                 row_table(pattern.rows), {&span, 1});
    settle();
  }
  return out;
}

TEST(AttentionMma, SixteenPartsAreNoLessExactThanOne) {
  const Extents e{1, 2, 1, 32};
  for (const Pattern& pattern : {causal(200), blind(130)}) {
    SCOPED_TRACE(text(pattern, e));
    const Inputs in(pattern, e);
    const Results<double> expected = reference(pattern, in, e);
    on_queues(every_queue(), [&](Queue& queue) {
      const Results<float> one = in_parts(queue, pattern, in, e, 1), many = in_parts(queue, pattern, in, e, 16);
      EXPECT_LT(relative_error(many.o, expected.o), 1.5 * relative_error(one.o, expected.o));
      EXPECT_LT(relative_error(many.lse, expected.lse), 2e-6);
    });
  }
}

// Rows that see nothing of a part keep what they have, bit for bit.
TEST(AttentionMma, APartThatIsNotSeenChangesNothing) {
  const Extents e{1, 2, 1, 32};
  const Pattern pattern = causal(100), later{"later",
                                             pattern.rows,
                                             {make_rows(70,
                                                        [](int j) {
                                                          return Row{j, 50 + j, 0, 0};
                                                        })},
                                             {}};
  const Inputs in(pattern, e), more(later, e);
  on_queues(every_queue(), [&](Queue& queue) {
    Results<float> out = on_device(queue, pattern, in, e);
    const Results<float> before = out;
    const KeySpan span{more.k[0], more.v[0], {}, {}, row_table(later.spans[0])};
    LocalAttention::forward_part(queue, out.o, out.lse, Write::Accumulate, in.q, row_table(later.rows), {&span, 1});
    settle();
    for (int64_t h = 0; h < e.heads; ++h)
      for (int64_t i = 0; i < 100; ++i) {
        const int64_t at = h * 100 + i;
        EXPECT_EQ(out.lse[at] == before.lse[at], i < 50) << "row " << i;
        for (int64_t c = 0; c < e.head_dim && i < 50; ++c)
          EXPECT_EQ(out.o[at * e.head_dim + c], before.o[at * e.head_dim + c]);
      }
  });
}

}  // namespace
}  // namespace memring::test
