// The twin of a device: streams that do their work as late as the rules allow, on the host. Where the host reads what a
// device has, misses an event or uses a buffer again too early, the twin shows it; for tests alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/device.h"
#include "base/random.h"

namespace memring {

/// Nothing of a stream happens before somebody asks whether an event has been reached; then one piece of work of a
/// stream drawn at random is done, again and again. Device memory cannot be touched by the host: its addresses are
/// mapped without any right, and the same pages a second time for the work itself. It is full of NaN when it is taken.
/// As on other devices, work that fails is the last: whoever asks from then on gets its error.
class TwinDevice final : public Device {
 public:
  explicit TwinDevice(uint64_t seed);

  const DeviceFacts& facts() const override { return facts_; }
  std::byte* take(int64_t bytes, Space) override;
  void give(std::byte*, Space) noexcept override;
  Stream stream(Priority) override;
  void copy(Stream, View<> to, ConstView<> from) override;
  void fill(Stream, View<>, uint8_t byte) override;
  Event record(Stream) override;
  void wait(Stream, Event) override;
  bool done(Event) override;

  /// Bytes of this space that were taken and not given back.
  int64_t taken(Space) const;
  /// Something that a stream does when it comes to it.
  void enqueue(Stream, std::function<void()> work);
  /// The same memory where work finds it.
  template <class T>
  View<T> on_host(View<T> view) const {
    if (view.space() != Space::Device) return view;
    using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
    auto* const host = reinterpret_cast<T*>(const_cast<Byte*>(view ? address_on_host(view.data()) : nullptr));
    if constexpr (std::is_void_v<T>)
      return View<T>(host, view.dtype(), view.shape());
    else
      return View<T>(host, view.shape());
  }
  template <class T>
  T* on_host(T* address) const {
    return reinterpret_cast<T*>(const_cast<std::byte*>(address ? address_on_host(address) : nullptr));
  }
  /// A number for what work leaves to chance.
  uint64_t draw() { return random_.below(drawn_++, uint64_t{1} << 62); }
  /// Does all that has been enqueued; throws what went wrong.
  void settle();
  /// Addresses outside its blocks are the host's own, as on devices that share its memory: for operators on plain
  /// tensors.
  void share_host_memory() { shares_ = true; }

 private:
  struct Work {
    std::function<void()> run;  // none: an event's place, or a wait
    int64_t reaches = 0, waits_for = 0;
  };
  struct Block {
    std::byte* host = nullptr;
    size_t bytes = 0;   // mapped
    int64_t taken = 0;  // as somebody asked for
  };
  bool step();        ///< does a piece of work; false: there is none that can be done
  void run_dry();     ///< does all that can be done
  void tell() const;  ///< throws what went wrong
  const std::byte* address_on_host(const void* device_address) const;
  bool ready(const Work& work) const { return work.waits_for == 0 || reached(work.waits_for); }
  bool reached(int64_t event) const { return reached_[static_cast<size_t>(event)]; }

  DeviceFacts facts_;
  Random random_;
  uint32_t drawn_ = 0;
  bool shares_ = false;
  std::exception_ptr error_;
  std::vector<std::deque<Work>> streams_{1};
  std::vector<bool> reached_{true};             // by number of the event
  std::map<const std::byte*, Block> blocks_;    // device memory, by address
  std::map<const std::byte*, int64_t> pinned_;  // bytes, by address
};

}  // namespace memring
