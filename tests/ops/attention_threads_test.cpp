// Backward of attention with more threads than key/value heads: threads share a head's keys, and every sum keeps the
// order that one thread gives it.
// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <utility>

#include "attention_patterns.h"
#include "base/error.h"
#include "kernels/attention/attention.h"
#include "op_test.h"

namespace memring::test {
namespace {

constexpr int kThreads = 5;

struct Extents {
  int64_t batch, heads, kv_heads, head_dim;
};

struct Results {
  Tensor<float> dq;
  std::vector<Tensor<float>> dk, dv;
};

Results backward(Queue& queue, const Pattern& pattern, Extents e, Write write) {
  const Shape shape{e.batch, e.heads, std::ssize(pattern.rows), e.head_dim};
  const Tensor<float> q = random<float>(shape, 1), d_o = random<float>(shape, 2);
  Tensor<float> o(shape), lse(Shape{e.batch, e.heads, std::ssize(pattern.rows)});
  std::vector<Tensor<float>> k, v;
  Results out;
  for (size_t s = 0; s < pattern.spans.size(); ++s) {
    const Shape keys{e.batch, e.kv_heads, std::ssize(pattern.spans[s]), e.head_dim};
    k.push_back(random<float>(keys, 10 + s));
    v.push_back(random<float>(keys, 20 + s));
    out.dk.push_back(random<float>(keys, 30 + s));
    out.dv.push_back(random<float>(keys, 40 + s));
  }
  std::vector<KeySpan> spans;
  for (size_t s = 0; s < k.size(); ++s)
    spans.push_back({k[s], v[s], out.dk[s], out.dv[s], row_table(pattern.spans[s])});
  out.dq = random<float>(shape, 3);
  if (write == Write::Overwrite)
    std::fill(out.dq.data.begin(), out.dq.data.end(), std::numeric_limits<float>::quiet_NaN());
  LocalAttention::forward_part(queue, o, lse, Write::Overwrite, q, row_table(pattern.rows), spans);
  LocalAttention::backward_part(queue, out.dq, write, d_o, o, lse, q, row_table(pattern.rows), spans);
  return out;
}

// Blocks of keys hold 256, and a head of 600 keys has three; runs of queries are short where keys fit in the cache, as
// with a head_dim of 16.
TEST(AttentionThreads, BeyondTheHeadsGiveTheSameBits) {
  constexpr Write overwrite = Write::Overwrite, accumulate = Write::Accumulate;
  const std::pair<Pattern, Write> cases[] = {{causal(600), accumulate},         {causal(600), overwrite},
                                             {window(600, 50), overwrite},      {future(600), overwrite},
                                             {blind(600), overwrite},           {shuffled(300, 400), overwrite},
                                             {uio_decoder(300, 300), overwrite}};
  std::vector<Queue::Options> options = fast_queues();
  std::erase_if(options, [](const Queue::Options& o) { return o.threads > 1; });
  if (!options.empty()) {
    options.push_back(options.back());
    options.back().products = Products::Bf16;
  }
  for (const auto& [pattern, write] : cases)
    for (const Extents e : {Extents{1, 2, 1, 128}, Extents{2, 3, 3, 16}}) {
      SCOPED_TRACE(fmt::format("{}, batch {}, {} heads on {} of {}, {}", pattern.name, e.batch, e.heads, e.kv_heads,
                               e.head_dim, write == Write::Overwrite ? "written" : "accumulated"));
      on_queues(options, [&, &pattern = pattern, &write = write](Queue& queue) {
        Queue::Options many = queue.options();
        many.threads = kThreads;
        Queue many_threads(many);
        const Results expected = backward(queue, pattern, e, write), found = backward(many_threads, pattern, e, write);
        expect_same_bits(found.dq, expected.dq, "dq");
        for (size_t s = 0; s < found.dk.size(); ++s) {
          expect_same_bits(found.dk[s], expected.dk[s], "dk");
          expect_same_bits(found.dv[s], expected.dv[s], "dv");
        }
      });
    }
}

}  // namespace
}  // namespace memring::test
