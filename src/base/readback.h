// How the host sees what is on a device: copies that it waits for, and small results that it asks for now and reads
// later. On the CPU both are plain copies.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/ids.h"
#include "base/queue.h"

namespace memring {

/// Between any two spaces, when the queue comes to it: until then `from` must stay as it is. Same type, same shape.
void copy_later(const Queue&, View<> to, ConstView<> from);
/// The same, and over when it returns.
void copy_now(const Queue&, View<> to, ConstView<> from);

/// A tensor as files and tests see it: itself where it is on the host, else a copy in pinned memory.
class HostCopy {
 public:
  HostCopy(const Queue& queue, View<> original);
  View<> view() const { return here_; }
  void fetch(const Queue& queue) const;  ///< the original to the host
  void store(const Queue& queue) const;  ///< and back

 private:
  Arena arena_;
  View<> original_, here_;
};

/// Numbers that the host reads once a step: copied when the queue comes to it.
template <class T>
class Readback {
 public:
  /// Before the first step: of up to so many numbers.
  void allocate(const Queue& queue, int64_t numbers) {
    arena_ = queue.staging(numbers * bytes_of(dtype_of<T>()));
    staged_ = arena_.take<T>({numbers});
  }
  void start(const Queue& queue, ConstView<T> numbers) {
    count_ = numbers.size();
    const View<T> to = staged_.rows(0, count_);
    copy_later(queue, to.reshaped(numbers.shape()), numbers);
    copied_ = queue.record();
  }
  std::span<const T> wait(const Queue& queue) {
    queue.finish(copied_);
    return {staged_.template as<T>(), static_cast<size_t>(count_)};
  }

 private:
  Arena arena_;
  View<T> staged_;
  int64_t count_ = 0;
  Event copied_;
};

}  // namespace memring
