// A linear layer's parameters, or their gradients, as tensors: some of them, as a test has it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_layer/linear_layer.h"
#include "op_test.h"

namespace memring::test {

/// What is added to the weight.
struct Added {
  bool bias = false;
  int64_t rank = 0;  ///< 0: no low-rank update
  double scale = 1;

  std::string text() const { return fmt::format("{}, rank {} times {}", bias ? "bias" : "no bias", rank, scale); }
};
inline const Added kEachAdded[] = {{}, {.bias = true}, {.rank = 2, .scale = 0.7}, {.bias = true, .rank = 3}};

template <class T>
struct LayerParameters {
  Tensor<T> weight, bias, lora_a, lora_b;
  double scale;

  LayerParameters(int64_t out, int64_t in, const Added& added, uint64_t stream)
      : weight(random<T>({out, in}, stream)), scale(added.scale) {
    if (added.bias) bias = random<T>({out}, stream + 100);
    if (added.rank == 0) return;
    lora_a = random<T>({added.rank, in}, stream + 200);
    lora_b = random<T>({out, added.rank}, stream + 300);
  }
  LinearLayer::Weights weights() const {
    return {weight, there<ConstView<>>(bias), there<ConstView<>>(lora_a), there<ConstView<>>(lora_b), scale};
  }
  LinearLayer::Gradients gradients() {
    return {weight, there<View<>>(bias), there<View<>>(lora_a), there<View<>>(lora_b)};
  }
  /// Those that are there.
  std::vector<Tensor<T>*> parts() {
    std::vector<Tensor<T>*> parts{&weight};
    for (Tensor<T>* part : {&bias, &lora_a, &lora_b})
      if (!part->data.empty()) parts.push_back(part);
    return parts;
  }

 private:
  template <class V, class Any>
  static V there(Any& part) {
    return part.data.empty() ? V() : V(part);
  }
};

/// Parameters of the same shapes.
inline LayerParameters<double> zeros(LayerParameters<double> like) {
  for (Tensor<double>* part : like.parts()) *part = Tensor<double>(part->shape);
  return like;
}

/// Copies of tensors, one list behind the other, and back: the inputs of expect_gradient.
inline Tensors listed(const std::vector<std::vector<Tensor<double>*>>& lists) {
  Tensors all;
  for (const auto& list : lists)
    for (const Tensor<double>* tensor : list) all.push_back(*tensor);
  return all;
}
inline void set_listed(const std::vector<std::vector<Tensor<double>*>>& lists, const Tensors& all) {
  size_t next = 0;
  for (const auto& list : lists)
    for (Tensor<double>* tensor : list) *tensor = all[next++];
}

/// All of `found`'s tensors.
template <class T>
void expect_close(LayerParameters<T> found, LayerParameters<double> expected, double tolerance,
                  const std::string& what) {
  for (size_t i = 0; i < expected.parts().size(); ++i)
    expect_close(*found.parts()[i], *expected.parts()[i], tolerance, fmt::format("{}, part {}", what, i));
}

}  // namespace memring::test
