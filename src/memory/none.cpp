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
  int64_t text_begin() const override { return 0; }
  std::vector<Row> rows(Pass, int32_t, int64_t text) const override {
    std::vector<Row> rows;
    rows.reserve(static_cast<size_t>(text));
    for (int32_t i = 0; i < text; ++i) rows.push_back({.position = i, .order = i, .from = 0, .to = i});
    return rows;
  }
};

}  // namespace

std::unique_ptr<Memory> make_no_memory() { return std::make_unique<NoMemory>(); }

}  // namespace memring
