// Associative memory: the fast path. Private to kernels/associative.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/associative/associative.h"
#include "kernels/associative/operands.h"

namespace memring::cpu {

void associative_read(const Queue&, float* y, float* phi, AssociativeState<const float> state, AssociativeSmallest,
                      AssociativeExtents);
// dA and dz of fp32 or exact sums, or empty; scratch [2, rows]
void associative_read_backward(Queue&, float* d_phi, View<> dA, View<> dz, const float* dy, float* phi,
                               AssociativeState<const float> state, float* scratch, AssociativeExtents);

/// delta [rows, dim] is scratch.
void associative_write(Queue&, AssociativeState<float> new_state, AssociativeRows<const float>,
                       AssociativeState<const float> state, float* delta, AssociativeSmallest, AssociativeExtents);
/// old [rows, dim] and d_den [rows] are scratch.
void associative_write_backward(Queue&, AssociativeRows<float> d, AssociativeState<float> d_state,
                                AssociativeState<const float> d_new, AssociativeRows<const float>,
                                AssociativeState<const float> state, float* old, float* d_den, AssociativeExtents);

}  // namespace memring::cpu
