// ARMT: associative recurrent memory (Rodkin et al. 2024). Each layer has a memory of its own, of which every row of
// the layer's input reads, and to which the layer's output at the memory tokens is written. A segment is laid out as [
// text n | memory tokens m ], the same tokens in each. Conventions: tests/golden/README.md.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/associative/associative.h"
#include "kernels/dpfp/dpfp.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/linear/linear.h"
#include "kernels/linear_layer/linear_layer.h"
#include "kernels/rows/rows.h"
#include "memory/mechanisms.h"

namespace memring {
namespace {

/// How alive the memory is, as Associative notes it.
constexpr Diagnostic kSmallest[] = {{"smallest_key", "key {:.1g}", Combine::Min},
                                    {"smallest_denominator", "den {:.1g}", Combine::Min}};

/// Rows that read at a time: what their features take does not grow with the segment.
constexpr int64_t kReadRows = 2048;

struct ArmtShape {
  int64_t layers, dim, tokens, key_dim, nu;
  bool exact_sums;
  int64_t keys() const { return 2 * nu * key_dim; }
  int64_t state() const { return keys() * (dim + 1); }  ///< numbers of a layer's A and z
};

/// A layer's state of one sequence, or its gradient; empty views for the initial one, and where nobody wants it.
template <class V>
struct LayerState {
  V all, A, z;  // [state], [keys, dim], [keys]
};

/// What a layer's hooks keep for their backward.
struct Saved {
  View<> input;    // [batch, rows, dim]: as it was before the read was added
  View<> vectors;  // [batch, m, dim]: the output's memory rows, wherever they are
  View<> states;   // [batch, state]: as they entered

  static Saved carve(Arena& arena, const ArmtShape& s, DType dtype, CellExtent e) {
    Saved saved;
    saved.vectors = arena.take(dtype, {e.batch, s.tokens, s.dim});
    saved.states = arena.take(dtype, {e.batch, s.state()});
    saved.input = arena.take(dtype, {e.batch, e.rows, s.dim});  // last: behind the last layer there are fewer rows
    return saved;
  }
};

struct ReadScratch {
  View<> query, phi;                // [chunk, key_dim], [chunk, keys]
  View<> d_query, d_phi, d_states;  // backward only: the same shapes, and [batch, state]

  static ReadScratch carve(Arena& arena, const ArmtShape& s, DType dtype, CellExtent e, bool backward) {
    const int64_t chunk = std::min(e.rows, kReadRows);
    ReadScratch r{arena.take(dtype, {chunk, s.key_dim}), arena.take(dtype, {chunk, s.keys()}), {}, {}, {}};
    if (!backward) return r;
    r.d_query = arena.take(dtype, {chunk, s.key_dim});
    r.d_phi = arena.take(dtype, {chunk, s.keys()});
    r.d_states = arena.take(s.exact_sums ? DType::Exact : dtype, {e.batch, s.state()});
    return r;
  }
};

/// n = batch * m rows of what is written.
struct WriteScratch {
  View<> vectors;                                   // forward only, where nothing is kept: [n, dim]
  View<> key, phi, value, gate;                     // [n, key_dim], [n, keys], [n, dim], [n, 1]
  View<> d_vectors, d_key, d_phi, d_value, d_gate;  // backward only: the same shapes

