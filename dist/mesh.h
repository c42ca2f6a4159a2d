// Mesh: the world as named axes, data x segment x token (token fastest), and the communicator of each axis.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/ids.h"
#include "dist/communicator.h"

namespace memring {

/// Fills in the axis that is 0 ("what is left") and checks that the product is the world's size.
/// Throws Error(Usage) with the three numbers and the world's size otherwise; two zeros are an error.
MeshShape resolve_mesh(int data, int segment, int token, int world);

MeshCoord coord_of(MeshShape, int rank);
int rank_of(MeshShape, MeshCoord);
std::string describe(MeshShape);  ///< "2 x 3 x 1"

class Mesh {
 public:
  /// Collective over the world, whose size must be the shape's. The world must outlive the mesh.
  Mesh(Communicator& world, MeshShape);
  MeshShape shape() const { return shape_; }
  MeshCoord coord() const { return coord_; }
  Communicator& world() { return world_; }
  Communicator& segment() { return segment_; }  ///< ranks that differ in their segment coordinate only, in its order
  Communicator& data() { return data_; }        ///< ranks that differ in their data coordinate only, in its order
  Communicator& token() { return token_; }      ///< ranks that differ in their token coordinate only, in its order

 private:
  Communicator& world_;
  MeshShape shape_;
  MeshCoord coord_;
  Communicator segment_, data_, token_;
};

/// Part `index` of `parts` near-equal contiguous parts of [0, count): how sequences are dealt to data ranks and flat
/// parameters to shards. The first count mod parts parts are one longer; parts beyond `count` are empty.
Range part_of(int64_t count, int parts, int index);

}  // namespace memring
