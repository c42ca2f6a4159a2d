// run.deterministic = strict rests on this: with canonical blocks (Queue::Options::block) an operator's bits do not
// depend on which other rows a call holds, nor on threads; what is summed over rows goes to exact sums. Each operator
// on all rows of a segment, and on those of two ranks.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/adamw/adamw.h"
#include "kernels/associative/associative.h"
#include "kernels/attention/attention.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/linear/linear.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"
#include "op_test.h"
#include "rope_tables.h"
#include "row_splits.h"

namespace memring {
namespace {

using namespace test;

TEST(RowBlocks, LinearForwardAndInputGradient) {
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{72, 301}, {33, 7}, {5000, 40}}) {
    const auto x = random<float>({kRows, in}, 1), w = random<float>({out, in}, 2), dy = random<float>({kRows, out}, 3);
    Tensor<float> y({kRows, out}), dx({kRows, in});
    expect_no_trace_of_splits([] {},
                              [&, &x = x, &w = w, &dy = dy](Queue& queue, Part part) {
                                Linear::forward(queue, part_of(y, part), Write::Overwrite, part_of(x, part), w);
                                Linear::forward(queue, part_of(y, part), Write::Accumulate, part_of(x, part), w);
                                Linear::input_gradient(queue, part_of(dx, part), Write::Overwrite, part_of(dy, part),
                                                       w);
                              },
                              [&] {
                                return std::vector{y.data, dx.data};
                              });
  }
}

TEST(RowBlocks, WeightGradients) {
  const int64_t in = 300, out = 290;
  const auto x = random<float>({kRows, in}, 1), dy = random<float>({kRows, out}, 2);
  Sums dw({out, in});
  expect_no_trace_of_splits(
      [&] { dw.clear(); },
      [&](Queue& queue, Part part) { Linear::weight_gradient(queue, dw.view(), part_of(dy, part), part_of(x, part)); },
      [&] { return dw.data; });
}

TEST(RowBlocks, RmsNorm) {
  const int64_t dim = 201;
  const auto x = random<float>({kRows, dim}, 1), gain = random<float>({dim}, 2), dy = random<float>({kRows, dim}, 3);
  Tensor<float> y({kRows, dim}), inv({kRows}), dx({kRows, dim});
  Sums dgain({dim});
  expect_no_trace_of_splits([&] { dgain.clear(); },
                            [&](Queue& queue, Part part) {
                              RmsNorm::forward(queue, part_of(y, part), part_of(inv, part), part_of(x, part), gain,
                                               1e-5);
                              RmsNorm::backward(queue, part_of(dx, part), Write::Overwrite, dgain.view(),
                                                part_of(dy, part), part_of(x, part), gain, part_of(inv, part));
                            },
                            [&] {
                              std::vector<float> all = y.data;
                              for (const auto& one : {inv.data, dx.data}) all.insert(all.end(), one.begin(), one.end());
                              for (const Exact& sum : dgain.data) all.push_back(static_cast<float>(sum.value()));
                              return all;
                            });
}

TEST(RowBlocks, SwiGluAndRope) {
  const int64_t ffn = 173, heads = 3, head_dim = 22;
  const auto gate = random<float>({kRows, ffn}, 1), up = random<float>({kRows, ffn}, 2),
             dy = random<float>({kRows, ffn}, 3), in = random<float>({kRows, heads * head_dim}, 4);
  std::vector<int32_t> positions;
  for (int32_t i = 0; i < kRows; ++i) positions.push_back(i);
  Queue reference = reference_queue();
  const RopeTables<float> tables(reference, positions, head_dim / 2, 10000);
  Tensor<float> y({kRows, ffn}), d_gate({kRows, ffn}), d_up({kRows, ffn}), again({kRows, ffn}),
      turned({kRows, heads * head_dim});
  expect_no_trace_of_splits(
      [] {},
      [&](Queue& queue, Part part) {
        SwiGlu::forward(queue, part_of(y, part), part_of(gate, part), part_of(up, part));
        SwiGlu::backward(queue, part_of(d_gate, part), part_of(d_up, part), part_of(again, part), part_of(dy, part),
                         part_of(gate, part), part_of(up, part));
        Tensor<float> by_head({1, heads, part.count, head_dim});
        const Shape some{1, part.count, head_dim / 2};
        const ConstView<> cos = tables.cos.view().at(0).rows(part.begin, part.count).reshaped(some),
                          sin = tables.sin.view().at(0).rows(part.begin, part.count).reshaped(some);
        Rope::forward(queue, by_head, part_of(in, part), cos, sin);
        Rope::backward(queue, part_of(turned, part), by_head, cos, sin);
      },
      [&] {
        return std::vector{y.data, d_gate.data, d_up.data, again.data, turned.data};
      });
}

