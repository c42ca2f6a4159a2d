// Params: the registry of a model's tensors and the flat buffers behind it. Model and memory declare what they need. In
// the flat buffer, tensors that are trained come first, in this order, and frozen ones behind them: so gradients,
// shards, checkpoints and the optimizer see one flat range, its front.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/arena.h"
#include "base/ids.h"
#include "base/queue.h"

namespace memring {

/// How a tensor starts: normal(0, std) keyed by (seed, tensor, element), or a constant when std is 0. Those of adapters
/// are numbered by themselves: the base starts the same with them and without.
struct Init {
  double std = 0, constant = 0;
  bool adapter = false;
};

class Params {
 public:
  /// Returns the tensor's number. `decay`: weight decay applies (matrices yes, gains and memory tokens no).
  int declare(const std::string& name, Shape shape, Init init, bool decay);

  /// Trains those tensors of whose name `chosen` is true, instead of all, and freezes the others: they keep their
  /// values, and take no gradient, nor what follows from one. Before allocate().
  void train(const std::function<bool(const std::string& name)>& chosen);
  bool trained(int tensor) const { return trained_[static_cast<size_t>(tensor)]; }

  enum class Gradients : uint8_t { None, Plain, Exact };
  /// Takes the flat buffers; without gradients grad() is empty (evaluation). A measuring arena only counts.
  void allocate(Arena&, DType, Gradients);
  /// A pure function of the seed, whatever the number of threads.
  void initialise(uint64_t seed, const Queue&);

  View<> weight(int tensor) const { return slice(weights_, tensor); }
  /// Where cells add their gradients; empty: frozen.
  View<> grad(int tensor) const { return trained(tensor) ? slice(grads_, tensor) : View<>(); }
  View<> weights() const { return weights_; }  ///< [layout().size]
  View<> trained_weights() const { return weights_.rows(0, trained_layout_.size); }
  View<> grads() const { return grads_; }                  ///< [trained_layout().size], or empty: grad() of all tensors
  View<> rounded_grads() const { return rounded_grads_; }  ///< the same, or, where they are exact, what becomes of them

  const FlatBuffer& layout() const { return layout_; }                  ///< one entry a tensor, by number
  const FlatBuffer& trained_layout() const { return trained_layout_; }  ///< entries of trained tensors only
  bool decays(int tensor) const { return decays_[static_cast<size_t>(tensor)]; }
  DType dtype() const { return weights_.dtype(); }

 private:
  View<> slice(View<> flat, int tensor) const;
  FlatBuffer layout_, trained_layout_;
  std::vector<Init> inits_;
  std::vector<bool> decays_, trained_;
  View<> weights_, grads_, rounded_grads_;
};

}  // namespace memring
