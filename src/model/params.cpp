// SPDX-License-Identifier: Apache-2.0
#include "model/params.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/random.h"
#include "base/readback.h"

namespace memring {

int Params::declare(const std::string& name, Shape shape, Init init, bool decay) {
  layout_.entries.push_back({name, shape, layout_.size});
  layout_.size += shape.elements();
  inits_.push_back(init);
  decays_.push_back(decay);
  return static_cast<int>(layout_.entries.size()) - 1;
}

void Params::allocate(Arena& arena, DType dtype, Gradients gradients) {
  weights_ = arena.take(dtype, {layout_.size});
  if (gradients == Gradients::None) return;
  gradients_ = arena.take(dtype, {layout_.size});
  sums_ = gradients == Gradients::Exact ? arena.take(DType::Exact, {layout_.size}) : gradients_;
}

void Params::initialise(uint64_t seed, const Queue& queue) {
  constexpr int64_t kPiece = 1 << 24;  // some tenths of a second
  by_float_type(dtype(), [&]<class T>() {
    std::vector<T> staged;  // of weights on a device: the same bits as on the host
    for (size_t tensor = 0; tensor < layout_.entries.size(); ++tensor) {
      const View<> view = weight(static_cast<int>(tensor));
      if (queue.device()) staged.resize(static_cast<size_t>(view.size()));
      T* values = queue.device() ? staged.data() : view.as<T>();
      const Init init = inits_[tensor];
      const Random random(seed, Purpose::Init, tensor);
      for (int64_t begin = 0; begin < view.size(); begin += kPiece, queue.poll())
        parallel_for(queue.threads(), std::min(kPiece, view.size() - begin), [&](int64_t offset) {
          const int64_t i = begin + offset;
          values[i] =
              static_cast<T>(init.constant + (init.std > 0 ? init.std * random.normal(static_cast<uint32_t>(i)) : 0));
        });
      if (queue.device()) copy_now(queue, view, View<T>(staged.data(), view.shape()));
    }
  });
}

View<> Params::slice(View<> flat, int tensor) const {
  if (!flat) return {};
  const FlatEntry& entry = layout_.entries[static_cast<size_t>(tensor)];
  return flat.rows(entry.offset, entry.shape.elements()).reshaped(entry.shape);
}

}  // namespace memring
