// Launching kernels on fibers: a stream of the twin device does it when it comes to it (kernels/cuda/nvcc/launch.h: on
// a GPU). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>
#include <type_traits>

#include "base/queue.h"
#include "kernels/cuda/fiber/block.h"
#include "kernels/cuda/twin/device.h"

namespace memring {

/// Runs Kernel(arguments...) on each thread of the grid; arguments are copied, and pointers are the device's. What has
/// pointers in it has with(f), itself with f(pointer) in the place of each.
template <auto Kernel, class... A>
void launch(Queue& queue, const Grid& grid, A... arguments) {
  auto& device = static_cast<TwinDevice&>(*queue.device());  // there are no others in a program with these kernels
  device.enqueue(queue.stream(), [&device, grid, arguments...] {
    const auto address = [&device](auto* pointer) { return device.on_host(pointer); };
    const auto here = [&address](auto argument) {
      if constexpr (std::is_pointer_v<decltype(argument)>)
        return address(argument);
      else if constexpr (requires { argument.with(address); })
        return argument.with(address);
      else
        return argument;
    };
    const uint64_t seed = device.draw();
    std::apply([&](auto... there) { fiber::run(grid, seed, [&] { Kernel(there...); }); },
               std::tuple(here(arguments)...));
  });
}

}  // namespace memring
