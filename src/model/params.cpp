// SPDX-License-Identifier: Apache-2.0
#include "model/params.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/random.h"
#include "base/readback.h"

namespace memring {

int Params::declare(const std::string& name, Shape shape, Init init, bool decay) {
  for (FlatBuffer* layout : {&layout_, &trained_layout_}) {
    layout->entries.push_back({name, shape, layout->size});
    layout->size += shape.elements();
  }
  inits_.push_back(init);
  decays_.push_back(decay);
  trained_.push_back(true);
  return static_cast<int>(layout_.entries.size()) - 1;
}

void Params::train(const std::function<bool(const std::string&)>& chosen) {
  trained_layout_ = {};
  int64_t end = 0;
  for (const bool trained : {true, false}) {
    for (size_t tensor = 0; tensor < layout_.entries.size(); ++tensor) {
      FlatEntry& entry = layout_.entries[tensor];
      if (trained) trained_[tensor] = chosen(entry.name);
      if (trained_[tensor] != trained) continue;
      entry.offset = end;
      end += entry.shape.elements();
      if (trained) trained_layout_.entries.push_back(entry);
    }
    if (trained) trained_layout_.size = end;
  }
}

void Params::allocate(Arena& arena, DType dtype, Gradients gradients) {
  weights_ = arena.take(dtype, {layout_.size});
  if (gradients == Gradients::None) return;
  const Shape flat{trained_layout_.size};
  rounded_grads_ = arena.take(dtype, flat);
  grads_ = gradients == Gradients::Exact ? arena.take(DType::Exact, flat) : rounded_grads_;
}

void Params::initialise(uint64_t seed, const Queue& queue) {
  constexpr int64_t kPiece = 1 << 24;  // some tenths of a second
  constexpr uint64_t kFirstAdapter = uint64_t{1} << 32;
  int64_t largest = 0;
  for (const FlatEntry& entry : layout_.entries) largest = std::max(largest, entry.shape.elements());
  const Shape of_piece{std::min(kPiece, largest)};
  // Of weights on a device: pieces are made on the host, with the same bits.
  Arena staging = queue.device() ? queue.staging(of_piece.elements() * bytes_of(dtype())) : Arena();
  const View<> staged = queue.device() ? staging.take(dtype(), of_piece) : View<>();
  by_float_type(dtype(), [&]<class T>() {
    uint64_t of_base = 0, of_adapters = kFirstAdapter;
    for (size_t tensor = 0; tensor < layout_.entries.size(); ++tensor) {
      const FlatEntry& entry = layout_.entries[tensor];
      const View<> flat = weights_.rows(entry.offset, entry.shape.elements());
      const Init init = inits_[tensor];
      const Random random(seed, Purpose::Init, init.adapter ? of_adapters++ : of_base++);
      for (int64_t begin = 0; begin < flat.size(); begin += kPiece, queue.poll()) {
        const View<> piece = flat.rows(begin, std::min(kPiece, flat.size() - begin));
        const View<> here = queue.device() ? staged.rows(0, piece.size()) : piece;
        T* const values = here.as<T>();
        parallel_for(queue.threads(), piece.size(), [&](int64_t offset) {
          const auto i = static_cast<uint32_t>(begin + offset);
          values[offset] = static_cast<T>(init.constant + (init.std > 0 ? init.std * random.normal(i) : 0));
        });
        if (queue.device()) copy_now(queue, piece, here);
      }
    }
  });
}

View<> Params::slice(View<> flat, int tensor) const {
  if (!flat) return {};
  const FlatEntry& entry = layout_.entries[static_cast<size_t>(tensor)];
  return flat.rows(entry.offset, entry.shape.elements()).reshaped(entry.shape);
}

}  // namespace memring
