// SPDX-License-Identifier: Apache-2.0
#include "dist/ring_attention.h"

#include <algorithm>
#include <optional>

#include "kernels/elementwise/elementwise.h"

namespace memring::over_ranks {
namespace {

constexpr int kKeysTag = 0, kGradientTag = 1;

/// Keys and values of one rank, or their gradients, as one message: [2, batch, kv_heads, rows, head_dim].
struct Block {
  View<> all;
  View<> k() const { return all.at(0); }
  View<> v() const { return all.at(1); }
};

/// Two buffers, each large enough for any rank's block, used in turns.
class Buffers {
 public:
  Buffers(Arena& arena, DType dtype, Shape keys, int64_t most_rows) : dtype_(dtype), keys_(keys) {
    for (View<>& buffer : buffers_) buffer = arena.take(dtype, {2 * keys[0] * keys[1] * most_rows * keys[3]});
  }
  Block block(int hop, int64_t rows) const {
    return {buffers_[hop % 2].reinterpreted(dtype_, {2, keys_[0], keys_[1], rows, keys_[3]})};
  }

 private:
  DType dtype_;
  Shape keys_;  // [batch, kv_heads, any, head_dim]
  View<> buffers_[2];
};

/// What a call takes from the arena.
struct RingBuffers {
  Buffers keys;
  // Backward: gradients of own keys as they arrive, of others' as they leave.
  std::optional<Buffers> own_gradients, others_gradients;

  static RingBuffers carve(Arena& arena, DType dtype, Shape keys, int64_t most_rows, bool backward) {
    RingBuffers b{Buffers(arena, dtype, keys, most_rows), {}, {}};
    if (!backward) return b;
    b.own_gradients.emplace(arena, dtype, keys, most_rows);
    b.others_gradients.emplace(arena, dtype, keys, most_rows);
    return b;
  }
};

}  // namespace

/// The keys of the ranks in turn: while `current` is worked on, the next one travels.
class RingAttention::KeyRing {
 public:
  KeyRing(RingAttention& ring, Queue& queue, const Buffers& buffers, const KeySpan& mine)
      : ring_(ring), queue_(queue), token_(ring.token_), plan_(ring.plan_), buffers_(buffers) {
    const Block first = block(0);
    Elementwise::copy(queue, first.k(), mine.k);
    Elementwise::copy(queue, first.v(), mine.v);
    exchange();
  }
  bool done() const { return hop_ == plan_.ranks(); }
  int hop() const { return hop_; }
  int owner() const { return plan_.owner(token_.rank(), hop_); }
  Block current() const { return block(hop_); }
  void advance() {
    ring_.wait(queue_, received_, before());
    ring_.wait(queue_, sent_, behind());
    ++hop_;
    exchange();
  }

 private:
  Block block(int hop) const { return buffers_.block(hop, plan_.count(plan_.owner(token_.rank(), hop))); }
  void exchange() {
    if (hop_ + 1 >= plan_.ranks()) return;
    const View<> next = block(hop_ + 1).all, here = block(hop_).all;
    if (next.size() > 0) received_ = token_.receive(queue_, next, before(), kKeysTag);
    if (here.size() > 0) sent_ = token_.send(queue_, here, behind(), kKeysTag);
  }

  int before() const { return plan_.owner(token_.rank(), 1); }
  int behind() const { return plan_.reader(token_.rank(), 1); }

