// Learning rates, the optimizer on shards, run directories and logs.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "files.h"
#include "runlog/runlog.h"
#include "train/curriculum.h"
#include "train/later_saves.h"
#include "train/optimizer.h"
#include "train/run_directory.h"
#include "train/start_report.h"
#include "train/stop.h"

namespace memring {
namespace {

using test::TemporaryFolder;

RunConfig budget(int64_t steps, int64_t tokens = 0) {
  RunConfig run;
  run.steps = steps;
  run.tokens = tokens;
  return run;
}

TEST(LearningRate, WarmsUpLinearlyThenFollowsItsSchedule) {
  OptimizerConfig c;
  c.lr = 1;
  c.min_lr = 0.1;
  c.warmup = 10;
  const auto rate = [&](int64_t step) { return learning_rate(c, budget(110), step, 7 * step); };
  EXPECT_DOUBLE_EQ(rate(0), 0.1);
  EXPECT_DOUBLE_EQ(rate(9), 1);
  c.schedule = RateSchedule::Cosine;
  EXPECT_DOUBLE_EQ(rate(10), 1);
  EXPECT_NEAR(rate(60), 0.55, 1e-12);
  EXPECT_NEAR(rate(110), 0.1, 1e-12);
  c.schedule = RateSchedule::Linear;
  EXPECT_NEAR(rate(35), 0.775, 1e-12);
  c.schedule = RateSchedule::Constant;
  c.decay = 0.2;
  EXPECT_DOUBLE_EQ(rate(90), 1);
  EXPECT_NEAR(rate(100), 0.55, 1e-12);
  EXPECT_NEAR(rate(110), 0.1, 1e-12);
}

TEST(LearningRate, StaysConstantWithoutALastStep) {
  OptimizerConfig c;
  c.lr = 0.5;
  EXPECT_DOUBLE_EQ(learning_rate(c, budget(0), 1'000'000, 1'000'000), 0.5);
}

// Steps of one size: a budget of tokens is one of steps, whatever the schedule.
TEST(LearningRate, FollowsABudgetOfTokensLikeOneOfSteps) {
  OptimizerConfig c;
  c.lr = 1;
  c.min_lr = 0.1;
  for (const int64_t warmup : {0, 10})
    for (const RateSchedule schedule : {RateSchedule::Cosine, RateSchedule::Linear, RateSchedule::Constant})
      for (int64_t step = 0; step < 110; ++step) {
        c.warmup = warmup;
        c.schedule = schedule;
        EXPECT_NEAR(learning_rate(c, budget(0, 110 * 64), step, step * 64),
                    learning_rate(c, budget(110), step, step * 64), 1e-12)
            << word_of(schedule) << " at step " << step << " after a warm-up of " << warmup;
      }
}

// Steps that grow, as under a curriculum: after warm-up the rate only falls, and it has fallen when the tokens are
// spent.
TEST(LearningRate, FallsWithTheTokensWhereStepsGrow) {
  OptimizerConfig c;
  c.lr = 1;
  c.warmup = 5;
  const RunConfig run = budget(0, 50'000);
  double before = 1;
  for (int64_t step = 5, tokens = 5; tokens < run.tokens; tokens += 10 * step, ++step) {
    const double rate = learning_rate(c, run, step, tokens);
    EXPECT_LE(rate, before) << "step " << step;
    before = rate;
  }
  EXPECT_LT(before, 0.01);
  EXPECT_DOUBLE_EQ(learning_rate(c, run, 100, run.tokens), 0);
}

TEST(LearningRate, EndsWithTheNearerOfTwoBudgets) {
  OptimizerConfig c;
  c.lr = 1;
  c.schedule = RateSchedule::Linear;
  EXPECT_DOUBLE_EQ(learning_rate(c, budget(100, 1000), 10, 500), 0.5) << "half of the tokens, a tenth of the steps";
  EXPECT_DOUBLE_EQ(learning_rate(c, budget(100, 1000), 50, 100), 0.5);
}

TEST(StartReport, PassesFollowTheNearerEndOfTheBudget) {
  const DataConfig data = load_config("", {"data.batch=8", "data.length=100"}).data;
  const auto found = [&](int64_t steps, int64_t tokens) {
    RunConfig run;
    run.steps = steps;
    run.tokens = tokens;
    return passes(run, data, 40);
  };
  EXPECT_EQ(found(10, 0), 2);
  EXPECT_EQ(found(0, 12000), 3);
  EXPECT_EQ(found(10, 12000), 2);
  EXPECT_EQ(found(100, 12000), 3);
  EXPECT_EQ(found(0, 0), 0);
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
    params.initialise(1, Queue({.threads = threads}));
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
    params.initialise(1, Queue{});
    const Random random(2, Purpose::Test);
    for (uint32_t i = 0; i < 22; ++i) params.rounded_grads().as<float>()[i] = static_cast<float>(random.normal(i));
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

TEST(RunDirectory, ABlockOfRowsBelongsToARunUnderStrictAlone) {
  const TemporaryFolder folder;
  Config config = parse_config("[run]\ndir = " + (folder / "run") + "\n", "test");
  make_run_directory(config.run.dir);
  claim_run_directory(config);
  config.run.block = 128;
  EXPECT_NO_THROW(claim_run_directory(config));
  config.run.deterministic = Determinism::Strict;  // the run had no blocks so far
  EXPECT_NO_THROW(claim_run_directory(config));
  keep_configuration(config);
  config.run.block = 64;
  try {
    claim_run_directory(config);
    FAIL() << "other blocks were accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("run.block: 128 -> 64"), std::string::npos) << error.what();
  }
}

TEST(RunDirectory, RefusesARunOfANewerProgramWithTheKeysItDoesNotKnow) {
  const TemporaryFolder folder;
  const Config config = parse_config("[run]\ndir = " + (folder / "run") + "\n", "test");
  make_run_directory(config.run.dir);
  claim_run_directory(config);
  std::ofstream(config_file(config.run.dir), std::ios::app) << "[optimizer]\nmomentum = 0.9\n[muon]\nrank = 3\n";
  try {
    claim_run_directory(config);
    FAIL() << "a newer run was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Usage);
    for (const char* part : {"a newer one wrote them", "optimizer.momentum = 0.9", "muon.rank = 3"})
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(RunDirectory, LinesThatOneSideLacksDiffer) {
  EXPECT_EQ(differing_lines("a=1\nb=2\nc=3\n", "b=2\nc=4\nd=5\n"),
            (std::vector<std::string>{"a: 1 -> (not there)", "c: 3 -> 4", "d: (not there) -> 5"}));
}

TEST(RunDirectory, FindsTheDataInAnIdentity) {
  EXPECT_EQ(data_line_in("data.batch=4\n" + data_line("0123abc")), data_line("0123abc"));
  EXPECT_EQ(data_line_in("data.batch=4\n"), "");
}

TEST(RunDirectory, KnowsARunsOwnConfiguration) {
  const TemporaryFolder folder;
  const std::string run = folder / "run", file = config_file(run);
  make_run_directory(run);
  EXPECT_EQ(run_directory_of(file), "");
  std::ofstream{file} << render_config({});
  EXPECT_EQ(run_directory_of(file), "") << "a configuration of that name alone is no run";
  std::ofstream{run + "/lock"} << "";
  EXPECT_EQ(run_directory_of(file), run);
  std::ofstream{file} << "[model]\nlayers = 2\n[run]\ndir = elsewhere\n";
  EXPECT_EQ(run_directory_of(file), "") << "written by hand";
  EXPECT_EQ(run_directory_of(run + "/lock"), "");
}

TEST(StopConditions, ATargetThatWasMetIsMetAtTheNextStart) {
  RunConfig run;
  run.target_loss = 2;
  SignalWatch signals;
  const Curriculum curriculum({{}}, {}, 1, 1);
  const StopConditions stop(run, curriculum, signals);
  TrainState state;
  EXPECT_EQ(stop.decide(state), StopReason::None);
  state.loss = state.mean_loss = 2.1;
  EXPECT_EQ(stop.decide(state), StopReason::None);
  state.loss = state.mean_loss = 1.9;
  EXPECT_EQ(stop.decide(state), StopReason::TargetLoss);
}

TEST(LaterSaves, AreDueEachSoManyStepsOrWhenAnyRankAsked) {
  CheckpointConfig config;
  config.every = 3;
  config.every_minutes = 0;
  LaterSaves saves(config);
  std::vector<int64_t> due;
  for (int64_t step = 1; step <= 7; ++step) {
    StepSums reduced;
    saves.ask(reduced, true);
    EXPECT_FALSE(reduced.save) << "no clock was set";
    reduced.save = step == 5;
    saves.plan(step, reduced);
    if (saves.take_due()) due.push_back(step);
    EXPECT_FALSE(saves.take_due()) << "twice";
  }
  EXPECT_EQ(due, (std::vector<int64_t>{3, 5, 6}));
}

TEST(LaterSaves, TheClockOfRank0AsksOnceAWhile) {
  CheckpointConfig config;
  config.every_minutes = 1e-12;
  const LaterSaves saves(config);
  StepSums of_rank0, of_another;
  saves.ask(of_rank0, true);
  saves.ask(of_another, false);
  EXPECT_TRUE(of_rank0.save);
  EXPECT_FALSE(of_another.save);
  config.every_minutes = 60;
  StepSums of_a_new_run;
  LaterSaves(config).ask(of_a_new_run, true);
  EXPECT_FALSE(of_a_new_run.save) << "an hour has not passed";
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

TEST(Diagnostics, AreMeasuredWhereOneIsNoMoreWhatItBeganAs) {
  constexpr Diagnostic kAll[] = {{"least", "", Combine::Min}, {"most", "", Combine::Max}, {"sum", "", Combine::Sum}};
  for (size_t i = 0; i < std::size(kAll); ++i) {
    Diagnostics diagnostics(kAll);
    EXPECT_FALSE(diagnostics.measured());
    diagnostics.values[i] = 3;
    EXPECT_TRUE(diagnostics.measured()) << kAll[i].name;
    diagnostics.clear();
    EXPECT_FALSE(diagnostics.measured());
  }
}

TEST(RunLog, TellsDiagnosticsByTheirNamesWhereThereAreAny) {
  constexpr Diagnostic kAll[] = {{"smallest", "least {:.1g}", Combine::Min}, {"largest", "most {:.2f}", Combine::Max}};
  const TemporaryFolder folder;
  const std::string path = (folder / "metrics.jsonl");
  testing::internal::CaptureStdout();
  {
    RunLog log({.speaks = true, .jsonl = path, .every = 1});
    log.open(0);
    Diagnostics diagnostics(kAll);
    log.step({.step = 1, .steps = 9, .diagnostics = diagnostics});
    diagnostics.values[0] = 0.25;
    log.step({.step = 2, .steps = 9, .diagnostics = diagnostics});
  }
  const std::string lines = testing::internal::GetCapturedStdout();
  EXPECT_TRUE(lines.find("norm 0.00 | 0 tok/s") != std::string::npos) << "of step 1: " << lines;
  EXPECT_TRUE(lines.find("norm 0.00 | least 0.2 most -inf | 0 tok/s") != std::string::npos) << "of step 2: " << lines;
  std::ifstream file(path);
  std::vector<nlohmann::json> records;
  for (std::string line; std::getline(file, line);) records.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(records.size(), 3) << "run_start and two steps";
  EXPECT_FALSE(records[1].contains("smallest"));
  EXPECT_EQ(records[2].at("smallest"), 0.25);
  EXPECT_TRUE(records[2].at("largest").is_null());
}

}  // namespace
}  // namespace memring
