// Attention forward on a device, bf16: a block of four warps has 64 queries of a head, 16 a warp, and goes over the
// tiles of 64 keys that they see; while it computes with one, the next is on its way (Dao 2023, "FlashAttention-2").
// SPDX-License-Identifier: Apache-2.0
#include <launch.h>

#include <cmath>
#include <limits>

#include "kernels/attention/mma.h"
#include "kernels/attention/mma_parts.h"

namespace memring::mma_attention {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Forward {
  StoredOrSums<Bf16> o;
  float* lse;
  DeviceQueries<Bf16> queries;
  AttentionExtents extents;
  float scale;  ///< of scores to base 2
  bool accumulate;
  DeviceSpans<Bf16> spans;
  template <class F>
  Forward with(const F& f) const {
    return {o.with(f), f(lse), queries.with(f), extents, scale, accumulate, spans.with(f)};
  }
};

template <int Dim>
struct Shared {
  StageOfKeys<Dim> stages[2];
  RowsOfTile<Dim> q;
  Row queries[kTile];
};

/// The running softmax, to base 2, of a lane's two rows, and its part of what they sum.
template <int Dim>
struct Running {
  float out[Dim / 8][4];
  float max[2], sum[2];
  bool saw[2];

  /// Goes on from what there is, as one key with the score lse; or begins.
  MEMRING_LANE Running(const Forward& a, const TileOfBlock& mine, int lane) {
    const RowsOfLane rows(mine, a.extents.rows, lane);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float before = a.accumulate && rows.inside[r] ? a.lse[rows.at[r]] : -kInfinity;
      max[r] = before * kLog2E;
      sum[r] = before == -kInfinity || lane % 4 != 0 ? 0 : 1;  // one of the four lanes that share a row
      saw[r] = false;
#pragma unroll
      for (int n = 0; n < Dim / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int column = column_of(lane, n, i);
          const bool nothing = before == -kInfinity || column >= a.extents.head_dim;
          out[n][2 * r + i] = nothing ? 0 : a.o.get(rows.at[r] * a.extents.head_dim + column);
        }
    }
  }
  /// A row that saw nothing is 0, or keeps its bits.
  MEMRING_LANE void finish(const Forward& a, const TileOfBlock& mine, int lane) {
    const RowsOfLane rows(mine, a.extents.rows, lane);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      for (int bits = 1; bits <= 2; ++bits) {
        sum[r] += shuffle_xor(sum[r], bits);
        saw[r] = shuffle_xor(saw[r], bits) || saw[r];
      }
      if (!rows.inside[r] || (a.accumulate && !saw[r])) continue;
#pragma unroll
      for (int n = 0; n < Dim / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int column = column_of(lane, n, i);
          if (column < a.extents.head_dim)
            a.o.set(rows.at[r] * a.extents.head_dim + column, saw[r] ? out[n][2 * r + i] / sum[r] : 0);
        }
      if (lane % 4 == 0) a.lse[rows.at[r]] = saw[r] ? max[r] * kLn2 + log_of(sum[r]) : -kInfinity;
    }
  }
};

/// Scores of the tile's keys that are not seen, or behind the last, become minus infinity.
template <int Dim>
MEMRING_LANE void hide(Running<Dim>& run, float (&scores)[kTile / 8][4], const Row* keys, int count, const Row* queries,
                       int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const Row query = queries[row_of(lane, 2 * r)];
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        const int key = column_of(lane, n, i);
        if (key < count && sees(query, keys[key]))
          run.saw[r] = true;
        else
          scores[n][i] = -kInfinity;
      }
  }
}

