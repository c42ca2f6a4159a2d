// SPDX-License-Identifier: Apache-2.0
#include "bench/step_flops.h"

#include "engine/engine.h"

namespace memring {
namespace {

/// Products with ARMT's state (K x dim) and its projections in one layer and segment: every row of a segment that has a
/// past reads, and the memory rows write.
int64_t associative_flops(const MemoryConfig& m, int64_t dim, int64_t segment, int64_t rows) {
  const int64_t keys = 2 * m.nu * m.key_dim, past = segment > 0 ? 1 : 0;
  const int64_t read = past * 6 * rows * dim * (m.key_dim + keys);
  return read + 6 * m.tokens * dim * (m.key_dim + dim + (1 + past) * keys);
}

}  // namespace

double step_flops(const Config& config) {
  Params params;
  const ModelShape m = model_shape(config);
  const Llama llama(m, params);
  const auto memory = make_memory(memory_settings(config), m, params);
  const SequenceShape shape = sequence_shape(config);
  const int64_t layer_weights =
      2 * m.dim * m.head_dim * (m.heads + m.kv_heads) + 3 * m.dim * m.ffn;  // q and o, k and v; gate, up, down
  double flops = 0;
  for (int64_t s = 0; s < shape.segments(); ++s) {
    const Layout layout = memory->layout(Pass::Decode, static_cast<int32_t>(s), shape.text_of(s));
    const std::vector<Row> rows = layout.table();
    const int64_t pairs = visible_pairs(rows, rows) + visible_pairs(rows, layout.past_table());
    int64_t layer = 6 * layer_weights * std::ssize(rows) + 12 * m.heads * m.head_dim * pairs;
    if (config.memory.kind == MemoryKind::Armt && crosses_boundaries(memory->dependency()))
      layer += associative_flops(config.memory, m.dim, s, std::ssize(rows));
    flops += static_cast<double>(m.layers * layer + 6 * m.dim * m.vocab * shape.text_of(s));
  }
  return flops * static_cast<double>(config.data.batch);
}

}  // namespace memring
