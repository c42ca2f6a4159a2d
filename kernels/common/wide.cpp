// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/wide.h"

#include <algorithm>

namespace memring {

View<> WideCopies::widened(ConstView<> view) {
  const Bf16* const stored = view.as<Bf16>();
  std::vector<float>& copy = copies_.emplace_back(static_cast<size_t>(view.size()));
  std::transform(stored, stored + view.size(), copy.begin(), [](Bf16 x) { return x.value(); });
  return View<float>(copy.data(), view.shape());
}

View<> WideCopies::operator()(View<> view) {
  if (view.dtype() != DType::BF16) return view;
  const View<> copy = widened(view);
  written_.emplace_back(view, copy.as<float>());
  return copy;
}

void WideCopies::store() const {
  for (const auto& [view, copy] : written_)
    std::transform(copy, copy + view.size(), view.as<Bf16>(), [](float x) { return Bf16(x); });
}

}  // namespace memring
