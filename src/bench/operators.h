// Operators of a training step on random operands of their own: what the operator benchmarks time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "base/arena.h"
#include "config/config.h"
#include "kernels/attention/attention.h"
#include "model/shape.h"

namespace memring {

/// The operators with a configuration's sizes, on the rows of one segment of data.batch sequences (causal).
class Operators {
 public:
  explicit Operators(const Config&);
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
