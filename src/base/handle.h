// Handle: the one owner for what C libraries and the system hand out (HDF5 ids, file descriptors, hash states, ...).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <utility>

namespace memring {

/// Owns one value and closes it once. Traits: `using Value`, `static Value none()`, `static void close(Value)
/// noexcept`. An error on closing is lost here: whoever must know (files being written) closes by hand and release()s.
template <class Traits>
class Handle {
 public:
  using Value = typename Traits::Value;

  Handle() = default;
  explicit Handle(Value value) noexcept : value_(value) {}
  Handle(Handle&& other) noexcept : value_(other.release()) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      value_ = other.release();
    }
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  Value get() const { return value_; }
  explicit operator bool() const { return value_ != Traits::none(); }
  Value release() noexcept { return std::exchange(value_, Traits::none()); }
  void reset() noexcept {
    if (value_ != Traits::none()) Traits::close(release());
  }

 private:
  Value value_ = Traits::none();
};

/// A file descriptor.
struct DescriptorTraits {
  using Value = int;
  static int none() { return -1; }
  static void close(int descriptor) noexcept { ::close(descriptor); }
};

}  // namespace memring
