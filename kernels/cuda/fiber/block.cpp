// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/fiber/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <cstring>
#include <exception>
#include <map>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace memring::fiber {
namespace {

constexpr size_t kStack = 64 << 10;
constexpr int kMostThreads = 1024;

std::string text_of(const Place& place) {
  const std::string_view file = place.file;
  return fmt::format("{}:{}", file.substr(file.rfind('/') + 1), place.line);
}

/// Where threads wait for each other: those of a warp or of the block.
struct Meeting {
  int members = 0, arrived = 0;
  int64_t number = 0;  ///< of the meetings here so far
  Place place;         ///< where the first one waits
  std::vector<int> waiting;
  /// What lanes bring, in turns for the next meeting and the one after.
  std::array<std::array<std::byte, kWarp * kMostBrought>, 2> brought;
};

struct Thread {
  boost::context::fiber fiber;   // of the thread while another runs
  boost::context::fiber caller;  // of the scheduler while this one runs
  bool left = false;
  Place place;
  AsyncCopies copies;
};

class Block {
 public:
  Block(const Grid& grid, int64_t x, int64_t y, const Random& random, const std::function<void()>& thread,
        boost::context::pooled_fixedsize_stack& stacks)
      : grid_(grid),
        index_{x, y},
        random_(random),
        memory_(static_cast<size_t>(grid.bytes), std::byte{0xff}),  // NaN, whatever is read
        threads_(static_cast<size_t>(grid.threads)),
        warps_(static_cast<size_t>(grid.threads / kWarp)) {
    all_.members = grid.threads;
    for (Meeting& warp : warps_) warp.members = kWarp;
    for (int i = 0; i < grid.threads; ++i) {
      ready_.push_back(i);
      at(i).fiber =
          boost::context::fiber(std::allocator_arg, stacks, [this, i, &thread](boost::context::fiber&& caller) {
            at(i).caller = std::move(caller);
            try {
              thread();
            } catch (const boost::context::detail::forced_unwind&) {
              throw;
            } catch (...) {
              error_ = std::current_exception();
            }
            at(i).left = true;
            return std::move(at(i).caller);
          });
    }
  }

  void run() {
    while (!ready_.empty()) {
      const auto chosen = static_cast<size_t>(random_.below(drawn_++, ready_.size()));
      now_ = ready_[chosen];
      ready_[chosen] = ready_.back();
      ready_.pop_back();
      Thread& thread = at(now_);
      thread.fiber = std::move(thread.fiber).resume();
      if (error_) std::rethrow_exception(error_);
    }
    if (std::any_of(threads_.begin(), threads_.end(), [](const Thread& t) { return !t.left; })) refuse_deadlock();
  }

  int now() const { return now_; }
  int64_t index(int axis) const { return index_[static_cast<size_t>(axis)]; }
  const Grid& grid() const { return grid_; }
  std::byte* memory() { return memory_.data(); }
  AsyncCopies& copies() { return at(now_).copies; }
  Meeting& block() { return all_; }
  Meeting& warp() { return warps_[static_cast<size_t>(now_ / kWarp)]; }

  void meet(Meeting& meeting, const Place& place) {
    if (meeting.arrived == 0) meeting.place = place;
    if (meeting.place.line != place.line || std::strcmp(meeting.place.file, place.file) != 0)
      throw Error(ExitCode::Internal, fmt::format("thread {} meets others at {}, who wait for it at {}", now_,
                                                  text_of(place), text_of(meeting.place)));
    if (++meeting.arrived == meeting.members) {
      meeting.arrived = 0;
      ++meeting.number;
      ready_.insert(ready_.end(), meeting.waiting.begin(), meeting.waiting.end());
      meeting.waiting.clear();
      return;
    }
    Thread& thread = at(now_);
    meeting.waiting.push_back(now_);
    thread.place = place;
    const int mine = now_;
    thread.caller = std::move(thread.caller).resume();
    now_ = mine;
  }

 private:
  Thread& at(int i) { return threads_[static_cast<size_t>(i)]; }
  [[noreturn]] void refuse_deadlock() const {
    std::map<std::string, std::pair<int, int>> places;  // how many, and the first
    for (int i = 0; i < grid_.threads; ++i) {
      const Thread& thread = threads_[static_cast<size_t>(i)];
      auto& [count, first] =
          places.try_emplace(thread.left ? "have left" : "wait at " + text_of(thread.place), 0, i).first->second;
      ++count;
    }
    std::string text;
    for (const auto& [place, threads] : places)
      text += fmt::format("{}{} threads ({} first) {}", text.empty() ? "" : ", ", threads.first, threads.second, place);
    throw Error(ExitCode::Internal, fmt::format("nobody goes on in block ({}, {}): {}", index_[0], index_[1], text));
  }

  const Grid grid_;
  const std::array<int64_t, 2> index_;
  Random random_;
  uint32_t drawn_ = 0;
  std::vector<std::byte> memory_;
  std::vector<Thread> threads_;
  std::vector<int> ready_;
  Meeting all_;
  std::vector<Meeting> warps_;
  std::exception_ptr error_;
  int now_ = 0;
};

thread_local Block* block_now = nullptr;

Block& now() {
  check(block_now != nullptr, "what a kernel's thread does was asked for outside of a kernel");
  return *block_now;
}

}  // namespace

void run(const Grid& grid, uint64_t seed, const std::function<void()>& thread) {
  constexpr int64_t kMostX = (int64_t{1} << 31) - 1, kMostY = 65535;
  check(grid.threads > 0 && grid.threads <= kMostThreads && grid.threads % kWarp == 0 && grid.x > 0 &&
            grid.x <= kMostX && grid.y > 0 && grid.y <= kMostY,
        fmt::format("a grid of {} x {} blocks of {} threads", grid.x, grid.y, grid.threads));
  static thread_local boost::context::pooled_fixedsize_stack stacks(kStack);
  const int64_t blocks = grid.x * grid.y;
  Block* const before = block_now;
  struct Restore {
    Block* before;
    ~Restore() { block_now = before; }
  } const restore{before};
  for (int64_t i = 0; i < blocks; ++i) {
    const auto number =
        static_cast<int64_t>(permuted(static_cast<uint64_t>(i), static_cast<uint64_t>(blocks), seed, 0));
    Block block(grid, number % grid.x, number / grid.x, Random(seed, Purpose::Test, static_cast<uint64_t>(number), 0),
                thread, stacks);
    block_now = &block;
    block.run();
  }
}

int thread_index() { return now().now(); }
int64_t block_index(int axis) { return now().index(axis); }
const Grid& grid() { return now().grid(); }
std::byte* block_memory() { return now().memory(); }
AsyncCopies& copies() { return now().copies(); }

void meet_block(Place place) { now().meet(now().block(), place); }
void meet_warp(Place place) { now().meet(now().warp(), place); }

const std::byte* bring(const void* mine, size_t size, Place place) {
  Block& block = now();
  check(size <= kMostBrought, fmt::format("{} bytes were brought to a meeting of lanes", size));
  Meeting& warp = block.warp();
  auto& brought = warp.brought[static_cast<size_t>(warp.number % 2)];
  std::memcpy(brought.data() + kMostBrought * static_cast<size_t>(block.now() % kWarp), mine, size);
  block.meet(warp, place);
  return brought.data();
}

void refuse(const std::string& what, Place place) {
  throw Error(ExitCode::Internal, fmt::format("thread {} at {}: {}", now().now(), text_of(place), what));
}

}  // namespace memring::fiber
