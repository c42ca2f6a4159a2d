// Attention on a device for every type and head size: signatures of the front. Private to kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attention/attention.h"

namespace memring::simple_attention {

void forward_part(Queue&, View<> o, View<> lse, Write, ConstView<> q, const RowTable& rows, std::span<const KeySpan>);
void backward_part(Queue&, View<> dq, Write, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                   const RowTable& rows, std::span<const KeySpan>);

}  // namespace memring::simple_attention
