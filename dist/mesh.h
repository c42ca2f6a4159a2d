// Mesh: the world laid out as data x segment x token, and the communicator of each axis.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dist/communicator.h"
#include "dist/mesh_arithmetic.h"

namespace memring {

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

}  // namespace memring