  static WriteScratch carve(Arena& arena, const ArmtShape& s, DType dtype, int64_t batch, bool backward) {
    const int64_t n = batch * s.tokens;
    WriteScratch w;
    if (!backward) w.vectors = arena.take(dtype, {n, s.dim});
    w.key = arena.take(dtype, {n, s.key_dim});
    w.phi = arena.take(dtype, {n, s.keys()});
    w.value = arena.take(dtype, {n, s.dim});
    w.gate = arena.take(dtype, {n, 1});
    if (!backward) return w;
    w.d_vectors = arena.take(dtype, {n, s.dim});
    w.d_key = arena.take(dtype, {n, s.key_dim});
    w.d_phi = arena.take(dtype, {n, s.keys()});
    w.d_value = arena.take(dtype, {n, s.dim});
    w.d_gate = arena.take(dtype, {n, 1});
    return w;
  }
};

class Armt final : public Memory {
 public:
  Armt(const MemorySettings& settings, const ModelShape& model, Params& params)
      : reset_(settings.reset_each_segment), shape_{model.layers,     model.dim,   settings.tokens,
                                                    settings.key_dim, settings.nu, settings.exact_sums} {
    const auto dim = static_cast<double>(shape_.dim);
    tokens_ = params.declare("memory.tokens", {shape_.tokens, shape_.dim}, {.std = settings.init_std}, false);
    // Features are of degree two, so a usual initialisation would leave keys so small that eps rules every denominator
    // and the memory is nearly dead. With x = key mu of standard deviation s, |phi(x)|² is nu key_dim s⁴ / 2 on
    // average: s makes it 1 for memory tokens as they start, which small contributions of the layers leave as they are.
    // Queries come from them and from text: their weights stand for the geometric mean of the two. (A read does not
    // depend on its query's size, as long as eps is small beside the denominator.)
    const double s = std::pow(2.0 / static_cast<double>(shape_.nu * shape_.key_dim), 0.25);
    const Init key{.std = s / (settings.init_std * std::sqrt(dim))},
        query{.std = key.std * std::sqrt(settings.init_std / model.embedding_std)}, gate{.std = 0.02}, zero{};
    for (int64_t l = 0; l < shape_.layers; ++l) {
      const std::string name = fmt::format("memory.layers.{}.", l);
      Tensors t;
      t.query = params.declare(name + "query.weight", {shape_.key_dim, shape_.dim}, query, true);
      t.key = params.declare(name + "key.weight", {shape_.key_dim, shape_.dim}, key, true);
      // Nothing is remembered at first: the model starts as the one without memory.
      t.value = params.declare(name + "value.weight", {shape_.dim, shape_.dim}, zero, true);
      t.beta = params.declare(name + "beta.weight", {1, shape_.dim}, gate, true);
      t.beta_bias = params.declare(name + "beta.bias", {1}, zero, false);
      layers_.push_back(t);
    }
  }

  Dependency dependency() const override { return reset_ ? Dependency::None : Dependency::LayerLocal; }
  int64_t state_numbers(int64_t layer) const override { return layer < shape_.layers && !reset_ ? shape_.state() : 0; }
  Layout layout(Pass, int32_t, int64_t text) const override {
    const MemoryRows rows = memory_rows_of(MemoryKind::Armt, shape_.tokens);
    return {.front = rows.front, .text = text, .back = rows.back};
  }
  int64_t saved_bytes(DType dtype, CellExtent e) const override {
    if (reset_) return 0;
    Arena arena;
    Saved::carve(arena, shape_, dtype, e);
    return arena.peak();
  }
  int64_t scratch_bytes(DType dtype, CellExtent e, bool backward) const override {
    if (reset_) return 0;
    const int64_t m = shape_.tokens, keys = shape_.keys(), dim = shape_.dim;
    Arena read, write;
    ReadScratch::carve(read, shape_, dtype, e, backward);
    WriteScratch::carve(write, shape_, dtype, e.batch, backward);
    return std::max(read.peak() + (backward ? Associative::read_backward_scratch_bytes(
                                                  dtype, std::min(e.rows, kReadRows), keys, dim)
                                            : Associative::read_scratch_bytes(dtype, keys, dim)),
                    write.peak() + (backward ? Associative::write_backward_scratch_bytes(dtype, m, keys, dim)
                                             : Associative::write_scratch_bytes(dtype, m, keys, dim)));
  }

  ProductCopies copies(CellExtent e, bool backward) const override {
    if (reset_) return {};
    const int64_t written = e.batch * shape_.tokens, keys = shape_.keys();
    return Linear::copies(std::min(e.rows, kReadRows), shape_.dim, shape_.key_dim, backward) |
           Linear::copies(written, shape_.dim, shape_.key_dim, backward) |
           Linear::copies(written, shape_.dim, shape_.dim, backward) |
           Associative::copies(std::min(e.rows, kReadRows), keys, shape_.dim, backward) |
           Associative::copies(shape_.tokens, keys, shape_.dim, backward);
  }

