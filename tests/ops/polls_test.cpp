// Operators that may take minutes (attention over a long segment) poll on their way, and on the caller's thread alone:
// polls call MPI. Between two polls lies a bounded piece of the work, whatever the length.
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <functional>
#include <thread>

#include "attention_patterns.h"
#include "base/error.h"
#include "kernels/attention/attention.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/linear/linear.h"
#include "op_test.h"

namespace memring::test {
namespace {

constexpr int64_t kRows = 1536, kPiece = 512;  // the longest piece that any operator takes at a time

/// Polls while `operate(queue)` runs, on this and on other threads.
struct Polls {
  std::atomic<int64_t> here{0}, elsewhere{0}, work{0};

  template <class Operate>
  Polls(Backend backend, const Operate& operate) {
    Queue queue({.backend = backend, .threads = 2});
    const auto caller = std::this_thread::get_id();
    queue.add_poll([this, caller] { ++(std::this_thread::get_id() == caller ? here : elsewhere); });
    queue.count_work_in(work);
    operate(queue);
  }
};

void expect_polls(const char* name, const std::function<void(Queue&)>& operate, Backend backend, int64_t least) {
  const Polls polls(backend, operate);
  const std::string about = fmt::format("{}, {}", name, backend == Backend::Cpu ? "cpu" : "reference");
  EXPECT_GE(polls.here, 1) << about;
  EXPECT_GE(polls.work, least) << about;
  EXPECT_EQ(polls.elsewhere, 0) << about;
}

TEST(Polls, ComeFromInsideAttention) {
  const Shape shape{1, 1, kRows, 8};
  const Tensor<float> q = random<float>(shape, 1), k = random<float>(shape, 2), v = random<float>(shape, 3);
  Tensor<float> o(shape), lse(Shape{1, 1, kRows}), dq(shape), dk(shape), dv(shape);
  const Rows rows = causal(kRows).rows;
  const KeySpan span{k, v, dk, dv, rows};
  for (const Backend backend : {Backend::Cpu, Backend::Reference}) {
    expect_polls(
        "forward",
        [&](Queue& queue) {
          LocalAttention::forward_part(queue, o, lse, Write::Overwrite, q, rows, {&span, 1});
        },
        backend, kRows / kPiece);
    expect_polls(
        "backward",
        [&](Queue& queue) {
          LocalAttention::backward_part(queue, dq, Write::Overwrite, q, o, lse, q, rows, {&span, 1});
        },
        backend, kRows / kPiece);
  }
}

TEST(Polls, ComeFromBetweenTheKeysOfOneRunOfQueries) {
  constexpr int64_t kQueries = 3, kKeys = 40000, kMostKeys = 16384;
  const Shape of_queries{1, 1, kQueries, 8}, of_keys{1, 1, kKeys, 8};
  const Tensor<float> q = random<float>(of_queries, 1), k = random<float>(of_keys, 2), v = random<float>(of_keys, 3);
  Tensor<float> o(of_queries), lse(Shape{1, 1, kQueries}), dq(of_queries), dk(of_keys), dv(of_keys);
  const Rows keys = causal(kKeys).rows, rows(keys.end() - kQueries, keys.end());
  const KeySpan span{k, v, dk, dv, keys};
  const int64_t least = (kKeys + kMostKeys - 1) / kMostKeys;
  expect_polls(
      "forward",
      [&](Queue& queue) {
        LocalAttention::forward_part(queue, o, lse, Write::Overwrite, q, rows, {&span, 1});
      },
      Backend::Cpu, least);
  expect_polls(
      "backward",
      [&](Queue& queue) {
        LocalAttention::backward_part(queue, dq, Write::Overwrite, q, o, lse, q, rows, {&span, 1});
      },
      Backend::Cpu, least);
}

TEST(Polls, ComeFromInsideTheHeadAndBehindLinearLayers) {
  constexpr int64_t kDim = 8, kVocab = 16;
  const Tensor<float> x = random<float>(Shape{kRows, kDim}, 1), w = random<float>(Shape{kVocab, kDim}, 2);
  const std::vector<int32_t> targets(kRows, 3);
  const ConstView<int32_t> wanted(targets.data(), {kRows});
  Tensor<float> nll(Shape{kRows}), dx(x.shape), dw(w.shape), y(Shape{kRows, kVocab});
  for (const Backend backend : {Backend::Cpu, Backend::Reference}) {
    Arena scratch(CrossEntropy::scratch_bytes(DType::F32, kRows, kVocab));
    const int64_t most = kRows / kPiece;
    expect_polls(
        "loss", [&](Queue& queue) { CrossEntropy::forward(queue, nll, x, w, wanted, scratch); }, backend, most);
    expect_polls(
        "loss and gradient",
        [&](Queue& queue) { CrossEntropy::forward_backward(queue, nll, dx, dw, x, w, wanted, scratch); }, backend,
        most);
    const int64_t least = backend == Backend::Cpu ? 1 : most;  // a product is one call of a library
    expect_polls(
        "linear", [&](Queue& queue) { Linear::forward(queue, y, Write::Overwrite, x, w); }, backend, least);
    expect_polls(
        "input gradient", [&](Queue& queue) { Linear::input_gradient(queue, dx, Write::Overwrite, y, w); }, backend,
        least);
    expect_polls(
        "weight gradient", [&](Queue& queue) { Linear::weight_gradient(queue, dw, y, x); }, backend, least);
  }
}

}  // namespace
}  // namespace memring::test
