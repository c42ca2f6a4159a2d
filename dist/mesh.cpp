// SPDX-License-Identifier: Apache-2.0
#include "dist/mesh.h"

#include "base/error.h"

namespace memring {
namespace {

MeshCoord coord_in(const Communicator& world, MeshShape shape) {
  check(shape.world() == world.size(),
        fmt::format("a mesh of {} was laid over {} ranks", describe(shape), world.size()));
  return coord_of(shape, world.rank());
}

std::unique_ptr<Transport> transport_of(const Communicator& group) { return staged_transport(host_transport(group)); }

}  // namespace

// Ranks of one axis share their other two coordinates, hence the lowest rank among them: their color.
Mesh::Mesh(Communicator& world, MeshShape shape)
    : world_(world),
      shape_(shape),
      coord_(coord_in(world, shape)),
      of_world_(transport_of(world)),
      of_segment_(transport_of(world.split(rank_of(shape, {coord_.data, 0, coord_.token}), coord_.segment, "segment"))),
      of_token_(transport_of(world.split(rank_of(shape, {coord_.data, coord_.segment, 0}), coord_.token, "token"))) {}

}  // namespace memring
