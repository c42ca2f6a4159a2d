// An operator on bf16 storage: its front once more, with fp32 copies of what is stored in bf16; what was written is
// rounded on the store. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/common/map_views.h"

namespace memring {

/// Gives fp32 copies, and stores those that an operator may have written.
class WideCopies {
 public:
  WideCopies() = default;
  WideCopies(const WideCopies&) = delete;
  WideCopies& operator=(const WideCopies&) = delete;

  ConstView<> operator()(ConstView<> view) { return view.dtype() == DType::BF16 ? widened(view) : view; }
  View<> operator()(View<> view);
  template <class T>
  View<T> operator()(View<T> view) {  // of a type that is known, which is not bf16
    return view;
  }
  /// Behind the operator; where it threw, its operands stay as they were.
  void store() const;

 private:
  View<> widened(ConstView<>);

  std::deque<std::vector<float>> copies_;
  std::vector<std::pair<View<>, const float*>> written_;
};

template <auto Front>
struct Wide;
template <class... A, void (*Front)(Queue&, A...)>
struct Wide<Front> {
  static void call(Queue& queue, A... arguments) {
    std::tuple<Mapped<std::remove_cvref_t<A>>...> kept(arguments...);
    WideCopies copies;
    std::apply([&](auto&... argument) { Front(queue, argument.with(copies)...); }, kept);
    copies.store();
  }
};
template <auto Front>
constexpr auto wide = &Wide<Front>::call;

}  // namespace memring
