// SPDX-License-Identifier: Apache-2.0
#include "base/queue.h"

#include <cpuid.h>

#include "base/error.h"

namespace memring {

Isa best_isa() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return Isa::Avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::Avx2;
  return Isa::Baseline;
}

bool cpu_has_amx_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  return (d & kAmxBf16) && (d & kAmxTile) && best_isa() == Isa::Avx512;
}

Arena Queue::arena(int64_t bytes) const {
  return device() ? Arena(*device(), bytes, Space::Device) : Arena(bytes, threads(), [this] { poll(); });
}

Arena Queue::staging(int64_t bytes) const { return device() ? Arena(*device(), bytes, Space::Pinned) : Arena(bytes); }

View<uint8_t> Queue::workspace(int64_t bytes) const {
  if (options_.workspace.size() < bytes)
    check(false, fmt::format("an operator wants {} bytes of its queue's workspace, which has {}", bytes,
                             options_.workspace.size()));
  return options_.workspace.rows(0, bytes);
}

void Queue::finish(Event event) const {
  if (!device() || device()->done(event)) return;
  ++waits_;
  do {
    for (const auto& poll : polls_) poll();  // no work of ours: nothing is counted
  } while (!device()->done(event));
  worked();
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::Baseline:
      return "baseline";
    case Isa::Avx2:
      return "avx2";
    case Isa::Avx512:
      return "avx512";
  }
  return "?";
}

}  // namespace memring
