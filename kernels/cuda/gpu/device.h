// A GPU as a Device, by the CUDA runtime. Private to kernels/cuda/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <deque>
#include <optional>
#include <vector>

#include "base/device.h"
#include "base/error.h"
#include "kernels/cuda/gpu/cublaslt.h"

namespace memring {

class GpuDevice final : public Device {
 public:
  /// Throws Error(Usage) where there is no such GPU, or no cuBLASLt.
  explicit GpuDevice(int ordinal);
  ~GpuDevice() override;

  const DeviceFacts& facts() const override { return facts_; }
  std::byte* take(int64_t bytes, Space) override;
  void give(std::byte*, Space) noexcept override;
  Stream stream(Priority) override;
  void copy(Stream, View<> to, ConstView<> from) override;
  void fill(Stream, View<>, uint8_t byte) override;
  Event record(Stream) override;
  void wait(Stream, Event) override;
  bool done(Event) override;

  cudaStream_t native(Stream stream) const {
    ++uses_;
    return streams_[static_cast<size_t>(stream.number)].native;
  }
  /// How often anybody has asked for a stream, as for whatever is enqueued: the same as before, and nothing was.
  int64_t uses() const { return uses_; }
  /// matrix_product(), of matrices that are not empty.
  void multiply(Stream, Products, View<> c, Write, const Factor& a, const Factor& b);

 private:
  struct Work {
    cudaStream_t native;
    View<uint8_t> workspace;  // of products
  };
  /// Throws what an event has told, once and for all.
  bool reached(cudaEvent_t);
  void forget_reached();

  DeviceFacts facts_;
  CublasLtProducts products_;
  std::vector<Work> streams_;
  std::deque<cudaEvent_t> events_;  // of the numbers from first_ on; null: reached
  int64_t first_ = 1;
  std::vector<cudaEvent_t> pool_;
  std::optional<Error> failed_;
  mutable int64_t uses_ = 0;
};

}  // namespace memring
