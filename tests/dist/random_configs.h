// Random small configurations, the same on every rank of the world: what a claim about all meshes is tried on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "engine_runs.h"
#include "ranks.h"

namespace memring {

/// Numbers of one trial, the same on every rank.
class Dice {
 public:
  explicit Dice(uint32_t trial) : random_(17, Purpose::Test, static_cast<uint64_t>(world().size()), trial) {}
  int between(int low, int high) {
    return low + static_cast<int>(random_.below(rolls_++, static_cast<uint64_t>(high - low + 1)));
  }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[between(0, static_cast<int>(values.size()) - 1)];
  }

 private:
  Random random_;
  uint32_t rolls_ = 0;
};

inline Config random_config(Dice& dice) {
  Config c = small_config();
  c.model.layers = dice.between(1, 3);
  c.model.kv_heads = dice.between(1, 2);
  c.model.heads = c.model.kv_heads * dice.between(1, 3);
  c.model.head_dim = 2 * dice.between(1, 3);
  c.model.dim = dice.between(5, 20);
  c.model.ffn = dice.between(3, 25);
  c.model.vocab = dice.between(5, 40);
  c.model.tied = dice.between(0, 1) == 1;
  c.memory.kind = dice.one_of({MemoryKind::None, MemoryKind::Rmt, MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Armt,
                               MemoryKind::Uio, MemoryKind::Uio, MemoryKind::Halo, MemoryKind::Halo});
  c.memory.reset = dice.between(0, 9) == 0 ? MemoryReset::Segment : MemoryReset::Sequence;
  c.memory.tokens = dice.between(1, 5);
  c.memory.mask =
      c.memory.kind != MemoryKind::Rmt ? MemoryMask::Causal : dice.one_of({MemoryMask::Causal, MemoryMask::Block});
  c.memory.key_dim = dice.between(2, 6);
  c.memory.nu = dice.between(1, 3);
  c.segment.length = c.memory.kind == MemoryKind::None ? dice.one_of({0, 4}) : dice.between(1, 9);
  if (c.memory.kind == MemoryKind::Uio) {
    c.segment.length = c.memory.tokens * dice.between(1, 4);
    c.memory.lora_rank = dice.between(1, 3);
  }
  c.memory.window = dice.between(0, 12);
  c.memory.sinks = std::min<int>(dice.between(0, 3), static_cast<int>(c.segment.length));
  c.data.length = dice.between(2, 40);
  c.data.batch = dice.between(1, 5);
  c.data.micro_batch = std::min<int64_t>(dice.between(0, 3), c.data.batch);
  c.tbptt.mode = dice.one_of({TbpttMode::Full, TbpttMode::Window, TbpttMode::Unbiased});
  c.tbptt.window = dice.between(1, 4);
  c.tbptt.cut = 0.3;
  c.tbptt.recompute = dice.one_of({RecomputeWhen::Always, RecomputeWhen::Never});
  c.tbptt.boundaries = c.tbptt.recompute == RecomputeWhen::Always ? dice.between(0, 3) : 0;
  const std::vector<MeshConfig> all = meshes(world().size());
  c.mesh = all[static_cast<size_t>(dice.between(0, static_cast<int>(all.size()) - 1))];
  c.device.threads = dice.between(1, 3);
  return c;
}

}  // namespace memring
