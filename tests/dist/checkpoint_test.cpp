// Checkpoints on any number of ranks: what is saved by some is loaded by others, bit for bit; saves are snapshots; what
// is kept, what goes, and who may use a run's directory.
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.h"
#include "base/error.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <map>

#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "checkpoint/part.h"
#include "checkpoint/run_lock.h"
#include "checkpoint_run.h"
#include "io/hdf5.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

template <class T>
void save_and_load_on_all_counts(const FlatBuffer& layout) {
  for (int savers = 1; savers <= session().size(); ++savers) {
    SharedFolder folder;
    with_first_ranks(savers, [&](Communicator& group) { save_generations<T>(group, folder.path(), layout, {4, 5}); });
    for (int loaders = 1; loaders <= session().size(); ++loaders)
      with_first_ranks(loaders, [&](Communicator& group) {
        Trained<T> trained(group, layout, 99);
        std::vector<std::string> warnings;
        const auto loaded = load_newest(group, folder.path(), trained.data, warnings);
        ASSERT_TRUE(loaded.has_value());
        EXPECT_TRUE(warnings.empty()) << warnings.front();
        EXPECT_EQ(loaded->info.ranks, savers);
        EXPECT_EQ(loaded->info.config, test_info(1).config);
        EXPECT_EQ(loaded->stored, dtype_of<T>());
        trained.expect_generation(5, fmt::format("saved by {}, loaded by {}", savers, loaders));
      });
  }
}

TEST(Checkpoint, SavedByAnyRanksLoadsOnAnyBitForBit) {
  save_and_load_on_all_counts<float>(mixed_layout());
  save_and_load_on_all_counts<double>(small_layout());
}

TEST(Checkpoint, FewerElementsThanRanksAreNoSpecialCase) {
  save_and_load_on_all_counts<float>(layout_of({{"a", {1}}, {"b", {1}}}));
}

TEST(Checkpoint, TheFileIsTheSameBytesWhateverTheNumberOfRanks) {
  SharedFolder folder;
  for (int savers = 1; savers <= session().size(); ++savers)
    with_first_ranks(savers, [&](Communicator& group) {
      save_generations<float>(group, fmt::format("{}/{}", folder.path(), savers), mixed_layout(), {6});
    });
  on_rank_0([&] {
    const std::string one = folder.path() + "/1/step-000000006/";
    for (int savers = 2; savers <= session().size(); ++savers) {
      const std::string other = fmt::format("{}/{}/step-000000006/", folder.path(), savers);
      EXPECT_TRUE(text_of(one + "state.h5") == text_of(other + "state.h5")) << savers << " ranks";
      EXPECT_EQ(parse_manifest(text_of(one + "manifest.json"), one).digests,
                parse_manifest(text_of(other + "manifest.json"), other).digests);
    }
  });
}

// The last rank writes first, so that it sees nothing yet of what the others put into the blocks that they share.
TEST(Checkpoint, BlocksOfSeveralRanksAreDigestedWhenAllHaveWritten) {
  SharedFolder folder;
  on_rank_0([&] {
    const FlatBuffer layout = mixed_layout();
    const std::string path = folder.path() + "/state.h5";
    Manifest manifest{{}, {}, DType::F32, layout, std::vector<Places>(layout.entries.size()), 0, {}};
    lay_out(manifest, path);
    manifest.digests.resize(static_cast<size_t>(manifest.blocks()));
    std::vector<float> values(static_cast<size_t>(layout.size), 1.5f);
    for (int part = 2; part >= 0; --part) {
      const Range shard = part_of(layout.size, 3, part);
      const View<> copy = View<float>(values.data(), {shard.size()});
      add_digests(manifest, write_part(manifest, path, shard, {copy, copy, copy}));
    }
    complete_digests(manifest, path);
    const auto faults = check_blocks(manifest, folder.path(), {0, manifest.blocks()}, 9);
    EXPECT_TRUE(faults.empty()) << faults.front();
  });
}

