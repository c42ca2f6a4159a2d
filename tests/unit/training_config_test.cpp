// The configuration of a training run: keys that have no effect in it, and what its schedule ends with.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "config/config.h"

namespace memring {
namespace {

/// The keys of the file that have no effect; the message where a key of the command line has none.
std::string without_effect(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const std::string path = testing::TempDir() + "training_config_test.ini";
  std::ofstream(path) << text;
  try {
    return fmt::format("{}", fmt::join(load_training_config(path, overrides).unused, " "));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Usage);
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
}

TEST(TrainingConfig, NamesTheKeysOfAFileThatHaveNoEffect) {
  EXPECT_EQ(without_effect("[model]\nlayers = 2\n"), "");
  EXPECT_EQ(without_effect("[memory]\ntokens = 16\nlora_rank = 4\n[tbptt]\nwindow = 2\ncut = 0.5\n[run]\nblock = 64\n"
                           "[optimizer]\ndecay = 0.5\nmin_lr = 1e-4\n[task]\nnoise = 3\nvalues = 4\n"
                           "[curriculum]\npromote_loss = 0.1\nshorter = 0.5\n"),
            "memory.tokens memory.lora_rank tbptt.window tbptt.cut run.block optimizer.decay task.noise task.values "
            "curriculum.promote_loss curriculum.shorter");
  EXPECT_EQ(without_effect("[segment]\nlength = 16\n[data]\nlength = 64\n[curriculum]\nstages = 1,2\nmax_steps = 200\n"
                           "min_steps = 3\n"),
            "data.length curriculum.min_steps");
  const std::string rmt =
      "[memory]\nkind = rmt\ntokens = 16\n[segment]\nlength = 16\n[tbptt]\nmode = window\nwindow = 2\n";
  EXPECT_EQ(without_effect(rmt), "");
  EXPECT_EQ(without_effect(rmt, {"--memory.reset=segment"}), "tbptt.mode tbptt.window") << "the control experiment";
  EXPECT_EQ(without_effect(rmt, {"--memory.kind=none"}), "memory.tokens tbptt.mode tbptt.window");
  EXPECT_EQ(without_effect(rmt, {"--memory.kind=halo", "--memory.sinks=2"}), "memory.tokens");
  EXPECT_EQ(without_effect(rmt, {"--data.length=16"}), "tbptt.mode tbptt.window") << "one segment";
  // The rate falls under curriculum.after too, whatever the schedule.
  const std::string falls = "[optimizer]\nschedule = constant\ndecay = 0\nmin_lr = 1e-4\n[segment]\nlength = 16\n";
  EXPECT_EQ(without_effect(falls), "optimizer.min_lr");
  EXPECT_EQ(without_effect(falls + "[curriculum]\nstages = 1,2\npromote_loss = 0.1\nafter = 5\n"), "");
}

// (What a run on a device has saved is read all the same.)
TEST(TrainingConfig, RefusesADeviceThatThisBuildCannotHave) {
  EXPECT_NE(without_effect("[device]\nkind = cuda\n").find("kind = cuda, and this build has no CUDA backend"),
            std::string::npos);
  EXPECT_EQ(parse_config("[device]\nkind = cuda\n", "saved").device.kind, DeviceKind::Cuda);
}

TEST(TrainingConfig, RefusesAKeyOfTheCommandLineThatHasNoEffectAndNamesWhatItCountsWith) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"memory.tokens=16", "memory.kind = rmt, armt or uio"},
      {"memory.tokens=8", "memory.kind = rmt, armt or uio"},  // the default too
      {"memory.nu=2", "memory.kind = armt"},
      {"memory.window=64", "memory.kind = halo"},
      {"memory.lora_alpha=2", "memory.kind = uio"},
      {"lora.alpha=2", "lora.rank above 0"},
      {"tbptt.window=2", "tbptt.mode = window"},
      {"tbptt.cut=0.5", "tbptt.mode = unbiased"},
      {"optimizer.decay=0.1", "optimizer.schedule = constant"},
      {"run.block=64", "run.deterministic = strict"},
      {"task.symbols=5", "data.kind = associative or copy"},
      {"curriculum.promote_loss=0.1", "curriculum.stages"},
  };
  for (const auto& [setting, needs] : table) {
    const std::string found = without_effect("", {"--" + setting}), key = setting.substr(0, setting.find('='));
    EXPECT_NE(found.find(fmt::format("--{}: {} has no effect in this run; it counts with ", key, key)),
              std::string::npos)
        << found;
    EXPECT_NE(found.find(needs), std::string::npos) << found;
  }
  EXPECT_NE(without_effect("[curriculum]\nstages = 4x16\n[segment]\nlength = 16\n", {"--data.length=64"})
                .find("no curriculum.stages"),
            std::string::npos);
  EXPECT_EQ(without_effect("", {"--run.deterministic=strict", "--run.block=64"}), "");
  EXPECT_EQ(without_effect("", {"--optimizer.schedule=constant", "--optimizer.decay=0.1"}), "");
}

TEST(TrainingConfig, EveryConditionIsToldByHelp) {
  EXPECT_NE(
      config_help({"optimizer"}).find("counts with optimizer.schedule = constant and run.steps or run.tokens above 0;"),
      std::string::npos);
}

TEST(TrainingConfig, ABudgetOfTokensAloneTakesTheDefaultStepsAway) {
  EXPECT_EQ(load_config("", {"run.tokens=4k"}).run.steps, 0);
  EXPECT_EQ(load_config("", {"run.tokens=4k", "run.steps=1000"}).run.steps, 1000);
  EXPECT_EQ(load_config("", {"run.time=60"}).run.steps, 1000) << "a limit of one start, not of the run";
}

TEST(TrainingConfig, ARateThatDecaysNeedsAnEnd) {
  for (const char* schedule : {"cosine", "linear"}) {
    const std::string set = std::string("--optimizer.schedule=") + schedule;
    const std::string found = without_effect("[run]\nsteps = 0\ntime = 60\n", {set});
    EXPECT_NE(found.find(".ini:2: optimizer.schedule = " + std::string(schedule) + " decays until the run ends"),
              std::string::npos)
        << found;
    EXPECT_EQ(without_effect("[run]\nsteps = 0\ntokens = 60\n", {set}), "");
  }
  EXPECT_EQ(without_effect("[run]\nsteps = 0\ntime = 60\n", {"--optimizer.schedule=constant"}), "");
}

}  // namespace
}  // namespace memring
