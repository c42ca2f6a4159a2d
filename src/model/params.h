// Params: the registry of a model's tensors and the flat buffers behind it. Model and memory declare what they need, in
// the order in which the flat buffer holds it; shards, checkpoints and the optimizer see flat ranges.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/arena.h"
#include "base/ids.h"
#include "base/queue.h"

namespace memring {

/// How a tensor starts: normal(0, std) keyed by (seed, tensor, element), or a constant when std is 0.
struct Init {
  double std = 0, constant = 0;
};

class Params {
 public:
  /// Returns the tensor's number. `decay`: weight decay applies (matrices yes, gains and memory tokens no).
  int declare(const std::string& name, Shape shape, Init init, bool decay);

  enum class Gradients : uint8_t { None, Plain, Exact };
  /// Takes the flat buffers; without gradients grad() is empty (evaluation). A measuring arena only counts.
  void allocate(Arena&, DType, Gradients);
  /// A pure function of the seed, whatever the number of threads.
  void initialise(uint64_t seed, const Queue&);

  View<> weight(int tensor) const { return slice(weights_, tensor); }
  View<> grad(int tensor) const { return slice(grads_, tensor); }  ///< where cells add their gradients
  View<> weights() const { return weights_; }                      ///< [layout().size]
  View<> grads() const { return grads_; }                          ///< [layout().size], or empty: grad() of all tensors
  View<> rounded_grads() const { return rounded_grads_; }  ///< the same, or, where they are exact, what becomes of them

  const FlatBuffer& layout() const { return layout_; }
  bool decays(int tensor) const { return decays_[static_cast<size_t>(tensor)]; }
  DType dtype() const { return weights_.dtype(); }

 private:
  View<> slice(View<> flat, int tensor) const;
  FlatBuffer layout_;
  std::vector<Init> inits_;
  std::vector<bool> decays_;
  View<> weights_, grads_, rounded_grads_;
};

}  // namespace memring
