// Queue: where operators run. On the CPU an operator has finished when its call returns; on a device it has been
// enqueued on a stream. It also says how to run: which backend, instruction set, threads, and how products round their
// operands.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "base/arena.h"
#include "base/device.h"

namespace memring {

enum class Backend : uint8_t { Reference, Cpu, Cuda };

/// Instruction sets for which our own loops are compiled (oneDNN chooses for itself).
enum class Isa : uint8_t { Baseline, Avx2, Avx512 };
Isa best_isa();           ///< what this CPU and system offer, by CPUID
bool cpu_has_amx_bf16();  ///< bf16 products run fast: dtype = auto means bf16
const char* name_of(Isa);

/// How matrix products see their fp32 operands: as they are, or rounded to bf16 (sums stay in fp32).
enum class Products : uint8_t { F32, Bf16 };

class Profile;

class Queue {
 public:
  struct Options {
    Backend backend = Backend::Cpu;
    Isa isa = best_isa();
    Products products = Products::F32;
    int threads = 1;
    int64_t block = 0;  ///< rows of a canonical block (run.deterministic = strict); 0: products take all rows at once
    Device* device = nullptr;   ///< of Backend::Cuda
    Stream stream{};            ///< on it
    View<uint8_t> workspace{};  ///< of the device
  };
  Queue() : Queue(Options{}) {}
  explicit Queue(Options options) : options_(options) {}

  const Options& options() const { return options_; }
  int threads() const { return options_.threads; }
  Isa isa() const { return options_.isa; }
  Products products() const { return options_.products; }
  int64_t block() const { return options_.block; }
  /// The reference kernels run where asked for, and on the CPU always in double precision.
  bool reference(DType dtype) const {
    return options_.backend == Backend::Reference || (options_.backend == Backend::Cpu && dtype == DType::F64);
  }
  /// Where operators are enqueued; null: they run here.
  Device* device() const { return options_.backend == Backend::Cuda ? options_.device : nullptr; }
  Stream stream() const { return options_.stream; }
  /// All that operators have enqueued so far.
  Event record() const { return device() ? device()->record(stream()) : Event{}; }
  /// Waits until the event has been reached, and polls meanwhile: between the first step and the last the only place
  /// where the host waits for a device. That it was reached counts as work; that the device is at work on the way to it
  /// nothing tells yet, nor is there a time after which this gives up: the watchdog does.
  void finish(Event) const;
  int64_t waits() const { return waits_; }  ///< calls of finish that had to wait for something

  /// Called on the main thread between operators, and inside long ones: MPI makes no progress by itself, so a long
  /// computation lets communicators look in. Waiting must not call it: it counts as work.
  void poll() const {
    worked();
    for (const auto& poll : polls_) poll();
  }
  /// Counts a piece of work, so that a long operator is no hang. On any thread.
  void worked() const {
    if (work_) work_->fetch_add(1, std::memory_order_relaxed);
  }
  void count_work_in(std::atomic<int64_t>& counter) { work_ = &counter; }
  void add_poll(std::function<void()> poll) { polls_.push_back(std::move(poll)); }

  /// Memory for this queue's operators, zeroed; taken before the first step.
  Arena arena(int64_t bytes) const;
  /// The same for what the host shares with them: it copies between the two (base/readback.h).
  Arena staging(int64_t bytes) const;

  /// What an operator may write on a device while it runs, and leaves to the next one on this queue: what it finds
  /// there is anybody's. Throws Error(Internal) where whoever made the queue has given less.
  View<uint8_t> workspace(int64_t bytes) const;
  /// Before the first step: kWorkspaceBytes (kernels/common/workspace.h) of the device, or more.
  void set_workspace(View<uint8_t> workspace) { options_.workspace = workspace; }

  /// Where operators note their time; null: nowhere.
  Profile* profile() const { return profile_; }
  void set_profile(Profile* profile) { profile_ = profile; }

 private:
  Options options_;
  mutable int64_t waits_ = 0;
  Profile* profile_ = nullptr;
  std::atomic<int64_t>* work_ = nullptr;
  std::vector<std::function<void()>> polls_;
};

}  // namespace memring
