// RMT: recurrent memory tokens (Bulatov et al. 2022). A segment is laid out as [ read m | text n | write m ]: both
// blocks are the memory M_s as input embeddings; the final-normed output at the write rows is M_{s+1}. Conventions:
// tests/golden/README.md.
// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include "kernels/elementwise/elementwise.h"
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
    return {.front = m_, .text = text, .back = m_, .mask = settings_.mask};
  }

  void compose(CellContext& c) override {
    for (int64_t b = 0; b < c.batch; ++b) {
      const ConstView<> memory = c.initial ? c.params.weight(tokens_) : vectors(c.state_in, b);
      for_memory_rows(
          c, [&](int64_t row, int64_t i, bool) { Elementwise::copy(c.queue, c.hidden.at(b).at(row), memory.at(i)); });
    }
  }
  // The read and the write block hold the same vectors: the gradient of M_s is the sum of both.
  void compose_backward(CellContext& c) override {
    if (!c.d_state_in && !c.initial) return;
    if (c.d_state_in) Elementwise::fill(c.queue, c.d_state_in, 0);
    for (int64_t b = 0; b < c.batch; ++b) {
      const View<> d_memory = c.d_state_in ? vectors(c.d_state_in, b) : c.params.grad(tokens_);
      for_memory_rows(c, [&](int64_t row, int64_t i, bool) {
        Elementwise::add(c.queue, d_memory.at(i), d_memory.at(i), c.d_hidden.at(b).at(row));
      });
    }
    if (c.d_state_in) c.axis.sum(c.queue, c.d_state_in);
  }

  void after_norm(CellContext& c) override {
    if (!c.state_out) return;
    std::vector<int32_t> wanted(static_cast<size_t>(m_));
    std::iota(wanted.begin(), wanted.end(), static_cast<int32_t>(c.layout.back_rows().begin));
    c.axis.collect(c.queue, c.state_out.reshaped({c.batch, m_, shape_.dim}), c.hidden, wanted);
  }
  void after_norm_backward(CellContext& c) override {
    for (int64_t b = 0; b < c.batch; ++b)
      for_memory_rows(c, [&](int64_t row, int64_t i, bool write) {
        const View<> d_row = c.d_hidden.at(b).at(row);
        if (write && c.d_state_out)
          Elementwise::copy(c.queue, d_row, vectors(c.d_state_out, b).at(i));
        else
          Elementwise::fill(c.queue, d_row, 0);
      });
  }

 private:
  /// f(row here, number of its memory vector, is it a write row) for each memory row that is here.
  template <class F>
  void for_memory_rows(const CellContext& c, const F& f) const {
    const int64_t write = c.layout.back_rows().begin;
    for (int64_t row = 0; row < std::ssize(c.rows); ++row) {
      const int64_t number = c.rows[static_cast<size_t>(row)];
      if (number < m_) f(row, number, false);
      if (number >= write) f(row, number - write, true);
    }
  }
  /// The memory of one sequence, [m, dim].
  template <class V>
  V vectors(V states, int64_t b) const {
    return states.at(b).reshaped({m_, shape_.dim});
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
