// memring bench ring: one layer's ring attention beside the same work one after the other, the message of each hop
// before its computation: what it is worth that the next block travels while this one is computed on.
// SPDX-License-Identifier: Apache-2.0
#include <deque>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "bench/bench.h"
#include "bench/yardstick.h"
#include "dist/token_attention.h"
#include "engine/engine.h"

namespace memring {
namespace {

/// Causal attention over a sequence that the ranks of `token` hold between them, on random operands.
class RingWork {
 public:
  RingWork(const Config& config, Transport& token, const NodeShare& node)
      : token_(token),
        queue_(numerics(config, node).queue),
        m_(model_shape(config)),
        batch_(config.data.batch),
        plan_(config.data.length, token.size()),
        ring_(make_token_attention(token, false)) {
    std::vector<Row> layout(static_cast<size_t>(config.data.length));
    for (int32_t i = 0; i < config.data.length; ++i)
      layout[static_cast<size_t>(i)] = {.position = i, .order = i, .from = 0, .to = i};
    for (int rank = 0; rank < token.size(); ++rank) rows_.push_back(rows_at(layout, plan_.rows_of(rank)));
    ring_->enter(queue_, plan_, layout);
    ring_->allocate(
        queue_, token_attention_bytes(false, DType::F32, {batch_, m_.heads, m_.kv_heads, m_.head_dim}, plan_, true));

    const int64_t rows = plan_.count(token.rank());
    const Shape queries{batch_, m_.heads, rows, m_.head_dim};
    for (View<>* view : {&q_, &o_, &d_o_, &dq_}) *view = tensor(queries);
    lse_ = tensor({batch_, m_.heads, rows});
    for (int owner = 0; owner < token.size(); ++owner) {
      const Shape block{2, batch_, m_.kv_heads, plan_.count(owner), m_.head_dim};
      keys_.push_back(tensor(block));
      gradients_.push_back(tensor(block));
    }
    arrived_ = tensor({2, batch_, m_.kv_heads, plan_.most(), m_.head_dim});
  }

  const Queue& queue() const { return queue_; }
  double message_bytes() const { return static_cast<double>(keys_[0].bytes()); }

  void overlapped() {
    const KeySpan mine = span(token_.rank());
    ring_->forward(queue_, o_, lse_, q_, own_rows(), {&mine, 1});
    ring_->backward(queue_, dq_, d_o_, o_, lse_, q_, own_rows(), {&mine, 1});
  }

  /// The same messages and products, none beside another.
  void in_turns(bool messages, bool products) {
    for (int hop = 0; hop < plan_.ranks(); ++hop) {
      if (messages && hop > 0) pass(hop);
      const KeySpan theirs = span(plan_.owner(token_.rank(), hop));
      if (products) LocalAttention::forward_part(queue_, o_, lse_, write(hop), q_, own_rows(), {&theirs, 1});
    }
    for (int hop = 0; hop < plan_.ranks(); ++hop) {
      if (messages && hop > 0) pass(hop);
      const KeySpan theirs = span(plan_.owner(token_.rank(), hop));
      if (products)
        LocalAttention::backward_part(queue_, dq_, write(hop), d_o_, o_, lse_, q_, own_rows(), {&theirs, 1});
      if (messages && hop > 0) give_back(hop);
    }
  }