  RingAttention& ring_;
  Queue& queue_;
  Transport& token_;
  const RingPlan& plan_;
  const Buffers& buffers_;
  int hop_ = 0;
  Transfer received_, sent_;
};

void RingAttention::wait(Queue& queue, Transfer& transfer, int peer) {
  const NotedWait noted(progress_, peer);
  transfer.join(queue);
}

int64_t RingAttention::buffer_bytes(DType dtype, const AttentionHeads& h, const RingPlan& plan, bool backward) {
  Arena arena;
  RingBuffers::carve(arena, dtype, {h.batch, h.kv_heads, 0, h.head_dim}, plan.most(), backward);
  return arena.peak();
}

void RingAttention::enter(const Queue& queue, const RingPlan& plan, const std::vector<Row>& layout) {
  plan_ = plan;
  rows_.clear();
  store_.next_layout(queue);
  for (int rank = 0; rank < plan.ranks(); ++rank)
    rows_.push_back(store_.add(queue, rows_at(layout, plan.rows_of(rank))));
}

void RingAttention::forward(Queue& queue, View<> o, View<> lse, ConstView<> q, const RowTable& rows,
                            std::span<const KeySpan> spans) {
  const ArenaScope scope(buffers_);
  const KeySpan& mine = spans.back();
  const RingBuffers buffers = RingBuffers::carve(buffers_, q.dtype(), mine.k.shape(), plan_.most(), false);
  for (KeyRing ring(*this, queue, buffers.keys, mine); !ring.done(); ring.advance()) {
    if (ring.hop() == 0) {
      LocalAttention::forward_part(queue, o, lse, Write::Overwrite, q, rows, spans);
      continue;
    }
    const Block block = ring.current();
    const KeySpan theirs{
        .k = block.k(), .v = block.v(), .dk = {}, .dv = {}, .rows = rows_[static_cast<size_t>(ring.owner())]};
    LocalAttention::forward_part(queue, o, lse, Write::Accumulate, q, rows, {&theirs, 1});
  }
}

// At hop i rank r works on the keys of rank r - i, and rank r + i on those of r. Each gradient of others' keys leaves
// when it is complete, and may take all of the next hop to arrive.
void RingAttention::backward(Queue& queue, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                             const RowTable& rows, std::span<const KeySpan> spans) {
  const ArenaScope scope(buffers_);
  const KeySpan& mine = spans.back();
  const RingBuffers buffers = RingBuffers::carve(buffers_, q.dtype(), mine.k.shape(), plan_.most(), true);
  Transfer sent[2], received[2];
  const auto add_received = [&](int hop) {
    wait(queue, received[hop % 2], plan_.reader(token_.rank(), hop));
    const Block part = buffers.own_gradients->block(hop, mine.k.dim(2));
    if (part.all.size() == 0) return;
    Elementwise::add(queue, mine.dk, mine.dk, part.k());
    Elementwise::add(queue, mine.dv, mine.dv, part.v());
  };
  for (KeyRing ring(*this, queue, buffers.keys, mine); !ring.done(); ring.advance()) {
    const int hop = ring.hop();
    if (hop == 0) {
      LocalAttention::backward_part(queue, dq, Write::Overwrite, d_o, o, lse, q, rows, spans);
      continue;
    }
    const Block part = buffers.own_gradients->block(hop, mine.k.dim(2));
    if (part.all.size() > 0)
      received[hop % 2] = token_.receive(queue, part.all, plan_.reader(token_.rank(), hop), kGradientTag);
    const Block block = ring.current(), gradient = buffers.others_gradients->block(hop, block.all.dim(3));
    wait(queue, sent[hop % 2], plan_.owner(token_.rank(), hop - 2));
    Elementwise::fill(queue, gradient.all, 0);
    const KeySpan theirs{.k = block.k(),
                         .v = block.v(),
                         .dk = gradient.k(),
                         .dv = gradient.v(),
                         .rows = rows_[static_cast<size_t>(ring.owner())]};
    LocalAttention::backward_part(queue, dq, Write::Accumulate, d_o, o, lse, q, rows, {&theirs, 1});
    if (gradient.all.size() > 0) sent[hop % 2] = token_.send(queue, gradient.all, ring.owner(), kGradientTag);
    if (hop > 1) add_received(hop - 1);
  }
  if (plan_.ranks() > 1) add_received(plan_.ranks() - 1);
  for (const KeySpan& span : spans)
    for (const View<>& gradient : {span.dk, span.dv})
      if (span.replicated && gradient) token_.all_reduce_sum(queue, gradient);
  for (int hop = std::max(plan_.ranks() - 2, 1); hop < plan_.ranks(); ++hop)
    wait(queue, sent[hop % 2], plan_.owner(token_.rank(), hop));
}

}  // namespace memring::over_ranks
