// Attention on a device, for every type and head size: a warp has a few query rows, or keys, and looks at 32 of the
// others at a time, each lane at one; then each lane sums some columns. All sums have the order of the keys, or of the
// rows.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/simple.h"

#include <launch.h>

#include <cmath>
#include <limits>

#include "kernels/attention/device_keys.h"

namespace memring::simple_attention {
namespace {

constexpr int kWarps = 4;    ///< of a block
constexpr int kMine = 4;     ///< query rows, or keys, of a warp
constexpr int kColumns = 4;  ///< of a lane at a time; what is wider is computed again

/// What a warp's lanes find of the others' work.
template <class C>
struct Exchange {
  C first[kMine][kWarp], second[kMine][kWarp];
};
template <class C>
struct Shared {
  Exchange<C> of[kWarps];
};

/// The rows, or keys, of this warp among all of its matrix; `count` is 0 behind the last.
struct Mine {
  int64_t matrix, first;
  int count;
};
MEMRING_LANE Mine mine_of(int64_t all) {
  constexpr int64_t kOfBlock = kWarps * kMine;
  const int64_t blocks = (all + kOfBlock - 1) / kOfBlock, first = block_x() % blocks * kOfBlock + warp_index() * kMine;
  const int64_t left = all - first;
  return {block_x() / blocks, first, static_cast<int>(left < 0 ? 0 : left < kMine ? left : kMine)};
}
Grid grid_of(int64_t matrices, int64_t all, int64_t bytes) {
  constexpr int64_t kOfBlock = kWarps * kMine;
  return {matrices * ((all + kOfBlock - 1) / kOfBlock), 1, kWarps * kWarp, bytes};
}

/// Of each of a warp's vectors, or of its last one in the place of those that it has not.
template <class T>
struct Vectors {
  const T* of[kMine];
  MEMRING_LANE Vectors(const T* all, const Mine& mine, int64_t rows, int64_t dim) {
    for (int i = 0; i < kMine; ++i)
      of[i] = all + (mine.matrix * rows + mine.first + (i < mine.count ? i : mine.count - 1)) * dim;
  }
  /// With y, which is this lane's.
  MEMRING_LANE void dot(Computed<T> (&products)[kMine], const T* y, int64_t dim) const {
    for (auto& product : products) product = 0;
    for (int64_t c = 0; c < dim; ++c) {
      const Computed<T> other = computed(y[c]);
      for (int i = 0; i < kMine; ++i) products[i] += computed(of[i][c]) * other;
    }
  }
};

template <class T>
struct Forward {
  StoredOrSums<T> o;
  Computed<T>* lse;
  const T* q;
  const Row* rows;
  AttentionExtents extents;
  Computed<T> scale;
  bool accumulate;
  DeviceSpans<T> spans;
  template <class F>
  Forward with(const F& f) const {
    return {o.with(f), f(lse), f(q), f(rows), extents, scale, accumulate, spans.with(f)};
  }
};

/// Which of a warp's vectors and this lane's see each other, and for each of them the lanes with which it does.
struct Visible {
  bool here[kMine];
  uint32_t lanes[kMine], any;
};

template <class Sees>
MEMRING_LANE Visible look(int mine, bool inside, const Sees& see) {
  Visible visible;
  visible.any = 0;
  for (int i = 0; i < kMine; ++i) {
    visible.here[i] = inside && i < mine && see(i);
    visible.lanes[i] = ballot(visible.here[i]);
    visible.any |= visible.lanes[i];
  }
  return visible;
}

MEMRING_LANE bool has(uint32_t lanes, int lane) { return ((lanes >> lane) & 1u) != 0; }

template <class T>
MEMRING_KERNEL void attention_forward(Forward<T> a) {
  using C = Computed<T>;
  constexpr C kInfinity = std::numeric_limits<C>::infinity();
  const AttentionExtents& e = a.extents;
  const Mine mine = mine_of(e.rows);
  if (mine.count == 0) return;
  Exchange<C>& exchange = block_memory<Shared<C>>().of[warp_index()];
  auto &scores = exchange.first, &weights = exchange.second;
  const int64_t at = mine.matrix * e.rows + mine.first;
  const Vectors<T> q(a.q, mine, e.rows, e.head_dim);
  Row queries[kMine];
  C before[kMine], lse[kMine];
  bool saw[kMine];
  for (int i = 0; i < kMine; ++i) {
    queries[i] = a.rows[mine.first + (i < mine.count ? i : 0)];
    before[i] = lse[i] = a.accumulate && i < mine.count ? a.lse[at + i] : -kInfinity;
    saw[i] = false;
  }
  for (int64_t column = lane_index(); column - lane_index() < e.head_dim; column += kColumns * kWarp) {
    C max[kMine], sum[kMine], out[kMine][kColumns];
    for (int i = 0; i < kMine; ++i) {
      max[i] = before[i];
      sum[i] = before[i] == -kInfinity ? 0 : 1;
      for (int c = 0; c < kColumns; ++c) {
        const int64_t here = column + c * kWarp;
        out[i][c] = sum[i] == 0 || here >= e.head_dim ? 0 : a.o.get((at + i) * e.head_dim + here);
      }
    }
    for (int s = 0; s < a.spans.count; ++s) {
      const DeviceKeys<T>& span = a.spans.of[s];
      const T *const k = of_head(span.k, e, mine.matrix, span.count), *const v =
                                                                          of_head(span.v, e, mine.matrix, span.count);
      for (int64_t first = 0; first < span.count; first += kWarp) {
        const int64_t key = first + lane_index();
        const Row row = key < span.count ? span.rows[key] : Row{};
        const Visible visible = look(mine.count, key < span.count, [&](int i) { return sees(queries[i], row); });
        if (visible.any == 0) continue;
        C score[kMine] = {};
        if (key < span.count) q.dot(score, k + key * e.head_dim, e.head_dim);
        for (int i = 0; i < kMine; ++i) scores[i][lane_index()] = score[i] *= a.scale;
        meet_warp();
        for (int i = 0; i < kMine; ++i) {
          if (visible.lanes[i] == 0) continue;
          saw[i] = true;
          C found = max[i];
          for (int j = 0; j < kWarp; ++j)
            if (has(visible.lanes[i], j) && !(scores[i][j] <= found)) found = scores[i][j];
          const C factor = max[i] == -kInfinity ? 0 : exp_of(max[i] - found);
          max[i] = found;
          sum[i] *= factor;
          for (C& number : out[i]) number *= factor;
          weights[i][lane_index()] = visible.here[i] ? exp_of(score[i] - found) : 0;
        }
        meet_warp();
        for (int j = 0; j < kWarp; ++j) {
          if (!has(visible.any, j)) continue;
          C value[kColumns];
          for (int c = 0; c < kColumns; ++c) {
            const int64_t here = column + c * kWarp;
            value[c] = here < e.head_dim ? computed(v[(first + j) * e.head_dim + here]) : 0;
          }
          for (int i = 0; i < kMine; ++i) {
            if (!has(visible.lanes[i], j)) continue;
            sum[i] += weights[i][j];
            for (int c = 0; c < kColumns; ++c) out[i][c] += weights[i][j] * value[c];
          }
        }
      }
    }
    for (int i = 0; i < mine.count; ++i) {
      if (a.accumulate && !saw[i]) continue;
      for (int c = 0; c < kColumns; ++c) {
        const int64_t here = column + c * kWarp;
        if (here < e.head_dim) a.o.set((at + i) * e.head_dim + here, saw[i] ? out[i][c] / sum[i] : 0);
      }
      lse[i] = saw[i] ? max[i] + log_of(sum[i]) : -kInfinity;
    }
  }
  for (int i = 0; i < mine.count && lane_index() == 0; ++i)
    if (!a.accumulate || saw[i]) a.lse[at + i] = lse[i];
}

template <class T>
struct Backward {
  StoredOrSums<T> dq;
  const T *d_o, *q;
  StoredOrSums<T> o;
  const Computed<T>* lse;
  const Row* rows;
  AttentionExtents extents;
  Computed<T> scale;
  bool accumulate;
  DeviceSpans<T> spans;
  template <class F>
  Backward with(const F& f) const {
    return {dq.with(f), f(d_o), f(q), o.with(f), f(lse), f(rows), extents, scale, accumulate, spans.with(f)};
  }
  /// d_o o of a row, which is the sum of p dp.
  MEMRING_LANE Computed<T> delta(int64_t row) const {
    Computed<T> sum = 0;
    for (int64_t c = 0; c < extents.head_dim; ++c)
      sum += computed(d_o[row * extents.head_dim + c]) * o.get(row * extents.head_dim + c);
    return sum;
  }
};

/// A warp's rows: dq = sum of ds k with ds = scale p (dp - delta).
template <class T>
MEMRING_KERNEL void attention_dq(Backward<T> a) {
  using C = Computed<T>;
  const AttentionExtents& e = a.extents;
  const Mine mine = mine_of(e.rows);
  if (mine.count == 0) return;
  Exchange<C>& exchange = block_memory<Shared<C>>().of[warp_index()];
  auto &sent = exchange.first, &deltas = exchange.second;
  const int64_t at = mine.matrix * e.rows + mine.first;
  const Vectors<T> q(a.q, mine, e.rows, e.head_dim), dy(a.d_o, mine, e.rows, e.head_dim);
  if (lane_index() < mine.count) deltas[lane_index()][0] = a.delta(at + lane_index());
  meet_warp();
  Row queries[kMine];
  C delta[kMine], lse[kMine];
  for (int i = 0; i < kMine; ++i) {
    const int there = i < mine.count ? i : 0;
    queries[i] = a.rows[mine.first + there];
    delta[i] = deltas[there][0];
    lse[i] = a.lse[at + there];
  }
  for (int64_t column = lane_index(); column - lane_index() < e.head_dim; column += kColumns * kWarp) {
    C out[kMine][kColumns] = {};
    for (int s = 0; s < a.spans.count; ++s) {
      const DeviceKeys<T>& span = a.spans.of[s];
      const T *const k = of_head(span.k, e, mine.matrix, span.count), *const v =
                                                                          of_head(span.v, e, mine.matrix, span.count);
      for (int64_t first = 0; first < span.count; first += kWarp) {
        const int64_t key = first + lane_index();
        const Row row = key < span.count ? span.rows[key] : Row{};
        const Visible visible = look(mine.count, key < span.count, [&](int i) { return sees(queries[i], row); });
        if (visible.any == 0) continue;
        C score[kMine] = {}, dp[kMine] = {};
        if (key < span.count) {
          q.dot(score, k + key * e.head_dim, e.head_dim);
          dy.dot(dp, v + key * e.head_dim, e.head_dim);
        }
        meet_warp();  // all have read what was sent before
        for (int i = 0; i < kMine; ++i)
          sent[i][lane_index()] =
              visible.here[i] ? a.scale * exp_of(a.scale * score[i] - lse[i]) * (dp[i] - delta[i]) : 0;
        meet_warp();
        for (int j = 0; j < kWarp; ++j) {
          if (!has(visible.any, j)) continue;
          for (int c = 0; c < kColumns; ++c) {
            const int64_t here = column + c * kWarp;
            if (here >= e.head_dim) continue;
            const C number = computed(k[(first + j) * e.head_dim + here]);
            for (int i = 0; i < kMine; ++i)
              if (has(visible.lanes[i], j)) out[i][c] += sent[i][j] * number;
          }
        }
      }
    }
    for (int i = 0; i < mine.count; ++i)
      for (int c = 0; c < kColumns; ++c) {
        const int64_t here = column + c * kWarp, to = (at + i) * e.head_dim + here;
        if (here < e.head_dim) a.dq.set(to, a.accumulate ? a.dq.get(to) + out[i][c] : out[i][c]);
      }
  }
}

/// A warp's keys of the first span: dk += sum of ds q, dv += sum of p d_o, over rows of all heads that share them.
template <class T>
MEMRING_KERNEL void attention_dk_dv(Backward<T> a) {
  using C = Computed<T>;
  const AttentionExtents& e = a.extents;
  const DeviceKeys<T>& span = a.spans.of[0];
  const Mine mine = mine_of(span.count);
  if (mine.count == 0) return;
  Exchange<C>& exchange = block_memory<Shared<C>>().of[warp_index()];
  auto &sent = exchange.first, &weights = exchange.second;
  const int64_t group = e.heads / e.kv_heads, at = mine.matrix * span.count + mine.first;
  const Vectors<T> k(span.k, mine, span.count, e.head_dim), v(span.v, mine, span.count, e.head_dim);
  Row keys[kMine];
  for (int i = 0; i < kMine; ++i) keys[i] = span.rows[mine.first + (i < mine.count ? i : 0)];
  for (int64_t column = lane_index(); column - lane_index() < e.head_dim; column += kColumns * kWarp) {
    C dk[kMine][kColumns] = {}, dv[kMine][kColumns] = {};
    for (int64_t h = 0; h < group; ++h) {
      const int64_t rows = (mine.matrix * group + h) * e.rows;
      for (int64_t first = 0; first < e.rows; first += kWarp) {
        const int64_t row = first + lane_index();
        const Row query = row < e.rows ? a.rows[row] : Row{};
        const Visible visible = look(mine.count, row < e.rows, [&](int i) { return sees(query, keys[i]); });
        if (visible.any == 0) continue;
        C score[kMine] = {}, dp[kMine] = {}, lse = 0, delta = 0;
        if (has(visible.any, lane_index())) {
          k.dot(score, a.q + (rows + row) * e.head_dim, e.head_dim);
          v.dot(dp, a.d_o + (rows + row) * e.head_dim, e.head_dim);
          lse = a.lse[rows + row];
          delta = a.delta(rows + row);
        }
        meet_warp();  // all have read what was sent before
        for (int i = 0; i < kMine; ++i) {
          const C p = visible.here[i] ? exp_of(a.scale * score[i] - lse) : 0;
          weights[i][lane_index()] = p;
          sent[i][lane_index()] = visible.here[i] ? a.scale * p * (dp[i] - delta) : 0;
        }
        meet_warp();
        for (int j = 0; j < kWarp; ++j) {
          if (!has(visible.any, j)) continue;
          for (int c = 0; c < kColumns; ++c) {
            const int64_t here = column + c * kWarp;
            if (here >= e.head_dim) continue;
            const C x = computed(a.q[(rows + first + j) * e.head_dim + here]),
                    dy = computed(a.d_o[(rows + first + j) * e.head_dim + here]);
            for (int i = 0; i < kMine; ++i) {
              if (!has(visible.lanes[i], j)) continue;
              dk[i][c] += sent[i][j] * x;
              dv[i][c] += weights[i][j] * dy;
            }
          }
        }
      }
    }
    for (int i = 0; i < mine.count; ++i)
      for (int c = 0; c < kColumns; ++c) {
        const int64_t here = column + c * kWarp, to = (at + i) * e.head_dim + here;
        if (here >= e.head_dim) continue;
        span.dk.set(to, span.dk.get(to) + dk[i][c]);
        span.dv.set(to, span.dv.get(to) + dv[i][c]);
      }
  }
}

template <class T>
Computed<T> scale_of(const AttentionExtents& e) {
  return 1 / std::sqrt(static_cast<Computed<T>>(e.head_dim));
}

}  // namespace

void forward_part(Queue& queue, View<> o, View<> lse, Write write, ConstView<> q, const RowTable& rows,
                  std::span<const KeySpan> all) {
  const AttentionExtents e = extents_of(q, all);
  if (q.size() == 0) return;
  by_stored_type(q.dtype(), [&]<class T>() {
    in_launches(all, [&](std::span<const KeySpan> spans, bool first) {
      using C = Computed<T>;
      const Forward<T> call{StoredOrSums<T>(o),
                            address<C>(lse),
                            address<T>(q),
                            device_rows(rows),
                            e,
                            scale_of<T>(e),
                            write == Write::Accumulate || !first,
                            DeviceSpans<T>(spans)};
      launch<attention_forward<T>>(queue, grid_of(e.batch * e.heads, e.rows, sizeof(Shared<C>)), call);
    });
  });
}

void backward_part(Queue& queue, View<> dq, Write write, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                   const RowTable& rows, std::span<const KeySpan> all) {
  const AttentionExtents e = extents_of(q, all);
  if (q.size() == 0) return;
  by_stored_type(q.dtype(), [&]<class T>() {
    using C = Computed<T>;
    const auto call = [&](std::span<const KeySpan> spans, bool first) {
      return Backward<T>{StoredOrSums<T>(dq),
                         address<T>(d_o),
                         address<T>(q),
                         StoredOrSums<T>(o),
                         address<C>(lse),
                         device_rows(rows),
                         e,
                         scale_of<T>(e),
                         write == Write::Accumulate || !first,
                         DeviceSpans<T>(spans)};
    };
    if (dq)
      in_launches(all, [&](std::span<const KeySpan> spans, bool first) {
        launch<attention_dq<T>>(queue, grid_of(e.batch * e.heads, e.rows, sizeof(Shared<C>)), call(spans, first));
      });
    for (const KeySpan& span : all)
      if (span.dk && span.rows.size() > 0)
        launch<attention_dk_dv<T>>(queue, grid_of(e.batch * e.kv_heads, span.rows.size(), sizeof(Shared<C>)),
                                   call({&span, 1}, true));
  });
}

}  // namespace memring::simple_attention
