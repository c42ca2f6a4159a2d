// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/fiber/fiber.h"

#include <sys/mman.h>

#include <boost/context/preallocated.hpp>
#include <new>
#include <utility>

namespace memring::fiber {
namespace {

constexpr size_t kGuard = 4096, kStack = 256 << 10;  // what is not touched takes no memory

std::byte* take_stack() {
  void* const memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

struct Kept {  // the stack's memory is the Fiber's
  static void deallocate(boost::context::stack_context&) {}
};

}  // namespace

Fiber::Fiber() : memory_(take_stack()), here_(sanitized_fiber(memory_ + kGuard, kStack)) {
  boost::context::stack_context stack;
  stack.sp = memory_ + kGuard + kStack;
  stack.size = kStack;
  fiber_ = boost::context::fiber(std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack), Kept{},
                                 [this](boost::context::fiber&& caller) {
                                   after_switch(here_, caller_here_);
                                   caller_ = std::move(caller);
                                   loop();
                                   before_switch(here_, caller_here_, true);
                                   return std::move(caller_);
                                 });
}

Fiber::~Fiber() {
  abandon();
  ends_ = true;
  go_in();
  forget_fiber(here_);
  munmap(memory_, kGuard + kStack);
}

void Fiber::begin(const std::function<void()>& work, void* edge) {
  work_ = &work;
  edge_ = edge;
  joined_ = false;
}

// Edges take ThreadSanitizer long: one for all work, not one for each.
void Fiber::join() {
  if (std::exchange(joined_, true)) return;
  go_in();
  take_edge(this);
}

void Fiber::enter() {
  go_in();
  if (!error_) return;
  join();
  std::rethrow_exception(std::exchange(error_, nullptr));
}

void Fiber::abandon() {
  if (done()) return;
  abandoned_ = true;
  go_in();
  abandoned_ = false;
}

void Fiber::give_way() {
  go_out();
  if (abandoned_) throw Abandoned();
}

void Fiber::loop() {
  for (; !ends_; go_out()) {
    if (done()) {
      give_edge(this);
      continue;
    }
    try {
      take_edge(edge_);
      if (!abandoned_) (*work_)();
    } catch (const Abandoned&) {
    } catch (...) {
      error_ = std::current_exception();
    }
    work_ = nullptr;
  }
}

void Fiber::go_in() {
  before_switch(caller_here_, here_, false);
  fiber_ = std::move(fiber_).resume();
  after_switch(caller_here_, here_);
}

void Fiber::go_out() {
  before_switch(here_, caller_here_, false);
  caller_ = std::move(caller_).resume();
  after_switch(here_, caller_here_);
}

}  // namespace memring::fiber
