// A checkpoint's weights in another model than the one that saved them, and what the manifest says of where a run's
// weights come from.
// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "checkpoint_run.h"

namespace memring {
namespace {

// The weights of another model: what both have is loaded, in the type of this one, on any number of ranks.
TEST(CheckpointWeights, WeightsOfAnotherModelAreFoundByNameAndConverted) {
  const FlatBuffer saved = layout_of({{"a.weight", {5, 3}}, {"gone.weight", {7}}, {"c.weight", {40, 40}}});
  const FlatBuffer model = layout_of({{"c.weight", {40, 40}}, {"new.weight", {2, 9}}, {"a.weight", {5, 3}}});
  SharedFolder folder;
  save_generations<double>(world(), folder.path(), saved, {4});
  const std::string path = folder.path() + "/" + checkpoint_name(4);
  for (int loaders = 1; loaders <= session().size(); ++loaders)
    with_first_ranks(loaders, [&](Communicator& group) {
      Trained<float> trained(group, model, 99);
      const std::vector<float> before = trained.weights;
      const Matched matched = load_weights(group, path, model, trained.data.weights, nullptr);
      ASSERT_EQ(matched.fresh.size(), 1u);
      EXPECT_EQ(matched.fresh.front().name, "new.weight");
      ASSERT_EQ(matched.left.size(), 1u);
      EXPECT_EQ(matched.left.front().name, "gone.weight");
      EXPECT_EQ(matched.source.step, 4);
      EXPECT_EQ(matched.source.digest, read_manifest(path).digest);
      const auto expect_weights = [&](int64_t at, int64_t there, int64_t count) {
        for (int64_t i = 0; i < count; ++i)
          ASSERT_EQ(trained.weights[static_cast<size_t>(at + i)],
                    static_cast<float>(Trained<double>::value(4, 0, there + i)))
              << "element " << at + i;
      };
      expect_weights(0, 5 * 3 + 7, 40 * 40);
      expect_weights(40 * 40 + 2 * 9, 0, 5 * 3);
      for (size_t i = 40 * 40; i < 40 * 40 + 2 * 9; ++i) ASSERT_EQ(trained.weights[i], before[i]) << "a fresh one";
    });
  const FlatBuffer wider = layout_of({{"a.weight", {5, 4}}});
  try {
    match_weights(path, wider);
    FAIL() << "a tensor of another shape was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Data);
    EXPECT_EQ(std::string(error.what()), "a.weight is [5, 4] in this model and [5, 3] in " + path);
  }
}

TEST(CheckpointWeights, TheSourceOfItsWeightsIsPartOfTheManifest) {
  SharedFolder folder;
  Trained<float> trained(world(), small_layout(), 3);
  CheckpointWriter writer(host_queue(), world(), folder.path(), {}, trained.data);
  CheckpointInfo info = test_info(world().size());
  writer.save(trained.data, info);
  info.source = {"/runs/\"first\"", "00ff"};
  trained.become(4);
  writer.save(trained.data, info);
  writer.finish();
  on_rank_0([&] {
    const CheckpointSummary with = read_manifest(folder.path() + "/" + checkpoint_name(4)),
                            without = read_manifest(folder.path() + "/" + checkpoint_name(3));
    EXPECT_EQ(with.info.source.path, info.source.path);
    EXPECT_EQ(with.info.source.digest, info.source.digest);
    EXPECT_EQ(without.info.source.path, "");
    EXPECT_EQ(text_of(folder.path() + "/" + checkpoint_name(3) + "/" + kManifestFile).find("\"source\""),
              std::string::npos);
    EXPECT_NE(with.digest, without.digest);
  });
}

}  // namespace
}  // namespace memring