  std::span<const Diagnostic> diagnostics() const override { return kSmallest; }

  void compose(CellContext& c) override {
    const PartRows tokens = memory_rows(c);
    MoveRows::run(c.queue, c.hidden, tokens.here, Write::Overwrite, c.params.weight(tokens_), tokens.number);
  }
  void compose_backward(CellContext& c) override {
    const PartRows tokens = memory_rows(c);
    MoveRows::sum(c.queue, c.params.grad(tokens_), tokens.number, c.d_hidden, tokens.here);
  }

  // Reading the initial state adds 0 / eps = 0 and sends no gradient: it is left out.
  void before_layer(CellContext& c) override {
    if (c.initial || reset_) return;
    ArenaScope scope(c.scratch);
    const CellExtent e{c.batch, std::ssize(c.rows)};
    const DType dtype = c.hidden.dtype();
    if (c.saved) {
      const Saved saved = carve_saved(c);
      Elementwise::copy(c.queue, saved.input, c.hidden);
      for (int64_t b = 0; b < c.batch; ++b)
        Elementwise::copy(c.queue, saved.states.at(b), layer_state(c, c.state_in, b).all);
    }
    const ReadScratch s = ReadScratch::carve(c.scratch, shape_, dtype, e, false);
    for_chunks(e, [&](int64_t b, int64_t begin, int64_t count) {
      const auto state = layer_state(c, c.state_in, b);
      const View<> hidden = c.hidden.at(b).rows(begin, count), phi = s.phi.rows(0, count);
      query_features(c, phi, s.query.rows(0, count), hidden);
      Associative::read(c.queue, hidden, phi, state.A, state.z, c.diagnostics, c.scratch);
    });
  }
  // The rows of a segment may be on several ranks, each of which has the whole state: what they send to it is summed.
  void before_layer_backward(CellContext& c) override {
    if (c.initial || reset_) return;
    ArenaScope scope(c.scratch);
    const CellExtent e{c.batch, std::ssize(c.rows)};
    const DType dtype = c.d_hidden.dtype();
    const Tensors& t = tensors(c);
    const Saved saved = carve_saved(c);
    const ReadScratch s = ReadScratch::carve(c.scratch, shape_, dtype, e, true);
    const View<> d_states = c.d_state_in ? s.d_states : View<>();
    if (d_states) Elementwise::fill(c.queue, d_states, 0);
    for_chunks(e, [&](int64_t b, int64_t begin, int64_t count) {
      const auto state = split(ConstView<>(saved.states), b);
      const auto d_state = split(d_states, b);
      const View<> input = saved.input.at(b).rows(begin, count), d_hidden = c.d_hidden.at(b).rows(begin, count);
      const View<> query = s.query.rows(0, count), phi = s.phi.rows(0, count), d_phi = s.d_phi.rows(0, count),
                   d_query = s.d_query.rows(0, count);
      query_features(c, phi, query, input);
      Associative::read_backward(c.queue, d_phi, d_state.A, d_state.z, d_hidden, phi, state.A, state.z, c.scratch);
      Dpfp::backward(c.queue, d_query, d_phi, query, shape_.nu);
      Linear::weight_gradient(c.queue, c.params.grad(t.query), d_query, input);
      Linear::input_gradient(c.queue, d_hidden, Write::Accumulate, d_query, c.params.weight(t.query));
    });
    if (!d_states) return;
    c.axis.sum(c.queue, d_states);
    for (int64_t b = 0; b < c.batch; ++b) {
      const View<> d_state = layer_state(c, c.d_state_in, b).all;
      Elementwise::add(c.queue, d_state, d_state, d_states.at(b));
    }
  }

