// SPDX-License-Identifier: Apache-2.0
#include "bench/yardstick.h"

#include <chrono>

#include "base/error.h"
#include "kernels/elementwise/elementwise.h"

namespace memring {

double seconds_of(Communicator& world, const std::function<void()>& work) {
  world.barrier();
  const auto start = std::chrono::steady_clock::now();
  work();
  const auto time = std::chrono::steady_clock::now() - start;
  return 1e-9 *
         static_cast<double>(world.all_reduce_max(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count()));
}

void expect_several_ranks(const Session& session, const char* benchmark) {
  if (session.size() > 1) return;
  throw Error(ExitCode::Usage, fmt::format("memring bench {}: one rank has nobody to be compared with", benchmark),
              fmt::format("Start it on several: mpirun -n 2 memring bench {}", benchmark));
}

double GemmYardstick::measure() {
  return GemmCeiling::kFlops * world_.size() / seconds_of(world_, [&] { gemm_.run(); });
}

CopyYardstick::CopyYardstick(Communicator& world, const Queue& queue)
    : world_(world), queue_(queue.options()), from_(size_t{1} << 25, 1.0f), to_(from_.size()) {
  measure();
}

double CopyYardstick::measure() {
  const Shape shape{static_cast<int64_t>(from_.size())};
  const View<float> from(from_.data(), shape), to(to_.data(), shape);
  const double seconds = seconds_of(world_, [&] { Elementwise::copy(queue_, to, from); });
  return static_cast<double>(2 * from.bytes() * world_.size()) / seconds;
}

}  // namespace memring
