// Attention on the CPU: checks, the choice of the reference, and the blocked fp32 version (Dao et al. 2022). Blocks of
// scores lie transposed, [keys, queries] (loops.h); a block pair is skipped, taken whole or masked by the extremes of
// its rows, and no sum is shared between tasks, so bits do not depend on threads.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/profile.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/blocks.h"
#include "kernels/attention/ref.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"

namespace memring {
namespace {

using attention::Blocks, attention::KeyBlock;
using attention::kInfinity, attention::Problem, attention::QueryBlock, attention::Scratch;
using reference::AttentionExtents;
using reference::AttentionKeys;

/// The blocks of queries [begin, begin + queries), in order.
std::vector<QueryBlock> blocks_of(const Problem& p, int64_t begin, int64_t queries) {
  std::vector<QueryBlock> blocks;
  blocks.reserve(Scratch::kMostBlocks);
  for (int64_t i = 0; i < queries && begin + i < p.e.rows; i += p.blocks.queries) blocks.emplace_back(p, begin, i);
  return blocks;
}

// o, q [rows, head_dim] and lse [rows] of one (batch, head); o holds the sum of exp(score - max) v until the last
// block of keys. What is there to accumulate to is such a sum with max = lse and a denominator of 1.
void forward_run(const Problem& p, float* o, float* lse, Write write, const float* q, int64_t kv_matrix, int64_t begin,
                 int64_t queries) {
  const int64_t head_dim = p.e.head_dim;
  Scratch& s = attention::scratch();
  std::vector<QueryBlock> blocks = blocks_of(p, begin, queries);
  for (QueryBlock& block : blocks) {
    block.queries = {q + block.begin() * head_dim, block.packed_q()};
    std::fill_n(block.max(), block.padded(), -kInfinity);
    std::fill_n(block.sum(), block.padded(), 0.0f);
    for (int64_t i = 0; write == Write::Accumulate && i < block.count(); ++i) {
      block.max()[i] = lse[block.begin() + i];
      block.sum()[i] = block.max()[i] == -kInfinity ? 0.0f : 1.0f;
    }
  }
  for (const KeyBlock& keys : p.key_blocks)
    for (QueryBlock& block : blocks) {
      const auto piece = block.piece(keys);
      if (!piece) continue;
      const int64_t at = attention::key_offset(piece->span, kv_matrix, piece->first, head_dim);
      float* const out = o + block.begin() * head_dim;
      block.dot_keys(s.scores, piece->span.k + at, piece->count, block.queries);
      block.mask(*piece);
      const bool changed = p.loops.softmax(s.scores, piece->count, block.padded(), p.scale, block.max(), block.sum(),
                                           block.correction());
      if (changed && block.next(write) == Write::Accumulate)
        p.loops.scale_rows(out, block.correction(), block.count(), head_dim);
      block.weigh_keys(out, block.next(write), s.scores, piece->span.v + at, piece->count);
      block.fresh = false;
    }
  for (const QueryBlock& block : blocks) {
    float *const out = o + block.begin() * head_dim, *const correction = block.correction();
    if (block.fresh && write == Write::Accumulate) continue;
    if (block.fresh) std::fill_n(out, block.count() * head_dim, 0.0f);
    for (int64_t i = 0; i < block.count(); ++i) {
      lse[block.begin() + i] = block.max()[i] + std::log(block.sum()[i]);
      correction[i] = block.max()[i] == -kInfinity ? 1.0f : 1.0f / block.sum()[i];
    }
    p.loops.scale_rows(out, correction, block.count(), head_dim);
  }
}

// dq, d_o, o, q [rows, head_dim] and lse [rows] of one (batch, head)
void backward_run(const Problem& p, float* dq, Write write, const float* d_o, const float* o, const float* lse,
                  const float* q, int64_t kv_matrix, int64_t begin, int64_t queries) {
  const int64_t head_dim = p.e.head_dim;
  Scratch& s = attention::scratch();
  std::vector<QueryBlock> blocks = blocks_of(p, begin, queries);
  for (QueryBlock& block : blocks) {
    const int64_t at = block.begin() * head_dim;
    block.queries = {q + at, block.packed_q()};
    block.d_outputs = {d_o + at, block.packed_d_o()};
    p.loops.dot_rows(block.delta(), d_o + at, o + at, block.count(), head_dim);
    // A query that sees nothing has only masked scores, -inf: 0 in place of its lse gives exp(-inf) = 0, not NaN.
    for (int64_t i = 0; i < block.count(); ++i) {
      const float value = lse[block.begin() + i];
      block.lse()[i] = value == -kInfinity ? 0.0f : value;
    }
    std::fill(block.lse() + block.count(), block.lse() + block.padded(), 0.0f);
    std::fill(block.delta() + block.count(), block.delta() + block.padded(), 0.0f);
  }
  for (const KeyBlock& keys : p.key_blocks)
    for (QueryBlock& block : blocks) {
      const auto piece = block.piece(keys);
      if (!piece) continue;
      const AttentionKeys<float>& span = piece->span;
      const int64_t at = attention::key_offset(span, kv_matrix, piece->first, head_dim), count = piece->count;
      block.dot_keys(s.scores, span.k + at, count, block.queries);
      block.mask(*piece);
      block.dot_keys(s.d_scores, span.v + at, count, block.d_outputs);
      p.loops.gradient(s.scores, s.d_scores, count, block.padded(), p.scale, block.lse(), block.delta());
      if (dq) block.weigh_keys(dq + block.begin() * head_dim, block.next(write), s.d_scores, span.k + at, count);
      if (span.dk) {
        block.weigh_queries(span.dk + at, s.d_scores, count, block.queries.rows);
        block.weigh_queries(span.dv + at, s.scores, count, block.d_outputs.rows);
      }
      block.fresh = false;
    }
  for (const QueryBlock& block : blocks)
    if (dq && block.fresh && write == Write::Overwrite)
      std::fill_n(dq + block.begin() * head_dim, block.count() * head_dim, 0.0f);
}

/// Cuts the spans into key blocks and calls run(problem, threads).
template <class Run>
void with_problem(const Queue& queue, std::span<const Row> rows, const std::vector<AttentionKeys<float>>& spans,
                  AttentionExtents e, const Run& run) {
  int64_t keys = 0;
  for (const auto& span : spans) keys += std::ssize(span.rows);
  const Blocks blocks = attention::blocks_for(queue.products(), keys, e.head_dim);
  thread_local std::vector<KeyBlock> key_blocks;  // one entry for 128 keys or more; keeps its memory between calls
  key_blocks.clear();
  for (size_t s = 0; s < spans.size(); ++s) {
    const auto count = static_cast<int64_t>(spans[s].rows.size());
    for (int64_t begin = 0; begin < count; begin += attention::kMostKeys) {
      KeyBlock block{static_cast<int64_t>(s), begin, std::min(attention::kMostKeys, count - begin), {}};
      for (int64_t j = 0; j < block.count; ++j) block.order.take(spans[s].rows[static_cast<size_t>(begin + j)].order);
      key_blocks.push_back(block);
    }
  }
  Queue::Options options = queue.options();
  options.threads = 1;
  const Queue one_thread(options);
  const Problem problem{one_thread, MEMRING_LOOPS(queue, attention_loops),        e, rows, spans, blocks,
                        key_blocks, 1 / std::sqrt(static_cast<float>(e.head_dim))};
  run(problem, threads_for(queue, e.batch * e.heads * e.rows * keys));
}

void forward_f32(const Queue& queue, float* o, float* lse, Write write, const float* q, std::span<const Row> rows,
                 const std::vector<AttentionKeys<float>>& spans, AttentionExtents e) {
  with_problem(queue, rows, spans, e, [&](const Problem& p, int threads) {
    const int64_t matrices = e.batch * e.heads, group = e.heads / e.kv_heads;
    int64_t queries = p.blocks.run;  // or so many as leave each thread a few runs
    while (queries > p.blocks.queries && matrices * ((e.rows + queries - 1) / queries) < 4 * threads) queries /= 2;
    const int64_t runs = (e.rows + queries - 1) / queries;
    parallel_tasks(queue, threads, matrices * runs, [&](int64_t task, const auto&) {
      const int64_t matrix = task / runs, kv_matrix = matrix / e.heads * e.kv_heads + matrix % e.heads / group;
      // First, last, second, last but one, ...: under a causal mask each thread's range then holds as much work.
      const int64_t i = task % runs, run = i % 2 == 0 ? i / 2 : runs - 1 - i / 2;
      forward_run(p, o + matrix * e.rows * e.head_dim, lse + matrix * e.rows, write, q + matrix * e.rows * e.head_dim,
                  kv_matrix, run * queries, queries);
    });
  });
}

void backward_f32(const Queue& queue, float* dq, Write write, const float* d_o, const float* o, const float* lse,
                  const float* q, std::span<const Row> rows, const std::vector<AttentionKeys<float>>& spans,
                  AttentionExtents e) {
  with_problem(queue, rows, spans, e, [&](const Problem& p, int threads) {
    const int64_t group = e.heads / e.kv_heads;
    // A task owns dk and dv of its (batch, kv_head): all heads of the group, one behind the other.
    parallel_tasks(queue, threads, e.batch * e.kv_heads, [&](int64_t kv_matrix, const auto& pause) {
      for (int64_t matrix = kv_matrix * group; matrix < (kv_matrix + 1) * group; ++matrix) {
        const int64_t at = matrix * e.rows * e.head_dim;
        for (int64_t begin = 0; begin < e.rows; begin += p.blocks.run, pause())
          backward_run(p, dq ? dq + at : nullptr, write, d_o + at, o + at, lse + matrix * e.rows, q + at, kv_matrix,
                       begin, p.blocks.run);
      }
    });
  });
}

/// Checks q, o [batch, heads, rows, head_dim], lse [batch, heads, rows], the rows and the spans.
AttentionExtents extents_of(ConstView<> q, ConstView<> o, ConstView<> lse, std::span<const Row> rows,
                            std::span<const KeySpan> spans) {
  const DType dtype = expect_float(q, 4, "Attention q");
  AttentionExtents e{q.dim(0), q.dim(1), q.dim(1), q.dim(2), q.dim(3)};
  if (e.head_dim < 1) throw ShapeError(fmt::format("Attention: head_dim must be positive, found q {}", q.text()));
  expect(o, dtype, q.shape(), "Attention o");
  expect(lse, dtype, {e.batch, e.heads, e.rows}, "Attention lse");
  if (static_cast<int64_t>(rows.size()) != e.rows)
    throw ShapeError(fmt::format("Attention: {} rows describe q {}", rows.size(), q.text()));
  for (size_t s = 0; s < spans.size(); ++s) {
    const KeySpan& span = spans[s];
    expect_float(span.k, 4, "Attention k");
    if (s == 0) e.kv_heads = span.k.dim(1);
    if (e.kv_heads < 1 || e.heads % e.kv_heads != 0)
      throw ShapeError(fmt::format("Attention: {} heads are no multiple of {} kv_heads", e.heads, e.kv_heads));
    const Shape shape{e.batch, e.kv_heads, static_cast<int64_t>(span.rows.size()), e.head_dim};
    expect(span.k, dtype, shape, "Attention k");
    expect(span.v, dtype, shape, "Attention v");
    if (!span.dk != !span.dv) throw ShapeError(fmt::format("Attention: span {} wants only one of dk and dv", s));
    if (span.dk) expect(span.dk, dtype, shape, "Attention dk");
    if (span.dv) expect(span.dv, dtype, shape, "Attention dv");
  }
  return e;
}

template <class T>
std::vector<AttentionKeys<T>> typed(std::span<const KeySpan> spans) {
  std::vector<AttentionKeys<T>> keys;
  for (const KeySpan& span : spans)
    keys.push_back({span.k.as<T>(), span.v.as<T>(), span.dk ? span.dk.as<T>() : nullptr,
                    span.dv ? span.dv.as<T>() : nullptr, span.rows});
  return keys;
}

/// Of so many products over all visible pairs; counted for a profile only. What backward computes again does not count.
double flops_of(const Queue& queue, AttentionExtents e, std::span<const Row> rows, std::span<const KeySpan> spans,
                int products) {
  if (!queue.profile()) return 0;
  int64_t pairs = 0;
  for (const KeySpan& span : spans) pairs += visible_pairs(rows, span.rows);
  return 2.0 * products * static_cast<double>(e.batch * e.heads * e.head_dim * pairs);
}

}  // namespace

int64_t visible_pairs(std::span<const Row> rows, std::span<const Row> keys) {
  std::vector<int32_t> orders;
  for (const Row& key : keys) orders.push_back(key.order);
  std::sort(orders.begin(), orders.end());
  const auto count = [&](int32_t from, int32_t to) {
    return std::upper_bound(orders.begin(), orders.end(), to) - std::lower_bound(orders.begin(), orders.end(), from);
  };
  int64_t pairs = 0;
  for (const Row& row : rows) {
    if (row.from <= row.to) pairs += count(row.from, row.to);
    if (row.order < row.from || row.to < row.order) pairs += count(row.order, row.order);
  }
  return pairs;
}

void LocalAttention::forward_part(Queue& queue, View<> o, View<> lse, Write write, ConstView<> q,
                                  std::span<const Row> rows, std::span<const KeySpan> spans) {
  const AttentionExtents e = extents_of(q, o, lse, rows, spans);
  const Timed timed(queue, "Attention forward", flops_of(queue, e, rows, spans, 2), q, o);
  if (!queue.reference(q.dtype()))
    return forward_f32(queue, o.as<float>(), lse.as<float>(), write, q.as<float>(), rows, typed<float>(spans), e);
  by_float_type(q.dtype(), [&]<class T>() {
    reference::attention_forward(o.as<T>(), lse.as<T>(), write, q.as<T>(), rows, typed<T>(spans), e, queue);
  });
}

void LocalAttention::backward_part(Queue& queue, View<> dq, Write write, ConstView<> d_o, ConstView<> o,
                                   ConstView<> lse, ConstView<> q, std::span<const Row> rows,
                                   std::span<const KeySpan> spans) {
  const AttentionExtents e = extents_of(q, o, lse, rows, spans);
  expect(d_o, q.dtype(), q.shape(), "Attention d_o");
  if (dq) expect(dq, q.dtype(), q.shape(), "Attention dq");
  const Timed timed(queue, "Attention backward", flops_of(queue, e, rows, spans, 4), q, o, d_o, dq);
  if (!queue.reference(q.dtype()))
    return backward_f32(queue, dq ? dq.as<float>() : nullptr, write, d_o.as<float>(), o.as<float>(), lse.as<float>(),
                        q.as<float>(), rows, typed<float>(spans), e);
  by_float_type(q.dtype(), [&]<class T>() {
    reference::attention_backward(dq ? dq.as<T>() : nullptr, write, d_o.as<T>(), o.as<T>(), lse.as<T>(), q.as<T>(),
                                  rows, typed<T>(spans), e, queue);
  });
}

}  // namespace memring
