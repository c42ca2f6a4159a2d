// Checks that the operators share. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>

#include "base/view.h"

namespace memring {

/// The type of a float view of this rank; throws ShapeError naming `what` for any other.
DType expect_float(ConstView<> view, int rank, const char* what);

/// Checks a gradient that is accumulated over rows: of this type, or exact sums of terms of this type.
void expect_sums(ConstView<> view, DType dtype, Shape shape, const char* what);

/// Throws Error(Data) naming the first id that is neither in [0, vocab) nor `ignored`. `what` is "token" or "target".
void expect_ids(std::span<const int32_t> ids, int64_t vocab, std::optional<int32_t> ignored, const char* what);

}  // namespace memring
