// The MPI communicator. Sums whose order must be fixed, and all large ones, go round our own ring: Open MPI 4.1's own
// reduce-scatter takes five times as long (64 MiB, two ranks of one host).
// SPDX-License-Identifier: Apache-2.0
#include "dist/communicator.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "dist/mesh_arithmetic.h"
#include "dist/ring_transfer.h"

namespace memring {
namespace {

constexpr int64_t kMessageBytes = int64_t{1} << 30;  // MPI counts are int
constexpr int64_t kGatherBytes = 256 << 10;  // over all ranks: below, one all-gather beats the ring's 2 (n - 1) hops
constexpr int kRingTag = Communicator::kTags;

template <class T>
void add(std::byte* sum, const std::byte* other, int64_t bytes) {
  T* __restrict a = reinterpret_cast<T*>(sum);
  const T* __restrict b = reinterpret_cast<const T*>(other);
  const int64_t count = bytes / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < count; ++i) a[i] += b[i];
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

void check_tag(int tag) {
  if (tag < 0 || tag >= Communicator::kTags)
    throw ShapeError(fmt::format("tag {} is not in 0..{}", tag, Communicator::kTags - 1));
}

std::byte* bytes_at(View<> view) { return static_cast<std::byte*>(view.data()); }

}  // namespace

struct Communicator::State {
  MPI_Comm comm = MPI_COMM_NULL;  // null in a group of one, which sends nothing
  bool owned = false;
  int rank = 0, size = 1;
  std::string name, host;
  int64_t message_bytes = kMessageBytes;
  std::vector<std::byte> scratch;
  std::vector<Request::State*> in_flight;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (!owned || std::uncaught_exceptions() > 0) return;
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized) MPI_Comm_free(&comm);
  }

  [[noreturn]] void fail(const char* operation, int64_t bytes, int peer, const std::string& finding) const {
    throw Error(ExitCode::Internal,
                fmt::format("MPI {}{}{} failed on rank {} of {} of \"{}\" ({}): {}", operation,
                            bytes < 0 ? "" : fmt::format(" of {} bytes", bytes),
                            peer < 0 ? "" : fmt::format(", peer rank {},", peer), rank, size, name, host, finding),
                "If another rank's message came first, start there; otherwise look at that host and the network.");
  }
  void require(int code, const char* operation, int64_t bytes = -1, int peer = -1) const {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    fail(operation, bytes, peer, text);
  }
  [[noreturn]] void fail_size(const char* operation, int64_t bytes, int peer, int64_t arrived) const {
    fail(operation, bytes, peer, fmt::format("a message of {} bytes came", arrived));
  }

  std::byte* take_scratch(int64_t bytes) {
    if (static_cast<int64_t>(scratch.size()) < bytes) scratch.resize(static_cast<size_t>(bytes));
    return scratch.data();
  }
  void check_bounds(View<> data, std::span<const int64_t> bounds) const {
    const bool whole =
        static_cast<int>(bounds.size()) == size + 1 && bounds.front() == 0 && bounds.back() == data.size();
    if (!whole || !std::is_sorted(bounds.begin(), bounds.end()))
      throw ShapeError(fmt::format("{} ascending bounds from 0 to {} were expected, found {} from {} to {}", size + 1,
                                   data.size(), bounds.size(), bounds.empty() ? 0 : bounds.front(),
                                   bounds.empty() ? 0 : bounds.back()));
  }

  static Request start(const std::shared_ptr<State>& group, bool receives, std::byte* data, int64_t bytes, int peer,
                       int tag);
};

struct Request::State {
  std::shared_ptr<Communicator::State> group;
  std::vector<MPI_Request> parts;
  size_t done = 0;  // parts that have completed
  bool receives = false;
  int64_t bytes = 0, arrived = 0;
  int peer = -1;
  int code = MPI_SUCCESS;

  bool completed() const { return done == parts.size() || code != MPI_SUCCESS; }
  // Part by part: Open MPI 4.1's MPI_Waitall spins for ever on a request that had failed before the call.
  bool advance(bool block) {
    while (!completed()) {
      MPI_Status status;
      int finished = 1, count = 0;
      code = block ? MPI_Wait(&parts[done], &status) : MPI_Test(&parts[done], &finished, &status);
      if (code != MPI_SUCCESS) break;
      if (!finished) return false;
      if (receives) MPI_Get_count(&status, MPI_BYTE, &count);
      arrived += count;
      ++done;
    }
    std::erase(group->in_flight, this);
    return true;
  }
  const char* operation() const { return receives ? "receive" : "send"; }
  void verify() const {
    group->require(code, operation(), bytes, peer);
    if (receives && arrived != bytes) group->fail_size(operation(), bytes, peer, arrived);
  }
  ~State() {
    if (completed()) return;
    if (std::uncaught_exceptions() == 0) advance(true);
    std::erase(group->in_flight, this);
  }
};