/// A tile of `count` keys, which all queries see or which `hide` looks at.
template <int Dim>
MEMRING_LANE void see_tile(Running<Dim>& run, const uint32_t (&q)[Dim / 16][4], StageOfKeys<Dim>& stage, int count,
                           bool all, const Row* queries, float scale) {
  const int lane = computed_here(lane_index());
  float scores[kTile / 8][4] = {};
#pragma unroll
  for (int k = 0; k < Dim / 16; ++k)
#pragma unroll
    for (int n = 0; n < kTile / 16; ++n)
      multiply_rows(scores[2 * n], scores[2 * n + 1], q[k], stage.k, 16 * n, k, lane);
  if (all)
    run.saw[0] = run.saw[1] = true;
  else
    hide(run, scores, stage.rows, count, queries, lane);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float greatest = -kInfinity;
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) greatest = greater(greatest, greater(scores[n][2 * r], scores[n][2 * r + 1]));
    for (int bits = 1; bits <= 2; ++bits) greatest = greater(greatest, shuffle_xor(greatest, bits));
    greatest = greater(run.max[r], greatest * scale);
    const float base = greatest == -kInfinity ? 0 : greatest, factor = exp2_fast(run.max[r] - base);
    run.max[r] = greatest;
    run.sum[r] *= factor;
#pragma unroll
    for (int n = 0; n < Dim / 8; ++n) {
      run.out[n][2 * r] *= factor;
      run.out[n][2 * r + 1] *= factor;
    }
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        scores[n][i] = exp2_fast(scores[n][i] * scale - base);
        run.sum[r] += scores[n][i];
      }
  }
#pragma unroll
  for (int k = 0; k < kTile / 16; ++k) {
    uint32_t weights[4];
    pack_operand(weights, scores[2 * k], scores[2 * k + 1]);
#pragma unroll
    for (int n = 0; n < Dim / 16; ++n)
      multiply_columns(run.out[2 * n], run.out[2 * n + 1], weights, stage.v, 16 * k, n, lane);
  }
}

template <int Dim>
MEMRING_KERNEL MEMRING_BLOCKS(kWarps* kWarp, Dim <= 64 ? 3 : 2) void attention_forward_mma(Forward a) {
  auto& memory = block_memory<Shared<Dim>>();
  const AttentionExtents& e = a.extents;
  const TileOfBlock mine = tile_of_block(e.rows, true);
  SpanWalk<Bf16> walk(a.spans, a.queries.tiles[mine.first / kTile]);

  Tile tile = walk.next();
  if (!tile.found() && a.accumulate) return;
  memory.q.copy(a.queries.q + mine.matrix * e.rows * e.head_dim, mine.first, e.rows, e.head_dim);
  copy_rows(memory.queries, a.queries.rows, mine.first, e.rows);
  if (tile.found()) memory.stages[0].fetch(walk.span(), e, mine.matrix, tile);
  copy_commit();
  copy_wait<0>();
  meet_block();
  uint32_t q[Dim / 16][4];
#pragma unroll
  for (int k = 0; k < Dim / 16; ++k) load_operand(q[k], memory.q, 16 * warp_index(), k, lane_index());
  const Row* const queries = memory.queries + 16 * warp_index();
  Running<Dim> run(a, mine, lane_index());
  for (int stage = 0; tile.found(); stage = 1 - stage) {
    const int count = rows_of_tile(tile, walk.span().count);
    const Tile next = walk.next();
    if (next.found()) memory.stages[1 - stage].fetch(walk.span(), e, mine.matrix, next);
    copy_commit();
    see_tile(run, q, memory.stages[stage], count, tile.all, queries, a.scale);
    copy_wait<0>();
    meet_block();
    tile = next;
  }
  run.finish(a, mine, computed_here(lane_index()));
}

}  // namespace

void forward_part(Queue& queue, View<> o, View<> lse, Write write, ConstView<> q, const RowTable& rows,
                  std::span<const KeySpan> all) {
  const AttentionExtents e = extents_of(q, all);
  if (q.size() == 0) return;
  in_launches(all, [&](std::span<const KeySpan> spans, bool first) {
    const Forward call{StoredOrSums<Bf16>(o),
                       address<float>(lse),
                       DeviceQueries<Bf16>(q, rows),
                       e,
                       kLog2E / std::sqrt(static_cast<float>(e.head_dim)),
                       write == Write::Accumulate || !first,
                       DeviceSpans<Bf16>(spans)};
    by_padded_dim(e.head_dim, [&]<int Dim>() {
      launch<attention_forward_mma<Dim>>(queue, grid_of_tiles(e.batch * e.heads, e.rows, sizeof(Shared<Dim>)), call);
    });
  });
}

}  // namespace memring::mma_attention
