// SPDX-License-Identifier: Apache-2.0
#include "bench/operators.h"

#include "base/random.h"
#include "kernels/adamw/adamw.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/heads/heads.h"
#include "kernels/linear/linear.h"
#include "kernels/norm/norm.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"

namespace memring {

Operators::Operators(const ModelShape& model, int64_t batch, int64_t rows)
    : m_(model),
      batch_(batch),
      rows_(rows),
      causal_(static_cast<size_t>(rows_)),
      ids_(static_cast<size_t>(batch_ * rows_)) {
  for (size_t i = 0; i < causal_.size(); ++i) {
    const auto order = static_cast<int32_t>(i);
    causal_[i] = {.position = order, .order = order, .from = 0, .to = order};
  }
  const Random random(1, Purpose::Test);
  for (size_t i = 0; i < ids_.size(); ++i)
    ids_[i] = static_cast<int32_t>(random.below(static_cast<uint32_t>(i), static_cast<uint64_t>(m_.vocab)));
  scratch_ = Arena(CrossEntropy::scratch_bytes(DType::F32, batch_ * rows_, m_.vocab));
}

View<> Operators::tensor(Shape shape) {
  const Random random(1, Purpose::Test, tensors_.size());
  auto& memory = tensors_.emplace_back(static_cast<size_t>(shape.elements()));
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(random.uniform(static_cast<uint32_t>(i)));
  return View<float>(memory.data(), shape);
}

std::vector<Operators::Case> Operators::products() {
  std::vector<Case> cases;
  const int64_t n = batch_ * rows_;
  const auto add = [&](const std::string& name, int64_t in, int64_t out) {
    const View<> x = tensor({n, in}), w = tensor({out, in}), y = tensor({n, out});
    cases.push_back({name + " forward", [=](Queue& q) { Linear::forward(q, y, Write::Overwrite, x, w); }});
    cases.push_back(
        {name + " input gradient", [=](Queue& q) { Linear::input_gradient(q, x, Write::Overwrite, y, w); }});
    cases.push_back({name + " weight gradient", [=](Queue& q) { Linear::weight_gradient(q, w, y, x); }});
  };
  add("q, o", m_.dim, m_.heads * m_.head_dim);
  if (m_.kv_heads != m_.heads) add("k, v", m_.dim, m_.kv_heads * m_.head_dim);
  add("gate, up", m_.dim, m_.ffn);
  add("down", m_.ffn, m_.dim);
  return cases;
}

std::vector<Operators::Case> Operators::attention() {
  const Shape by_head{batch_, m_.heads, rows_, m_.head_dim}, keys{batch_, m_.kv_heads, rows_, m_.head_dim};
  const View<> q = tensor(by_head), o = tensor(by_head), d_o = tensor(by_head), dq = tensor(by_head),
               lse = tensor({batch_, m_.heads, rows_});
  const KeySpan span{.k = tensor(keys),
                     .v = tensor(keys),
                     .dk = tensor(keys),
                     .dv = tensor(keys),
                     .rows = causal_,
                     .replicated = false};
  return {{"forward", [=, this](Queue& queue) { attention_.forward(queue, o, lse, q, causal_, std::span(&span, 1)); }},
          {"backward",
           [=, this](Queue& queue) { attention_.backward(queue, dq, d_o, o, lse, q, causal_, std::span(&span, 1)); }}};
}

std::vector<Operators::Case> Operators::passes() {
  const int64_t n = batch_ * rows_, dim = m_.dim, parameters = m_.dim * m_.ffn * 3;
  const View<> x = tensor({n, dim}), y = tensor({n, dim}), z = tensor({n, dim}), gain = tensor({dim}),
               d_gain = tensor({dim}), inv = tensor({n});
  const View<> by_head = tensor({batch_, m_.heads, rows_, m_.head_dim}), wide = tensor({n, m_.heads * m_.head_dim}),
               cos = tensor({1, rows_, m_.head_dim / 2}), sin = tensor({1, rows_, m_.head_dim / 2});
  const View<> gate = tensor({n, m_.ffn}), up = tensor({n, m_.ffn}), a = tensor({n, m_.ffn}),
               d_gate = tensor({n, m_.ffn}), d_up = tensor({n, m_.ffn});
  const View<> table = tensor({m_.vocab, dim}), d_table = tensor({m_.vocab, dim}), nll = tensor({n});
  const View<> w = tensor({parameters}), gradient = tensor({parameters}), moment = tensor({parameters}),
               square = tensor({parameters});
  const ConstView<int32_t> ids(ids_.data(), {n});
  const double eps = m_.norm_eps;
  Arena* const scratch = &scratch_;
  return {
      {"RmsNorm forward", [=](Queue& q) { RmsNorm::forward(q, y, inv, x, gain, eps); }},
      {"RmsNorm backward", [=](Queue& q) { RmsNorm::backward(q, z, Write::Accumulate, d_gain, y, x, gain, inv); }},
      {"Rope forward", [=](Queue& q) { Rope::forward(q, by_head, wide, cos, sin); }},
      {"Rope backward", [=](Queue& q) { Rope::backward(q, wide, by_head, cos, sin); }},
      {"Heads split", [=](Queue& q) { Heads::split(q, by_head, wide); }},
      {"Heads merge", [=](Queue& q) { Heads::merge(q, wide, by_head); }},
      {"SwiGlu forward", [=](Queue& q) { SwiGlu::forward(q, a, gate, up); }},
      {"SwiGlu backward", [=](Queue& q) { SwiGlu::backward(q, d_gate, d_up, a, a, gate, up); }},
      {"Elementwise copy", [=](Queue& q) { Elementwise::copy(q, y, x); }},
      {"Elementwise fill", [=](Queue& q) { Elementwise::fill(q, y, 0); }},
      {"Elementwise add", [=](Queue& q) { Elementwise::add(q, y, x, z); }},
      {"Embedding forward", [=](Queue& q) { Embedding::forward(q, y, table, ids); }},
      {"Embedding backward", [=](Queue& q) { Embedding::backward(q, d_table, y, ids); }},
      {"CrossEntropy forward", [=](Queue& q) { CrossEntropy::forward(q, nll, x, table, ids, *scratch); }},
      {"CrossEntropy forward and backward",
       [=](Queue& q) { CrossEntropy::forward_backward(q, nll, z, d_table, x, table, ids, *scratch); }},
      {"SquaredNorm", [=](Queue& q) { SquaredNorm::of(q, w); }},
      {"AdamW step", [=](Queue& q) { AdamW::step(q, w, {}, moment, square, gradient, {}, {}); }},
  };
}

}  // namespace memring
