// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/as_error.h"
#include "base/parallel.h"

namespace memring {
namespace {
// As devices want it; 64 would do for the CPU, but then sizes would depend on the space.
constexpr int64_t kAlign = 256;
int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
}  // namespace

void Arena::Free::operator()(std::byte* block) const { device ? device->give(block, space) : std::free(block); }

Arena::Arena(int64_t bytes, int threads, const std::function<void()>& touched) : size_(aligned(bytes)) {
  auto* block = static_cast<std::byte*>(std::aligned_alloc(kAlign, static_cast<size_t>(size_ ? size_ : kAlign)));
  if (!block) throw out_of_memory(size_);
  owned_.reset(block);
  data_ = block;
  constexpr int64_t kPage = 4096, kPiece = 128 << 20;
  for (int64_t at = 0; at < size_; at += kPiece) {
    const int64_t piece = std::min(kPiece, size_ - at);
    parallel_ranges(threads, (piece + kPage - 1) / kPage, [&](int64_t begin, int64_t end, int) {
      std::memset(block + at + begin * kPage, 0, static_cast<size_t>(std::min(end * kPage, piece) - begin * kPage));
    });
    if (touched) touched();
  }
}

Arena::Arena(Device& device, int64_t bytes, Space space) : space_(space), size_(aligned(bytes)) {
  owned_ = {device.take(size_, space), Free{&device, space}};
  data_ = owned_.get();
  device.fill(Stream{}, rest(), 0);
  for (const Event filled = device.record(Stream{}); !device.done(filled);) {
  }
}

View<> Arena::take(DType dtype, Shape shape) {
  const int64_t bytes = aligned(shape.elements() * bytes_of(dtype));
  if (!measuring() && used_ + bytes > size_)
    check(false, fmt::format("arena of {} bytes is full: {} used, {} wanted", size_, used_, bytes));
  std::byte* data = measuring() ? nullptr : data_ + used_;
  used_ += bytes;
  if (used_ > peak_) peak_ = used_;
  return {data, dtype, shape, space_};
}

}  // namespace memring
