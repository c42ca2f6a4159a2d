// Attention backward on a device, bf16, in a fixed order: one kernel has tiles of queries and sums dq over the keys
// that they see, one has tiles of keys and sums dk and dv over the queries that see them, and both compute the scores
// again. Seven products where five would do, if dq were added to by whoever comes (Dao 2023, "FlashAttention-2").
// SPDX-License-Identifier: Apache-2.0
#include <launch.h>

#include <cmath>

#include "kernels/attention/mma.h"
#include "kernels/attention/mma_parts.h"
#include "kernels/cuda/reduce.h"

namespace memring::mma_attention {
namespace {

constexpr int kStep = 32;  ///< of a tile's 64 rows at a time: more of their scores find no registers

struct Backward {
  StoredOrSums<Bf16> dq, o;
  const Bf16* dy;
  const float* lse;
  float* delta;  ///< as lse: d_o o of each row, which is the sum of p dp
  DeviceQueries<Bf16> queries;
  AttentionExtents extents;
  float scale;
  bool accumulate;
  DeviceSpans<Bf16> spans;
  template <class F>
  Backward with(const F& f) const {
    return {dq.with(f), o.with(f), f(dy), f(lse), f(delta), queries.with(f), extents, scale, accumulate, spans.with(f)};
  }
};

/// A warp a row.
MEMRING_KERNEL void attention_delta(Backward a, int64_t rows) {
  const int64_t dim = a.extents.head_dim;
  for (int64_t row = grid_index() / kWarp; row < rows; row += grid_threads() / kWarp) {
    float sum = 0;
    for (int64_t c = lane_index(); c < dim; c += kWarp) sum += computed(a.dy[row * dim + c]) * a.o.get(row * dim + c);
    sum = warp_sum(sum);
    if (lane_index() == 0) a.delta[row] = sum;
  }
}

/// p and ds of 16 rows and 32 others, of their scores and dp.
struct Weights {
  float p[kStep / 8][4] = {}, ds[kStep / 8][4] = {};