Request::Request() = default;
Request::Request(Request&&) noexcept = default;
Request& Request::operator=(Request&&) noexcept = default;
Request::~Request() = default;
Request::operator bool() const { return state_ != nullptr; }

void Request::wait() {
  if (!state_) return;
  state_->advance(true);
  const auto state = std::move(state_);
  state->verify();
}

bool Request::test() {
  if (!state_) return true;
  if (!state_->advance(false)) return false;
  wait();
  return true;
}

Communicator::Communicator(std::shared_ptr<State> state) : state_(std::move(state)) {}
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;
Communicator::~Communicator() = default;
int Communicator::rank() const { return state_->rank; }
int Communicator::size() const { return state_->size; }
const std::string& Communicator::name() const { return state_->name; }

Communicator Communicator::of_all_ranks(const std::string& host) {
  auto state = std::make_shared<State>();
  state->name = "world";
  state->host = host;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  state->require(MPI_Comm_rank(MPI_COMM_WORLD, &state->rank), "rank query");
  state->require(MPI_Comm_size(MPI_COMM_WORLD, &state->size), "size query");
  state->comm = MPI_COMM_WORLD;
  return Communicator(std::move(state));
}

Communicator Communicator::split(int color, int key, const std::string& name) const {
  auto state = std::make_shared<State>();
  state->name = name;
  state->host = state_->host;
  state->message_bytes = state_->message_bytes;
  if (state_->size > 1) {
    state_->require(MPI_Comm_split(state_->comm, color, key, &state->comm), "split");
    state->owned = true;
    MPI_Comm_set_errhandler(state->comm, MPI_ERRORS_RETURN);
    state->require(MPI_Comm_rank(state->comm, &state->rank), "rank query");
    state->require(MPI_Comm_size(state->comm, &state->size), "size query");
  }
  return Communicator(std::move(state));
}

void Communicator::limit_message(int64_t bytes) {
  check(bytes > 0 && bytes <= kMessageBytes,
        fmt::format("a message limit of {} bytes is not in 1..{}", bytes, kMessageBytes));
  check(state_->in_flight.empty(), "the message limit changed while messages were in flight");
  state_->message_bytes = bytes;
}

// Messages between ranks.

Request Communicator::State::start(const std::shared_ptr<State>& group, bool receives, std::byte* data, int64_t bytes,
                                   int peer, int tag) {
  if (peer < 0 || peer >= group->size || peer == group->rank)
    throw ShapeError(
        fmt::format("rank {} of {} of \"{}\" has no peer {}", group->rank, group->size, group->name, peer));
  auto state = std::make_unique<Request::State>();
  state->group = group;
  state->receives = receives;
  state->bytes = bytes;
  state->peer = peer;
  // An empty view is one empty message: every receive has its send.
  const auto parts =
      static_cast<size_t>(std::max<int64_t>(1, (bytes + group->message_bytes - 1) / group->message_bytes));
  state->parts.resize(parts, MPI_REQUEST_NULL);
  group->in_flight.push_back(state.get());
  for (size_t part = 0; part < parts; ++part) {
    const int64_t begin = static_cast<int64_t>(part) * group->message_bytes;
    const int count = static_cast<int>(std::min(group->message_bytes, bytes - begin));
    MPI_Request* request = &state->parts[part];
    group->require(receives ? MPI_Irecv(data + begin, count, MPI_BYTE, peer, tag, group->comm, request)
                            : MPI_Isend(data + begin, count, MPI_BYTE, peer, tag, group->comm, request),
                   state->operation(), bytes, peer);
  }
  Request request;
  request.state_ = std::move(state);
  return request;
}

Request Communicator::send(ConstView<> data, int peer, int tag) {
  // MPI only reads what it sends.
  auto* bytes = const_cast<std::byte*>(static_cast<const std::byte*>(data.data()));
  check_tag(tag);
  return State::start(state_, false, bytes, data.bytes(), peer, tag);
}

Request Communicator::receive(View<> data, int peer, int tag) {
  check_tag(tag);
  return State::start(state_, true, bytes_at(data), data.bytes(), peer, tag);
}

