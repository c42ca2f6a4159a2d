// The types that kernels of a device store numbers in, by a view's own. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/view.h"

namespace memring {

/// f.operator()<T>() with T = float, double or Bf16.
template <class F>
void by_stored_type(DType dtype, const F& f) {
  if (dtype == DType::F32) return f.template operator()<float>();
  if (dtype == DType::F64) return f.template operator()<double>();
  if (dtype == DType::BF16) return f.template operator()<Bf16>();
  refuse_view(std::string("a kernel was asked for numbers of type ") + name_of(dtype));
}

/// f.operator()<To, From>() with two of these: one and the same, or fp32 and bf16.
template <class F>
void by_stored_types(DType to, DType from, const F& f) {
  if (to == DType::BF16 && from == DType::F32) return f.template operator()<Bf16, float>();
  if (to == DType::F32 && from == DType::BF16) return f.template operator()<float, Bf16>();
  by_stored_type(to, [&]<class T>() { f.template operator()<T, T>(); });
}

/// What is computed with numbers that are stored as T.
template <class T>
struct ComputedType {
  using type = T;
};
template <>
struct ComputedType<Bf16> {
  using type = float;
};
template <class T>
using Computed = typename ComputedType<T>::type;

/// A view's address, on the device.
template <class T>
T* address(View<> view) {
  return static_cast<T*>(view.data());
}
template <class T>
const T* address(ConstView<> view) {
  return static_cast<const T*>(view.data());
}

}  // namespace memring
