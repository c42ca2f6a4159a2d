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
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "kernels/cuda/fiber/fiber.h"

namespace memring::fiber {
namespace {

constexpr std::align_val_t kAlignment{1024};  // of a block's memory: what instructions ask for at most
constexpr int kMostThreads = 1024, kWarpgroup = 128;

std::string text_of(const Place& place) {
  const std::string_view file = place.file;
  return fmt::format("{}:{}", file.substr(file.rfind('/') + 1), place.line);
}

struct Thread {
  Fiber& fiber;
  int index;
  Place place = {};  ///< where it waits
  AsyncCopies copies = {};
  AsyncProducts products = {};
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

/// A barrier in the block's memory: what its current phase waits for.
struct Barrier {
  int arrivals = 0;  ///< of each phase
  int missing = 0, bytes = 0;
  int64_t phase = 0;
  std::vector<Thread*> waiting;
  std::array<char, 2> edges;  ///< addresses that stand for the phases, by parity
};

/// A copy under way. The address of it stands for its beginning.
struct Transfer {
  std::function<void()> copy;
  Barrier& barrier;
  int bytes;
};

struct Release {
  void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
};

class Block {
 public:
  Block(const Grid& grid, int64_t x, int64_t y, const Random& random, std::deque<Fiber>& fibers,
        const std::function<void()>& thread, void* started)
      : grid_(grid),
        index_{x, y},
        random_(random),
        copier_(fibers[static_cast<size_t>(grid.threads)]),
        memory_(static_cast<std::byte*>(::operator new(static_cast<size_t>(grid.bytes), kAlignment))),
        warps_(static_cast<size_t>(grid.threads / kWarp)),
        warpgroups_(static_cast<size_t>(grid.threads / kWarpgroup)) {
    std::memset(memory_.get(), 0xff, static_cast<size_t>(grid.bytes));  // NaN, whatever is read
    all_.members = grid.threads;
    for (Meeting& warp : warps_) warp.members = kWarp;
    for (Meeting& warpgroup : warpgroups_) warpgroup.members = kWarpgroup;
    threads_.reserve(static_cast<size_t>(grid.threads));
    for (int i = 0; i < grid.threads; ++i) {
      threads_.push_back({fibers[static_cast<size_t>(i)], i});
      ready_.push_back(&threads_.back());
      threads_.back().fiber.begin(thread, started);
    }
  }
  ~Block() {
    copier_.abandon();
    for (Thread& thread : threads_) thread.fiber.abandon();
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void run() {
    do {
      while (!ready_.empty()) {
        now_ = drawn(ready_);
        now_->fiber.enter();
      }
    } while (transfer_one());
    if (!all_done()) refuse_deadlock();
    if (!transfers_.empty()) throw Error(ExitCode::Internal, "all threads have left while a copy is under way");
  }

  Thread& now() { return *now_; }
  int64_t index(int axis) const { return index_[static_cast<size_t>(axis)]; }
  const Grid& grid() const { return grid_; }
  std::byte* memory() { return memory_.get(); }
  Meeting& block() { return all_; }
  Meeting& warp() { return warps_[static_cast<size_t>(now_->index / kWarp)]; }
  Meeting& warpgroup() { return warpgroups_.at(static_cast<size_t>(now_->index / kWarpgroup)); }

  void meet(Meeting& meeting, const Place& place) {
    const Unwatched scheduler;
    if (meeting.arrived == 0) meeting.place = place;
    if (meeting.place.line != place.line || std::strcmp(meeting.place.file, place.file) != 0)
      throw Error(ExitCode::Internal, fmt::format("thread {} meets others at {}, who wait for it at {}", now_->index,
                                                  text_of(place), text_of(meeting.place)));
    if (++meeting.arrived == meeting.members) {
      meeting.arrived = 0;
      ++meeting.number;
      wake(meeting.waiting);
    } else {
      wait(meeting.waiting, place);
    }
  }

  /// A meeting behind which all that its members have done before is seen.
  void meet_and_see(Meeting& meeting, const Place& place) {
    char& edge = meeting.edges[static_cast<size_t>(meeting.number % 2)];
    give_edge(&edge);
    meet(meeting, place);
    take_edge(&edge);
  }

  void init(const void* address, int arrivals) {
    Barrier& barrier = barriers_[address];
    barrier = {arrivals, arrivals, 0, 0, {}, {}};
  }
  Barrier& barrier(const void* address, const Place& place) {
    const auto found = barriers_.find(address);
    if (found == barriers_.end()) refuse("uses a barrier that nobody has made", place);
    return found->second;
  }
  void arrive(Barrier& barrier, int bytes, const Place& place) {
    if (barrier.missing == 0) refuse("arrives at a barrier that waits for bytes alone", place);
    give_edge(&barrier.edges[static_cast<size_t>(barrier.phase % 2)]);
    const Unwatched scheduler;
    barrier.bytes += bytes;
    --barrier.missing;
    end_phase_of(barrier);
  }
  void wait_for(Barrier& barrier, int parity, const Place& place) {
    {
      const Unwatched scheduler;
      while (barrier.phase % 2 == parity) wait(barrier.waiting, place);
    }
    take_edge(&barrier.edges[static_cast<size_t>(parity)]);
  }
  void begin(std::function<void()> copy, Barrier& barrier, int bytes) {
    const Unwatched scheduler;
    transfers_.push_back(std::make_unique<Transfer>(Transfer{std::move(copy), barrier, bytes}));
    give_edge(transfers_.back().get());
  }

 private:
  /// One of them at random, taken out.
  template <class T>
  T drawn(std::vector<T>& of) {
    const auto chosen = static_cast<size_t>(random_.below(drawn_++, of.size()));
    std::swap(of[chosen], of.back());
    T found = std::move(of.back());
    of.pop_back();
    return found;
  }
  void wait(std::vector<Thread*>& among, const Place& place) {
    Thread& thread = *now_;
    among.push_back(&thread);
    thread.place = place;
    thread.fiber.give_way();
  }
  void wake(std::vector<Thread*>& waiting) {
    ready_.insert(ready_.end(), waiting.begin(), waiting.end());
    waiting.clear();
  }
  void end_phase_of(Barrier& barrier) {
    if (barrier.missing > 0 || barrier.bytes != 0) return;
    ++barrier.phase;
    barrier.missing = barrier.arrivals;
    wake(barrier.waiting);
  }
  bool all_done() const {
    return std::all_of(threads_.begin(), threads_.end(), [](const Thread& t) { return t.fiber.done(); });
  }
  /// A copy under way happens, by a fiber of its own; false: there is none, or nobody is left.
  bool transfer_one() {
    if (transfers_.empty() || all_done()) return false;
    const auto transfer = drawn(transfers_);
    const std::function<void()> copy = [&] {
      transfer->copy();
      give_edge(&transfer->barrier.edges[static_cast<size_t>(transfer->barrier.phase % 2)]);
    };
    copier_.begin(copy, transfer.get());
    copier_.enter();
    transfer->barrier.bytes -= transfer->bytes;
    end_phase_of(transfer->barrier);
    return true;
  }
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
  Fiber& copier_;
  std::unique_ptr<std::byte, Release> memory_;
  std::vector<Thread> threads_;
  std::vector<Thread*> ready_;
  Meeting all_;
  std::vector<Meeting> warps_, warpgroups_;
  std::map<const void*, Barrier> barriers_;  // by address
  std::vector<std::unique_ptr<Transfer>> transfers_;
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
  constexpr int64_t kMostX = (int64_t{1} << 31) - 1, kMostY = 65535, kMostBytes = 227 << 10;  // Hopper's
  check(grid.threads > 0 && grid.threads <= kMostThreads && grid.threads % kWarp == 0 && grid.x > 0 &&
            grid.x <= kMostX && grid.y > 0 && grid.y <= kMostY && grid.bytes >= 0 && grid.bytes <= kMostBytes,
        fmt::format("a grid of {} x {} blocks of {} threads with {} bytes", grid.x, grid.y, grid.threads, grid.bytes));
  static thread_local Fibers fibers;
  const Unwatched scheduler;  // which takes memory from one block and gives it to the next
  const struct End {
    ~End() {
      block_now = nullptr;
      fibers.join();
    }
  } end;
  char started;  // its address stands for the kernel's beginning
  give_edge(&started);
  const int64_t blocks = grid.x * grid.y;
  for (int64_t i = 0; i < blocks; ++i) {
    const auto number =
        static_cast<int64_t>(permuted(static_cast<uint64_t>(i), static_cast<uint64_t>(blocks), seed, 0));
    Block block(grid, number % grid.x, number / grid.x, Random(seed, Purpose::Test, static_cast<uint64_t>(number), 0),
                fibers.next(grid.threads + 1), thread, &started);
    block_now = &block;
    block.run();
  }
}

int thread_index() { return now().now().index; }
int64_t block_index(int axis) { return now().index(axis); }
const Grid& grid() { return now().grid(); }
std::byte* block_memory() { return now().memory(); }
AsyncCopies& copies() { return now().now().copies; }
AsyncProducts& products() { return now().now().products; }

void barrier_init(const void* barrier, int arrivals, Place place) {
  if (arrivals < 1) refuse("makes a barrier of no arrivals", place);
  now().init(barrier, arrivals);
}
void barrier_arrive(const void* barrier, int bytes, Place place) {
  now().arrive(now().barrier(barrier, place), bytes, place);
}
void barrier_wait(const void* barrier, int parity, Place place) {
  now().wait_for(now().barrier(barrier, place), parity, place);
}
void transfer(std::function<void()> copy, const void* barrier, int bytes, Place place) {
  now().begin(std::move(copy), now().barrier(barrier, place), bytes);
}

void meet_block(Place place) { now().meet_and_see(now().block(), place); }
void meet_warpgroup(Place place) {
  Block& block = now();
  if (thread_index() / kWarpgroup >= block.grid().threads / kWarpgroup) refuse("is in no warpgroup of 128", place);
  block.meet(block.warpgroup(), place);
}
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
