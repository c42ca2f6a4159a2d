// SPDX-License-Identifier: Apache-2.0
#include "dist/mpi_messages.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/error.h"
#include "base/profile.h"

namespace memring::mpi {

// Chunk by chunk: Open MPI 4.1's MPI_Waitall spins for ever on a request that had failed before the call.
bool Message::advance(bool block) {
  while (!completed()) {
    MPI_Status status;
    int finished = 1, count = 0;
    code_ = block ? MPI_Wait(&chunks_[done_], &status) : MPI_Test(&chunks_[done_], &finished, &status);
    if (code_ != MPI_SUCCESS) break;
    if (!finished) return false;
    if (receives_) MPI_Get_count(&status, MPI_BYTE, &count);
    arrived_ += count;
    ++done_;
  }
  std::erase(all_.in_flight_, this);
  return true;
}

void Message::verify() const {
  const Group& group = all_.group();
  group.require(code_, operation(), bytes_, peer_);
  if (receives_ && arrived_ != bytes_)
    group.fail(operation(), bytes_, peer_, fmt::format("a message of {} bytes came", arrived_));
}

bool Message::test() {
  if (!advance(false)) return false;
  verify();
  return true;
}

void Message::wait() {
  advance(true);
  verify();
}

void Message::join(Queue& queue) {
  const Timed timed(queue, "waiting for a rank", 0);
  wait();
}

Message::~Message() {
  if (completed()) return;
  if (std::uncaught_exceptions() == 0) advance(true);
  std::erase(all_.in_flight_, this);
}

InFlight::InFlight(std::shared_ptr<const Group> group, int64_t message_bytes)
    : group_(std::move(group)), most_bytes_(message_bytes) {
  check(message_bytes > 0 && message_bytes <= kMostMessageBytes,
        fmt::format("a message limit of {} bytes is not in 1..{}", message_bytes, kMostMessageBytes));
}

std::unique_ptr<Message> InFlight::start(bool receives, std::byte* data, int64_t bytes, int peer, int tag) {
  if (peer < 0 || peer >= group_->size || peer == group_->rank)
    throw ShapeError(
        fmt::format("rank {} of {} of \"{}\" has no peer {}", group_->rank, group_->size, group_->name, peer));
  std::unique_ptr<Message> message(new Message(*this, receives, bytes, peer));
  // An empty view is one empty message: every receive has its send.
  message->chunks_.resize(static_cast<size_t>(std::max<int64_t>(1, (bytes + most_bytes_ - 1) / most_bytes_)),
                          MPI_REQUEST_NULL);
  in_flight_.push_back(message.get());
  for (size_t chunk = 0; chunk < message->chunks_.size(); ++chunk) {
    const int64_t begin = static_cast<int64_t>(chunk) * most_bytes_;
    const int count = static_cast<int>(std::min(most_bytes_, bytes - begin));
    MPI_Request* request = &message->chunks_[chunk];
    group_->require(receives ? MPI_Irecv(data + begin, count, MPI_BYTE, peer, tag, group_->comm, request)
                             : MPI_Isend(data + begin, count, MPI_BYTE, peer, tag, group_->comm, request),
                    message->operation(), bytes, peer);
  }
  return message;
}

std::unique_ptr<Message> InFlight::send(const std::byte* data, int64_t bytes, int peer, int tag) {
  return start(false, const_cast<std::byte*>(data), bytes, peer, tag);  // MPI only reads what it sends
}

std::unique_ptr<Message> InFlight::receive(std::byte* data, int64_t bytes, int peer, int tag) {
  return start(true, data, bytes, peer, tag);
}

void InFlight::progress() {
  // Testing a finished message moves nothing, so go on to the first one that is still under way.
  while (!in_flight_.empty() && in_flight_.front()->advance(false)) {
  }
}

}  // namespace memring::mpi