TEST(Checkpoint, Hdf5ReadsTensorsAndState) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), mixed_layout(), {7});
  on_rank_0([&] {
    const std::string path = folder.path() + "/step-000000007";
    EXPECT_TRUE(verify_checkpoint(path).empty());
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(path)) files.push_back(entry.path().filename());
    EXPECT_EQ(files.size(), 2u) << "only state.h5 and manifest.json belong there";
    const Hdf5File file = Hdf5File::open(path + "/state.h5");
    EXPECT_EQ(file.integer_attribute("step", "state"), 7);
    EXPECT_EQ(file.integer_attribute("tokens", "state"), 7 * 4096);
    EXPECT_EQ(file.number_attribute("seconds", "state"), 7 * 0.1);
    EXPECT_EQ(file.integer_attribute("sound", "state"), 1) << "flags are 0 or 1";
    int group = 0;
    for (const char* name : kGroups) {
      for (const FlatEntry& entry : mixed_layout().entries) {
        const std::string dataset = fmt::format("{}/{}", name, entry.name);
        EXPECT_EQ(file.dataset(dataset).shape, entry.shape) << dataset;
        const std::vector<double> values = file.read<double>(dataset);
        ASSERT_EQ(static_cast<int64_t>(values.size()), entry.shape.elements()) << dataset;
        for (size_t i = 0; i < values.size(); ++i)
          ASSERT_EQ(values[i], Trained<float>::value(7, group, entry.offset + static_cast<int64_t>(i)))
              << dataset << " " << i;
      }
      ++group;
    }
  });
}

// What the watchdog sees: old checkpoints that are verified, when newer ones push them out, take as long as they are
// large.
TEST(Checkpoint, FileWorkCountsAsProgress) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), mixed_layout(), {1, 2, 3});
  on_rank_0([&] {
    const std::string path = folder.path() + "/step-000000003";
    const auto blocks = static_cast<int64_t>(fs::file_size(path + "/state.h5") >> 22);
    ASSERT_GE(blocks, 1);
    Progress progress;
    EXPECT_TRUE(verify_checkpoint(path, &progress).empty());
    EXPECT_GE(progress.work, blocks);
    std::map<int64_t, bool> nothing_known;
    progress.work = 0;
    prune(folder.path(), 2, /*doubted=*/-1, nothing_known, &progress);
    EXPECT_GE(progress.work, 2 * blocks);
    EXPECT_EQ(list_checkpoints(folder.path()).size(), 2u);
  });
  Trained<float> trained(world(), mixed_layout(), 0);
  Progress progress;
  trained.data.progress = &progress;
  const int64_t checked = load_checkpoint(world(), folder.path() + "/step-000000002", trained.data).bytes >> 22;
  EXPECT_GE(progress.work, checked / world().size() + 3) << "reading counts behind checking";
}

TEST(Checkpoint, WhatChangesAfterSaveReturnsIsNotSaved) {
  SharedFolder folder;
  Trained<float> trained(world(), mixed_layout(), 0);
  {
    CheckpointWriter writer(host_queue(), world(), folder.path(), {.keep = 100}, trained.data);
    for (int generation = 1; generation <= 10; ++generation) {
      trained.become(generation);
      writer.save(trained.data, test_info(session().size()));
      trained.become(1000);
    }
    writer.finish();
    EXPECT_EQ(writer.last_committed(), 10);
    EXPECT_GT(writer.last_seconds(), 0);
  }
  for (int generation = 1; generation <= 10; ++generation) {
    load_checkpoint(world(), fmt::format("{}/step-{:09d}", folder.path(), generation), trained.data);
    trained.expect_generation(generation, "snapshot");
  }
}

TEST(Checkpoint, AWriterThatGoesAwayCommitsWhatIsInFlight) {
  SharedFolder folder;
  {
    Trained<float> trained(world(), mixed_layout(), 3);
    CheckpointWriter writer(host_queue(), world(), folder.path(), {}, trained.data);
    writer.save(trained.data, test_info(session().size()));
  }
  on_rank_0([&] { EXPECT_EQ(folder.names(), std::vector<std::string>{"step-000000003"}); });
}

TEST(Checkpoint, WeightsAloneAreLoadedForEvaluation) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), small_layout(), {2});
  Trained<float> trained(world(), small_layout(), 50), expected(world(), small_layout(), 2);
  trained.data.m = trained.data.v = {};
  load_checkpoint(world(), folder.path() + "/step-000000002", trained.data);
  expect_same(trained.weights, expected.weights, 0, trained.data.layout.size, "weights");
  expected.become(50);
  expect_same(trained.m, expected.m, 0, trained.data.shard.size(), "m is left alone");
}

