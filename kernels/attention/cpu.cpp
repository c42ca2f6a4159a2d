// Attention on the CPU: the blocked fp32 version (Dao et al. 2022). Blocks of scores lie transposed, [keys, queries]
// (loops.h); a block pair is skipped, taken whole or masked by the extremes of its rows, and each sum has one order, so
// bits do not depend on threads.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/cpu.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention/blocks.h"
#include "kernels/common/pipelines.h"

namespace memring::cpu {
namespace {

using attention::Blocks, attention::KeyBlock;
using attention::kInfinity, attention::Problem, attention::QueryBlock, attention::Scratch;

/// Key blocks between two polls: 16K keys, beside a run of queries tens of milliseconds.
constexpr int64_t kBetweenPolls = 64;

/// The blocks of queries [begin, begin + queries), in order.
std::vector<QueryBlock> blocks_of(const Problem& p, int64_t begin, int64_t queries) {
  std::vector<QueryBlock> blocks;
  blocks.reserve(Scratch::kMostBlocks);
  for (int64_t i = 0; i < queries && begin + i < p.e.rows; i += p.blocks.queries) blocks.emplace_back(p, begin, i);
  return blocks;
}

// o, q [rows, head_dim] and lse [rows] of one (batch, head); o holds the sum of exp(score - max) v until the last
// block of keys. What is there to accumulate to is such a sum with max = lse and a denominator of 1.
template <class Pause>
void forward_run(const Problem& p, float* o, float* lse, Write write, const float* q, int64_t kv_matrix, int64_t begin,
                 int64_t queries, const Pause& pause) {
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
  int64_t taken = 0;
  for (const KeyBlock& keys : p.key_blocks) {
    for (QueryBlock& block : blocks) {
      const auto piece = block.piece(keys);
      if (!piece) continue;
      const int64_t first = attention::key_offset(piece->span, kv_matrix, piece->first, head_dim);
      float* const out = o + block.begin() * head_dim;
      block.dot_keys(s.scores, piece->span.k + first, piece->count, block.queries);
      block.mask(*piece);
      const bool changed = p.loops.softmax(s.scores, piece->count, block.padded(), p.scale, block.max(), block.sum(),
                                           block.correction());
      if (changed && block.next(write) == Write::Accumulate)
        p.loops.scale_rows(out, block.correction(), block.count(), head_dim);
      block.weigh_keys(out, block.next(write), s.scores, piece->span.v + first, piece->count);
      block.fresh = false;
    }
    if (++taken % kBetweenPolls == 0) pause();
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

/// Operands of backward of one (batch, head): dq, d_o, o, q [rows, head_dim] and lse [rows]. dq may be null.
struct Backward {
  float* dq;
  Write write;
  const float *d_o, *o, *lse, *q;
};

/// Brings a block's queries to the scratch, when it meets its first key of a range.
void begin_backward(const Problem& p, const Backward& operands, QueryBlock& block) {
  const int64_t head_dim = p.e.head_dim, offset = block.begin() * head_dim;
  block.queries = {operands.q + offset, block.packed_q()};
  block.d_outputs = {operands.d_o + offset, block.packed_d_o()};
  p.loops.dot_rows(block.delta(), operands.d_o + offset, operands.o + offset, block.count(), head_dim);
  // A query that sees nothing has only masked scores, -inf: 0 in place of its lse gives exp(-inf) = 0, not NaN.
  for (int64_t i = 0; i < block.count(); ++i) {
    const float value = operands.lse[block.begin() + i];
    block.lse()[i] = value == -kInfinity ? 0.0f : value;
  }
  std::fill(block.lse() + block.count(), block.lse() + block.padded(), 0.0f);
  std::fill(block.delta() + block.count(), block.delta() + block.padded(), 0.0f);
}

/// A run of queries with a range of the key blocks. What the range gives is added to what those before it gave.
void backward_run(const Problem& p, const Backward& operands, int64_t kv_matrix, int64_t begin, Range range) {
  const int64_t head_dim = p.e.head_dim;
  Scratch& s = attention::scratch();
  const std::span<const KeyBlock> all = p.key_blocks;
  const auto before = all.first(static_cast<size_t>(range.begin));
  const auto met_before = [&](const QueryBlock& block) {
    return std::any_of(before.rbegin(), before.rend(),
                       [&](const KeyBlock& keys) { return block.piece(keys).has_value(); });
  };
  std::vector<QueryBlock> blocks = blocks_of(p, begin, p.blocks.run);
  for (const KeyBlock& keys : all.subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size())))
    for (QueryBlock& block : blocks) {
      const auto piece = block.piece(keys);
      if (!piece) continue;
      if (!block.queries.rows) {
        begin_backward(p, operands, block);
        block.fresh = !met_before(block);
      }
      const AttentionKeys<float>& span = piece->span;
      const int64_t first = attention::key_offset(span, kv_matrix, piece->first, head_dim), count = piece->count;
      block.dot_keys(s.scores, span.k + first, count, block.queries);
      block.mask(*piece);
      block.dot_keys(s.d_scores, span.v + first, count, block.d_outputs);
      p.loops.gradient(s.scores, s.d_scores, count, block.padded(), p.scale, block.lse(), block.delta());
      if (operands.dq)
        block.weigh_keys(operands.dq + block.begin() * head_dim, block.next(operands.write), s.d_scores, span.k + first,
                         count);
      if (span.dk) {
        block.weigh_queries(span.dk + first, s.d_scores, count, block.queries.rows);
        block.weigh_queries(span.dv + first, s.scores, count, block.d_outputs.rows);
      }
      block.fresh = false;
    }
  if (!operands.dq || operands.write == Write::Accumulate || range.end < std::ssize(all)) return;
  for (const QueryBlock& block : blocks)
    if (block.fresh && !met_before(block))
      std::fill_n(operands.dq + block.begin() * head_dim, block.count() * head_dim, 0.0f);
}

/// In how many ranges backward takes the keys: one where threads share the (batch, kv_head) evenly, else so many as
/// leave each thread a few, and as polls ask for. No sum depends on it.
int64_t ranges_for(int64_t key_blocks, int64_t lines, int threads) {
  const int64_t wanted = lines % threads == 0 ? 1 : (4 * threads + lines - 1) / lines;
  const int64_t least = (key_blocks + kBetweenPolls - 1) / kBetweenPolls;
  return std::clamp<int64_t>(std::max(wanted, least), 1, std::max<int64_t>(key_blocks, 1));
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

}  // namespace

void attention_forward(const Queue& queue, float* o, float* lse, Write write, const float* q, std::span<const Row> rows,
                       const std::vector<AttentionKeys<float>>& spans, AttentionExtents e) {
  with_problem(queue, rows, spans, e, [&](const Problem& p, int threads) {
    const int64_t matrices = e.batch * e.heads, group = e.heads / e.kv_heads;
    int64_t queries = p.blocks.run;  // or so many as leave each thread a few runs
    while (queries > p.blocks.queries && matrices * ((e.rows + queries - 1) / queries) < 4 * threads) queries /= 2;
    const int64_t runs = (e.rows + queries - 1) / queries;
    parallel_tasks(queue, threads, matrices * runs, [&](int64_t task, const auto& pause) {
      const int64_t matrix = task / runs, kv_matrix = matrix / e.heads * e.kv_heads + matrix % e.heads / group;
      // First, last, second, last but one, ...: under a causal mask each thread's range then holds as much work.
      const int64_t i = task % runs, run = i % 2 == 0 ? i / 2 : runs - 1 - i / 2;
      forward_run(p, o + matrix * e.rows * e.head_dim, lse + matrix * e.rows, write, q + matrix * e.rows * e.head_dim,
                  kv_matrix, run * queries, queries, pause);
    });
  });
}

// dk and dv of a range of keys are sums over queries, dq sums over ranges: so each (batch, kv_head) is a pipeline whose
// stages are ranges, and whose items are runs of queries, all heads of the group one behind the other.
void attention_backward(const Queue& queue, float* dq, Write write, const float* d_o, const float* o, const float* lse,
                        const float* q, std::span<const Row> rows, const std::vector<AttentionKeys<float>>& spans,
                        AttentionExtents e) {
  with_problem(queue, rows, spans, e, [&](const Problem& p, int threads) {
    const int64_t group = e.heads / e.kv_heads, runs = (e.rows + p.blocks.run - 1) / p.blocks.run;
    const int64_t lines = e.batch * e.kv_heads, key_blocks = std::ssize(p.key_blocks);
    const int64_t ranges = ranges_for(key_blocks, lines, threads);
    pipelines(queue, threads, lines, ranges, group * runs, [&](int64_t kv_matrix, int64_t range, int64_t item) {
      const int64_t matrix = kv_matrix * group + item / runs, offset = matrix * e.rows * e.head_dim;
      const Backward operands{dq ? dq + offset : nullptr, write,     d_o + offset, o + offset,
                              lse + matrix * e.rows,      q + offset};
      backward_run(p, operands, kv_matrix, item % runs * p.blocks.run,
                   {key_blocks * range / ranges, key_blocks * (range + 1) / ranges});
    });
  });
}

}  // namespace memring::cpu
