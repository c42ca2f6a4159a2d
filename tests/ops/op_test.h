// The claims of the operator tests, stated once: fast agrees with the double-precision reference on every
// instruction set, bits do not depend on threads, the reference's gradient agrees with finite differences.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/queue.h"
#include "kernels/common/row_table.h"
#include "kernels/common/token_ids.h"

namespace memring::test {

// What a program's queues are, by host.cpp or, where the device is the twin, by twin.cpp:

/// The queues that operators are tried on, the reference first.
std::vector<Queue::Options> every_queue();
/// Fast paths only.
std::vector<Queue::Options> fast_queues();
/// Where the operators of the queue that runs now want their tensors.
Space space_of_tensors();
void set_space_of_tensors(Space);
void settle();                                  ///< what operators were asked for has happened
void ended(const void* numbers, size_t bytes);  ///< what a tensor held at its end

/// This queue runs in a scope.
class Entered {
 public:
  explicit Entered(const Queue& queue) : before_(space_of_tensors()) {
    set_space_of_tensors(queue.device() ? Space::Device : Space::Host);
  }
  ~Entered() {
    settle();
    set_space_of_tensors(before_);
  }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  Space before_;
};

/// A dense tensor that owns its numbers; zeros at first.
template <class T>
struct Tensor {
  Shape shape;
  std::vector<T> data;

  Tensor() = default;
  explicit Tensor(Shape s) : shape(s), data(static_cast<size_t>(s.elements())) {}
  template <class U>
  explicit Tensor(const Tensor<U>& other) : shape(other.shape) {
    settle();
    data.assign(other.data.begin(), other.data.end());
  }

  // Operators may still be at work on it.
  ~Tensor() {
    settle();
    ended(data.data(), data.size() * sizeof(T));
  }
  Tensor(Tensor&&) = default;
  Tensor& operator=(Tensor&& other) noexcept {
    settle();
    shape = other.shape;
    data = std::move(other.data);
    return *this;
  }
  Tensor(const Tensor& other) { *this = other; }
  Tensor& operator=(const Tensor& other) {
    settle();
    shape = other.shape;
    data = other.data;
    return *this;
  }

  View<T> view() { return {data.data(), shape, space_of_tensors()}; }
  ConstView<T> view() const { return {data.data(), shape, space_of_tensors()}; }
  operator View<>() { return view(); }
  operator ConstView<>() const { return view(); }
  T& operator[](int64_t i) {
    settle();
    return data[static_cast<size_t>(i)];
  }
  const T& operator[](int64_t i) const {
    settle();
    return data[static_cast<size_t>(i)];
  }
  int64_t size() const { return shape.elements(); }
};

/// Rows where the operators of the queue that runs now want them; these must stay.
RowTable row_table(const std::vector<Row>& rows);

inline TokenIds token_ids(const Tensor<int32_t>& ids) { return {ids.view(), ids.data}; }

/// Scratch where the queue that runs now wants it.
class Scratch {
 public:
  explicit Scratch(int64_t bytes) : bytes_(Shape{bytes}), arena_(bytes_.view()) {}
  operator Arena&() { return arena_; }
  int64_t used() const { return arena_.used(); }

 private:
  Tensor<uint8_t> bytes_;
  Arena arena_;
};

/// Reproducible normal numbers of this standard deviation; equal (shape, stream) give equal numbers, in fp32 the
/// rounded ones.
template <class T>
Tensor<T> random(Shape shape, uint64_t stream, double scale = 1);

/// The values rounded to bf16 (nearest even).
Tensor<float> rounded_to_bf16(const Tensor<float>&);

/// |found - expected| <= tolerance * (|expected| + rms of expected) for each element; reports the worst one.
template <class T>
void expect_close(const Tensor<T>& found, const Tensor<double>& expected, double tolerance, const std::string& what);

/// The same bits in each element.
template <class T>
void expect_same_bits(const Tensor<T>& found, const Tensor<T>& expected, const std::string& what);

std::string text(const Queue::Options&);
/// The oracle: reference kernels, one thread.
Queue reference_queue();

/// Runs `body` on each queue; a failure inside names the queue.
void on_queues(const std::vector<Queue::Options>& queues, const std::function<void(Queue&)>& body);

using Tensors = std::vector<Tensor<double>>;
/// An operator as a function: outputs from inputs, and input gradients from inputs and output gradients.
struct Differentiable {
  std::function<Tensors(const Tensors& inputs)> forward;
  std::function<Tensors(const Tensors& inputs, const Tensors& d_outputs)> backward;
};
/// The gradient of a random projection of all outputs, against central differences in double: every entry of every
/// input.
void expect_gradient(const Differentiable& op, const Tensors& inputs, double tolerance = 1e-7);

/// Runs `body` and returns the message of the Error it throws ("" and a failure if it throws none).
std::string message_of(const std::function<void()>& body);

}  // namespace memring::test
