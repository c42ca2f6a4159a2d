// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/adamw.h"

#include <algorithm>
#include <cmath>

#include "op_test.h"

namespace memring::test {
namespace {

constexpr int kSteps = 4;

template <class T>
struct State {
  Tensor<T> w, m, v;
};
/// Four steps with different gradients.
template <class T>
State<T> run(Queue& queue, int64_t size, AdamW::Settings settings) {
  State<T> s{random<T>({size}, 1), Tensor<T>(Shape{size}), Tensor<T>(Shape{size})};
  for (int t = 1; t <= kSteps; ++t) {
    settings.step = t;
    const Range all{0, size};
    AdamW::step(queue, s.w, {}, s.m, s.v, random<T>({size}, 100 + static_cast<uint64_t>(t)), {&all, 1}, settings);
  }
  return s;
}

const AdamW::Settings kSettings{
    .lr = 3e-2, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6, .weight_decay = 0.1, .grad_scale = 0.25};

TEST(AdamW, ReferenceFollowsTheFormulaWrittenOut) {
  Queue queue = reference_queue();
  const auto found = run<double>(queue, 13, kSettings);
  for (int64_t i = 0; i < 13; ++i) {
    double w = random<double>({13}, 1)[i];
    for (int t = 1; t <= kSteps; ++t) {
      // The moments as weighted means of all gradients so far, bias correction included.
      double first = 0, second = 0, weights1 = 0, weights2 = 0;
      for (int j = 1; j <= t; ++j) {
        const double g = 0.25 * random<double>({13}, 100 + static_cast<uint64_t>(j))[i];
        first += std::pow(0.8, t - j) * g, weights1 += std::pow(0.8, t - j);
        second += std::pow(0.9, t - j) * g * g, weights2 += std::pow(0.9, t - j);
      }
      w = w - 3e-2 * 0.1 * w - 3e-2 * (first / weights1) / (std::sqrt(second / weights2) + 1e-6);
    }
    EXPECT_NEAR(found.w[i], w, 1e-13);
  }
}

TEST(AdamW, AgreesWithTheDoubleReference) {
  for (int64_t size : {1, 7, 64, 1023, 1025, 40009, 0}) {
    Queue oracle = reference_queue();
    const auto expected = run<double>(oracle, size, kSettings);
    on_queues(every_queue(), [&](Queue& queue) {
      const auto found = run<float>(queue, size, kSettings);
      expect_close(found.w, expected.w, 1e-6, "w");
      expect_close(found.m, expected.m, 1e-6, "m");
      expect_close(found.v, expected.v, 1e-6, "v");
    });
  }
}

// Ranges of no weights, ranges that touch, and more of them than a kernel is given at once.
TEST(AdamW, OnlyDecayedRangesDecayAndTheWorkingCopyIsWRounded) {
  std::vector<Range> decayed{{3, 3}, {3, 5}, {5, 6}};
  for (int64_t i = 10; i < 2000; i += 7) decayed.push_back({i, i + i % 5});
  const int64_t size = 2100;
  const auto decays = [&](int64_t i) {
    return std::any_of(decayed.begin(), decayed.end(), [&](Range r) { return r.begin <= i && i < r.end; });
  };
  AdamW::Settings plain = kSettings;
  plain.weight_decay = 0;
  Queue oracle = reference_queue();
  const auto with = run<double>(oracle, size, kSettings), without = run<double>(oracle, size, plain);
  Tensor<double> expected(Shape{size});
  for (int64_t i = 0; i < size; ++i) expected[i] = decays(i) ? with.w[i] : without.w[i];
  on_queues(every_queue(), [&](Queue& queue) {
    State<float> s{random<float>({size}, 1), Tensor<float>(Shape{size}), Tensor<float>(Shape{size})};
    Tensor<Bf16> working(Shape{size});
    for (int t = 1; t <= kSteps; ++t) {
      AdamW::Settings settings = kSettings;
      settings.step = t;
      AdamW::step(queue, s.w, working, s.m, s.v, random<float>({size}, 100 + static_cast<uint64_t>(t)), decayed,
                  settings);
    }
    expect_close(s.w, expected, 1e-6, "w");
    for (int64_t i = 0; i < size; ++i) EXPECT_EQ(working[i], Bf16(s.w[i]));
  });
}

TEST(AdamW, SmallDecayIsNotLostInRounding) {
  AdamW::Settings settings{.lr = 1e-4, .weight_decay = 1e-2, .step = 1};
  on_queues(every_queue(), [&](Queue& queue) {
    Tensor<float> w(Shape{40}), m(Shape{40}), v(Shape{40}), grad(Shape{40});
    for (float& value : w.data) value = 1.5f;
    const Range all{0, 40};
    for (int step = 0; step < 1000; ++step) AdamW::step(queue, w, {}, m, v, grad, {&all, 1}, settings);
    settle();
    for (float value : w.data) EXPECT_NEAR(1.5f - value, 1.5 * 1e-3, 2e-4);
  });
}

TEST(AdamW, SameBitsForAnyThreadCount) {
  Queue one;
  const auto expected = run<float>(one, 70001, kSettings);
  for (int threads : {2, 3, 5}) {
    Queue queue({.threads = threads});
    const auto found = run<float>(queue, 70001, kSettings);
    expect_same_bits(found.w, expected.w, "w");
    expect_same_bits(found.m, expected.m, "m");
    expect_same_bits(found.v, expected.v, "v");
  }
}

TEST(AdamW, RefusesWhatDoesNotFit) {
  Queue queue;
  Tensor<float> w(Shape{4}), wrong(Shape{5});
  EXPECT_THROW(AdamW::step(queue, w, {}, w, wrong, w, {}, {}), ShapeError);
  EXPECT_EQ(message_of([&] { AdamW::step(queue, w, {}, w, w, w, {}, {.step = 0}); }),
            "AdamW counts steps from 1, found 0");
  EXPECT_THROW(AdamW::step(queue, w, w, w, w, w, {}, {}), ShapeError) << "a working copy is bf16";
  const std::vector<Range> meet{{0, 2}, {1, 4}}, beyond{{2, 5}};
  EXPECT_EQ(message_of([&] { AdamW::step(queue, w, {}, w, w, w, meet, {}); }),
            "AdamW: weights 1 to 4 cannot decay behind 2 of 4");
  EXPECT_THROW(AdamW::step(queue, w, {}, w, w, w, beyond, {}), Error);
}

}  // namespace
}  // namespace memring::test
