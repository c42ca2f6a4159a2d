// Output head and loss: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/cross_entropy/operands.h"

namespace memring::reference {

// logits [vocab] is scratch; d_weight may be null: not wanted
template <class T>
void cross_entropy_forward(T* nll, const T* hidden, const T* weight, const int32_t* targets, CrossEntropyExtents,
                           T* logits, Products);
template <class T>
void cross_entropy_forward_backward(T* nll, T* d_hidden, T* d_weight, const T* hidden, const T* weight,
                                    const int32_t* targets, CrossEntropyExtents, T* logits, Products);
// logits [2, vocab] is scratch
template <class T>
void cross_entropy_distil(T* loss, T* d_hidden, const T* hidden, const T* taught, double share, const T* weight,
                          const int32_t* targets, CrossEntropyExtents, T* logits, Products);

}  // namespace memring::reference
