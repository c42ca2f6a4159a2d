// The Llama-style decoder: its tensors under Hugging Face's names, embedding, layers, final norm and head.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "model/layer.h"
#include "model/params.h"
#include "model/shape.h"

namespace memring {

/// What the forward of a segment leaves for its backward; or one set of buffers through which all layers pass.
struct CellSaved {
  std::vector<LayerSaved> layers;
  View<> top, inv_rms, normed;        ///< output of the last layer [n, dim]; final norm [n], [n, dim]
  std::vector<View<uint8_t>> memory;  ///< what the memory keeps of each layer; empty: nothing is kept
  /// The rows of a sequence of which the last layer's output is wanted, ascending; empty: all of them. Then the last
  /// layer's queries, and top, inv_rms and normed, are of these rows only, at the start of their memory.
  std::vector<int32_t> wanted;

  const LayerSaved& layer(int64_t index) const { return layers[static_cast<size_t>(index) % layers.size()]; }
  static CellSaved carve(Arena&, const ModelShape&, DType, CellExtent);
  /// `hidden` [n, dim]: input and output of every layer but the last's output.
  static CellSaved carve_passing(Arena&, const ModelShape&, DType, CellExtent, View<> hidden);

 private:
  void carve_top(Arena&, const ModelShape&, DType, CellExtent);
};

class Llama {
 public:
  /// Declares the decoder's tensors.
  Llama(const ModelShape&, Params&);

  /// The same tensors without those updates of its layers (LoRA) that are trained.
  Llama without_trained_updates(const Params&) const;

  const ModelShape& shape() const { return shape_; }
  const Layer& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  /// Its trained tensors in the flat buffer; empty: all are frozen.
  Range trained(const Params&, int64_t layer) const;
  int embedding() const { return embedding_; }
  int final_norm() const { return final_norm_; }
  int head() const { return head_; }  ///< the embedding where they are tied

 private:
  ModelShape shape_;
  int embedding_ = 0, final_norm_ = 0, head_ = 0;
  std::vector<Layer> layers_;
};

}  // namespace memring