  // Every rank collects what is written and makes the same update of the whole state.
  void after_layer(CellContext& c) override {
    if (reset_ || (!c.saved && !c.state_out)) return;
    ArenaScope scope(c.scratch);
    const int64_t m = shape_.tokens;
    const WriteScratch s = WriteScratch::carve(c.scratch, shape_, c.hidden.dtype(), c.batch, false);
    const View<> vectors = c.saved ? carve_saved(c).vectors : s.vectors.reshaped({c.batch, m, shape_.dim});
    c.axis.collect(c.queue, vectors, c.layout.back_rows(), c.hidden, c.rows);
    if (!c.state_out) return;
    project(c, s, vectors.reshaped({c.batch * m, shape_.dim}));
    for (int64_t b = 0; b < c.batch; ++b) {
      const auto before = layer_state(c, c.state_in, b);
      const auto after = layer_state(c, c.state_out, b);
      Associative::write(c.queue, after.A, after.z, written(s, b), before.A, before.z, c.diagnostics, c.scratch);
    }
  }
  // The part of d_state_in that comes from the write is the same on every rank. Parameters and memory rows take theirs
  // on the rank that holds the row.
  void after_layer_backward(CellContext& c) override {
    if (reset_) return;
    if (!c.d_state_out) {
      for (int64_t b = 0; c.d_state_in && b < c.batch; ++b)
        Elementwise::fill(c.queue, layer_state(c, c.d_state_in, b).all, 0);
      return;
    }
    ArenaScope scope(c.scratch);
    const Saved saved = carve_saved(c);
    const WriteScratch s = WriteScratch::carve(c.scratch, shape_, c.d_hidden.dtype(), c.batch, true);
    const View<> vectors = saved.vectors.reshaped({c.batch * shape_.tokens, shape_.dim});
    project(c, s, vectors);
    for (int64_t b = 0; b < c.batch; ++b) {
      const auto before = split(c.initial ? ConstView<>() : ConstView<>(saved.states), b);
      const auto d_before = layer_state(c, c.d_state_in, b);
      const auto d_after = layer_state(c, c.d_state_out, b);
      Associative::write_backward(c.queue, {of(s.d_phi, b), of(s.d_value, b), gates_of(s.d_gate, b)}, d_before.A,
                                  d_before.z, d_after.A, d_after.z, written(s, b), before.A, before.z, c.scratch);
    }
    Dpfp::backward(c.queue, s.d_key, s.d_phi, s.key, shape_.nu);

    const Tensors& t = tensors(c);
    Linear::input_gradient(c.queue, s.d_vectors, Write::Overwrite, s.d_key, c.params.weight(t.key));
    Linear::input_gradient(c.queue, s.d_vectors, Write::Accumulate, s.d_value, c.params.weight(t.value));
    Linear::input_gradient(c.queue, s.d_vectors, Write::Accumulate, s.d_gate, c.params.weight(t.beta));
    const View<> d_bias = c.params.grad(t.beta_bias);
    const PartRows rows = memory_rows(c);
    MoveRows::run(c.queue, c.d_hidden, rows.here, Write::Accumulate,
                  s.d_vectors.reshaped({c.batch, shape_.tokens, shape_.dim}), rows.number);
    if (d_bias)
      for (const int32_t i : rows.number)
        for (int64_t b = 0; b < c.batch; ++b) Elementwise::add(c.queue, d_bias, d_bias, of(s.d_gate, b).at(i));
    keep_own_rows(c, s);
    Linear::weight_gradient(c.queue, c.params.grad(t.key), s.d_key, vectors);
    Linear::weight_gradient(c.queue, c.params.grad(t.value), s.d_value, vectors);
    Linear::weight_gradient(c.queue, c.params.grad(t.beta), s.d_gate, vectors);
  }

  void after_norm_backward(CellContext& c) override { clear_rows(c, c.layout.back_rows()); }

 private:
  struct Tensors {
    int query = 0, key = 0, value = 0, beta = 0, beta_bias = 0;
  };
  const Tensors& tensors(const CellContext& c) const { return layers_[static_cast<size_t>(c.cell.layer)]; }

