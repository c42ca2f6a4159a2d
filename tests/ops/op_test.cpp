// SPDX-License-Identifier: Apache-2.0
#include "op_test.h"
#include "base/error.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/random.h"

namespace memring::test {
namespace {

/// "[2, 64] at [1, 3]"
std::string place(const Shape& shape, int64_t index) {
  std::string text;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    text = fmt::format("{}{}{}", index % shape[i], text.empty() ? "" : ", ", text);
    index /= shape[i];
  }
  return fmt::format("{} at [{}]", shape.text(), text);
}

}  // namespace

template <class T>
Tensor<T> random(Shape shape, uint64_t stream, double scale) {
  const Random numbers(stream, Purpose::Test);
  Tensor<T> tensor(shape);
  // Through fp32, so that tensors of both types hold the same values.
  for (int64_t i = 0; i < tensor.size(); ++i)
    tensor[i] = static_cast<T>(static_cast<float>(scale * numbers.normal(static_cast<uint32_t>(i))));
  return tensor;
}

Tensor<float> rounded_to_bf16(const Tensor<float>& tensor) {
  Tensor<float> rounded(tensor.shape);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    const float value = tensor[i];
    const float below = std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0xffff0000u);
    const float above = std::bit_cast<float>((std::bit_cast<uint32_t>(value) & 0xffff0000u) + 0x10000u);
    const double to_below = std::abs(double(value) - below), to_above = std::abs(double(above) - value);
    const bool even_below = (std::bit_cast<uint32_t>(below) & 0x10000u) == 0;
    rounded[i] = to_below < to_above || (to_below == to_above && even_below) ? below : above;
  }
  return rounded;
}

template <class T>
void expect_close(const Tensor<T>& found, const Tensor<double>& expected, double tolerance, const std::string& what) {
  settle();
  ASSERT_EQ(found.shape.text(), expected.shape.text()) << what;
  double squares = 0;
  for (double value : expected.data) squares += std::isfinite(value) ? value * value : 0;
  const double rms = std::sqrt(squares / static_cast<double>(std::max<int64_t>(expected.size(), 1)));
  int64_t worst = -1, bad = 0;
  double worst_error = 0;
  for (int64_t i = 0; i < expected.size(); ++i) {
    const double f = static_cast<double>(found[i]), e = expected[i];
    if (f == e || (std::isnan(f) && std::isnan(e))) continue;
    const double error = std::abs(f - e) / (std::abs(e) + rms);  // Inf or NaN where either is not finite
    if (error <= tolerance) continue;
    ++bad;
    if (worst < 0 || !(error <= worst_error)) worst = i, worst_error = error;
  }
  if (worst >= 0)
    ADD_FAILURE() << fmt::format(
        "{}: {} of {} elements differ; the worst is {}: found {:.9g}, expected {:.9g}, error {:.3g}, tolerance {:.3g}",
        what, bad, expected.size(), place(expected.shape, worst), static_cast<double>(found[worst]), expected[worst],
        worst_error, tolerance);
}

template <class T>
void expect_same_bits(const Tensor<T>& found, const Tensor<T>& expected, const std::string& what) {
  settle();
  ASSERT_EQ(found.shape.text(), expected.shape.text()) << what;
  for (int64_t i = 0; i < expected.size(); ++i)
    if (std::memcmp(&found[i], &expected[i], sizeof(T)) != 0) {
      ADD_FAILURE() << fmt::format("{}: bits differ, first {}: found {:a}, expected {:a}", what,
                                   place(expected.shape, i), found[i], expected[i]);
      return;
    }
}

std::string text(const Queue::Options& options) {
  return fmt::format("{}, {}, {} threads{}",
                     options.backend == Backend::Reference ? "reference"
                     : options.device                      ? "device"
                                                           : "cpu",
                     name_of(options.isa), options.threads,
                     options.products == Products::Bf16 ? ", bf16 products" : "");
}

Queue reference_queue() { return Queue({.backend = Backend::Reference, .isa = Isa::Baseline}); }

void on_queues(const std::vector<Queue::Options>& queues, const std::function<void(Queue&)>& body) {
  for (const Queue::Options& options : queues) {
    SCOPED_TRACE("on queue: " + text(options));
    Queue queue(options);
    const Entered entered(queue);
    body(queue);
  }
}

void expect_gradient(const Differentiable& op, const Tensors& inputs, double tolerance) {
  const Tensors outputs = op.forward(inputs);
  Tensors projection;
  for (size_t o = 0; o < outputs.size(); ++o) projection.push_back(random<double>(outputs[o].shape, 1000 + o));
  auto projected = [&](const Tensors& at) {
    const Tensors values = op.forward(at);
    double sum = 0;
    for (size_t o = 0; o < values.size(); ++o)
      for (int64_t i = 0; i < values[o].size(); ++i) sum += values[o][i] * projection[o][i];
    return sum;
  };
  const Tensors gradient = op.backward(inputs, projection);
  ASSERT_EQ(gradient.size(), inputs.size());
  Tensors moved = inputs;
  for (size_t t = 0; t < inputs.size(); ++t) {
    Tensor<double> differences(inputs[t].shape);
    for (int64_t i = 0; i < inputs[t].size(); ++i) {
      const double x = inputs[t][i], h = 1e-5 * std::max(1.0, std::abs(x));
      const double above = x + h, below = x - h;
      moved[t][i] = above;
      const double high = projected(moved);
      moved[t][i] = below;
      differences[i] = (high - projected(moved)) / (above - below);
      moved[t][i] = x;
    }
    expect_close(gradient[t], differences, tolerance, fmt::format("gradient of input {}", t));
  }
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "an Error was expected and none was thrown";
  return {};
}

template Tensor<float> random(Shape, uint64_t, double);
template Tensor<double> random(Shape, uint64_t, double);
template void expect_close(const Tensor<float>&, const Tensor<double>&, double, const std::string&);
template void expect_close(const Tensor<double>&, const Tensor<double>&, double, const std::string&);
template void expect_same_bits(const Tensor<float>&, const Tensor<float>&, const std::string&);
template void expect_same_bits(const Tensor<double>&, const Tensor<double>&, const std::string&);

}  // namespace memring::test
