// SPDX-License-Identifier: Apache-2.0
#include "dist/progress.h"

#include <fmt/core.h>

#include <new>

namespace memring {
namespace {

static_assert(std::atomic<int64_t>::is_always_lock_free && std::atomic<Phase>::is_always_lock_free,
              "atomics in memory that processes share must not need locks");
constexpr size_t kHeader = 64;  // a cache line for the claim

const char* name_of(Phase phase) {
  switch (phase) {
    case Phase::Start:
      return "Start";
    case Phase::Load:
      return "Load";
    case Phase::Schedule:
      return "Schedule";
    case Phase::SumGradients:
      return "Sum gradients";
    case Phase::Update:
      return "Update weights";
    case Phase::Save:
      return "Save";
    case Phase::End:
      return "End";
  }
  return "?";
}

std::string place_of(int layer, int layers) {
  if (layer < 0) return "compose and embed";
  if (layers > 0 && layer >= layers) return "final norm, head and loss";
  return fmt::format("layer {}", layer);
}

}  // namespace

bool waits(const Progress& progress) {
  return progress.phase.load() != Phase::Schedule || progress.verb.load() == Verb::Wait;
}

std::string describe(const Progress& progress) {
  std::string text = fmt::format("step {}, action {}: ", progress.step.load(), progress.action.load());
  if (progress.phase.load() != Phase::Schedule) return text + name_of(progress.phase.load());
  text += name_of(progress.verb.load());
  if (const int peer = progress.peer.load(); peer >= 0) text += fmt::format(", peer rank {}", peer);
  if (const int segment = progress.segment.load(); segment >= 0)
    text += fmt::format(", segment {}, {}", segment, place_of(progress.layer.load(), progress.layers.load()));
  return text;
}

size_t Board::bytes(int ranks) { return kHeader + static_cast<size_t>(ranks) * sizeof(Progress); }

Board::Board(void* memory, int ranks, int mine)
    : code_(static_cast<std::atomic<int32_t>*>(memory)),
      ranks_(reinterpret_cast<Progress*>(static_cast<std::byte*>(memory) + kHeader)),
      count_(static_cast<size_t>(ranks)),
      mine_(static_cast<size_t>(mine)) {
  new (&ranks_[mine_]) Progress;  // the header is right as it is: zero
}

bool Board::claim(int code) const {
  int32_t nobody = 0;
  return code_->compare_exchange_strong(nobody, code);
}

int Board::claimed() const { return code_->load(); }

}  // namespace memring
