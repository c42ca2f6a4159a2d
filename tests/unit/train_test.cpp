// Learning rates, the optimizer on shards, run directories and logs.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "files.h"
#include "runlog/runlog.h"
#include "train/optimizer.h"
#include "train/run_directory.h"
#include "train/start_report.h"

namespace memring {
namespace {

using test::TemporaryFolder;

TEST(LearningRate, WarmsUpLinearlyThenFollowsItsSchedule) {
  OptimizerConfig c;
  c.lr = 1;
  c.min_lr = 0.1;
  c.warmup = 10;
  EXPECT_DOUBLE_EQ(learning_rate(c, 0, 110), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(c, 9, 110), 1);
  c.schedule = "cosine";
  EXPECT_DOUBLE_EQ(learning_rate(c, 10, 110), 1);
  EXPECT_NEAR(learning_rate(c, 60, 110), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(c, 110, 110), 0.1, 1e-12);
  c.schedule = "linear";
  EXPECT_NEAR(learning_rate(c, 35, 110), 0.775, 1e-12);
  c.schedule = "constant";
  c.decay = 0.2;
  EXPECT_DOUBLE_EQ(learning_rate(c, 90, 110), 1);
  EXPECT_NEAR(learning_rate(c, 100, 110), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(c, 110, 110), 0.1, 1e-12);
}

TEST(LearningRate, StaysConstantWithoutALastStep) {
  OptimizerConfig c;
  c.lr = 0.5;
  EXPECT_DOUBLE_EQ(learning_rate(c, 1'000'000, 0), 0.5);
}

TEST(Params, InitialWeightsDoNotDependOnThreads) {
  const auto initial = [](int threads) {
    Params params;
    params.declare("a", {37, 53}, {.std = 0.02}, true);
    params.declare("b", {7}, {.constant = 1}, false);
    Arena measure;
    params.allocate(measure, DType::F32, Params::Gradients::None);
    Arena arena(measure.peak());
    params.allocate(arena, DType::F32, Params::Gradients::None);
    params.initialise(1, threads);
    const float* w = params.weights().as<float>();
    return std::vector<float>(w, w + params.weights().size());
  };
  EXPECT_EQ(initial(3), initial(1));
  EXPECT_NE(initial(1)[0], initial(1)[1]);
}

// Two tensors, of which one decays; shards that cut through both must update exactly what one rank updates.
TEST(Optimizer, ShardsTogetherDoWhatOneRankDoes) {
  const auto update = [](std::vector<Range> shards) {
    Params params;
    params.declare("a", {3, 5}, {.std = 1}, true);
    params.declare("b", {7}, {.constant = 1}, false);
    Arena measure;
    params.allocate(measure, DType::F32, Params::Gradients::Plain);
    Arena arena(measure.peak());
    params.allocate(arena, DType::F32, Params::Gradients::Plain);
    params.initialise(1, 1);
    const Random random(2, Purpose::Test);
    for (uint32_t i = 0; i < 22; ++i) params.gradients().as<float>()[i] = static_cast<float>(random.normal(i));
    Queue queue;
    for (const Range shard : shards) {
      Optimizer optimizer(queue, params, shard, OptimizerConfig{});
      optimizer.step(0.1, 1, 0.5);
    }
    const float* w = params.weights().as<float>();
    return std::vector<float>(w, w + 22);
  };
  const auto whole = update({{0, 22}});
  EXPECT_EQ(update({{0, 4}, {4, 16}, {16, 16}, {16, 22}}), whole);
  EXPECT_NE(update({{0, 4}}), whole);
}

TEST(Optimizer, ClipsByGlobalNormOnlyAboveTheLimit) {
  Params params;
  params.declare("a", {1}, {}, true);
  Arena arena(1024);
  params.allocate(arena, DType::F32, Params::Gradients::Plain);
  Queue queue;
  OptimizerConfig c;
  c.clip = 2;
  const Optimizer optimizer(queue, params, {0, 1}, c);
  EXPECT_DOUBLE_EQ(optimizer.clipping(1), 1);
  EXPECT_DOUBLE_EQ(optimizer.clipping(8), 0.25);
}

TEST(RunDirectory, RefusesAnotherConfigurationAndNamesTheKey) {
  const TemporaryFolder folder;
  Config config = parse_config("[run]\ndir = " + (folder / "run") + "\n[model]\ndim = 32\n", "test");
  make_run_directory(config.run.dir);
  claim_run_directory(config);
  config.run.steps = 7;  // a longer run is a continuation
  EXPECT_NO_THROW(claim_run_directory(config));
  config.model.dim = 64;
  try {
    claim_run_directory(config);
    FAIL() << "another model was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Usage);
    EXPECT_NE(std::string(error.what()).find("model.dim: 32 -> 64"), std::string::npos) << error.what();
  }
}

TEST(StartReport, NamesHostsAndCountsWhereThereAreMany) {
  EXPECT_EQ(hosts_text({{"node1", 2}, {"node2", 1}}), "2 on node1, 1 on node2");
  std::vector<std::pair<std::string, int>> hosts;
  for (int i = 1; i <= 8; ++i) hosts.emplace_back(fmt::format("n{}", i), 4);
  EXPECT_TRUE(hosts_text(hosts).ends_with(", 4 on n7, 4 on n8")) << hosts_text(hosts);
  hosts.emplace_back("n9", 3);
  EXPECT_TRUE(hosts_text(hosts).ends_with(", 4 on n7, 7 on 2 more hosts")) << hosts_text(hosts);
}

TEST(RunLog, NamesTheHostsWhenItsFileIsOpened) {
  const TemporaryFolder folder;
  const std::string path = (folder / "metrics.jsonl");
  {
    RunLog log({.speaks = true, .jsonl = path, .every = 1000});
    log.start({{{"run", "a"}}, {{"node1", 2}, {"node2", 1}}});
    EXPECT_FALSE(std::filesystem::exists(path)) << "there is a file before the step is known";
    log.open(7);
  }
  const auto record = nlohmann::json::parse(test::content_of(path));
  EXPECT_EQ(record.at("run"), "a");
  EXPECT_EQ(record.at("step"), 7);
  EXPECT_EQ(record.at("hosts").dump(), R"([{"name":"node1","ranks":2},{"name":"node2","ranks":1}])");
}

TEST(RunLog, ResumingDropsStepsBehindTheCheckpointAndATornLine) {
  const TemporaryFolder folder;
  const std::string path = (folder / "metrics.jsonl");
  {
    RunLog log({.speaks = true, .jsonl = path, .every = 1000});
    log.open(0);
    for (int64_t step = 1; step <= 5; ++step)
      log.step({.step = step, .steps = 9, .loss = 1.0 / static_cast<double>(step)});
  }
  std::ofstream(path, std::ios::app) << "{\"kind\":\"step\",\"st";
  RunLog({.speaks = true, .jsonl = path, .every = 1000}).open(3);
  std::ifstream file(path);
  std::vector<int64_t> steps;
  for (std::string line; std::getline(file, line);)
    if (const auto record = nlohmann::json::parse(line); record.at("kind") == "step")
      steps.push_back(record.at("step"));
  EXPECT_EQ(steps, (std::vector<int64_t>{1, 2, 3}));
}

TEST(RunLog, WritesNullWhereJsonHasNoNumber) {
  const TemporaryFolder folder;
  const std::string path = (folder / "metrics.jsonl");
  {
    RunLog log({.speaks = true, .jsonl = path, .every = 1000});
    log.open(0);
    log.step({.step = 1, .steps = 9, .loss = std::nan("")});
  }
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);  // run_start
  std::getline(file, line);
  EXPECT_TRUE(nlohmann::json::parse(line).at("loss").is_null()) << line;
}

}  // namespace
}  // namespace memring
