// Arena: all buffers of a run come from blocks taken once, before the first step. The code that carves buffers also
// runs without memory ("measuring"), so the planned size and the real one cannot differ.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/device.h"

namespace memring {

/// Carves dense views out of one block, each aligned to 256 bytes. Never frees: whoever wants to reuse rewinds to
/// a mark.
class Arena {
 public:
  /// Measures: views have a shape and no memory; `peak()` is what a real arena needs, in whatever space.
  Arena() = default;
  /// Owns a block of this many bytes, zeroed, and so touched, by `threads` threads: new memory comes at a GB/s or two,
  /// and `touched` is called now and then. Throws Error(Io) when there is none.
  explicit Arena(int64_t bytes, int threads = 1, const std::function<void()>& touched = {});
  /// Owns a block that the device takes, zeroed.
  Arena(Device&, int64_t bytes, Space);
  /// Carves out of memory that somebody else owns, such as a slot of a larger arena.
  explicit Arena(View<uint8_t> block)
      : data_(reinterpret_cast<std::byte*>(block.data())), space_(block.space()), size_(block.size()) {}
  Arena(Arena&&) = default;
  Arena& operator=(Arena&&) = default;

  View<> take(DType, Shape);  ///< throws Error(Internal) beyond the block's end
  template <class T>
  View<T> take(Shape shape) {
    const View<> view = take(dtype_of<T>(), shape);
    return {static_cast<T*>(view.data()), shape, view.space()};
  }
  int64_t mark() const { return used_; }
  void rewind(int64_t mark) { used_ = mark; }
  int64_t used() const { return used_; }
  int64_t peak() const { return peak_; }
  Space space() const { return space_; }
  /// What has not been taken.
  View<uint8_t> rest() const { return {reinterpret_cast<uint8_t*>(data_ + used_), {size_ - used_}, space_}; }
  bool measuring() const { return data_ == nullptr; }

 private:
  struct Free {
    Device* device;  // null: the host's
    Space space;
    void operator()(std::byte*) const;
  };
  std::unique_ptr<std::byte, Free> owned_;
  std::byte* data_ = nullptr;
  Space space_ = Space::Host;
  int64_t size_ = 0, used_ = 0, peak_ = 0;
};

/// Bytes in the memory of the host, and in that of the device.
struct SpaceBytes {
  int64_t host = 0, device = 0;

  /// All of them where the run's tensors are.
  static SpaceBytes of_tensors(int64_t bytes, bool device) { return {device ? 0 : bytes, device ? bytes : 0}; }
  SpaceBytes operator+(const SpaceBytes& other) const { return {host + other.host, device + other.device}; }
};

/// Gives back what was taken in a scope.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.rewind(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  int64_t mark_;
};

}  // namespace memring