Request Communicator::ring_message(bool receives, std::byte* data, int64_t bytes) {
  const int step = receives ? state_->size - 1 : 1;
  return State::start(state_, receives, data, bytes, (state_->rank + step) % state_->size, kRingTag);
}
int64_t Communicator::message_limit() const { return state_->message_bytes; }

void Communicator::progress() {
  // Testing a finished message moves nothing, so go on to the first one that is still under way.
  while (!state_->in_flight.empty() && state_->in_flight.front()->advance(false)) {
  }
}

// Collectives.

void Communicator::barrier() {
  if (state_->size > 1) state_->require(MPI_Barrier(state_->comm), "barrier");
}

void Communicator::broadcast(View<> data, int root) {
  if (root < 0 || root >= state_->size)
    throw ShapeError(fmt::format("broadcast from rank {} of {}", root, state_->size));
  if (state_->size == 1) return;
  for (int64_t done = 0; done < data.bytes(); done += state_->message_bytes) {
    const int64_t count = std::min(state_->message_bytes, data.bytes() - done);
    state_->require(MPI_Bcast(bytes_at(data) + done, static_cast<int>(count), MPI_BYTE, root, state_->comm),
                    "broadcast", data.bytes(), root);
  }
}

int64_t Communicator::all_reduce_max(int64_t value) {
  if (state_->size == 1) return value;
  state_->require(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, MPI_MAX, state_->comm), "maximum", sizeof value);
  return value;
}

void Communicator::all_reduce_sum(View<> data) {
  const Add sum = add_of(data.dtype());
  const int64_t bytes = data.bytes();
  if (state_->size == 1 || bytes == 0) return;
  if (bytes * state_->size > kGatherBytes || bytes > state_->message_bytes) {
    std::vector<int64_t> bounds{0};
    for (int r = 0; r < state_->size; ++r) bounds.push_back(part_of(data.size(), state_->size, r).end);
    reduce_scatter_sum(data, bounds);
    all_gather_shards(data, bounds);
    return;
  }
  std::byte* all = state_->take_scratch(bytes * state_->size);
  const int count = static_cast<int>(bytes);
  state_->require(MPI_Allgather(data.data(), count, MPI_BYTE, all, count, MPI_BYTE, state_->comm), "sum", bytes);
  std::memcpy(data.data(), all, static_cast<size_t>(bytes));
  for (int r = 1; r < state_->size; ++r) sum(bytes_at(data), all + r * bytes, bytes);
}

void Communicator::all_gather(View<> all, ConstView<> mine) {
  const int64_t bytes = mine.bytes();
  if (all.dtype() != mine.dtype() || all.size() != state_->size * mine.size())
    throw ShapeError(fmt::format("{} cannot hold {} of each of {} ranks", all.text(), mine.text(), state_->size));
  if (bytes == 0) return;
  std::memmove(bytes_at(all) + state_->rank * bytes, mine.data(), static_cast<size_t>(bytes));
  if (state_->size == 1) return;
  if (bytes * state_->size > kGatherBytes || bytes > state_->message_bytes) {
    std::vector<int64_t> bounds;
    for (int r = 0; r <= state_->size; ++r) bounds.push_back(r * bytes);
    return RingTransfer(*this, bytes_at(all), 1, bounds, state_->rank, nullptr).finish();
  }
  const int count = static_cast<int>(bytes);
  state_->require(MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, all.data(), count, MPI_BYTE, state_->comm), "all-gather",
                  bytes);
}

void Communicator::reduce_scatter_sum(View<> data, std::span<const int64_t> bounds) {
  start_reduce_scatter_sum(data, bounds).finish();
}

Reduction Communicator::start_reduce_scatter_sum(View<> data, std::span<const int64_t> bounds) {
  const Add sum = add_of(data.dtype());
  state_->check_bounds(data, bounds);
  Reduction reduction;
  reduction.transfer_ =
      std::make_unique<RingTransfer>(*this, bytes_at(data), bytes_of(data.dtype()), bounds, state_->rank - 1, sum);
  return reduction;
}

Reduction::Reduction() = default;
Reduction::Reduction(Reduction&&) noexcept = default;
Reduction& Reduction::operator=(Reduction&&) noexcept = default;
Reduction::~Reduction() = default;
bool Reduction::advance() { return !transfer_ || transfer_->advance(); }
void Reduction::finish() {
  if (transfer_) transfer_->finish();
  transfer_.reset();
}

void Communicator::all_gather_shards(View<> data, std::span<const int64_t> bounds) {
  state_->check_bounds(data, bounds);
  RingTransfer(*this, bytes_at(data), bytes_of(data.dtype()), bounds, state_->rank, nullptr).finish();
}

}  // namespace memring