  /// A sequence's part of one layer's states [batch, state]: A, then z.
  template <class V>
  LayerState<V> split(V states, int64_t b) const {
    if (!states) return {};
    const V all = states.at(b);
    const int64_t in_A = shape_.keys() * shape_.dim;
    return {all, all.rows(0, in_A).reshaped({shape_.keys(), shape_.dim}), all.rows(in_A, shape_.keys())};
  }
  /// The cell's layer in the states of a boundary, which hold several behind each other.
  template <class V>
  LayerState<V> layer_state(const CellContext& c, V states, int64_t b) const {
    if (!states) return {};
    return split(states.at(b)
                     .rows((c.cell.layer - c.state_layer) * shape_.state(), shape_.state())
                     .reshaped({1, shape_.state()}),
                 0);
  }
  Saved carve_saved(const CellContext& c) const {
    Arena block(c.saved);
    return Saved::carve(block, shape_, c.params.dtype(), {c.batch, std::ssize(c.rows)});
  }

  static PartRows memory_rows(const CellContext& c) { return c.part(c.layout.back_rows()); }
  /// f(sequence, first row, rows), a few rows of one sequence at a time.
  template <class F>
  void for_chunks(CellExtent e, const F& f) const {
    for (int64_t b = 0; b < e.batch; ++b)
      for (int64_t begin = 0; begin < e.rows; begin += kReadRows) f(b, begin, std::min(kReadRows, e.rows - begin));
  }

  void query_features(CellContext& c, View<> phi, View<> query, ConstView<> hidden) const {
    Linear::forward(c.queue, query, Write::Overwrite, hidden, c.params.weight(tensors(c).query));
    Dpfp::forward(c.queue, phi, query, shape_.nu);
  }
  /// Keys, values and gates of all memory rows.
  void project(CellContext& c, const WriteScratch& s, ConstView<> vectors) const {
    const Tensors& t = tensors(c);
    Linear::forward(c.queue, s.key, Write::Overwrite, vectors, c.params.weight(t.key));
    Dpfp::forward(c.queue, s.phi, s.key, shape_.nu);
    Linear::forward(c.queue, s.value, Write::Overwrite, vectors, c.params.weight(t.value));
    LinearLayer::forward(c.queue, s.gate, Write::Overwrite, vectors,
                         {.weight = c.params.weight(t.beta), .bias = c.params.weight(t.beta_bias)}, c.scratch);
  }
  /// A sequence's rows of [batch * m, any].
  View<> of(View<> all, int64_t b) const { return all.rows(b * shape_.tokens, shape_.tokens); }
  View<> gates_of(View<> all, int64_t b) const { return of(all, b).reshaped({shape_.tokens}); }
  Associative::Rows written(const WriteScratch& s, int64_t b) const {
    return {of(s.phi, b), of(s.value, b), gates_of(s.gate, b)};
  }
  /// Takes the gradients of memory rows that other ranks hold out of those that every rank has computed. An exact sum
  /// takes all rows as one term, on the rank of the first.
  void keep_own_rows(CellContext& c, const WriteScratch& s) const {
    std::vector<bool> here(static_cast<size_t>(shape_.tokens));
    for (const int32_t i : memory_rows(c).number) here[static_cast<size_t>(i)] = true;
    if (shape_.exact_sums) here.assign(here.size(), here[0]);
    for (int64_t i = 0; i < shape_.tokens; ++i)
      for (int64_t b = 0; b < c.batch && !here[static_cast<size_t>(i)]; ++b)
        for (const View<>& gradient : {s.d_key, s.d_value, s.d_gate})
          Elementwise::fill(c.queue, of(gradient, b).at(i), 0);
  }

  bool reset_;
  ArmtShape shape_;
  int tokens_ = 0;
  std::vector<Tensors> layers_;
};

}  // namespace

std::unique_ptr<Memory> make_armt(const MemorySettings& settings, const ModelShape& shape, Params& params) {
  return std::make_unique<Armt>(settings, shape, params);
}

}  // namespace memring