 private:
  static Write write(int hop) { return hop == 0 ? Write::Overwrite : Write::Accumulate; }
  const std::vector<Row>& own_rows() const { return rows_[static_cast<size_t>(token_.rank())]; }
  KeySpan span(int owner) const {
    const auto i = static_cast<size_t>(owner);
    return {.k = keys_[i].at(0),
            .v = keys_[i].at(1),
            .dk = gradients_[i].at(0),
            .dv = gradients_[i].at(1),
            .rows = rows_[i]};
  }
  /// Keys of hop `hop` from the rank before, those of the hop before it to the rank behind.
  void pass(int hop) {
    const auto next = static_cast<size_t>(plan_.owner(token_.rank(), hop)),
               here = static_cast<size_t>(plan_.owner(token_.rank(), hop - 1));
    Transfer received = token_.receive(queue_, keys_[next], plan_.owner(token_.rank(), 1), 0);
    Transfer sent = token_.send(queue_, keys_[here], plan_.reader(token_.rank(), 1), 0);
    received.join(queue_);
    sent.join(queue_);
  }
  /// The gradient of a block to its owner, and that of the own one back.
  void give_back(int hop) {
    const int owner = plan_.owner(token_.rank(), hop);
    const int64_t rows = plan_.count(token_.rank());
    const View<> mine(arrived_.data(), DType::F32, {2, batch_, m_.kv_heads, rows, m_.head_dim});
    Transfer received = token_.receive(queue_, mine, plan_.reader(token_.rank(), hop), 1);
    Transfer sent = token_.send(queue_, gradients_[static_cast<size_t>(owner)], owner, 1);
    received.join(queue_);
    sent.join(queue_);
  }
  View<> tensor(Shape shape) {
    std::vector<float>& values = tensors_.emplace_back(static_cast<size_t>(shape.elements()));
    const Random random(1, Purpose::Init, tensors_.size());
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random.normal(static_cast<uint32_t>(i)));
    return View<float>(values.data(), shape);
  }

  Transport& token_;
  Queue queue_;
  ModelShape m_;
  int64_t batch_;
  RingPlan plan_;
  std::unique_ptr<TokenAttention> ring_;
  std::vector<std::vector<Row>> rows_;    // by rank
  std::vector<View<>> keys_, gradients_;  // by owner: [2, batch, kv_heads, rows, head_dim]
  View<> q_, o_, d_o_, dq_, lse_, arrived_;
  std::deque<std::vector<float>> tensors_;
};

}  // namespace

BenchResult bench_ring(const Config& config, const BenchOptions& options, Session& session) {
  Communicator& world = session.world();
  expect_several_ranks(session, "ring");
  if (config.data.length < 2 * session.size())
    throw Error(ExitCode::Usage,
                fmt::format("memring bench ring: {} tokens for {} ranks", config.data.length, session.size()),
                fmt::format("Set data.length to at least {}.", 2 * session.size()));
  const auto token = host_transport(world);
  RingWork work(config, *token, session.node());
  work.overlapped();  // libraries choose their kernels

  std::vector<double> overlapped, in_turns, products, messages, ratio;
  for (int64_t pair = 0; pair < options.pairs; ++pair) {
    overlapped.push_back(1e3 * seconds_of(world, [&] { work.overlapped(); }));
    in_turns.push_back(1e3 * seconds_of(world, [&] { work.in_turns(true, true); }));
    products.push_back(1e3 * seconds_of(world, [&] { work.in_turns(false, true); }));
    messages.push_back(1e3 * seconds_of(world, [&] { work.in_turns(true, false); }));
    ratio.push_back(overlapped.back() / in_turns.back());
  }
  BenchResult result;
  result.setting = {
      {"attention", fmt::format("{} sequences of {} tokens, {} heads of {}, forward and backward", config.data.batch,
                                config.data.length, config.model.heads, config.model.head_dim)},
      {"messages",
       fmt::format("{} a rank, of {:.1f} MiB each", 3 * (session.size() - 1), work.message_bytes() / (1 << 20))},
      {"compute", fmt::format("{} threads a rank, {}", work.queue().threads(), name_of(work.queue().isa()))},
      {"pairs", fmt::format("{}", options.pairs)}};
  result.figures = {{"overlapped, over in turns", "", spread_of(ratio), Budget{Budget::Kind::AtMost, 1}},
                    {"overlapped", "ms", spread_of(overlapped)},
                    {"each message before its products", "ms", spread_of(in_turns)},
                    {"products alone", "ms", spread_of(products)},
                    {"messages alone", "ms", spread_of(messages)}};
  return result;
}

}  // namespace memring
