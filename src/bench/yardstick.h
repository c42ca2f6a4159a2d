// What a figure is held against, measured beside it: on all ranks at once, since they share a machine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "dist/session.h"
#include "kernels/common/gemm_ceiling.h"

namespace memring {

/// Seconds that `work` takes on the slowest rank, all starting together. Collective.
double seconds_of(Communicator& world, const std::function<void()>& work);

/// Throws Error(Usage) in a world of one: the benchmark of this name compares ranks.
void expect_several_ranks(const Session&, const char* benchmark);

/// The GEMM ceiling of all ranks together, in flop/s.
class GemmYardstick {
 public:
  GemmYardstick(Communicator& world, const Queue& queue) : world_(world), gemm_(queue) {}
  double measure();

 private:
  Communicator& world_;
  GemmCeiling gemm_;
};

/// A copy of 128 MiB, which no cache holds: bytes read and written per second by all ranks together.
class CopyYardstick {
 public:
  CopyYardstick(Communicator& world, const Queue& queue);
  double measure();

 private:
  Communicator& world_;
  Queue queue_;
  std::vector<float> from_, to_;
};

}  // namespace memring
