// Attention on the CPU: the blocked fp32 version (Dao et al. 2022). Blocks of scores lie transposed, [keys, queries]
// (loops.h); a block pair is skipped, taken whole or masked by the extremes of its rows, and no sum is shared between
// tasks, so bits do not depend on threads.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/cpu.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention/blocks.h"
#include "kernels/common/dispatch.h"

namespace memring::cpu {
namespace {

using attention::Blocks, attention::KeyBlock;
using attention::kInfinity, attention::Problem, attention::QueryBlock, attention::Scratch;

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

}  // namespace

void attention_forward(const Queue& queue, float* o, float* lse, Write write, const float* q, std::span<const Row> rows,
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

void attention_backward(const Queue& queue, float* dq, Write write, const float* d_o, const float* o, const float* lse,
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

}  // namespace memring::cpu
