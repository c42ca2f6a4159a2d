// Attention on a device for rows of bf16, by products of a warp's matrices: signatures of the front. Private to
// kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attention/attention.h"

namespace memring::mma_attention {

void forward_part(Queue&, View<> o, View<> lse, Write, ConstView<> q, const RowTable& rows, std::span<const KeySpan>);
void backward_part(Queue&, View<> dq, Write, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                   const RowTable& rows, std::span<const KeySpan>);

}  // namespace memring::mma_attention