  /// Scores, and dp, as products of the tiles' rows: those of the 16 with rows `first` to first + 31 of others.
  template <int Dim, class Operand, class OperandOfV>
  MEMRING_LANE void multiply(const Operand& x, const OperandOfV& dy, RowsOfTile<Dim>& others, RowsOfTile<Dim>& others_v,
                             int first, int lane) {
#pragma unroll
    for (int k = 0; k < Dim / 16; ++k) {
      uint32_t operand[4];
      x(operand, k);
#pragma unroll
      for (int n = 0; n < kStep / 16; ++n)
        multiply_rows(p[2 * n], p[2 * n + 1], operand, others, first + 16 * n, k, lane);
    }
#pragma unroll
    for (int k = 0; k < Dim / 16; ++k) {
      uint32_t operand[4];
      dy(operand, k);
#pragma unroll
      for (int n = 0; n < kStep / 16; ++n)
        multiply_rows(ds[2 * n], ds[2 * n + 1], operand, others_v, first + 16 * n, k, lane);
    }
  }
  /// p = exp(score - lse), ds = scale p (dp - delta); both 0 where a pair does not see each other.
  MEMRING_LANE void take(int n, int i, bool seen, float lse, float delta, float scale) {
    const float weight = seen ? exp2_fast(p[n][i] * (scale * kLog2E) - lse * kLog2E) : 0;
    p[n][i] = weight;
    ds[n][i] = seen ? scale * weight * (ds[n][i] - delta) : 0;
  }
};

/// sums += what `of` says of the 16 rows and others `first` to first + 31, times the others' rows.
template <int Dim>
MEMRING_LANE void add_products(float (&sums)[Dim / 8][4], const float (&of)[kStep / 8][4], RowsOfTile<Dim>& others,
                               int first, int lane) {
#pragma unroll
  for (int k = 0; k < kStep / 16; ++k) {
    uint32_t operand[4];
    pack_operand(operand, of[2 * k], of[2 * k + 1]);
#pragma unroll
    for (int n = 0; n < Dim / 16; ++n)
      multiply_columns(sums[2 * n], sums[2 * n + 1], operand, others, first + 16 * k, n, lane);
  }
}

/// A lane's sums to where they belong, in rows first to first + 15 of [.., rows, dim].
template <int Dim>
MEMRING_LANE void store_sums(const StoredOrSums<Bf16>& to, const float (&sums)[Dim / 8][4], const RowsOfLane& rows,
                             int64_t dim, bool accumulate, int lane) {
#pragma unroll
  for (int n = 0; n < Dim / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = column_of(lane, n, i);
      if (!rows.inside[i / 2] || column >= dim) continue;
      const int64_t at = rows.at[i / 2] * dim + column;
      to.set(at, accumulate ? to.get(at) + sums[n][i] : sums[n][i]);
    }
}

template <int Dim>
struct SharedOfQueries {
  StageOfKeys<Dim> stages[2];
  RowsOfTile<Dim> q, dy;
  Row queries[kTile];
};

/// dq = sum of ds k.
template <int Dim>
MEMRING_KERNEL MEMRING_BLOCKS(kWarps* kWarp, Dim <= 64 ? 3 : 2) void attention_dq_mma(Backward a) {
  auto& memory = block_memory<SharedOfQueries<Dim>>();
  const AttentionExtents& e = a.extents;
  const TileOfBlock mine = tile_of_block(e.rows, true);
  SpanWalk<Bf16> walk(a.spans, a.queries.tiles[mine.first / kTile]);

  Tile tile = walk.next();
  if (!tile.found() && a.accumulate) return;
  const int64_t matrix = mine.matrix * e.rows * e.head_dim;
  memory.q.copy(a.queries.q + matrix, mine.first, e.rows, e.head_dim);
  memory.dy.copy(a.dy + matrix, mine.first, e.rows, e.head_dim);
  copy_rows(memory.queries, a.queries.rows, mine.first, e.rows);
  if (tile.found()) memory.stages[0].fetch(walk.span(), e, mine.matrix, tile);
  copy_commit();
  copy_wait<0>();
  meet_block();
  float lse[2], delta[2], sums[Dim / 8][4] = {};
  const RowsOfLane rows(mine, e.rows, lane_index());
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    lse[r] = rows.inside[r] ? a.lse[rows.at[r]] : 0;
    delta[r] = rows.inside[r] ? a.delta[rows.at[r]] : 0;
  }
  const int first = 16 * warp_index();
  for (int at = 0; tile.found(); at = 1 - at) {
    const int count = rows_of_tile(tile, walk.span().count);
    const Tile next = walk.next();
    if (next.found()) memory.stages[1 - at].fetch(walk.span(), e, mine.matrix, next);
    copy_commit();
    StageOfKeys<Dim>& stage = memory.stages[at];
    for (int step = 0; step < kTile; step += kStep) {
      const int lane = computed_here(lane_index());
      Weights weights;
      weights.multiply([&](uint32_t(&x)[4], int k) { load_operand(x, memory.q, first, k, lane); },
                       [&](uint32_t(&x)[4], int k) { load_operand(x, memory.dy, first, k, lane); }, stage.k, stage.v,
                       step, lane);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const Row query = memory.queries[first + row_of(lane, 2 * r)];
#pragma unroll
        for (int n = 0; n < kStep / 8; ++n)
#pragma unroll
          for (int i = 2 * r; i < 2 * r + 2; ++i) {
            const int key = step + column_of(lane, n, i);
            weights.take(n, i, tile.all || (key < count && sees(query, stage.rows[key])), lse[r], delta[r], a.scale);
          }
      }
      add_products<Dim>(sums, weights.ds, stage.k, step, lane);
    }
    copy_wait<0>();
    meet_block();
    tile = next;
  }
  const int lane = computed_here(lane_index());
  store_sums<Dim>(a.dq, sums, RowsOfLane(mine, e.rows, lane), e.head_dim, a.accumulate, lane);
}

