// What the versions of an operator on the CPU share: the choice of a loop table, and how a pass is split over threads.
// Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <thread>

#include "base/parallel.h"
#include "base/queue.h"

namespace memring {

/// The table that MEMRING_DECLARE_LOOPS declared, built for the queue's instruction set.
#define MEMRING_LOOPS(queue, name) \
  ::memring::loops_for((queue).isa(), ::memring::baseline::name, ::memring::avx2::name, ::memring::avx512::name)

template <class Table>
const Table& loops_for(Isa isa, const Table& baseline, const Table& avx2, const Table& avx512) {
  return isa == Isa::Avx512 ? avx512 : isa == Isa::Avx2 ? avx2 : baseline;
}

/// All threads, or one where waking the others costs more than the pass over this many elements. Nothing between:
/// libgomp ends and restarts threads when the size of its team changes.
inline int threads_for(const Queue& queue, int64_t elements) {
  constexpr int64_t kWorthThreads = 16384;
  return elements < kWorthThreads ? 1 : queue.threads();
}

/// parallel_for of long tasks. task(i, pause): pause() behind each task, and between pieces of one that is long, shows
/// that the operator is at work; on the caller's thread it also lets messages move on (polls call MPI).
template <class Task>
void parallel_tasks(const Queue& queue, int threads, int64_t count, const Task& task) {
  const std::thread::id caller = std::this_thread::get_id();
  const auto pause = [&] { std::this_thread::get_id() == caller ? queue.poll() : queue.worked(); };
  parallel_for(threads, count, [&](int64_t i) {
    task(i, pause);
    pause();
  });
}

/// f(begin, count) for pieces of [0, rows), with a poll behind each: for references, which take long.
template <class F>
void in_pieces(const Queue& queue, int64_t rows, const F& f) {
  constexpr int64_t kPiece = 64;
  for (int64_t begin = 0; begin < rows; begin += kPiece) {
    f(begin, std::min(kPiece, rows - begin));
    queue.poll();
  }
}

/// Runs body(begin, end) over ranges of [0, count). Inner borders are multiples of 1024 elements, so which elements
/// share a vector register, and thereby the bits, do not depend on the number of threads.
template <class Body>
void parallel_flat(const Queue& queue, int64_t count, const Body& body) {
  constexpr int64_t kBlock = 1024;
  parallel_ranges(threads_for(queue, count), (count + kBlock - 1) / kBlock,
                  [&](int64_t begin, int64_t end, int) { body(begin * kBlock, std::min(end * kBlock, count)); });
}

}  // namespace memring
