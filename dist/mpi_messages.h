// MpiMessages: the messages of a transport that MPI has in flight.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "dist/mpi_group.h"
#include "dist/transport.h"

namespace memring {

class MpiMessages;

/// One message, in chunks.
class MpiMessage final : public Transfer::UnderWay {
 public:
  ~MpiMessage() override;
  MpiMessage(const MpiMessage&) = delete;
  MpiMessage& operator=(const MpiMessage&) = delete;

  bool test();  ///< lets MPI make progress; true when completed
  void wait();
  void join(Queue&) override;

 private:
  friend class MpiMessages;
  MpiMessage(MpiMessages& all, bool receives, int64_t bytes, int peer)
      : all_(all), receives_(receives), bytes_(bytes), peer_(peer) {}
  bool completed() const { return done_ == chunks_.size() || code_ != MPI_SUCCESS; }
  bool advance(bool block);  ///< true when completed, with or without success
  void verify() const;
  const char* operation() const { return receives_ ? "receive" : "send"; }

  MpiMessages& all_;
  bool receives_;
  int64_t bytes_;
  int peer_;
  std::vector<MPI_Request> chunks_;
  size_t done_ = 0;  ///< chunks that have completed
  int64_t arrived_ = 0;
  int code_ = MPI_SUCCESS;
};

/// Must outlive its messages.
class MpiMessages {
 public:
  MpiMessages(std::shared_ptr<const MpiGroup> group, int64_t message_bytes);

  std::unique_ptr<MpiMessage> send(const std::byte* data, int64_t bytes, int peer, int tag);
  std::unique_ptr<MpiMessage> receive(std::byte* data, int64_t bytes, int peer, int tag);
  void progress();  ///< errors come when a message is waited for
  const MpiGroup& group() const { return *group_; }
  int64_t most_bytes() const { return most_bytes_; }  ///< of what MPI is handed at a time

 private:
  friend class MpiMessage;
  std::unique_ptr<MpiMessage> start(bool receives, std::byte* data, int64_t bytes, int peer, int tag);

  std::shared_ptr<const MpiGroup> group_;
  int64_t most_bytes_;
  std::vector<MpiMessage*> in_flight_;
};

}  // namespace memring
