// Checks that the operators share. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "base/view.h"
#include "kernels/common/row_table.h"
#include "kernels/common/token_ids.h"

namespace memring {

/// The type of a float view of this rank; throws ShapeError naming `what` for any other.
DType expect_float(ConstView<> view, int rank, const char* what);

/// The same, or bf16: the type in which an operator's rows are stored.
DType expect_stored(ConstView<> view, int rank, const char* what);

/// The type of sums and statistics beside rows that are stored in this one.
constexpr DType sums_type(DType stored) { return stored == DType::BF16 ? DType::F32 : stored; }

/// Checks a view of stored rows that may also be in the type of sums: partial results, which are rounded once at the
/// end.
void expect_stored_or_sums(ConstView<> view, DType stored, Shape shape, const char* what);

inline bool either_bf16(ConstView<> a, ConstView<> b) { return a.dtype() == DType::BF16 || b.dtype() == DType::BF16; }

/// Checks a gradient that is accumulated over rows that are stored in this type: of the type of sums, or exact.
void expect_sums(ConstView<> view, DType stored, Shape shape, const char* what);

/// Checks the ids of so many rows, which the host has too. Throws Error(Data) naming the first that is neither in
/// [0, vocab) nor `ignored`. `what` is "token" or "target".
void expect_ids(const TokenIds&, int64_t rows, int64_t vocab, std::optional<int32_t> ignored, const char* what);

/// Checks that rows are where the operators of the queue can read them.
void expect_where(const Queue&, const RowTable&, const char* what);

}  // namespace memring
