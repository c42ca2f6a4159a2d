// Where tests have their tensors: on the host, or, in a program whose device is the twin, on that.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/readback.h"
#include "dist/transport.h"
#include "ranks.h"

namespace memring {

/// dist_on_cpu.cpp, or dist_on_twin.cpp.
Queue queue_under_test(int threads = 1);

/// Of tensors wherever they are.
inline std::unique_ptr<Transport> transport_under_test(int64_t message_bytes = kMostMessageBytes) {
  return staged_transport(host_transport(world(), message_bytes));
}

/// Numbers of a test where its queue works: there from the start, back with fetch().
class Placed {
 public:
  Placed(const Queue& queue, View<> on_host) : queue_(queue), on_host_(on_host), there_(on_host) {
    if (!queue.device()) return;
    arena_ = queue.arena(std::max<int64_t>(on_host.bytes(), 1));
    there_ = arena_.take(on_host.dtype(), on_host.shape());
    copy_later(queue, there_, on_host);
  }
  View<> view() const { return there_; }
  operator View<>() const { return there_; }
  void fetch() const {
    if (queue_.device()) copy_now(queue_, on_host_, there_);
  }

 private:
  const Queue& queue_;
  Arena arena_;
  View<> on_host_, there_;
};

}  // namespace memring