template <int Dim>
struct StageOfQueries {
  RowsOfTile<Dim> q, dy;
  Row rows[kTile];
  float lse_and_delta[2][kTile];
};
template <int Dim>
struct SharedOfKeys {
  StageOfQueries<Dim> stages[2];
  RowsOfTile<Dim> k, v;
  Row keys[kTile];
};

static_assert(sizeof(SharedOfKeys<128>) <= 163 << 10 && sizeof(SharedOfQueries<128>) <= 163 << 10, "what sm_80 has");

/// The tiles of queries that see keys with these extremes, head after head of a group.
class GroupWalk {
 public:
  MEMRING_LANE GroupWalk(const Backward& a, const RowExtremes& keys, int64_t first_head)
      : a_(a),
        keys_(keys),
        head_(static_cast<int>(first_head)),
        last_(static_cast<int>(first_head + a.extents.heads / a.extents.kv_heads) - 1),
        walk_(begin()) {}

  MEMRING_LANE Tile next() {
    const auto sight = [this](const RowExtremes& queries) { return sight_of(queries, keys_); };
    Tile tile = walk_.next(sight);
    while (!tile.found() && head_ < last_) {
      ++head_;
      walk_ = begin();
      tile = walk_.next(sight);
    }
    return tile;
  }
  /// Of the latest tile, among all of all sequences.
  MEMRING_LANE int64_t head() const { return head_; }

 private:
  MEMRING_LANE TileWalk begin() const { return {a_.queries.tiles, a_.extents.rows}; }
  const Backward& a_;
  const RowExtremes keys_;
  int head_, last_;  // numbers of 64 bits would take registers
  TileWalk walk_;
};

