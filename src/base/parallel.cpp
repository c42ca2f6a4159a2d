// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <immintrin.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#ifndef MEMRING_STD_THREADS
#include <omp.h>
#endif

namespace memring {
namespace {

/// Keeps the first exception of several threads.
class FirstException {
 public:
  void keep() {
    std::lock_guard lock(mutex_);
    if (!exception_) exception_ = std::current_exception();
  }
  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr exception_;
};

thread_local bool inside_parallel = false;

}  // namespace

void flush_denormals() { _mm_setcsr(_mm_getcsr() | 0x8040); }

void parallel_ranges(int threads, int64_t count, const std::function<void(int64_t, int64_t, int)>& body) {
  const int parts = static_cast<int>(std::min<int64_t>(std::max(threads, 1), count));
  if (count <= 0) return;
  if (parts == 1 || inside_parallel) return body(0, count, 0);
  FirstException first;
  auto part = [&](int p) {
    flush_denormals();
    inside_parallel = true;
    try {
      body(count * p / parts, count * (p + 1) / parts, p);
    } catch (...) {
      first.keep();
    }
    inside_parallel = false;
  };
#ifdef MEMRING_STD_THREADS
  std::vector<std::thread> workers;
  for (int p = 1; p < parts; ++p) workers.emplace_back(part, p);
  part(0);
  for (auto& worker : workers) worker.join();
#else
#pragma omp parallel num_threads(parts)
  part(omp_get_thread_num());
#endif
  first.rethrow();
}

void parallel_for(int threads, int64_t count, const std::function<void(int64_t)>& body) {
  parallel_ranges(threads, count, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace memring
