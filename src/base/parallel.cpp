// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <immintrin.h>

#include <algorithm>
#include <exception>
#include <future>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/as_error.h"

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
  // Whatever the run time delivers, each part is done once.
#pragma omp parallel num_threads(parts)
  for (int p = omp_get_thread_num(); p < parts; p += omp_get_num_threads()) part(p);
#endif
  first.rethrow();
}

void parallel_for(int threads, int64_t count, const std::function<void(int64_t)>& body) {
  parallel_ranges(threads, count, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

void start_threads(int threads) {
  std::promise<void> all_there;
  const std::shared_future<void> go = all_there.get_future().share();
  std::vector<std::thread> workers;
  std::string refusal;
  try {
    while (std::ssize(workers) + 1 < threads) workers.emplace_back([go] { go.wait(); });
  } catch (const std::system_error& error) {
    refusal = error.what();
  }
  const auto started = std::ssize(workers) + 1;
  all_there.set_value();
  for (auto& worker : workers) worker.join();
  int delivered = threads;
#ifndef MEMRING_STD_THREADS
  if (refusal.empty()) {
#pragma omp parallel num_threads(threads)
#pragma omp single
    delivered = omp_get_num_threads();
  }
#endif
  if (!refusal.empty())
    throw out_of_threads(
        fmt::format("{} threads were to compute, and the system starts {}: {}", threads, started, refusal));
  if (delivered < threads)
    throw Error(ExitCode::Usage, fmt::format("{} threads were to compute, and OpenMP gives {}", threads, delivered),
                "Unset OMP_THREAD_LIMIT, OMP_DYNAMIC and OMP_MAX_ACTIVE_LEVELS.");
}

}  // namespace memring
