// A fiber: work that gives way and goes on where it was, on a stack of its own. Private to kernels/cuda/fiber/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/context/fiber.hpp>
#include <exception>
#include <functional>

#include "kernels/cuda/fiber/sanitizer.h"

namespace memring::fiber {

/// A stack on which one piece of work after the other runs. Below the stack lies a page that nobody may touch.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Work for the next enter(), which sees what was done before give_edge(edge). It must live until it is done.
  void begin(const std::function<void()>& work, void* edge);
  /// Runs the work until it gives way or is done; throws what it throws.
  void enter();
  bool done() const { return work_ == nullptr; }
  /// Ends work that has given way, by an exception where it waits.
  void abandon();
  /// What all work so far has done is seen by the caller.
  void join();
  /// Called by the work itself: back to who has entered it, until the next one.
  void give_way();

 private:
  struct Abandoned {};
  void loop();
  void go_in();   // the caller's side of a switch
  void go_out();  // the work's side

  std::byte* const memory_;  // of the guard page and the stack
  Sanitized here_, caller_here_;
  boost::context::fiber fiber_;   // while its caller runs
  boost::context::fiber caller_;  // while it runs
  const std::function<void()>* work_ = nullptr;
  void* edge_ = nullptr;
  bool joined_ = true;
  std::exception_ptr error_;
  bool abandoned_ = false, ends_ = false;
};

}  // namespace memring::fiber
