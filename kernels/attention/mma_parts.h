// What a warp does with tiles in a block's memory: products of 16 rows with 16 rows or columns of a tile, and where the
// numbers of its lanes stand (kernels/cuda/fiber/mma.h). Private to kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mma.h>

#include "kernels/attention/tiles.h"

namespace memring::mma_attention {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;
constexpr int kWarps = kThreadsOfTile / kWarp;  ///< of a block: 16 rows of its tile each

/// Where number i of a lane's sums stands: its row among the warp's 16, and its column where they begin at column 8 n.
MEMRING_LANE int row_of(int lane, int i) { return lane / 4 + 8 * (i / 2); }
MEMRING_LANE int column_of(int lane, int n, int i) { return 8 * n + 2 * (lane % 4) + i % 2; }

MEMRING_LANE float greater(float x, float y) { return x > y ? x : y; }

/// The tile of 64 rows that this block has, of one matrix. Blocks begin in their order, so the tiles with the most to
/// do come first: of queries the last ones, which mostly see the most keys, of keys the first ones, which the most see.
struct TileOfBlock {
  int matrix, first;
};
MEMRING_LANE TileOfBlock tile_of_block(int64_t rows, bool last_first) {
  const auto tiles = static_cast<int>((rows + kTile - 1) / kTile), matrices = static_cast<int>(blocks_x()) / tiles,
             block = static_cast<int>(block_x()), tile = block / matrices;
  return {block % matrices, (last_first ? tiles - 1 - tile : tile) * kTile};
}
inline Grid grid_of_tiles(int64_t matrices, int64_t rows, int64_t bytes) {
  return {matrices * ((rows + kTile - 1) / kTile), 1, kWarps * kWarp, bytes};
}

/// A tile of keys in a block's memory: one is on its way while another is computed with.
template <int Dim>
struct StageOfKeys {
  RowsOfTile<Dim> k, v;
  Row rows[kTile];

  /// Begins to copy what query head `matrix` reads of it; its rows where they are looked at.
  MEMRING_LANE void fetch(const DeviceKeys<Bf16>& keys, const AttentionExtents& e, int64_t matrix, const Tile& tile) {
    k.copy(of_head(keys.k, e, matrix, keys.count), tile.first, keys.count, e.head_dim);
    v.copy(of_head(keys.v, e, matrix, keys.count), tile.first, keys.count, e.head_dim);
    if (!tile.all) copy_rows(rows, keys.rows, tile.first, keys.count);
  }
};

/// f.operator()<Dim>() with the padded size of a head.
template <class F>
void by_padded_dim(int64_t dim, const F& f) {
  if (dim <= 32) return f.template operator()<32>();
  if (dim <= 64) return f.template operator()<64>();
  f.template operator()<128>();
}

/// The two rows of a lane in [batch, heads, rows].
struct RowsOfLane {
  int64_t at[2];
  bool inside[2];
  MEMRING_LANE RowsOfLane(const TileOfBlock& mine, int64_t rows, int lane) {
    for (int r = 0; r < 2; ++r) {
      const int64_t row = mine.first + 16 * warp_index() + row_of(lane, 2 * r);
      inside[r] = row < rows;
      at[r] = mine.matrix * rows + row;
    }
  }
};

/// Rows row to row + 15 of a tile, columns 16 k to 16 k + 15, as the first operand.
template <int Dim>
MEMRING_LANE void load_operand(uint32_t (&operand)[4], RowsOfTile<Dim>& tile, int row, int k, int lane) {
  load_matrices(operand, tile.piece(row + lane % 16, 2 * k + lane / 16));
}
/// Sums of columns 8 n to 8 n + 15, rounded, as the first operand of a product over them.
MEMRING_LANE void pack_operand(uint32_t (&operand)[4], const float (&low)[4], const float (&high)[4]) {
  operand[0] = pack_bf16(low[0], low[1]);
  operand[1] = pack_bf16(low[2], low[3]);
  operand[2] = pack_bf16(high[0], high[1]);
  operand[3] = pack_bf16(high[2], high[3]);
}

/// low, high += operand (16 x 16) times the columns 16 k to 16 k + 15 of the tile's rows, transposed: a column of `low`
/// for each of the rows row to row + 7, of `high` for the eight behind them.
template <int Dim>
MEMRING_LANE void multiply_rows(float (&low)[4], float (&high)[4], const uint32_t (&operand)[4], RowsOfTile<Dim>& tile,
                                int row, int k, int lane) {
  uint32_t b[4];
  load_matrices(b, tile.piece(row + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
  mma_bf16(low, operand, b[0], b[1]);
  mma_bf16(high, operand, b[2], b[3]);
}
/// low, high += operand (16 x 16) times rows row to row + 15 of the tile: columns 16 n to 16 n + 7, and the eight
/// behind.
template <int Dim>
MEMRING_LANE void multiply_columns(float (&low)[4], float (&high)[4], const uint32_t (&operand)[4],
                                   RowsOfTile<Dim>& tile, int row, int n, int lane) {
  uint32_t b[4];
  load_transposed(b, tile.piece(row + lane % 16, 2 * n + lane / 16));
  mma_bf16(low, operand, b[0], b[1]);
  mma_bf16(high, operand, b[2], b[3]);
}

}  // namespace memring::mma_attention
