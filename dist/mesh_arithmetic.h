// Mesh arithmetic: the world as named axes, data x segment x token (token fastest), ranks to coordinates and back, and
// near-equal parts. Integers only: it needs no rank, so what is planned for a mesh can be planned anywhere.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"

namespace memring {

/// Fills in the axis that is 0 ("what is left") and checks that the product is the world's size.
/// Throws Error(Usage) with the three numbers and the world's size otherwise; two zeros are an error.
MeshShape resolve_mesh(int data, int segment, int token, int world);

MeshCoord coord_of(MeshShape, int rank);
int rank_of(MeshShape, MeshCoord);
std::string describe(MeshShape);  ///< "2 x 3 x 1"

/// Part `index` of `parts` near-equal contiguous parts of [0, count): how sequences are dealt to data ranks and flat
/// parameters to shards. The first count mod parts parts are one longer; parts beyond `count` are empty.
Range part_of(int64_t count, int parts, int index);

}  // namespace memring