TEST(RowBlocks, EmbeddingGradient) {
  const int64_t vocab = 23, dim = 37;
  const auto dy = random<float>({kRows, dim}, 1);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < kRows; ++i) ids.push_back(i * i % 23);
  Sums d_table({vocab, dim});
  expect_no_trace_of_splits([&] { d_table.clear(); },
                            [&](Queue& queue, Part part) {
                              Embedding::backward(queue, d_table.view(), part_of(dy, part),
                                                  ConstView<int32_t>(ids.data() + part.begin, {part.count}));
                            },
                            [&] { return d_table.data; });
}

// Text rows may begin in the middle of a canonical block, behind memory rows: here at row 3 of the layout.
TEST(RowBlocks, CrossEntropy) {
  constexpr int64_t kFirst = 3, dim = 72, vocab = 301;
  const auto hidden = random<float>({kRows, dim}, 1), weight = random<float>({vocab, dim}, 2, 0.1);
  std::vector<int32_t> targets;
  for (int32_t i = 0; i < kRows; ++i) targets.push_back(i % 5 == 1 ? kIgnoredTarget : i * i % 301);
  Tensor<float> nll({kRows}), d_hidden({kRows, dim});
  Sums d_weight({vocab, dim});
  const auto behind_memory = [&](Part part) {
    const int64_t end = part.begin + part.count;
    part.begin = part.begin == 0 ? 0 : part.begin - kFirst;
    part.count = (end == kRows ? kRows : end - kFirst) - part.begin;
    return part;
  };
  expect_no_trace_of_splits(
      [&] { d_weight.clear(); },
      [&](Queue& queue, Part layout) {
        const Part part = behind_memory(layout);
        Arena scratch(CrossEntropy::scratch_bytes(DType::F32, part.count, vocab));
        CrossEntropy::forward_backward(
            queue, part_of(nll, part), part_of(d_hidden, part), d_weight.view(), part_of(hidden, part), weight,
            ConstView<int32_t>(targets.data() + part.begin, {part.count}), scratch, part.begin == 0 ? kFirst : 0);
      },
      [&] {
        std::vector<float> all = nll.data;
        all.insert(all.end(), d_hidden.data.begin(), d_hidden.data.end());
        for (const Exact& sum : d_weight.data) all.push_back(static_cast<float>(sum.value()));
        return all;
      });
}

TEST(RowBlocks, AssociativeReads) {
  const int64_t keys = 72, dim = 65;
  auto features = random<float>({kRows, keys}, 1);
  for (float& x : features.data) x = std::max(x, 0.0f);
  const auto A = random<float>({keys, dim}, 2), dy = random<float>({kRows, dim}, 3);
  auto z = random<float>({keys}, 4);
  for (float& x : z.data) x = std::abs(x);
  Tensor<float> y({kRows, dim}), d_phi({kRows, keys});
  Sums dA({keys, dim}), dz({keys});
  expect_no_trace_of_splits(
      [&] {
        dA.clear();
        dz.clear();
        std::fill(y.data.begin(), y.data.end(), 1.0f);
      },
      [&](Queue& queue, Part part) {
        Tensor<double> smallest(Shape{2});
        Tensor<float> phi = features;
        Arena scratch(Associative::read_backward_scratch_bytes(DType::F32, part.count, keys, dim));
        Associative::read(queue, part_of(y, part), part_of(phi, part), A, z, smallest.view(), scratch);
        phi = features;
        Associative::read_backward(queue, part_of(d_phi, part), dA.view(), dz.view(), part_of(dy, part),
                                   part_of(phi, part), A, z, scratch);
      },
      [&] {
        std::vector<float> all = y.data;
        all.insert(all.end(), d_phi.data.begin(), d_phi.data.end());
        for (const auto* sums : {&dA.data, &dz.data})
          for (const Exact& sum : *sums) all.push_back(static_cast<float>(sum.value()));
        return all;
      });
}

/// [1, heads, rows, width] of rows [part) of all.
Tensor<float> rows_of(const Tensor<float>& all, Part part) {
  const int64_t heads = all.shape[1], width = all.shape[3];
  Tensor<float> some({1, heads, part.count, width});
  for (int64_t h = 0; h < heads; ++h)
    std::copy_n(all.data.begin() + (h * kRows + part.begin) * width, part.count * width,
                some.data.begin() + h * part.count * width);
  return some;
}
void put_rows(Tensor<float>& all, const Tensor<float>& some, Part part) {
  const int64_t heads = all.shape[1], width = all.shape[3];
  for (int64_t h = 0; h < heads; ++h)
    std::copy_n(some.data.begin() + h * part.count * width, part.count * width,
                all.data.begin() + (h * kRows + part.begin) * width);
}

