// Row patterns for tests of attention: the layouts of golden/README.md, and odd ones.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/random.h"

namespace memring::test {

using Rows = std::vector<Row>;

/// Query rows, the key rows of each span, and the same visibility in words: of query i for key j of span s.
struct Pattern {
  std::string name;
  Rows rows;
  std::vector<Rows> spans;
  std::function<bool(int i, int s, int j)> visible;
};

inline Rows make_rows(int count, const std::function<Row(int)>& row) {
  Rows rows;
  for (int i = 0; i < count; ++i) rows.push_back(row(i));
  return rows;
}

inline Pattern causal(int n) {
  const Rows rows = make_rows(n, [](int i) { return Row{i, i, 0, i}; });
  return {"causal", rows, {rows}, [](int i, int, int j) { return j <= i; }};
}

// [read m | text n | write m]: causal, and all of its own block for a read or a write row
inline Pattern rmt_block(int m, int n) {
  const int all = n + 2 * m;
  const Rows rows = make_rows(all, [=](int i) { return Row{i, i, 0, i < m ? m - 1 : i < m + n ? i : all - 1}; });
  return {"RMT block", rows, {rows}, [=](int i, int, int j) {
            auto block = [=](int r) { return r < m ? 0 : r < m + n ? 1 : 2; };
            return j <= i || (block(i) == block(j) && block(i) != 1);
          }};
}

// [text n | memory m]: memory row i sees text 0..(i+1)c-1, c = n / m, and itself
inline Pattern uio_encoder(int m, int n) {
  const int c = n / m;
  const Rows rows = make_rows(n + m, [=](int i) {
    return i < n ? Row{i, i, 0, i} : Row{(i - n + 1) * c, i, 0, (i - n + 1) * c - 1};
  });
  return {
      "UIO encoder", rows, {rows}, [=](int i, int, int j) { return i < n ? j <= i : j < (i - n + 1) * c || j == i; }};
}

// memories of earlier segments as a span of their own, seen by all text rows; text is causal
inline Pattern uio_decoder(int memories, int n) {
  const Rows keys = make_rows(memories, [](int j) { return Row{j, j, 0, 0}; });
  const Rows rows = make_rows(n, [=](int i) { return Row{memories + i, memories + i, 0, memories + i}; });
  return {"UIO decoder", rows, {keys, rows}, [](int i, int s, int j) { return s == 0 || j <= i; }};
}

inline Pattern window(int n, int width) {
  const Rows rows = make_rows(n, [=](int i) { return Row{i, i, i - width + 1, i}; });
  return {"sliding window", rows, {rows}, [=](int i, int, int j) { return j <= i && j > i - width; }};
}

// a window that leaves the first rows in sight, of which `before` are in an earlier segment with the last keys there
inline Pattern sinks(int n, int width, int sinks, int before, int past) {
  const Rows keys = make_rows(before + past, [=](int j) {
    return j < before ? Row{j, kFirstSink + j, 0, 0} : Row{j, j - before - past, 0, 0};
  });
  const Rows rows = make_rows(n, [=](int i) {
    return i < sinks ? Row{i, kFirstSink + i, kFirstSink, kFirstSink + i} : Row{i, i, i - width + 1, i};
  });
  return {"sliding window with sinks", rows, {keys, rows}, [=](int i, int s, int j) {
            if (s == 0) return i >= sinks && (j < before || j - before - past > i - width);
            return j <= i && (j < sinks || j > i - width);
          }};
}

// what comes, and not what was
inline Pattern future(int n) {
  const Rows rows = make_rows(n, [=](int i) { return Row{i, i, i, n - 1}; });
  return {"future", rows, {rows}, [](int i, int, int j) { return j >= i; }};
}

// every third query sees nothing: an empty range, and its own key is elsewhere
inline Pattern blind(int n) {
  const Rows keys = make_rows(n, [](int j) { return Row{j, j, 0, 0}; });
  const Rows rows = make_rows(n, [=](int i) { return Row{i, n + i, i % 3 == 1 ? 1 : 0, i % 3 == 1 ? 0 : i}; });
  return {"some rows see nothing", rows, {keys}, [](int i, int, int j) { return i % 3 != 1 && j <= i; }};
}

// any ranges (empty ones too), orders shuffled, two spans of different length
inline Pattern shuffled(int n, int keys) {
  auto number = [](int i, int what, int bound) {
    return static_cast<int>(Random(7, Purpose::Test, static_cast<uint64_t>(what))
                                .below(static_cast<uint32_t>(i), static_cast<uint64_t>(bound)));
  };
  auto order = [](int i, int count) {
    return static_cast<int>(permuted(static_cast<uint64_t>(i), static_cast<uint64_t>(count), 3, 0));
  };
  const Rows rows = make_rows(n, [=](int i) { return Row{i, order(i, n), number(i, 1, n), number(i, 2, n)}; });
  const Rows others = make_rows(keys, [=](int j) { return Row{j, number(j, 3, n), 0, 0}; });
  return {"shuffled", rows, {rows, others}, [=](int i, int s, int j) {
            const int key = s == 0 ? order(j, n) : number(j, 3, n);
            return (key >= number(i, 1, n) && key <= number(i, 2, n)) || key == order(i, n);
          }};
}

inline std::vector<Pattern> every_pattern() {
  return {causal(13),        causal(8 + 2 * 3), rmt_block(3, 8),       uio_encoder(4, 12),
          uio_decoder(6, 7), window(14, 5),     sinks(14, 5, 3, 0, 0), sinks(9, 6, 0, 2, 4),
          future(7),         blind(9),          shuffled(11, 6)};
}

}  // namespace memring::test
