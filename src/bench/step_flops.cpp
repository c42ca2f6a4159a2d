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

/// What UIO's encoder adds for one segment: all layers but the last over text and memory rows, the transfer head in
/// each, and the low-rank updates of both. `products`: of all layers with their weights, for a row.
int64_t encoder_flops(const MemoryConfig& c, const ModelShape& m, const Memory& memory, int64_t products,
                      int64_t text) {
  const std::vector<Row> rows = memory.layout(Pass::Encode, 0, text).table();
  const int64_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  const int64_t updates = 6 * c.lora_rank * (2 * m.dim + q + kv);
  const int64_t layer = (products / m.layers + updates) * std::ssize(rows) + 12 * q * visible_pairs(rows, rows);
  const int64_t transfer = 6 * c.tokens * (2 * m.dim * kv + c.lora_rank * 2 * (m.dim + kv));
  return (m.layers - 1) * layer + m.layers * transfer;
}

}  // namespace

double step_flops(const Config& config) {
  const Model model = model_of(config);
  const ModelShape& m = model.llama.shape();
  const SequenceShape shape = sequence_shape(config);
  // Forward, the gradient of what goes in, and that of the weight, where it is trained.
  const auto flops_a_row = [&](int tensor) {
    const Params& params = model.params;
    return tensor < 0 ? 0
                      : (params.trained(tensor) ? 6 : 4) *
                            params.layout().entries[static_cast<size_t>(tensor)].shape.elements();
  };
  int64_t products = 0;  // of all layers with their weights, for a row
  for (int64_t layer = 0; layer < m.layers; ++layer)
    for (const auto part : kProjections) {
      const Projection& projection = model.llama.layer(layer).tensors().*part;
      products += flops_a_row(projection.weight) + flops_a_row(projection.lora_a) + flops_a_row(projection.lora_b);
    }
  double flops = 0;
  for (int64_t s = 0; s < shape.segments(); ++s) {
    const Layout layout = model.memory->layout(Pass::Decode, static_cast<int32_t>(s), shape.text_of(s));
    const std::vector<Row> rows = layout.table();
    const int64_t pairs = visible_pairs(rows, rows) + visible_pairs(rows, layout.past_table()) +
                          std::ssize(rows) * model.memory->keys_before(s);
    int64_t layer = 12 * m.heads * m.head_dim * pairs;
    if (config.memory.kind == MemoryKind::Armt && crosses_boundaries(model.memory->dependency()))
      layer += associative_flops(config.memory, m.dim, s, std::ssize(rows));
    flops += static_cast<double>(products * std::ssize(rows) + m.layers * layer +
                                 flops_a_row(model.llama.head()) * shape.text_of(s));
    if (model.memory->dependency() == Dependency::Append && s + 1 < shape.segments())
      flops += static_cast<double>(encoder_flops(config.memory, m, *model.memory, products, shape.text_of(s)));
  }
  return flops * static_cast<double>(config.data.batch);
}

}  // namespace memring