TEST(Checkpoint, TensorsAreFoundByNameWhateverTheirOrder) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), layout_of({{"a", {3}}, {"b", {2}}}), {0});
  Trained<float> trained(world(), layout_of({{"b", {2}}, {"a", {3}}}), 50);
  load_checkpoint(world(), folder.path() + "/step-000000000", trained.data);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(trained.weights[i], Trained<float>::value(0, 0, (i + 3) % 5)) << i;
}

TEST(Checkpoint, AnEmptyOrMissingDirectoryHoldsNone) {
  SharedFolder folder;
  Trained<float> trained(world(), small_layout(), 1);
  std::vector<std::string> warnings;
  EXPECT_FALSE(load_newest(world(), folder.path(), trained.data, warnings));
  EXPECT_FALSE(load_newest(world(), folder.path() + "/none", trained.data, warnings));
  EXPECT_TRUE(list_checkpoints(folder.path() + "/none").empty());
  trained.expect_generation(1, "untouched");
}

TEST(Checkpoint, KeepsTheNewestAndRemovesOlderOnes) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), small_layout(), {1, 2, 3, 4, 5}, 3);
  on_rank_0([&] {
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000003", "step-000000004", "step-000000005"}));
    const auto listed = list_checkpoints(folder.path());
    ASSERT_EQ(listed.size(), 3u);
    EXPECT_EQ(listed[0].step, 5);
    EXPECT_EQ(listed[2].state.get<int64_t>("tokens"), 3 * 4096);
  });
}

TEST(Checkpoint, KeepsTwoVerifiedOnesWhateverIsAskedAndDamaged) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), small_layout(), {1, 2, 3}, 100);
  on_rank_0([&] { flip_byte(folder.path() + "/step-000000003/state.h5", 5000); });
  save_generations<float>(world(), folder.path(), small_layout(), {4}, 1);
  on_rank_0([&] {
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000002", "step-000000003", "step-000000004"}));
  });
}

TEST(Checkpoint, DeadOnesNeverPushOutTheNewestSoundOne) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), small_layout(), {1, 2, 3});
  save_dead(folder.path(), {4, 5, 6, 7}, {});
  on_rank_0([&] {
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000003", "step-000000006", "step-000000007"}));
    EXPECT_TRUE(list_checkpoints(folder.path())[2].sound);
    EXPECT_FALSE(list_checkpoints(folder.path())[0].sound);
  });
  save_generations<float>(world(), folder.path(), small_layout(), {8}, 2);
  on_rank_0([&] {
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000007", "step-000000008"})) << "it may go now";
  });
}

TEST(Checkpoint, OneThatIsDamagedOrDoubtedIsNotTheSoundOneThatStays) {
  SharedFolder damaged, doubted;
  for (const SharedFolder* folder : {&damaged, &doubted})
    save_generations<float>(world(), folder->path(), small_layout(), {1, 2, 3});
  on_rank_0([&] { flip_byte(damaged.path() + "/step-000000003/state.h5", 5000); });
  save_dead(damaged.path(), {5, 6}, {});
  save_dead(doubted.path(), {5, 6}, {.doubted = 3});
  on_rank_0([&] {
    EXPECT_EQ(damaged.names(),
              (std::vector<std::string>{"step-000000002", "step-000000003", "step-000000005", "step-000000006"}));
    EXPECT_EQ(doubted.names(), (std::vector<std::string>{"step-000000002", "step-000000005", "step-000000006"}));
  });
}

TEST(Checkpoint, TheNewestSoundOneOrThatOfAStepIsLoaded) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), small_layout(), {1});
  save_dead(folder.path(), {2, 3}, {.keep = 100});
  Trained<float> trained(world(), small_layout(), 50);
  std::vector<std::string> warnings;
  const auto load = [&](ResumeFrom from) { return load_newest(world(), folder.path(), trained.data, warnings, from); };
  EXPECT_EQ(load({})->step, 3);
  EXPECT_EQ(load({ResumeFrom::What::Sound})->step, 1);
  trained.expect_generation(1, "the sound one");
  EXPECT_EQ(load({ResumeFrom::What::Step, 2})->step, 2);
  try {
    load({ResumeFrom::What::Step, 7});
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Usage);
    EXPECT_NE(std::string(error.what()).find("it holds: step 1, step 2 (not sound), step 3 (not sound)"),
              std::string::npos)
        << error.what();
  }
  EXPECT_TRUE(warnings.empty());
}

