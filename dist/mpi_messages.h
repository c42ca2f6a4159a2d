// InFlight: the messages of a transport that MPI has in flight.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "dist/mpi_group.h"
#include "dist/transport.h"

namespace memring::mpi {

class InFlight;

/// One message, in chunks.
class Message final : public Transfer::UnderWay {
 public:
  ~Message() override;
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  bool test();  ///< lets MPI make progress; true when completed
  void wait();
  void join(Queue&) override;

 private:
  friend class InFlight;
  Message(InFlight& all, bool receives, int64_t bytes, int peer)
      : all_(all), receives_(receives), bytes_(bytes), peer_(peer) {}
  bool completed() const { return done_ == chunks_.size() || code_ != MPI_SUCCESS; }
  bool advance(bool block);  ///< true when completed, with or without success
  void verify() const;
  const char* operation() const { return receives_ ? "receive" : "send"; }

  InFlight& all_;
  bool receives_;
  int64_t bytes_;
  int peer_;
  std::vector<MPI_Request> chunks_;
  size_t done_ = 0;  ///< chunks that have completed
  int64_t arrived_ = 0;
  int code_ = MPI_SUCCESS;
};

/// Must outlive its messages.
class InFlight {
 public:
  InFlight(std::shared_ptr<const Group> group, int64_t message_bytes);

  std::unique_ptr<Message> send(const std::byte* data, int64_t bytes, int peer, int tag);
  std::unique_ptr<Message> receive(std::byte* data, int64_t bytes, int peer, int tag);
  void progress();  ///< errors come when a message is waited for
  const Group& group() const { return *group_; }
  int64_t most_bytes() const { return most_bytes_; }  ///< of what MPI is handed at a time

 private:
  friend class Message;
  std::unique_ptr<Message> start(bool receives, std::byte* data, int64_t bytes, int peer, int tag);

  std::shared_ptr<const Group> group_;
  int64_t most_bytes_;
  std::vector<Message*> in_flight_;
};

}  // namespace memring::mpi
