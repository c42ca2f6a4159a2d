// Copies from global to the block's memory that a thread does not wait for, on fibers (kernels/cuda/nvcc/copy_async.h:
// on a GPU): they happen as late as they may. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "kernels/cuda/fiber/lane.h"

namespace memring {
namespace fiber {

/// 16 bytes that are read or written at once. (ThreadSanitizer does not see a memset or memcpy of so few.)
struct [[gnu::may_alias]] Wide {
  uint64_t words[2];
};

/// What instructions take 16 bytes from: a multiple of 16, and the same in the block's memory.
inline void expect_row(const void* address, Place place) {
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0)
    refuse("takes an address of 16 bytes that is no multiple of 16", place);
}
inline void expect_row_in_block(const void* address, Place place) {
  expect_row(address, place);
  const auto* const at = static_cast<const std::byte*>(address);
  if (at < block_memory() || at + 16 > block_memory() + grid().bytes)
    refuse("takes an address outside of the block's memory", place);
}

}  // namespace fiber

/// Begins to copy `bytes`, 0 to 16, of the 16 at `from`; zeros take the place of the rest, which is not read. Both
/// addresses are multiples of 16, `to` in the block's memory. From here to the wait nobody may touch `to` (which is
/// NaN) or write `from` (which is read at the wait).
inline void copy_async(void* to, const void* from, int bytes = 16, Place place = Place::current()) {
  fiber::expect_row_in_block(to, place);
  fiber::expect_row(from, place);
  if (bytes < 0 || bytes > 16) fiber::refuse("copies " + std::to_string(bytes) + " bytes", place);
  *static_cast<fiber::Wide*>(to) = {~uint64_t{0}, ~uint64_t{0}};
  auto& copies = fiber::copies();
  copies.open.push_back({to, from, static_cast<size_t>(bytes), copies.groups});
}

/// What the thread has begun to copy since the last commit is a group, if it is nothing, too.
inline void copy_commit() { ++fiber::copies().groups; }

/// All of the thread's groups but the latest `Pending` have arrived, for itself; for others behind a meeting.
template <int Pending>
void copy_wait() {
  auto& copies = fiber::copies();
  auto copy = copies.open.begin();
  for (; copy != copies.open.end() && copy->group < copies.groups - Pending; ++copy) {
    fiber::Wide arrived{};
    if (copy->bytes > 0) std::memcpy(&arrived, copy->from, copy->bytes);
    *static_cast<fiber::Wide*>(copy->to) = arrived;
  }
  copies.open.erase(copies.open.begin(), copy);
}

}  // namespace memring
