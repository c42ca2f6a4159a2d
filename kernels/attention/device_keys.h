// What attention's kernels on a device get of a call: extents and addresses, by value. Private to kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lane.h>

#include <algorithm>

#include "kernels/attention/attention.h"
#include "kernels/attention/operands.h"
#include "kernels/cuda/stored_type.h"

namespace memring {

/// Results that are stored as T, or as what is computed with: parts of a sum are.
template <class T>
struct StoredOrSums {
  void* data = nullptr;
  bool sums = false;

  StoredOrSums() = default;
  explicit StoredOrSums(ConstView<> view)
      : data(const_cast<void*>(view.data())), sums(view.dtype() == dtype_of<Computed<T>>()) {}

  MEMRING_LANE Computed<T> get(int64_t i) const {
    return sums ? static_cast<const Computed<T>*>(data)[i] : computed(static_cast<const T*>(data)[i]);
  }
  MEMRING_LANE void set(int64_t i, Computed<T> x) const {
    if (sums)
      static_cast<Computed<T>*>(data)[i] = x;
    else
      store(static_cast<T*>(data)[i], x);
  }
  template <class F>
  StoredOrSums with(const F& f) const {
    StoredOrSums there = *this;
    there.data = f(data);
    return there;
  }
};

/// Of a layout's table, whose numbers are those of a Row.
inline const Row* device_rows(const RowTable& table) {
  return table.size() == 0 ? nullptr : static_cast<const Row*>(static_cast<const void*>(table.device().data()));
}

inline const RowExtremes* device_tiles(const RowTable& table) {
  return table.size() == 0 ? nullptr
                           : static_cast<const RowExtremes*>(static_cast<const void*>(table.extremes().data()));
}

/// Query rows, and the table that describes them.
template <class T>
struct DeviceQueries {
  const T* q = nullptr;
  const Row* rows = nullptr;
  const RowExtremes* tiles = nullptr;

  DeviceQueries() = default;
  DeviceQueries(ConstView<> queries, const RowTable& table)
      : q(address<T>(queries)), rows(device_rows(table)), tiles(device_tiles(table)) {}
  template <class F>
  DeviceQueries with(const F& f) const {
    DeviceQueries there;
    there.q = f(q);
    there.rows = f(rows);
    there.tiles = f(tiles);
    return there;
  }
};

/// A KeySpan.
template <class T>
struct DeviceKeys {
  const T *k = nullptr, *v = nullptr;
  StoredOrSums<T> dk, dv;
  const Row* rows = nullptr;
  const RowExtremes* tiles = nullptr;
  int64_t count = 0;

  DeviceKeys() = default;
  explicit DeviceKeys(const KeySpan& span)
      : k(address<T>(span.k)),
        v(address<T>(span.v)),
        dk(span.dk),
        dv(span.dv),
        rows(device_rows(span.rows)),
        tiles(device_tiles(span.rows)),
        count(span.rows.size()) {}
  template <class F>
  DeviceKeys with(const F& f) const {
    DeviceKeys there = *this;
    there.k = f(k);
    there.v = f(v);
    there.dk = dk.with(f);
    there.dv = dv.with(f);
    there.rows = f(rows);
    there.tiles = f(tiles);
    return there;
  }
};

/// Spans of one launch; a call with more of them has several.
template <class T>
struct DeviceSpans {
  static constexpr size_t kMost = 8;
  DeviceKeys<T> of[kMost];
  int count = 0;

  explicit DeviceSpans(std::span<const KeySpan> spans) {
    for (const KeySpan& span : spans) of[count++] = DeviceKeys<T>(span);
  }
  template <class F>
  DeviceSpans with(const F& f) const {
    DeviceSpans there = *this;
    for (DeviceKeys<T>& keys : there.of) keys = keys.with(f);
    return there;
  }
};

/// Of [batch, kv_heads, count, head_dim], what query head `matrix` of all sequences reads.
template <class T>
MEMRING_LANE const T* of_head(const T* all, const AttentionExtents& e, int64_t matrix, int64_t count) {
  const int64_t b = matrix / e.heads, h = matrix % e.heads;
  return all + (b * e.kv_heads + h / (e.heads / e.kv_heads)) * count * e.head_dim;
}

inline AttentionExtents extents_of(ConstView<> q, std::span<const KeySpan> spans) {
  return {q.dim(0), q.dim(1), spans.empty() ? q.dim(1) : spans[0].k.dim(1), q.dim(2), q.dim(3)};
}

/// f(spans of a launch, whether it is the first)
template <class F>
void in_launches(std::span<const KeySpan> spans, const F& f) {
  constexpr size_t kMost = DeviceSpans<float>::kMost;
  for (size_t first = 0; first == 0 || first < spans.size(); first += kMost)
    f(spans.subspan(first, std::min(kMost, spans.size() - first)), first == 0);
}

}  // namespace memring
