// Device: an accelerator's memory and streams of work. The host enqueues and runs ahead; what it enqueued on a stream
// happens in that order, and streams wait for each other by events. (kernels/cuda has the implementations.)
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/view.h"

namespace memring {

/// What a device is: for start lines, checkpoints and plans.
struct DeviceFacts {
  std::string name, capability;
  int64_t bytes = 0, free_bytes = 0;
};

/// A queue of work on a device. The default one is there from the start.
struct Stream {
  int32_t number = 0;
  bool operator==(const Stream&) const = default;
};

/// A place in a stream: all that was enqueued before it. The default one has been reached.
struct Event {
  int64_t number = 0;
};

/// Whose work goes first where two streams have some.
enum class Priority : uint8_t { Normal, High };

/// Used by the main thread alone.
class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceFacts& facts() const = 0;
  /// Slow, so not step after step: a block of its own, aligned to 256 bytes. Throws Error(Io) when there is none.
  virtual std::byte* take(int64_t bytes, Space) = 0;
  /// Waits for all that was enqueued.
  virtual void give(std::byte* block, Space) noexcept = 0;
  virtual Stream stream(Priority) = 0;
  /// Between any two spaces, when the stream comes to it: until then `from` must stay as it is, `to` is not written.
  virtual void copy(Stream, View<> to, ConstView<> from) = 0;
  /// Every byte, when the stream comes to it.
  virtual void fill(Stream, View<>, uint8_t byte) = 0;
  virtual Event record(Stream) = 0;
  /// What is enqueued on the stream from now on waits for the event; the host does not.
  virtual void wait(Stream, Event) = 0;
  /// Whether the event has been reached; throws what went wrong on the device.
  virtual bool done(Event) = 0;
};

/// Whether this program has a backend for devices: whether there is one is another question.
bool has_device_backend();

/// How many devices this process sees; 0 in a program without such a backend.
int device_count();

/// The device of this number among them. Throws Error(Usage) where there is none, and in a
/// program without such a backend.
std::unique_ptr<Device> open_device(int ordinal);

}  // namespace memring
