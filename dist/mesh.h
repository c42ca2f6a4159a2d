// Mesh: the world laid out as data x segment x token, and the transport of each axis that tensors travel along.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dist/mesh_arithmetic.h"
#include "dist/transport.h"

namespace memring {

class Mesh {
 public:
  /// Collective over the world, whose size must be the shape's. The world must outlive the mesh.
  Mesh(Communicator& world, MeshShape);
  MeshShape shape() const { return shape_; }
  MeshCoord coord() const { return coord_; }
  Communicator& world() { return world_; }
  Transport& world_transport() { return *of_world_; }
  /// Of the ranks that differ in their segment coordinate only, or their token coordinate, in its order.
  Transport& segment_transport() { return *of_segment_; }
  Transport& token_transport() { return *of_token_; }

 private:
  Communicator& world_;
  MeshShape shape_;
  MeshCoord coord_;
  std::unique_ptr<Transport> of_world_, of_segment_, of_token_;
};

}  // namespace memring