/// dk += sum of ds q, dv += sum of p d_o, of the first span's keys.
template <int Dim>
MEMRING_KERNEL MEMRING_BLOCKS(kWarps* kWarp, Dim <= 64 ? 2 : 1) void attention_dk_dv_mma(Backward a) {
  auto& memory = block_memory<SharedOfKeys<Dim>>();
  const AttentionExtents& e = a.extents;
  const DeviceKeys<Bf16>& span = a.spans.of[0];
  const TileOfBlock mine = tile_of_block(span.count, false);
  GroupWalk walk(a, span.tiles[mine.first / kTile], mine.matrix * (e.heads / e.kv_heads));
  const auto fetch = [&](StageOfQueries<Dim>& stage, const Tile& tile) {
    const int64_t head = walk.head() * e.rows;
    stage.q.copy(a.queries.q + head * e.head_dim, tile.first, e.rows, e.head_dim);
    stage.dy.copy(a.dy + head * e.head_dim, tile.first, e.rows, e.head_dim);
    if (!tile.all) copy_rows(stage.rows, a.queries.rows, tile.first, e.rows);
  };
  // Of these, which lie at no multiple of 16 bytes, each thread reads one number, and stores it when it has computed:
  // who stores at once waits for it first.
  static_assert(kThreadsOfTile == 2 * kTile);
  const auto lse_or_delta = [&](const Tile& tile) {
    const int thread = computed_here(thread_index());
    const int64_t row = tile.first + thread % kTile;
    return row < e.rows ? (thread < kTile ? a.lse : a.delta)[walk.head() * e.rows + row] : 0;
  };
  const auto keep = [](StageOfQueries<Dim>& stage, float number) {
    const int thread = computed_here(thread_index());
    stage.lse_and_delta[thread / kTile][thread % kTile] = number;
  };

  Tile tile = walk.next();
  if (!tile.found()) return;
  const int64_t matrix = mine.matrix * span.count * e.head_dim;
  memory.k.copy(span.k + matrix, mine.first, span.count, e.head_dim);
  memory.v.copy(span.v + matrix, mine.first, span.count, e.head_dim);
  copy_rows(memory.keys, span.rows, mine.first, span.count);
  fetch(memory.stages[0], tile);
  copy_commit();
  keep(memory.stages[0], lse_or_delta(tile));
  copy_wait<0>();
  meet_block();
  float dk[Dim / 8][4] = {}, dv[Dim / 8][4] = {};
  const int first = 16 * warp_index();
  for (int at = 0; tile.found(); at = 1 - at) {
    const int count = rows_of_tile(tile, e.rows);
    const Tile next = walk.next();
    float of_next = 0;
    if (next.found()) {
      fetch(memory.stages[1 - at], next);
      of_next = lse_or_delta(next);
    }
    copy_commit();
    StageOfQueries<Dim>& stage = memory.stages[at];
    for (int step = 0; step < kTile; step += kStep) {
      const int lane = computed_here(lane_index());
      Weights weights;
      weights.multiply([&](uint32_t(&x)[4], int k) { load_operand(x, memory.k, first, k, lane); },
                       [&](uint32_t(&x)[4], int k) { load_operand(x, memory.v, first, k, lane); }, stage.q, stage.dy,
                       step, lane);
#pragma unroll
      for (int n = 0; n < kStep / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int query = step + column_of(lane, n, i);
          const bool seen =
              tile.all || (query < count && sees(stage.rows[query], memory.keys[first + row_of(lane, i)]));
          weights.take(n, i, seen, stage.lse_and_delta[0][query], stage.lse_and_delta[1][query], a.scale);
        }
      add_products<Dim>(dv, weights.p, stage.dy, step, lane);
      add_products<Dim>(dk, weights.ds, stage.q, step, lane);
    }
    keep(memory.stages[1 - at], of_next);
    copy_wait<0>();
    meet_block();
    tile = next;
  }
  const int lane = computed_here(lane_index());
  const RowsOfLane rows(mine, span.count, lane);
  store_sums<Dim>(span.dk, dk, rows, e.head_dim, true, lane);
  store_sums<Dim>(span.dv, dv, rows, e.head_dim, true, lane);
}

}  // namespace

void backward_part(Queue& queue, View<> dq, Write write, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                   const RowTable& rows, std::span<const KeySpan> all) {
  const AttentionExtents e = extents_of(q, all);
  if (q.size() == 0) return;
  float* const delta =
      address<float>(View<>(queue.workspace(LocalAttention::workspace_bytes(DType::BF16, lse.size()))));
  const auto call = [&](std::span<const KeySpan> spans, bool first) {
    return Backward{StoredOrSums<Bf16>(dq),
                    StoredOrSums<Bf16>(o),
                    address<Bf16>(d_o),
                    address<float>(lse),
                    delta,
                    DeviceQueries<Bf16>(q, rows),
                    e,
                    1 / std::sqrt(static_cast<float>(e.head_dim)),
                    write == Write::Accumulate || !first,
                    DeviceSpans<Bf16>(spans)};
  };
  launch<attention_delta>(queue, grid_for(lse.size() * kWarp), call({}, true), lse.size());
  by_padded_dim(e.head_dim, [&]<int Dim>() {
    if (dq)
      in_launches(all, [&](std::span<const KeySpan> spans, bool first) {
        launch<attention_dq_mma<Dim>>(queue, grid_of_tiles(e.batch * e.heads, e.rows, sizeof(SharedOfQueries<Dim>)),
                                      call(spans, first));
      });
    for (const KeySpan& span : all)
      if (span.dk && span.rows.size() > 0)
        launch<attention_dk_dv_mma<Dim>>(
            queue, grid_of_tiles(e.batch * e.kv_heads, span.rows.size(), sizeof(SharedOfKeys<Dim>)),
            call({&span, 1}, true));
  });
}

}  // namespace memring::mma_attention
