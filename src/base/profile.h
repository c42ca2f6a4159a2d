// Profile: where the time of a queue's operators goes. Off unless one is attached (Queue::set_profile); then each
// operator notes its wall time, its flops and the bytes of its operands.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/queue.h"

namespace memring {

class Profile {
 public:
  struct Line {
    std::string_view name;
    int64_t calls = 0;
    double seconds = 0, flops = 0, bytes = 0;
  };
  /// `name` must outlive the profile: operators give literals.
  void add(std::string_view name, double seconds, double flops, double bytes);
  /// The slowest first.
  std::vector<Line> lines() const;
  void clear() { lines_.clear(); }

 private:
  std::vector<Line> lines_;  // a few dozen at most
};

/// Notes the operator that runs in this scope. `operands` are the views that it reads or writes, each once.
class Timed {
 public:
  template <class... Views>
  Timed(const Queue& queue, std::string_view name, double flops, const Views&... operands) : profile_(queue.profile()) {
    if (!profile_) return;
    name_ = name;
    flops_ = flops;
    bytes_ = static_cast<double>((int64_t{0} + ... + operands.bytes()));
    start_ = Clock::now();
  }
  ~Timed() {
    if (profile_) profile_->add(name_, std::chrono::duration<double>(Clock::now() - start_).count(), flops_, bytes_);
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  Profile* profile_;
  std::string_view name_;
  double flops_ = 0, bytes_ = 0;
  Clock::time_point start_;
};

}  // namespace memring
