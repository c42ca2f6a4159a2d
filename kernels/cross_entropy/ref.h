// Output head and loss: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring::reference {

struct HeadExtent {
  int64_t rows, dim, vocab;
  double flops() const { return 2.0 * static_cast<double>(rows * dim * vocab); }  // of one product
};

// logits [vocab] is scratch
template <class T>
void cross_entropy_forward(T* nll, const T* hidden, const T* weight, const int32_t* targets, HeadExtent, T* logits,
                           Products);
template <class T>
void cross_entropy_forward_backward(T* nll, T* d_hidden, T* d_weight, const T* hidden, const T* weight,
                                    const int32_t* targets, HeadExtent, T* logits, Products);

}  // namespace memring::reference
