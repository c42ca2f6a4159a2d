// Operators of a training step on random operands of their own: what the operator benchmarks time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/arena.h"
#include "kernels/attention/attention.h"
#include "model/shape.h"

namespace memring {

/// The operators of a model of this shape, on `rows` rows of a segment of each of `batch` sequences (causal).
class Operators {
 public:
  Operators(const ModelShape&, int64_t batch, int64_t rows);
  Operators(const Operators&) = delete;
  Operators& operator=(const Operators&) = delete;

  struct Case {
    std::string name;
    std::function<void(Queue&)> run;
  };
  std::vector<Case> products();   ///< the linear layers in their three directions
  std::vector<Case> attention();  ///< forward, backward
  std::vector<Case> passes();     ///< all others

 private:
  View<> tensor(Shape);

  ModelShape m_;
  int64_t batch_, rows_;
  std::vector<Row> causal_;
  std::vector<int32_t> ids_;
  std::deque<std::vector<float>> tensors_;
  Arena scratch_;
  LocalAttention attention_;
};

}  // namespace memring
