// An operator's arguments with other views in the places of its views: for backends that run a front once more,
// somewhere else or in another type. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <type_traits>
#include <vector>

#include "kernels/adamw/adamw.h"
#include "kernels/associative/associative.h"
#include "kernels/attention/attention.h"
#include "kernels/common/token_ids.h"

namespace memring {

/// Mapped<A>: an argument of type A (without const and reference) as an operator may get it later: `kept` owns what the
/// caller might change or take away, but for what the views lead to; `with(f)` has f(view) in the place of each view.
/// A plain value is copied; whatever may lead to a view has a Mapped of its own.
template <class A>
struct Mapped {
  static_assert(std::is_arithmetic_v<A> || std::is_enum_v<A> || std::is_same_v<A, AdamW::Settings>);
  A kept;
  explicit Mapped(const A& argument) : kept(argument) {}
  template <class F>
  const A& with(F&) {
    return kept;
  }
};

template <class T>
struct Mapped<View<T>> {
  View<T> kept;
  explicit Mapped(View<T> view) : kept(view) {}
  template <class F>
  View<T> with(F& f) {
    return f(kept);
  }
};

template <class T>
struct Mapped<std::span<const T>> {
  std::vector<T> kept;
  explicit Mapped(std::span<const T> values) : kept(values.begin(), values.end()) {}
  template <class F>
  std::span<const T> with(F&) {
    return kept;
  }
};

/// The host's rows are read once more where the mapped ones are.
template <>
struct Mapped<RowTable> {
  RowTable kept;
  explicit Mapped(const RowTable& table) : kept(table) {}
  template <class F>
  RowTable with(F& f) {
    if (!kept.device()) return kept;
    const ConstView<int32_t> numbers = f(kept.device());
    if (numbers.space() == Space::Device) return kept.with(f);
    const int32_t* next = numbers.as<int32_t>();
    rows.clear();
    for (int64_t i = 0; i < numbers.dim(0); ++i, next += 4) rows.push_back({next[0], next[1], next[2], next[3]});
    return rows;
  }
  std::vector<Row> rows;
};

template <>
struct Mapped<std::span<const KeySpan>> {
  std::vector<KeySpan> kept, mapped;
  std::vector<Mapped<RowTable>> rows;
  explicit Mapped(std::span<const KeySpan> spans) : kept(spans.begin(), spans.end()) {
    for (const KeySpan& span : spans) rows.emplace_back(span.rows);
  }
  template <class F>
  std::span<const KeySpan> with(F& f) {
    mapped.clear();
    for (size_t i = 0; i < kept.size(); ++i) {
      const KeySpan& s = kept[i];
      mapped.push_back({f(s.k), f(s.v), f(s.dk), f(s.dv), rows[i].with(f), s.replicated});
    }
    return mapped;
  }
};

template <>
struct Mapped<Associative::Rows> {
  Associative::Rows kept;
  explicit Mapped(const Associative::Rows& rows) : kept(rows) {}
  template <class F>
  Associative::Rows with(F& f) {
    return {f(kept.k), f(kept.v), f(kept.gate)};
  }
};

template <>
struct Mapped<Associative::RowGradients> {
  Associative::RowGradients kept;
  explicit Mapped(const Associative::RowGradients& rows) : kept(rows) {}
  template <class F>
  Associative::RowGradients with(F& f) {
    return {f(kept.k), f(kept.v), f(kept.gate)};
  }
};

/// The host's ids are looked up once more where the mapped ones are.
template <>
struct Mapped<TokenIds> {
  ConstView<int32_t> kept;
  explicit Mapped(const TokenIds& ids) : kept(ids.ids) {}
  template <class F>
  TokenIds with(F& f) {
    const ConstView<int32_t> ids = f(kept);
    return ids.space() == Space::Device ? TokenIds(ids, {}) : TokenIds(ids);
  }
};

/// What is left of it at the time of the call.
template <>
struct Mapped<Arena> {
  View<uint8_t> kept;
  Arena arena;
  explicit Mapped(const Arena& scratch) : kept(scratch.rest()) {}
  template <class F>
  Arena& with(F& f) {
    arena = Arena(f(kept));
    return arena;
  }
};

}  // namespace memring
