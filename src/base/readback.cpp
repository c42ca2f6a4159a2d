// SPDX-License-Identifier: Apache-2.0
#include "base/readback.h"

#include <cstring>

namespace memring {

void copy_later(const Queue& queue, View<> to, ConstView<> from) {
  expect(to, from.dtype(), from.shape(), "copy");
  if (to.bytes() == 0) return;
  if (Device* device = queue.device()) return device->copy(queue.stream(), to, from);
  std::memcpy(to.data(), from.data(), static_cast<size_t>(to.bytes()));
}

void copy_now(const Queue& queue, View<> to, ConstView<> from) {
  copy_later(queue, to, from);
  queue.finish(queue.record());
}

}  // namespace memring
