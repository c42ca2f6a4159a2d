// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/fiber/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <new>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "kernels/cuda/fiber/fiber.h"

namespace memring::fiber {
namespace {

constexpr std::align_val_t kAlignment{1024};  // of a block's memory: what instructions ask for at most
constexpr int kMostThreads = 1024;

std::string text_of(const Place& place) {
  const std::string_view file = place.file;
  return fmt::format("{}:{}", file.substr(file.rfind('/') + 1), place.line);
}

struct Thread {
  Fiber& fiber;
  int index;
  Place place;  ///< where it waits
  AsyncCopies copies;
};

/// Where threads wait for each other: those of a warp or of the block.
struct Meeting {
  int members = 0, arrived = 0;
  int64_t number = 0;  ///< of the meetings here so far
  Place place;         ///< where the first one waits
  std::vector<Thread*> waiting;
  /// In turns for the next meeting and the one after: what lanes bring, and an address that stands for the meeting.
  std::array<std::array<Brought, kWarp>, 2> brought;
  std::array<char, 2> edges;
};

struct Release {
  void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
};

class Block {
 public:
  Block(const Grid& grid, int64_t x, int64_t y, const Random& random, std::deque<Fiber>& fibers,
        const std::function<void()>& thread)
      : grid_(grid),
        index_{x, y},
        random_(random),
        memory_(static_cast<std::byte*>(::operator new(static_cast<size_t>(grid.bytes), kAlignment))),
        warps_(static_cast<size_t>(grid.threads / kWarp)) {
    std::memset(memory_.get(), 0xff, static_cast<size_t>(grid.bytes));  // NaN, whatever is read
    all_.members = grid.threads;
    for (Meeting& warp : warps_) warp.members = kWarp;
    threads_.reserve(static_cast<size_t>(grid.threads));
    for (int i = 0; i < grid.threads; ++i) {
      threads_.push_back({fibers[static_cast<size_t>(i)], i, {}, {}});
      ready_.push_back(&threads_.back());
      threads_.back().fiber.begin(thread);
    }
  }
  ~Block() {
    for (Thread& thread : threads_) thread.fiber.abandon();
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void run() {
    while (!ready_.empty()) {
      const auto chosen = static_cast<size_t>(random_.below(drawn_++, ready_.size()));
      now_ = ready_[chosen];
      ready_[chosen] = ready_.back();
      ready_.pop_back();
      now_->fiber.enter();
    }
    if (std::any_of(threads_.begin(), threads_.end(), [](const Thread& t) { return !t.fiber.done(); }))
      refuse_deadlock();
  }

  Thread& now() { return *now_; }
  int64_t index(int axis) const { return index_[static_cast<size_t>(axis)]; }
  const Grid& grid() const { return grid_; }
  std::byte* memory() { return memory_.get(); }
  Meeting& block() { return all_; }
  Meeting& warp() { return warps_[static_cast<size_t>(now_->index / kWarp)]; }

  void meet(Meeting& meeting, const Place& place) {
    const Unwatched scheduler;
    if (meeting.arrived == 0) meeting.place = place;
    if (meeting.place.line != place.line || std::strcmp(meeting.place.file, place.file) != 0)
      throw Error(ExitCode::Internal, fmt::format("thread {} meets others at {}, who wait for it at {}", now_->index,
                                                  text_of(place), text_of(meeting.place)));
    if (++meeting.arrived == meeting.members) {
      meeting.arrived = 0;
      ++meeting.number;
      ready_.insert(ready_.end(), meeting.waiting.begin(), meeting.waiting.end());
      meeting.waiting.clear();
      return;
    }
    Thread& thread = *now_;
    meeting.waiting.push_back(&thread);
    thread.place = place;
    thread.fiber.give_way();
  }

  /// A meeting behind which all that its members have done before is seen.
  void meet_and_see(Meeting& meeting, const Place& place) {
    char& edge = meeting.edges[static_cast<size_t>(meeting.number % 2)];
    give_edge(&edge);
    meet(meeting, place);
    take_edge(&edge);
  }

 private:
  [[noreturn]] void refuse_deadlock() const {
    std::map<std::string, std::pair<int, int>> places;  // how many, and the first
    for (const Thread& thread : threads_) {
      const std::string place = thread.fiber.done() ? "have left" : "wait at " + text_of(thread.place);
      ++places.try_emplace(place, 0, thread.index).first->second.first;
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
  std::unique_ptr<std::byte, Release> memory_;
  std::vector<Thread> threads_;
  std::vector<Thread*> ready_;
  Meeting all_;
  std::vector<Meeting> warps_;
  Thread* now_ = nullptr;
};

/// Fibers for the blocks to come, by turns: races of one block with the next are seen between two of them.
class Fibers {
 public:
  std::deque<Fiber>& next(int count) {
    auto& fibers = turns_[turn_++ % turns_.size()];
    while (fibers.size() < static_cast<size_t>(count)) fibers.emplace_back();
    return fibers;
  }
  /// The caller sees what they all have done.
  void join() {
    for (auto& fibers : turns_)
      for (Fiber& fiber : fibers) fiber.join();
  }

 private:
  std::array<std::deque<Fiber>, 2> turns_;
  size_t turn_ = 0;
};

thread_local Block* block_now = nullptr;

Block& now() {
  if (block_now == nullptr)
    throw Error(ExitCode::Internal, "what a kernel's thread does was asked for outside of a kernel");
  return *block_now;
}

}  // namespace

void run(const Grid& grid, uint64_t seed, const std::function<void()>& thread) {
  constexpr int64_t kMostX = (int64_t{1} << 31) - 1, kMostY = 65535;
  check(grid.threads > 0 && grid.threads <= kMostThreads && grid.threads % kWarp == 0 && grid.x > 0 &&
            grid.x <= kMostX && grid.y > 0 && grid.y <= kMostY,
        fmt::format("a grid of {} x {} blocks of {} threads", grid.x, grid.y, grid.threads));
  static thread_local Fibers fibers;
  const Unwatched scheduler;  // which takes memory from one block and gives it to the next
  const struct End {
    ~End() {
      block_now = nullptr;
      fibers.join();
    }
  } end;
  const int64_t blocks = grid.x * grid.y;
  for (int64_t i = 0; i < blocks; ++i) {
    const auto number =
        static_cast<int64_t>(permuted(static_cast<uint64_t>(i), static_cast<uint64_t>(blocks), seed, 0));
    Block block(grid, number % grid.x, number / grid.x, Random(seed, Purpose::Test, static_cast<uint64_t>(number), 0),
                fibers.next(grid.threads), thread);
    block_now = &block;
    block.run();
  }
}

int thread_index() { return now().now().index; }
int64_t block_index(int axis) { return now().index(axis); }
const Grid& grid() { return now().grid(); }
std::byte* block_memory() { return now().memory(); }
AsyncCopies& copies() { return now().now().copies; }

void meet_block(Place place) { now().meet_and_see(now().block(), place); }
void meet_warp(Place place) { now().meet_and_see(now().warp(), place); }

void bring(const Brought& mine, Place place) {
  Block& block = now();
  Meeting& warp = block.warp();
  warp.brought[static_cast<size_t>(warp.number % 2)][static_cast<size_t>(thread_index() % kWarp)] = mine;
  block.meet(warp, place);
}
Brought brought(int lane) {
  const Meeting& warp = now().warp();
  return warp.brought[static_cast<size_t>((warp.number - 1) % 2)][static_cast<size_t>(lane)];
}

void refuse(const std::string& what, Place place) {
  throw Error(ExitCode::Internal, fmt::format("thread {} at {}: {}", thread_index(), text_of(place), what));
}

}  // namespace memring::fiber