TEST(Checkpoint, NewerOnesAreRenamedAsideAndNeverTouchedAgain) {
  SharedFolder folder;
  for (const size_t renamed : {1, 2}) {
    save_generations<float>(world(), folder.path(), small_layout(), {2, 3, static_cast<int>(2 + renamed)});
    on_rank_0([&] { EXPECT_EQ(set_aside_after(folder.path(), 2).size(), renamed); });
  }
  save_generations<float>(world(), folder.path(), small_layout(), {5, 6, 7}, 2);
  on_rank_0([&] {
    EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000003.aside", "step-000000003.aside-2",
                                                        "step-000000004.aside", "step-000000006", "step-000000007"}));
    EXPECT_TRUE(verify_checkpoint(folder.path() + "/step-000000003.aside").empty());
    EXPECT_EQ(list_checkpoints(folder.path()).size(), 2U);
  });
}

TEST(Checkpoint, OneOfBeforeCountsAsSoundUnlessItLiesAmongSkippedSteps) {
  for (const int skipped : {0, 2}) {
    const NamedNumbers state{{"step", 5}, {"skipped_in_row", skipped}};
    const std::string text = render_manifest({test_info(1), state, DType::F32, {}, {}, 1, {"0"}});
    EXPECT_EQ(is_sound(parse_manifest(text, "old").state), skipped == 0) << text;
  }
}

TEST(Checkpoint, TheSameStepReplacesTheOneBefore) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), small_layout(), {1, 2});
  on_rank_0([&] { fs::resize_file(folder.path() + "/step-000000002/state.h5", 100); });
  save_generations<float>(world(), folder.path(), small_layout(), {2});
  Trained<float> trained(world(), small_layout(), 50);
  std::vector<std::string> warnings;
  ASSERT_TRUE(load_newest(world(), folder.path(), trained.data, warnings));
  trained.expect_generation(2, "replaced");
  EXPECT_TRUE(warnings.empty());
  on_rank_0([&] { EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000001", "step-000000002"})); });
}

TEST(Checkpoint, UnfinishedSavesOfDeadProcessesAreRemovedAndNothingElse) {
  SharedFolder folder;
  on_rank_0([&] {
    for (const char* name :
         {"step-000000009.tmp-123-node17", "step-9.tmp-123-node17", "step-000000008", "notes.tmp-1-x"})
      fs::create_directory(folder.path() + "/" + name);
    write_text(folder.path() + "/step-000000009.tmp-123-node17/state.h5", "half");
    EXPECT_TRUE(list_checkpoints(folder.path()).empty());
  });
  save_generations<float>(world(), folder.path(), small_layout(), {1});
  on_rank_0([&] {
    EXPECT_EQ(folder.names(),
              (std::vector<std::string>{"notes.tmp-1-x", "step-000000001", "step-000000008", "step-9.tmp-123-node17"}));
    EXPECT_EQ(list_checkpoints(folder.path()).size(), 1u);
  });
}

TEST(RunLock, ASecondHolderIsToldTheFirstAndMayFollowIt) {
  SharedFolder folder;
  on_rank_0([&] {
    const std::string run = folder.path() + "/new/run";
    {
      const RunLock first(run);
      try {
        const RunLock second(run);
        ADD_FAILURE() << "two locks on one run";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::Usage);
        EXPECT_NE(std::string(error.what()).find(fmt::format("process {} on ", ::getpid())), std::string::npos)
            << error.what();
      }
    }
    const RunLock third(run);
  });
}

TEST(RunLock, AFileLeftByAKilledProcessBlocksNobody) {
  SharedFolder folder;
  on_rank_0([&] {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const RunLock lock(folder.path());
      if (::write(ready[1], "x", 1) == 1) ::pause();
      ::_exit(0);
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
    EXPECT_THROW(RunLock{folder.path()}, Error);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_NE(text_of(folder.path() + "/lock").find(fmt::format("process {} ", child)), std::string::npos);
    EXPECT_NO_THROW(RunLock{folder.path()});
  });
}

}  // namespace
}  // namespace memring
