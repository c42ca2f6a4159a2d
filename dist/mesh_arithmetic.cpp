// SPDX-License-Identifier: Apache-2.0
#include "dist/mesh_arithmetic.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/error.h"

namespace memring {

MeshShape resolve_mesh(int data, int segment, int token, int world) {
  std::array<int, 3> axes{data, segment, token};
  const std::string mesh = fmt::format("the mesh {} (data x segment x token)", describe({data, segment, token}));
  const std::string ranks = fmt::format("{} rank{}", world, world == 1 ? "" : "s");
  int64_t product = 1;
  for (const int axis : axes) {
    if (axis < 0)
      throw Error(ExitCode::Usage, fmt::format("{} has a negative axis", mesh),
                  "Set each mesh axis to a number of ranks, or one of them to 0 for what is left.");
    if (axis > 0 && __builtin_mul_overflow(product, axis, &product)) product = std::numeric_limits<int64_t>::max();
  }
  const auto open = std::count(axes.begin(), axes.end(), 0);
  if (open > 1)
    throw Error(ExitCode::Usage, fmt::format("{} leaves {} axes open for {}", mesh, open, ranks),
                "Only one axis may be 0 (what is left); set the others, for instance mesh.data = 0, mesh.segment = 1, "
                "mesh.token = 1.");
  if (open == 0 && product != world)
    throw Error(ExitCode::Usage, fmt::format("{} does not fit {}: it needs {}", mesh, ranks, product),
                fmt::format("Start {} ranks, or set mesh.data = 0 to use what is left.", product));
  if (world % product != 0)
    throw Error(
        ExitCode::Usage, fmt::format("{} does not fit {}: {} does not divide {}", mesh, ranks, product, world),
        fmt::format("Start a multiple of {} ranks, or set mesh.segment and mesh.token so that their product with "
                    "mesh.data divides {}.",
                    product, world));
  std::replace(axes.begin(), axes.end(), 0, static_cast<int>(world / product));
  return {axes[0], axes[1], axes[2]};
}

MeshCoord coord_of(MeshShape shape, int rank) {
  return {rank / (shape.token * shape.segment), rank / shape.token % shape.segment, rank % shape.token};
}

int rank_of(MeshShape shape, MeshCoord at) { return (at.data * shape.segment + at.segment) * shape.token + at.token; }

std::string describe(MeshShape shape) { return fmt::format("{} x {} x {}", shape.data, shape.segment, shape.token); }

Range part_of(int64_t count, int parts, int index) {
  const int64_t length = count / parts, longer = count % parts;
  const int64_t begin = index * length + std::min<int64_t>(index, longer);
  return {begin, begin + length + (index < longer ? 1 : 0)};
}

}  // namespace memring
