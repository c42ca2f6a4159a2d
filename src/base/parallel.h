// parallel_for: the only place where the process makes threads for computing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace memring {

/// Runs body(i) for each i in [0, count) on at most `threads` threads, in contiguous ranges that depend only on (count,
/// threads): the same thread count gives the same bits. Nested calls run on the caller's thread. The first exception of
/// a body is thrown again to the caller. Every thread flushes denormals to zero.
void parallel_for(int threads, int64_t count, const std::function<void(int64_t)>& body);

/// Runs body(begin, end, thread) once per contiguous range; `thread` < threads numbers the range.
void parallel_ranges(int threads, int64_t count, const std::function<void(int64_t, int64_t, int)>& body);

/// Starts the threads that operators will compute on. Throws Error(Io) where the system starts fewer, and Error(Usage)
/// where OpenMP was told to: libgomp ends the process where it cannot start one, and in oneDNN a smaller team gives
/// other bits.
void start_threads(int threads);

/// Denormal numbers cost a hundred times a normal one: flush them to zero (FTZ, DAZ) in this thread.
void flush_denormals();

}  // namespace memring
