// Group: the MPI communicator of a group of ranks, and how a failure in it is told.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/view.h"

namespace memring::mpi {

struct Group {
  MPI_Comm comm = MPI_COMM_NULL;  ///< null in a group of one, which sends nothing
  bool owned = false;
  int rank = 0, size = 1;
  std::string name, host;

  Group() = default;
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group();

  /// Takes a communicator, which it frees at its end if it is `owned`.
  void take(MPI_Comm, bool owned);
  /// Throws Error(Internal) that names rank, host, operation, peer and size (where they are not below 0).
  [[noreturn]] void fail(const char* operation, int64_t bytes, int peer, const std::string& finding) const;
  /// Fails unless MPI's `code` says success.
  void require(int code, const char* operation, int64_t bytes = -1, int peer = -1) const;
};

/// sum += other, of so many bytes.
using Add = void (*)(std::byte* sum, const std::byte* other, int64_t bytes);
/// That of fp32, fp64, int64 and exact sums; throws ShapeError for another type.
Add add_of(DType);

}  // namespace memring::mpi