// What GatherAttention does: own queries and all keys; and own keys and all queries.
TEST(RowBlocks, Attention) {
  const int64_t heads = 4, kv_heads = 2, head_dim = 20;
  const auto q = random<float>({1, heads, kRows, head_dim}, 1), k = random<float>({1, kv_heads, kRows, head_dim}, 2),
             v = random<float>({1, kv_heads, kRows, head_dim}, 3), d_o = random<float>({1, heads, kRows, head_dim}, 4);
  std::vector<Row> rows;
  for (int32_t i = 0; i < kRows; ++i)
    rows.push_back({.position = i, .order = i, .from = 0, .to = i < 5 ? 4 : i >= kRows - 3 ? int32_t{kRows} - 1 : i});
  Tensor<float> o({1, heads, kRows, head_dim}), lse({1, heads, kRows, 1}), dq = o;
  Tensor<float> dk({1, kv_heads, kRows, head_dim}), dv = dk;
  const auto own = [&](Part part) {
    return std::span<const Row>(rows).subspan(static_cast<size_t>(part.begin), static_cast<size_t>(part.count));
  };
  // Forward of all rows must be there before a backward.
  for (const bool backward : {false, true})
    expect_no_trace_of_splits(
        [] {},
        [&](Queue& queue, Part part) {
          const KeySpan all{.k = k, .v = v, .dk = {}, .dv = {}, .rows = rows};
          const Tensor<float> some_q = rows_of(q, part);
          const Shape lse_shape{1, heads, part.count};
          if (!backward) {
            Tensor<float> some_o(some_q.shape), some_lse({1, heads, part.count, 1});
            LocalAttention::forward_part(queue, some_o, some_lse.view().reshaped(lse_shape), Write::Overwrite, some_q,
                                         own(part), {&all, 1});
            put_rows(o, some_o, part);
            put_rows(lse, some_lse, part);
            return;
          }
          const Tensor<float> some_o = rows_of(o, part), some_lse = rows_of(lse, part), some_d_o = rows_of(d_o, part);
          Tensor<float> some_dq(some_q.shape);
          LocalAttention::backward_part(queue, some_dq, Write::Overwrite, some_d_o, some_o,
                                        some_lse.view().reshaped(lse_shape), some_q, own(part), {&all, 1});
          put_rows(dq, some_dq, part);
          const Tensor<float> some_k = rows_of(k, part), some_v = rows_of(v, part);
          Tensor<float> some_dk(some_k.shape), some_dv(some_k.shape);
          const KeySpan mine{.k = some_k, .v = some_v, .dk = some_dk, .dv = some_dv, .rows = own(part)};
          const Tensor<float>& all_lse = lse;
          LocalAttention::backward_part(queue, {}, Write::Overwrite, d_o, o, all_lse.view().reshaped({1, heads, kRows}),
                                        q, rows, {&mine, 1});
          put_rows(dk, some_dk, part);
          put_rows(dv, some_dv, part);
        },
        [&] {
          return backward ? std::vector{dq.data, dk.data, dv.data} : std::vector{o.data, lse.data};
        });
}

// Shards of the optimizer begin anywhere in a tensor.
TEST(RowBlocks, AdamWAndSmallPasses) {
  const auto gradient = random<float>({kRows}, 1), start = random<float>({kRows}, 2);
  Tensor<float> w({kRows}), m({kRows}), v({kRows}), scaled({kRows});
  expect_no_trace_of_splits(
      [&] {
        w = start;
        scaled = start;
        m = Tensor<float>({kRows});
        v = m;
      },
      [&](Queue& queue, Part part) {
        for (int64_t step = 1; step <= 3; ++step)
          AdamW::step(queue, part_of(w, part), {}, part_of(m, part), part_of(v, part), part_of(gradient, part), {},
                      {.weight_decay = 0.1, .step = step, .grad_scale = 0.3});
        Elementwise::scale(queue, part_of(scaled, part), 1.1);
        Elementwise::add(queue, part_of(scaled, part), part_of(scaled, part), part_of(gradient, part));
      },
      [&] {
        return std::vector{w.data, m.data, v.data, scaled.data};
      });
}

}  // namespace
}  // namespace memring
