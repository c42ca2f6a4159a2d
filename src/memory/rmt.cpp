// RMT: recurrent memory tokens (Bulatov et al. 2022). A segment is laid out as [ read m | text n | write m ]: both
// blocks are the memory M_s as input embeddings; the final-normed output at the write rows is M_{s+1}. Conventions:
// tests/golden/README.md.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/elementwise.h"
#include "kernels/rows/rows.h"
#include "memory/mechanisms.h"

namespace memring {
namespace {

class Rmt final : public Memory {
 public:
  Rmt(const MemorySettings& settings, const ModelShape& shape, Params& params)
      : settings_(settings), shape_(shape), m_(settings.tokens) {
    // As large as what replaces it from the second segment on, the output of a norm with unit gain.
    tokens_ = params.declare("memory.tokens", {m_, shape.dim}, {.std = settings.init_std}, false);
  }

  Dependency dependency() const override {
    return settings_.reset_each_segment ? Dependency::None : Dependency::TopToInput;
  }
  int64_t state_numbers(int64_t layer) const override {
    return layer == shape_.layers && !settings_.reset_each_segment ? m_ * shape_.dim : 0;
  }
  Layout layout(Pass, int32_t, int64_t text) const override {
    const MemoryRows rows = memory_rows_of(MemoryKind::Rmt, m_);
    return {.front = rows.front, .text = text, .back = rows.back, .mask = settings_.mask};
  }

  void compose(CellContext& c) override {
    const PartRows rows = memory_rows(c);
    const ConstView<> memory = c.initial ? c.params.weight(tokens_) : vectors(c.state_in);
    MoveRows::run(c.queue, c.hidden, rows.here, Write::Overwrite, memory, rows.number);
  }
  // The read and the write block hold the same vectors: the gradient of M_s is the sum of both.
  void compose_backward(CellContext& c) override {
    const PartRows rows = memory_rows(c);
    if (c.d_state_in) {
      Elementwise::fill(c.queue, c.d_state_in, 0);
      MoveRows::run(c.queue, vectors(c.d_state_in), rows.number, Write::Accumulate, c.d_hidden, rows.here);
      c.axis.sum(c.queue, c.d_state_in);
    } else if (c.initial) {
      MoveRows::sum(c.queue, c.params.grad(tokens_), rows.number, c.d_hidden, rows.here);
    }
  }

  void after_norm(CellContext& c) override {
    if (c.state_out) c.axis.collect(c.queue, vectors(c.state_out), c.layout.back_rows(), c.hidden, c.rows);
  }
  void after_norm_backward(CellContext& c) override {
    clear_rows(c, c.layout.front_rows());
    if (!c.d_state_out) return clear_rows(c, c.layout.back_rows());
    const PartRows write = c.part(c.layout.back_rows());
    MoveRows::run(c.queue, c.d_hidden, write.here, Write::Overwrite, vectors(c.d_state_out), write.number);
  }

 private:
  /// The memory rows that are here, with the numbers of their vectors: the read block, then the write block.
  static PartRows memory_rows(const CellContext& c) {
    PartRows all = c.part(c.layout.front_rows());
    const PartRows write = c.part(c.layout.back_rows());
    all.here.insert(all.here.end(), write.here.begin(), write.here.end());
    all.number.insert(all.number.end(), write.number.begin(), write.number.end());
    return all;
  }
  /// The memories of all sequences, [batch, m, dim].
  template <class V>
  V vectors(V states) const {
    return states.reshaped({states.dim(0), m_, shape_.dim});
  }

  MemorySettings settings_;
  ModelShape shape_;
  int64_t m_;
  int tokens_ = 0;
};

}  // namespace

std::unique_ptr<Memory> make_rmt(const MemorySettings& settings, const ModelShape& shape, Params& params) {
  return std::make_unique<Rmt>(settings, shape, params);
}

}  // namespace memring
