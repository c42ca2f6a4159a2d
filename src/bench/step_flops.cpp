// SPDX-License-Identifier: Apache-2.0
#include "bench/step_flops.h"

#include "engine/engine.h"

namespace memring {

double step_flops(const Config& config) {
  Params params;
  const ModelShape m = model_shape(config.model);
  const Llama llama(m, params);
  const auto memory = make_memory(memory_settings(config.memory), m, params);
  const SequenceShape shape = sequence_shape(config);
  const int64_t layer_weights =
      2 * m.dim * m.head_dim * (m.heads + m.kv_heads) + 3 * m.dim * m.ffn;  // q and o, k and v; gate, up, down
  double flops = 0;
  for (int64_t s = 0; s < shape.segments(); ++s) {
    const std::vector<Row> rows = memory->rows(Pass::Decode, static_cast<int32_t>(s), shape.text_of(s));
    const int64_t layer = 6 * layer_weights * std::ssize(rows) + 12 * m.heads * m.head_dim * visible_pairs(rows, rows);
    flops += static_cast<double>(m.layers * layer + 6 * m.dim * m.vocab * shape.text_of(s));
  }
  return flops * static_cast<double>(config.data.batch);
}

}  // namespace memring
