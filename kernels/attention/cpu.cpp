// Attention on the CPU: checks, the choice of the reference, and the blocked fp32 version (Dao et al. 2022). Blocks of
// scores lie transposed, [keys, queries] (loops.h); a block pair is skipped, taken whole or masked by the extremes of
// its rows, and no sum is shared between tasks, so bits do not depend on threads.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "base/profile.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/loops.h"
#include "kernels/attention/ref.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/gemm.h"

namespace memring {
namespace {

using reference::AttentionExtents;
using reference::AttentionKeys;

constexpr int64_t kMostKeys = 256;   // of one block
constexpr int64_t kMostDepth = 128;  // of head_dim at a time in packed queries
constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr int64_t kMostRun = 256;  // queries

/// Block sizes, and how many queries take each block of keys together: a run of blocks.
struct Blocks {
  int64_t queries, keys, run;
};

/// Our own products reach their rate on small blocks, and few queries leave little to waste above a causal diagonal.
/// Keys and values of a head that do not fit in the cache are fetched once a run (8K keys: 5 % of forward and
/// backward), and larger blocks then win 2 %; where they fit, runs and large blocks lose as much. oneDNN's bf16
/// products need large blocks. No sum depends on the length of runs.
Blocks blocks_for(Products products, int64_t keys, int64_t head_dim) {
  constexpr int64_t kCached = 512 << 10;
  const bool fits = 2 * keys * head_dim * static_cast<int64_t>(sizeof(float)) <= kCached;
  const int64_t queries = products == Products::Bf16 ? kMostQueries : fits ? 32 : 64;
  return {queries, kMostKeys, fits ? queries : kMostRun};
}

/// What a thread needs for one block pair, and of each query of a run; made once per thread.
struct Scratch {
  static constexpr int64_t kMostBlocks = 4;  // of a run
  alignas(64) float scores[kMostKeys * kMostQueries], d_scores[kMostKeys * kMostQueries];
  alignas(64) float q[kMostDepth * kMostRun], d_o[kMostDepth * kMostRun];
  alignas(64) float max[kMostRun], sum[kMostRun], correction[kMostRun], lse[kMostRun], delta[kMostRun];
  alignas(64) AttentionQueries rows[kMostBlocks];
  int32_t key_order[kMostKeys];
};

Scratch& scratch() {
  thread_local const std::unique_ptr<Scratch> mine = std::make_unique<Scratch>();
  return *mine;
}

struct Bounds {
  int32_t low = std::numeric_limits<int32_t>::max(), high = std::numeric_limits<int32_t>::min();
  void take(int32_t value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

struct KeyBlock {
  int64_t span, begin, count;
  Bounds order;
};

/// The extremes of a block of queries.
struct QueryBounds {
  Bounds from, to, order;

  bool see_all(const Bounds& key) const { return from.high <= key.low && key.high <= to.low; }
  bool may_see(const Bounds& key) const {
    return (from.low <= key.high && key.low <= to.high) || (order.low <= key.high && key.low <= order.high);
  }
  bool may_see(int32_t key) const { return may_see(Bounds{key, key}); }
};

/// One call: operands, block sizes and the key blocks of all spans with their extremes.
struct Problem {
  const Queue& queue;  // of one thread: products run inside tasks
  const AttentionLoops& loops;
  AttentionExtents e;
  std::span<const Row> rows;
  const std::vector<AttentionKeys<float>>& spans;
  Blocks blocks;
  const std::vector<KeyBlock>& key_blocks;
  float scale;

  bool own_products() const { return queue.products() == Products::F32; }
};

/// Where keys [first, ...) of a (batch, kv_head) begin.
int64_t key_offset(const AttentionKeys<float>& span, int64_t kv_matrix, int64_t first, int64_t head_dim) {
  return (kv_matrix * static_cast<int64_t>(span.rows.size()) + first) * head_dim;
}

/// Keys that a block of queries takes at a time; `masked`: not every query sees every one.
struct Piece {
  const AttentionKeys<float>& span;
  int64_t first, count;
  bool masked;
};

/// A block of queries of a run, with its part of the calling thread's scratch, and its products with keys.
class QueryBlock {
 public:
  /// The block that begins `in_run` queries behind the run's beginning; all blocks before it are full.
  QueryBlock(const Problem& problem, int64_t run_begin, int64_t in_run)
      : p_(problem),
        s_(scratch()),
        rows_(s_.rows[in_run / problem.blocks.queries]),
        begin_(run_begin + in_run),
        in_run_(in_run),
        count_(std::min(problem.blocks.queries, problem.e.rows - begin_)),
        padded_((count_ + kQueryPadding - 1) / kQueryPadding * kQueryPadding) {
    for (int64_t i = 0; i < count_; ++i) {
      const Row& row = problem.rows[static_cast<size_t>(begin_ + i)];
      rows_.from[i] = row.from;
      rows_.to[i] = row.to;
      rows_.order[i] = row.order;
      bounds_.from.take(row.from);
      bounds_.to.take(row.to);
      bounds_.order.take(row.order);
    }
    for (int64_t i = count_; i < padded_; ++i) {
      rows_.from[i] = 1;
      rows_.to[i] = 0;
      rows_.order[i] = std::numeric_limits<int32_t>::min();
    }
  }

  int64_t begin() const { return begin_; }
  int64_t count() const { return count_; }
  int64_t padded() const { return padded_; }
  // [padded] each, in the scratch
  float* max() const { return s_.max + in_run_; }
  float* sum() const { return s_.sum + in_run_; }
  float* correction() const { return s_.correction + in_run_; }
  float* lse() const { return s_.lse + in_run_; }
  float* delta() const { return s_.delta + in_run_; }
  float* packed_q() const { return s_.q + kMostDepth * in_run_; }
  float* packed_d_o() const { return s_.d_o + kMostDepth * in_run_; }
  bool fresh = true;  ///< has met no key yet

  /// What some query sees of a key block; nothing when that is empty.
  std::optional<Piece> piece(const KeyBlock& block) {
    if (!bounds_.may_see(block.order)) return std::nullopt;
    const AttentionKeys<float>& span = p_.spans[static_cast<size_t>(block.span)];
    if (bounds_.see_all(block.order)) return Piece{span, block.begin, block.count, false};
    const Row* const keys = span.rows.data() + block.begin;
    int64_t first = 0, last = block.count;
    if (p_.own_products()) {  // oneDNN makes a primitive for each shape, so it gets whole blocks
      while (first < last && !bounds_.may_see(keys[first].order)) ++first;
      while (first < last && !bounds_.may_see(keys[last - 1].order)) --last;
    }
    if (first == last) return std::nullopt;
    for (int64_t j = first; j < last; ++j) s_.key_order[j - first] = keys[j].order;
    return Piece{span, block.begin + first, last - first, true};
  }

  /// -inf in the scores [keys, padded] that a query does not see; right behind piece(), which knows the keys.
  void mask(const Piece& piece) {
    if (piece.masked) p_.loops.mask(s_.scores, piece.count, padded_, s_.key_order, rows_);
  }

  /// Query-side operand [count, head_dim], kept transposed: all of it if head_dim allows, else a part at a time.
  struct Packed {
    const float* rows;
    float* memory;
    int64_t first = -1;  // column that `memory` starts with
  };
  Packed queries{}, d_outputs{};

  /// out [keys, padded] = keys [keys, head_dim] times the operand transposed
  void dot_keys(float* out, const float* keys, int64_t count, Packed& x) {
    const int64_t head_dim = p_.e.head_dim;
    if (!p_.own_products())
      return gemm(p_.queue, Transpose::No, Transpose::Yes, count, count_, head_dim, keys, head_dim, x.rows, head_dim,
                  Write::Overwrite, out, padded_);
    for (int64_t c = 0; c < head_dim; c += kMostDepth) {
      const int64_t depth = std::min(kMostDepth, head_dim - c);
      if (x.first != c) p_.loops.transpose(x.memory, padded_, x.rows + c, head_dim, count_, depth);
      x.first = c;
      p_.loops.product(count, padded_, depth, keys + c, head_dim, 1, x.memory, padded_,
                       c == 0 ? Write::Overwrite : Write::Accumulate, out, padded_);
    }
  }

  /// out [queries, head_dim] = (+=) weights [keys, padded] transposed times keys [keys, head_dim]
  void weigh_keys(float* out, Write write, const float* weights, const float* keys, int64_t count) {
    const int64_t head_dim = p_.e.head_dim;
    if (p_.own_products())
      p_.loops.product(count_, head_dim, count, weights, 1, padded_, keys, head_dim, write, out, head_dim);
    else
      gemm(p_.queue, Transpose::Yes, Transpose::No, count_, head_dim, count, weights, padded_, keys, head_dim, write,
           out, head_dim);
  }

  /// out [keys, head_dim] += weights [keys, padded] times the query-side x [queries, head_dim]
  void weigh_queries(float* out, const float* weights, int64_t keys, const float* x) {
    const int64_t head_dim = p_.e.head_dim;
    if (p_.own_products())
      p_.loops.product(keys, head_dim, count_, weights, padded_, 1, x, head_dim, Write::Accumulate, out, head_dim);
    else
      gemm(p_.queue, Transpose::No, Transpose::No, keys, head_dim, count_, weights, padded_, x, head_dim,
           Write::Accumulate, out, head_dim);
  }

 private:
  const Problem& p_;
  Scratch& s_;
  AttentionQueries& rows_;
  int64_t begin_, in_run_, count_, padded_;
  QueryBounds bounds_;
};

/// The blocks of queries [begin, begin + queries), in order.
std::vector<QueryBlock> blocks_of(const Problem& p, int64_t begin, int64_t queries) {
  std::vector<QueryBlock> blocks;
  blocks.reserve(Scratch::kMostBlocks);
  for (int64_t i = 0; i < queries && begin + i < p.e.rows; i += p.blocks.queries) blocks.emplace_back(p, begin, i);
  return blocks;
}

// o, q [rows, head_dim] and lse [rows] of one (batch, head); o holds the sum of exp(score - max) v until the last
// block of keys.
void forward_run(const Problem& p, float* o, float* lse, const float* q, int64_t kv_matrix, int64_t begin,
                 int64_t queries) {
  const int64_t head_dim = p.e.head_dim;
  Scratch& s = scratch();
  std::vector<QueryBlock> blocks = blocks_of(p, begin, queries);
  for (QueryBlock& block : blocks) {
    block.queries = {q + block.begin() * head_dim, block.packed_q()};
    std::fill_n(block.max(), block.padded(), -kInfinity);
    std::fill_n(block.sum(), block.padded(), 0.0f);
  }
  for (const KeyBlock& keys : p.key_blocks)
    for (QueryBlock& block : blocks) {
      const auto piece = block.piece(keys);
      if (!piece) continue;
      const int64_t at = key_offset(piece->span, kv_matrix, piece->first, head_dim);
      float* const out = o + block.begin() * head_dim;
      block.dot_keys(s.scores, piece->span.k + at, piece->count, block.queries);
      block.mask(*piece);
      const bool changed = p.loops.softmax(s.scores, piece->count, block.padded(), p.scale, block.max(), block.sum(),
                                           block.correction());
      if (changed && !block.fresh) p.loops.scale_rows(out, block.correction(), block.count(), head_dim);
      block.weigh_keys(out, block.fresh ? Write::Overwrite : Write::Accumulate, s.scores, piece->span.v + at,
                       piece->count);
      block.fresh = false;
    }
  for (const QueryBlock& block : blocks) {
    float *const out = o + block.begin() * head_dim, *const correction = block.correction();
    if (block.fresh) std::fill_n(out, block.count() * head_dim, 0.0f);
    for (int64_t i = 0; i < block.count(); ++i) {
      lse[block.begin() + i] = block.max()[i] + std::log(block.sum()[i]);
      correction[i] = block.max()[i] == -kInfinity ? 1.0f : 1.0f / block.sum()[i];
    }
    p.loops.scale_rows(out, correction, block.count(), head_dim);
  }
}

// dq, d_o, o, q [rows, head_dim] and lse [rows] of one (batch, head)
void backward_run(const Problem& p, float* dq, const float* d_o, const float* o, const float* lse, const float* q,
                  int64_t kv_matrix, int64_t begin, int64_t queries) {
  const int64_t head_dim = p.e.head_dim;
  Scratch& s = scratch();
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
      const int64_t at = key_offset(span, kv_matrix, piece->first, head_dim), count = piece->count;
      block.dot_keys(s.scores, span.k + at, count, block.queries);
      block.mask(*piece);
      block.dot_keys(s.d_scores, span.v + at, count, block.d_outputs);
      p.loops.gradient(s.scores, s.d_scores, count, block.padded(), p.scale, block.lse(), block.delta());
      block.weigh_keys(dq + block.begin() * head_dim, block.fresh ? Write::Overwrite : Write::Accumulate, s.d_scores,
                       span.k + at, count);
      if (span.dk) {
        block.weigh_queries(span.dk + at, s.d_scores, count, block.queries.rows);
        block.weigh_queries(span.dv + at, s.scores, count, block.d_outputs.rows);
      }
      block.fresh = false;
    }
  for (const QueryBlock& block : blocks)
    if (block.fresh) std::fill_n(dq + block.begin() * head_dim, block.count() * head_dim, 0.0f);
}

/// Cuts the spans into key blocks and calls run(problem, threads).
template <class Run>
void with_problem(const Queue& queue, std::span<const Row> rows, const std::vector<AttentionKeys<float>>& spans,
                  AttentionExtents e, const Run& run) {
  int64_t keys = 0;
  for (const auto& span : spans) keys += std::ssize(span.rows);
  const Blocks blocks = blocks_for(queue.products(), keys, e.head_dim);
  thread_local std::vector<KeyBlock> key_blocks;  // one entry for 128 keys or more; keeps its memory between calls
  key_blocks.clear();
  for (size_t s = 0; s < spans.size(); ++s) {
    const auto count = static_cast<int64_t>(spans[s].rows.size());
    for (int64_t begin = 0; begin < count; begin += blocks.keys) {
      KeyBlock block{static_cast<int64_t>(s), begin, std::min(blocks.keys, count - begin), {}};
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

void forward_f32(const Queue& queue, float* o, float* lse, const float* q, std::span<const Row> rows,
                 const std::vector<AttentionKeys<float>>& spans, AttentionExtents e) {
  with_problem(queue, rows, spans, e, [&](const Problem& p, int threads) {
    const int64_t matrices = e.batch * e.heads, group = e.heads / e.kv_heads;
    int64_t queries = p.blocks.run;  // or so many as leave each thread a few runs
    while (queries > p.blocks.queries && matrices * ((e.rows + queries - 1) / queries) < 4 * threads) queries /= 2;
    const int64_t runs = (e.rows + queries - 1) / queries;
    parallel_for(threads, matrices * runs, [&](int64_t task) {
      const int64_t matrix = task / runs, kv_matrix = matrix / e.heads * e.kv_heads + matrix % e.heads / group;
      // First, last, second, last but one, ...: under a causal mask each thread's range then holds as much work.
      const int64_t i = task % runs, run = i % 2 == 0 ? i / 2 : runs - 1 - i / 2;
      forward_run(p, o + matrix * e.rows * e.head_dim, lse + matrix * e.rows, q + matrix * e.rows * e.head_dim,
                  kv_matrix, run * queries, queries);
    });
  });
}

void backward_f32(const Queue& queue, float* dq, const float* d_o, const float* o, const float* lse, const float* q,
                  std::span<const Row> rows, const std::vector<AttentionKeys<float>>& spans, AttentionExtents e) {
  with_problem(queue, rows, spans, e, [&](const Problem& p, int threads) {
    const int64_t group = e.heads / e.kv_heads;
    // A task owns dk and dv of its (batch, kv_head): all heads of the group, one behind the other.
    parallel_for(threads, e.batch * e.kv_heads, [&](int64_t kv_matrix) {
      for (int64_t matrix = kv_matrix * group; matrix < (kv_matrix + 1) * group; ++matrix) {
        const int64_t at = matrix * e.rows * e.head_dim;
        for (int64_t begin = 0; begin < e.rows; begin += p.blocks.run)
          backward_run(p, dq + at, d_o + at, o + at, lse + matrix * e.rows, q + at, kv_matrix, begin, p.blocks.run);
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

void LocalAttention::forward(Queue& queue, View<> o, View<> lse, ConstView<> q, std::span<const Row> rows,
                             std::span<const KeySpan> spans) {
  const AttentionExtents e = extents_of(q, o, lse, rows, spans);
  const Timed timed(queue, "Attention forward", flops_of(queue, e, rows, spans, 2), q, o);
  if (!queue.reference(q.dtype()))
    return forward_f32(queue, o.as<float>(), lse.as<float>(), q.as<float>(), rows, typed<float>(spans), e);
  by_float_type(q.dtype(), [&]<class T>() {
    reference::attention_forward(o.as<T>(), lse.as<T>(), q.as<T>(), rows, typed<T>(spans), e, queue.products());
  });
}

void LocalAttention::backward(Queue& queue, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                              std::span<const Row> rows, std::span<const KeySpan> spans) {
  const AttentionExtents e = extents_of(q, o, lse, rows, spans);
  expect(d_o, q.dtype(), q.shape(), "Attention d_o");
  expect(dq, q.dtype(), q.shape(), "Attention dq");
  const Timed timed(queue, "Attention backward", flops_of(queue, e, rows, spans, 4), q, o, d_o, dq);
  if (!queue.reference(q.dtype()))
    return backward_f32(queue, dq.as<float>(), d_o.as<float>(), o.as<float>(), lse.as<float>(), q.as<float>(), rows,
                        typed<float>(spans), e);
  by_float_type(q.dtype(), [&]<class T>() {
    reference::attention_backward(dq.as<T>(), d_o.as<T>(), o.as<T>(), lse.as<T>(), q.as<T>(), rows, typed<T>(spans), e,
                                  queue.products());
  });
}

}  // namespace memring
