// SPDX-License-Identifier: Apache-2.0
#include "base/readback.h"

#include <cstring>

namespace memring {

void copy_later(const Queue& queue, View<> to, ConstView<> from) {
  expect(to, from.dtype(), from.shape(), "copy");
  if (to.bytes() == 0) return;
  if (Device* device = queue.device()) return device->copy(queue.stream(), to, from);
  std::memcpy(to.host_bytes().data(), from.host_bytes().data(), to.host_bytes().size());
}

void copy_now(const Queue& queue, View<> to, ConstView<> from) {
  copy_later(queue, to, from);
  queue.finish(queue.record());
}

HostCopy::HostCopy(const Queue& queue, View<> original) : original_(original), here_(original) {
  if (original.space() != Space::Device) return;
  arena_ = queue.staging(original.bytes());
  here_ = arena_.take(original.dtype(), original.shape());
}

void HostCopy::fetch(const Queue& queue) const {
  if (original_.space() == Space::Device) copy_now(queue, here_, original_);
}

void HostCopy::store(const Queue& queue) const {
  if (original_.space() == Space::Device) copy_now(queue, original_, here_);
}

}  // namespace memring
