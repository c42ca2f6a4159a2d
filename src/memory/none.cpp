// No memory: plain causal attention inside a segment, nothing crosses its boundary. A whole sequence as one segment
// is full attention.
// SPDX-License-Identifier: Apache-2.0
#include "memory/mechanisms.h"

namespace memring {
namespace {

class NoMemory final : public Memory {
 public:
  Dependency dependency() const override { return Dependency::None; }
  int64_t state_numbers(int64_t) const override { return 0; }
  Layout layout(Pass, int32_t, int64_t text) const override { return {.text = text}; }
};

}  // namespace

std::unique_ptr<Memory> make_no_memory() { return std::make_unique<NoMemory>(); }

}  // namespace memring
