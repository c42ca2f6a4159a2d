// What blocked attention on the CPU works on: blocks of keys with the extremes of their rows, blocks of queries with
// their part of a thread's scratch, and the products of the two. Private to kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "base/queue.h"
#include "kernels/attention/loops.h"
#include "kernels/attention/operands.h"
#include "kernels/common/gemm.h"

namespace memring::attention {

constexpr int64_t kMostKeys = 256;   // of one block
constexpr int64_t kMostDepth = 128;  // of head_dim at a time in packed queries
constexpr int64_t kMostRun = 256;    // queries
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Queries of a block, and of a run: the blocks that take each block of keys together.
struct Blocks {
  int64_t queries, run;
};

/// Our own products reach their rate on small blocks, and few queries leave little to waste above a causal diagonal.
/// Keys and values of a head that do not fit in the cache are fetched once a run (8K keys: 5 % of forward and
/// backward), and larger blocks then win 2 %; where they fit, runs and large blocks lose as much. oneDNN's bf16
/// products need large blocks. No sum depends on the length of runs.
inline Blocks blocks_for(Products products, int64_t keys, int64_t head_dim) {
  constexpr int64_t kCached = 512 << 10;
  const bool fits = 2 * keys * head_dim * static_cast<int64_t>(sizeof(float)) <= kCached;
  const int64_t queries = products == Products::Bf16 ? kMostQueries : fits ? 32 : 64;
  return {queries, fits ? queries : kMostRun};
}

/// What a thread needs for one block pair, and of each query of a run; made once per thread.
struct Scratch {
  static constexpr int64_t kMostBlocks = kMostRun / 64;  // of a run
  alignas(64) float scores[kMostKeys * kMostQueries], d_scores[kMostKeys * kMostQueries];
  alignas(64) float q[kMostDepth * kMostRun], d_o[kMostDepth * kMostRun];
  alignas(64) float max[kMostRun], sum[kMostRun], correction[kMostRun], lse[kMostRun], delta[kMostRun];
  alignas(64) AttentionQueries rows[kMostBlocks];
  int32_t key_order[kMostKeys];
};

inline Scratch& scratch() {
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
    const bool sinks = key.low < kSinksEnd;
    return ((from.low <= key.high || sinks) && key.low <= to.high) || (order.low <= key.high && key.low <= order.high);
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
inline int64_t key_offset(const AttentionKeys<float>& span, int64_t kv_matrix, int64_t first, int64_t head_dim) {
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
      rows_.from[i] = 0;
      rows_.to[i] = rows_.order[i] = kFirstSink - 1;
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
  /// How the next product writes to an output that `write` says what to do with.
  Write next(Write write) const { return fresh ? write : Write::Accumulate; }

  /// What some query sees of a key block; nothing when that is empty.
  std::optional<Piece> piece(const KeyBlock& block) const {
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
    return Piece{span, block.begin + first, last - first, true};
  }

  /// -inf in the scores [keys, padded] that a query does not see.
  void mask(const Piece& piece) {
    if (!piece.masked) return;
    for (int64_t j = 0; j < piece.count; ++j)
      s_.key_order[j] = piece.span.rows[static_cast<size_t>(piece.first + j)].order;
    p_.loops.mask(s_.scores, piece.count, padded_, s_.key_order, rows_);
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

}  // namespace memring::attention
