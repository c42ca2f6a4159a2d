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
#include "kernels/gated_unit/gated_unit.h"
#include "kernels/projections/projections.h"

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

template <>
struct Mapped<LinearLayer::Weights> {
  LinearLayer::Weights kept;
  explicit Mapped(const LinearLayer::Weights& weights) : kept(weights) {}
  template <class F>
  LinearLayer::Weights with(F& f) {
    return {f(kept.weight), f(kept.bias), f(kept.lora_a), f(kept.lora_b), kept.lora_scale};
  }
};

template <>
struct Mapped<LinearLayer::Gradients> {
  LinearLayer::Gradients kept;
  explicit Mapped(const LinearLayer::Gradients& gradients) : kept(gradients) {}
  template <class F>
  LinearLayer::Gradients with(F& f) {
    return {f(kept.weight), f(kept.bias), f(kept.lora_a), f(kept.lora_b)};
  }
};

template <>
struct Mapped<GatedUnit::Parts> {
  GatedUnit::Parts kept;
  explicit Mapped(const GatedUnit::Parts& parts) : kept(parts) {}
  template <class F>
  GatedUnit::Parts with(F& f) {
    return {f(kept.gate), f(kept.up)};
  }
};

template <>
struct Mapped<GatedUnit::Weights> {
  Mapped<LinearLayer::Weights> gate, up;
  explicit Mapped(const GatedUnit::Weights& weights) : gate(weights.gate), up(weights.up) {}
  template <class F>
  GatedUnit::Weights with(F& f) {
    return {gate.with(f), up.with(f)};
  }
};

template <>
struct Mapped<GatedUnit::Gradients> {
  Mapped<LinearLayer::Gradients> gate, up;
  explicit Mapped(const GatedUnit::Gradients& gradients) : gate(gradients.gate), up(gradients.up) {}
  template <class F>
  GatedUnit::Gradients with(F& f) {
    return {gate.with(f), up.with(f)};
  }
};

template <>
struct Mapped<RopeAngles> {
  RopeAngles kept;
  explicit Mapped(const RopeAngles& angles) : kept(angles) {}
  template <class F>
  RopeAngles with(F& f) {
    return {f(kept.cos), f(kept.sin)};
  }
};

template <>
struct Mapped<Projections::Parts> {
  Projections::Parts kept;
  explicit Mapped(const Projections::Parts& parts) : kept(parts) {}
  template <class F>
  Projections::Parts with(F& f) {
    return {f(kept.q), f(kept.k), f(kept.v)};
  }
};

template <>
struct Mapped<Projections::ConstParts> {
  Projections::ConstParts kept;
  explicit Mapped(const Projections::ConstParts& parts) : kept(parts) {}
  template <class F>
  Projections::ConstParts with(F& f) {
    return {f(kept.q), f(kept.k), f(kept.v)};
  }
};

template <>
struct Mapped<Projections::Weights> {
  Mapped<LinearLayer::Weights> q, k, v;
  ConstView<> q_norm, k_norm;
  double norm_eps;
  explicit Mapped(const Projections::Weights& w)
      : q(w.q), k(w.k), v(w.v), q_norm(w.q_norm), k_norm(w.k_norm), norm_eps(w.norm_eps) {}
  template <class F>
  Projections::Weights with(F& f) {
    return {q.with(f), k.with(f), v.with(f), f(q_norm), f(k_norm), norm_eps};
  }
};

template <>
struct Mapped<Projections::Gradients> {
  Mapped<LinearLayer::Gradients> q, k, v;
  View<> q_norm, k_norm;
  explicit Mapped(const Projections::Gradients& d) : q(d.q), k(d.k), v(d.v), q_norm(d.q_norm), k_norm(d.k_norm) {}
  template <class F>
  Projections::Gradients with(F& f) {
    return {q.with(f), k.with(f), v.with(f), f(q_norm), f(k_norm)};
  }
};

template <>
struct Mapped<Projections::Queries> {
  Mapped<std::span<const int32_t>> rows;
  Mapped<RopeAngles> angles;
  explicit Mapped(const Projections::Queries& queries) : rows(queries.rows), angles(queries.angles) {}
  template <class F>
  Projections::Queries with(F& f) {
    return {rows.with(f), angles.with(f)};
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
