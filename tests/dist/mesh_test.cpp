// Mesh arithmetic, the axes' transports, and the messages for meshes that do not fit.
// SPDX-License-Identifier: Apache-2.0
#include "dist/mesh.h"
#include "base/error.h"

#include <gtest/gtest.h>

#include <numeric>

#include "ranks.h"

namespace memring {
namespace {

TEST(ResolveMesh, FillsInWhatIsLeft) {
  EXPECT_EQ(resolve_mesh(0, 1, 1, 4), (MeshShape{4, 1, 1}));
  EXPECT_EQ(resolve_mesh(0, 2, 3, 12), (MeshShape{2, 2, 3}));
  EXPECT_EQ(resolve_mesh(2, 0, 1, 6), (MeshShape{2, 3, 1}));
  EXPECT_EQ(resolve_mesh(1, 1, 0, 5), (MeshShape{1, 1, 5}));
  EXPECT_EQ(resolve_mesh(2, 3, 1, 6), (MeshShape{2, 3, 1}));
}

void expect_refused(int data, int segment, int token, int ranks, const std::string& message) {
  try {
    (void)resolve_mesh(data, segment, token, ranks);
    ADD_FAILURE() << "accepted " << data << " x " << segment << " x " << token << " for " << ranks << " ranks";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Usage);
    EXPECT_EQ(error.what(), message);
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(ResolveMesh, SaysWhyAMeshDoesNotFit) {
  expect_refused(0, 3, 1, 4, "the mesh 0 x 3 x 1 (data x segment x token) does not fit 4 ranks: 3 does not divide 4");
  expect_refused(0, 8, 1, 4, "the mesh 0 x 8 x 1 (data x segment x token) does not fit 4 ranks: 8 does not divide 4");
  expect_refused(1, 2, 1, 1, "the mesh 1 x 2 x 1 (data x segment x token) does not fit 1 rank: it needs 2");
  expect_refused(2, 3, 1, 4, "the mesh 2 x 3 x 1 (data x segment x token) does not fit 4 ranks: it needs 6");
  expect_refused(0, 0, 1, 4, "the mesh 0 x 0 x 1 (data x segment x token) leaves 2 axes open for 4 ranks");
  expect_refused(0, -2, 1, 4, "the mesh 0 x -2 x 1 (data x segment x token) has a negative axis");
}

TEST(MeshCoord, TokenRunsFastest) {
  const MeshShape shape{2, 3, 4};
  int rank = 0;
  for (int data = 0; data < 2; ++data)
    for (int segment = 0; segment < 3; ++segment)
      for (int token = 0; token < 4; ++token, ++rank) {
        EXPECT_EQ(rank_of(shape, {data, segment, token}), rank);
        const MeshCoord at = coord_of(shape, rank);
        EXPECT_EQ(std::vector<int>({at.data, at.segment, at.token}), std::vector<int>({data, segment, token}));
      }
}

TEST(PartOf, CoversTheCountInNearEqualParts) {
  for (const int64_t count : {0, 1, 5, 16, 1001})
    for (const int parts : {1, 2, 3, 7, 16}) {
      int64_t at = 0;
      for (int index = 0; index < parts; ++index) {
        const Range part = part_of(count, parts, index);
        EXPECT_EQ(part.begin, at);
        EXPECT_LE(part.size() - part_of(count, parts, parts - 1).size(), 1);
        at = part.end;
      }
      EXPECT_EQ(at, count);
    }
  EXPECT_EQ(part_of(int64_t{3} << 40, 3, 1), (Range{int64_t{1} << 40, int64_t{2} << 40}));
}

std::vector<MeshShape> shapes_of(int ranks) {
  std::vector<MeshShape> shapes;
  for (int segment = 1; segment <= ranks; ++segment)
    for (int token = 1; segment * token <= ranks; ++token)
      if (ranks % (segment * token) == 0) shapes.push_back({ranks / (segment * token), segment, token});
  return shapes;
}

TEST(Mesh, AxesJoinTheRanksThatDifferInOneCoordinate) {
  Queue queue;
  const int size = world().size();
  for (const MeshShape& shape : shapes_of(size)) {
    Mesh mesh(world(), shape);
    EXPECT_EQ(mesh.shape(), shape);
    EXPECT_EQ(rank_of(shape, mesh.coord()), world().rank());
    for (const bool by_segment : {true, false}) {
      Transport& axis = by_segment ? mesh.segment_transport() : mesh.token_transport();
      int MeshCoord::*const along = by_segment ? &MeshCoord::segment : &MeshCoord::token;
      ASSERT_EQ(axis.size(), by_segment ? shape.segment : shape.token);
      EXPECT_EQ(axis.rank(), mesh.coord().*along);
      std::vector<int64_t> members(static_cast<size_t>(axis.size())), bounds(members.size() + 1);
      std::iota(bounds.begin(), bounds.end(), 0);
      members[static_cast<size_t>(axis.rank())] = world().rank();
      axis.all_gather_shards(queue, flat(members), bounds).join(queue);
      for (int i = 0; i < axis.size(); ++i) {
        MeshCoord at = mesh.coord();
        at.*along = i;
        EXPECT_EQ(members[static_cast<size_t>(i)], rank_of(shape, at)) << (by_segment ? "segment " : "token ") << i;
      }
    }
  }
}

TEST(Mesh, RefusesAShapeOfAnotherWorld) { EXPECT_THROW(Mesh(world(), MeshShape{world().size() + 1, 1, 1}), Error); }

}  // namespace
}  // namespace memring
