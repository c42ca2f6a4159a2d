// An operator's front as a kernel of the twin: called once more, on a queue of reference kernels, when the stream comes
// to it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <tuple>
#include <type_traits>

#include "base/error.h"
#include "kernels/common/map_views.h"
#include "kernels/cuda/twin/device.h"

namespace memring {

template <auto Front>
struct Late;
template <class... A, void (*Front)(Queue&, A...)>
struct Late<Front> {
  static void call(Queue& queue, A... arguments) {
    const auto kept = std::make_shared<std::tuple<Mapped<std::remove_cvref_t<A>>...>>(arguments...);
    const auto there = [](auto view) {
      if (view && view.space() != Space::Device)
        throw ShapeError(fmt::format("{} on the host was given to an operator of a device", view.text()));
      return view;
    };
    std::apply([&](auto&... argument) { (static_cast<void>(argument.with(there)), ...); }, *kept);
    auto& device = static_cast<TwinDevice&>(*queue.device());  // there are no others in a program with these kernels
    device.enqueue(queue.stream(), [&device, products = queue.products(), kept] {
      Queue host({.backend = Backend::Reference, .isa = Isa::Baseline, .products = products});
      const auto here = [&](auto view) { return device.on_host(view); };
      std::apply([&](auto&... argument) { Front(host, argument.with(here)...); }, *kept);
    });
  }
};
template <auto Front>
constexpr auto late = &Late<Front>::call;

}  // namespace memring
