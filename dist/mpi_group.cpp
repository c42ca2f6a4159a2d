// SPDX-License-Identifier: Apache-2.0
#include "dist/mpi_group.h"

#include <exception>

#include "base/error.h"

namespace memring::mpi {
namespace {

template <class T>
void add(std::byte* sum, const std::byte* other, int64_t bytes) {
  T* __restrict a = reinterpret_cast<T*>(sum);
  const T* __restrict b = reinterpret_cast<const T*>(other);
  const int64_t count = bytes / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < count; ++i) a[i] += b[i];
}

}  // namespace

Group::~Group() {
  if (!owned || std::uncaught_exceptions() > 0) return;
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Comm_free(&comm);
}

void Group::take(MPI_Comm taken, bool is_owned) {
  comm = taken;
  owned = is_owned;
  MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
  require(MPI_Comm_rank(comm, &rank), "rank query");
  require(MPI_Comm_size(comm, &size), "size query");
}

void Group::fail(const char* operation, int64_t bytes, int peer, const std::string& finding) const {
  throw Error(ExitCode::Internal,
              fmt::format("MPI {}{}{} failed on rank {} of {} of \"{}\" ({}): {}", operation,
                          bytes < 0 ? "" : fmt::format(" of {} bytes", bytes),
                          peer < 0 ? "" : fmt::format(", peer rank {},", peer), rank, size, name, host, finding),
              "If another rank's message came first, start there; otherwise look at that host and the network.");
}

void Group::require(int code, const char* operation, int64_t bytes, int peer) const {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(operation, bytes, peer, text);
}

Add add_of(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return add<float>;
    case DType::F64:
      return add<double>;
    case DType::I64:
      return add<int64_t>;
    case DType::Exact:
      return add<Exact>;
    default:
      throw ShapeError(fmt::format("a sum over ranks takes fp32, fp64, int64 or exact sums, found {}", name_of(dtype)));
  }
}

}  // namespace memring::mpi
