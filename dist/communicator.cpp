// SPDX-License-Identifier: Apache-2.0
#include "dist/communicator.h"

#include <cstring>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "dist/mpi_group.h"

namespace memring {
namespace {

int count_of(int64_t bytes) {  // MPI counts are int
  if (bytes > std::numeric_limits<int>::max())
    throw ShapeError(fmt::format("{} bytes of a rank are too many for host values", bytes));
  return static_cast<int>(bytes);
}

}  // namespace

int Communicator::rank() const { return group_->rank; }
int Communicator::size() const { return group_->size; }
const std::string& Communicator::name() const { return group_->name; }

Communicator Communicator::of_all_ranks(const std::string& host) {
  auto group = std::make_shared<mpi::Group>();
  group->name = "world";
  group->host = host;
  group->take(MPI_COMM_WORLD, false);
  return Communicator(std::move(group));
}

Communicator Communicator::split(int color, int key, const std::string& name) const {
  auto group = std::make_shared<mpi::Group>();
  group->name = name;
  group->host = group_->host;
  if (size() > 1) {
    MPI_Comm part = MPI_COMM_NULL;
    group_->require(MPI_Comm_split(group_->comm, color, key, &part), "split");
    group->take(part, true);
  }
  return Communicator(std::move(group));
}

void Communicator::barrier() {
  if (size() > 1) group_->require(MPI_Barrier(group_->comm), "barrier");
}

void Communicator::barrier(std::chrono::milliseconds nap) {
  if (size() == 1) return;
  MPI_Request all_here = MPI_REQUEST_NULL;
  group_->require(MPI_Ibarrier(group_->comm, &all_here), "barrier");
  for (int finished = 0;;) {
    group_->require(MPI_Test(&all_here, &finished, MPI_STATUS_IGNORE), "barrier");
    if (finished) return;
    std::this_thread::sleep_for(nap);
  }
}

void Communicator::broadcast(View<> data, int root) {
  if (root < 0 || root >= size()) throw ShapeError(fmt::format("broadcast from rank {} of {}", root, size()));
  const int count = count_of(data.bytes());
  if (size() == 1 || count == 0) return;
  group_->require(MPI_Bcast(data.host_bytes().data(), count, MPI_BYTE, root, group_->comm), "broadcast", count, root);
}

int64_t Communicator::all_reduce_max(int64_t value) {
  if (size() == 1) return value;
  group_->require(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, MPI_MAX, group_->comm), "maximum", sizeof value);
  return value;
}

void Communicator::all_reduce_sum(View<> data) {
  const mpi::Add add = mpi::add_of(data.dtype());
  const int count = count_of(data.bytes());
  if (size() == 1 || count == 0) return;
  std::vector<std::byte> addends(static_cast<size_t>(size()) * static_cast<size_t>(count));  // of all ranks
  std::byte* const sums = data.host_bytes().data();
  group_->require(MPI_Allgather(sums, count, MPI_BYTE, addends.data(), count, MPI_BYTE, group_->comm), "sum", count);
  std::memcpy(sums, addends.data(), static_cast<size_t>(count));
  for (int64_t r = 1; r < size(); ++r) add(sums, addends.data() + r * count, count);
}

void Communicator::all_gather(View<> all, ConstView<> mine) {
  if (all.dtype() != mine.dtype() || all.size() != size() * mine.size())
    throw ShapeError(fmt::format("{} cannot hold {} of each of {} ranks", all.text(), mine.text(), size()));
  const int count = count_of(mine.bytes());
  if (count == 0) return;
  std::byte* const to = all.host_bytes().data();
  std::memmove(to + int64_t{rank()} * count, mine.host_bytes().data(), static_cast<size_t>(count));
  if (size() == 1) return;
  group_->require(MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, to, count, MPI_BYTE, group_->comm), "all-gather", count);
}

}  // namespace memring
