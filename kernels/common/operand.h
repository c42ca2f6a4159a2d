// How the references see a factor of a product: rounded where Products::Bf16 asks for it. Private to kernels/*/ref.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "base/queue.h"
#include "kernels/common/bf16.h"

namespace memring::reference {

template <class T>
T operand(T value, Products products) {
  if constexpr (std::is_same_v<T, float>)
    return products == Products::Bf16 ? round_to_bf16(value) : value;
  else
    return value;
}

}  // namespace memring::reference
