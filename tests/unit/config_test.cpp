// The configuration: every key reads back what it printed, whatever form its value was written in.
// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>

#include "base/error.h"
#include "config/options.h"
#include "config/values.h"
#include "config_mistakes.h"

namespace memring {
namespace {

using test::expect_mistake;

std::string all_examples() {
  std::string text;
  for (const Option& option : options())
    if (!option.of_one_start) text += fmt::format("[{}]\n{} = {}\n", option.section(), option.name(), option.example);
  return text;
}

TEST(Config, NothingGivenMeansDefaultsAndDerivedValues) {
  const Config config = parse_config("", "empty.ini");
  EXPECT_EQ(config.run.steps, 1000);
  EXPECT_EQ(config.model.kv_heads, config.model.heads);
  EXPECT_EQ(config.model.head_dim, 32);
  EXPECT_EQ(config.model.ffn, 352);  // 8/3 * 128 = 341.33, up to 352
  EXPECT_EQ(parse_config("[model]\ndim = 256\n", "x").model.ffn, 688);
  EXPECT_EQ(parse_config("[model]\ndim = 6\nheads = 1", "x").model.ffn, 16);  // 8/3 * 6 = 16 exactly
  EXPECT_EQ(load_config("", {"model.heads=8"}).model.kv_heads, 8);
}

TEST(Config, EveryKeyHasHelpRangeAndAnExampleThatParses) {
  std::set<std::string_view> keys;
  const std::string help = config_help({});
  for (const Option& option : options()) {
    const std::string key(option.key);
    EXPECT_TRUE(keys.insert(option.key).second) << key << " is declared twice";
    EXPECT_EQ(find_option(option.key), &option);
    EXPECT_TRUE(option.help.ends_with('.')) << key;
    EXPECT_FALSE(describe_values(option).empty()) << key;
    Config config;
    EXPECT_NO_THROW(set_value(option, config, option.example, key)) << key;
    // The default itself is allowed.
    EXPECT_NO_THROW(set_value(option, config, value_text(option, Config{}), key)) << key;
    EXPECT_NE(help.find(fmt::format("  --{}=VALUE", key)), std::string::npos) << key;
    EXPECT_NE(help.find(fmt::format("example --{}={}\n", key, option.example)), std::string::npos) << key;
  }
}

TEST(Config, EveryKeyReadsBackTheValueItPrinted) {
  const Config config = parse_config(all_examples(), "examples.ini");
  const std::string text = render_config(config);
  EXPECT_EQ(render_config(parse_config(text, "printed.ini")), text);
  const Config defaults;
  const Config back = parse_config(text, "printed.ini");
  for (const Option& option : options()) {
    if (option.of_one_start) continue;
    EXPECT_EQ(value_text(option, back), value_text(option, config)) << option.key;
    const bool one_value = option.choices.size() == 1;
    EXPECT_TRUE(one_value || value_text(option, back) != value_text(option, defaults)) << option.key << " was not set";
  }
}

TEST(Config, AKeyOfOneStartStandsOnTheCommandLineAlone) {
  const Config config = parse_config("", "x.ini", {"checkpoint.resume=sound"});
  EXPECT_EQ(config.checkpoint.resume.what, ResumeFrom::What::Sound);
  EXPECT_TRUE(changed_keys(parse_config("", "x.ini", {}), config).empty()) << "going back is no other setting";
  EXPECT_EQ(render_config(config).find("resume"), std::string::npos) << "a later start would go back again";
  EXPECT_EQ(config_identity(config).find("resume"), std::string::npos);
  expect_mistake("[checkpoint]\nresume = sound\n", {"runs.ini:2", "checkpoint.resume belongs on the command line"});
  for (const char* value : {"", "older", "-1", "1e3", "9999999999999999999"})
    EXPECT_THROW(parse_config("", "x.ini", {fmt::format("checkpoint.resume={}", value)}), Error) << value;
  for (const char* value : {"newest", "0", "123"})
    EXPECT_NO_THROW(parse_config("", "x.ini", {fmt::format("checkpoint.resume={}", value)})) << value;
}

TEST(Config, NumbersReadBackToTheSameBits) {
  const double third = 1.0 / 3.0;
  Config config = parse_config("", "x");
  config.optimizer.lr = third;
  config.run.seed = UINT64_MAX;
  config.run.tokens = INT64_MAX;
  const Config back = parse_config(render_config(config), "printed");
  EXPECT_EQ(back.optimizer.lr, third);
  EXPECT_EQ(back.run.seed, UINT64_MAX);
  EXPECT_EQ(back.run.tokens, INT64_MAX);
}

TEST(Config, TextsReadBackWhateverTheyHold) {
  for (const char* path : {"data/a#b;c.h5", "with space/x", "cut #here", "cut ;here", "\"quoted\"", " padded ",
                           "back\\slash", "#first", "a\" b", "mixed \" #x\\y", ""}) {
    const Config config = load_config("", {std::string("--data.path=") + path});
    EXPECT_EQ(config.data.path, path);
    EXPECT_EQ(parse_config(render_config(config), "printed").data.path, path) << render_config(config);
  }
}

TEST(Config, CommentsNeedALineStartOrWhiteSpaceBeforeThem) {
  const Config config = parse_config(
      "# a comment\n; another\n  # indented\n[data] # of the section\npath = books#2;v1.h5 # the second\nbatch = 5 "
      ";five\n"
      "length = 64 ; tokens\n",
      "x", {"data.batch=7"});
  EXPECT_EQ(config.data.path, "books#2;v1.h5");
  EXPECT_EQ(config.data.length, 64);
}

// Otherwise log.every would silently become checkpoint.every.
TEST(Config, AHeaderThatIsCommentedOutEndsTheSectionAboveIt) {
  for (const char* header : {"#[log]", "; [log]", "## [ log ] ", "#log]"})
    expect_mistake(fmt::format("[checkpoint]\nkeep = 3\n{}\nevery = 1\n", header),
                   {"runs.ini:4: 'every' stands under the section header that line 3 comments out", "line 3"});
  for (const char* comment :
       {"# see [log]", "# [log] of the run", "# a list]", "#", "#[log]\n# every = 1\n[checkpoint]"})
    EXPECT_EQ(parse_config(fmt::format("[checkpoint]\nkeep = 3\n{}\nevery = 1\n", comment), "x").checkpoint.every, 1);
}

TEST(Config, WindowsLineEndsByteOrderMarkAndRepeatedSectionsAreAccepted) {
  const Config config =
      parse_config("\xEF\xBB\xBF[model]\r\nlayers = 3\r\n\r\n[data]\r\nbatch=5\r\n[model]\r\n  dim\t=\t64  \r\n", "x");
  EXPECT_EQ(config.model.layers, 3);
  EXPECT_EQ(config.model.dim, 64);
  EXPECT_EQ(config.data.batch, 5);
}

TEST(Config, SizesCountIn1024) {
  auto memory = [](const char* text) {
    return load_config("", {std::string("--device.memory=") + text}).device.memory;
  };
  EXPECT_EQ(memory("3"), 3);
  EXPECT_EQ(memory("2k"), 2048);
  EXPECT_EQ(memory("2K"), 2048);
  EXPECT_EQ(memory("2KiB"), 2048);
  EXPECT_EQ(memory("3M"), 3 << 20);
  EXPECT_EQ(memory("3 MiB"), 3 << 20);
  EXPECT_EQ(memory("5G"), int64_t{5} << 30);
  EXPECT_EQ(memory("5GiB"), int64_t{5} << 30);
  EXPECT_EQ(memory("1e6"), 1000000);
  expect_mistake("", {"device.memory = '2X' is not an integer"}, {"--device.memory=2X"});
  expect_mistake("", {"device.memory = '1.5G' is not an integer"}, {"--device.memory=1.5G"});
  expect_mistake("", {"device.memory = '9999999999G' is out of range"}, {"--device.memory=9999999999G"});
  expect_mistake("", {"device.memory = 'G' is not an integer"}, {"--device.memory=G"});
  expect_mistake("", {"device.memory = '-1k' is out of range"}, {"--device.memory=-1k"});
  expect_mistake("", {"is out of range"}, {"--device.memory=-9223372036854775808"});
}

TEST(Config, DurationsAreSecondsOrClockTime) {
  auto time = [](const char* text) { return load_config("", {std::string("--run.time=") + text}).run.time; };
  EXPECT_EQ(time("90"), 90);
  EXPECT_EQ(time("0.5"), 0.5);
  EXPECT_EQ(time("01:02:03"), 3723);
  EXPECT_EQ(time("100:00:00.5"), 360000.5);
  for (const char* text : {"1:2", "00:60:00", "00:00:60", "a:b:c", "00:00:-1", "1h", "-01:00:00", "::"})
    expect_mistake("", {"run.time", "expected seconds or hh:mm:ss"}, {std::string("--run.time=") + text});
}

TEST(Config, BooleansAreWordsOrDigits) {
  for (const char* text : {"true", "on", "1"})
    EXPECT_TRUE(load_config("", {std::string("log.schedule=") + text}).log.schedule);
  for (const char* text : {"false", "off", "0"})
    EXPECT_FALSE(load_config("", {std::string("log.jsonl=") + text}).log.jsonl);
  expect_mistake("[log]\njsonl = yes\n", {"runs.ini:2: log.jsonl = 'yes' is not true or false"});
}

TEST(Config, OverridesWinOverTheFileAndTheLastOneOverAll) {
  const Config config =
      parse_config("[model]\nlayers = 3\n", "x", {"--model.layers=5", "model.layers=6", "--data.path=a=b"});
  EXPECT_EQ(config.model.layers, 6);
  EXPECT_EQ(config.data.path, "a=b");
  expect_mistake("", {"--model.layers has no value", "--model.layers=VALUE"}, {"--model.layers"});
  expect_mistake("", {"has no value"}, {"--=3"});
  expect_mistake("", {"--model.layers: model.layers = '' is not an integer"}, {"--model.layers="});
}

TEST(Config, FixtureTextsParse) {
  const Config config = parse_config(
      "[model]\nlayers = 2\ndim = 32\nheads = 4\nkv_heads = 2\nhead_dim = 8\nffn = 36\nvocab = 29\nrope_theta = 10000\n"
      "norm_eps = 1e-05\ntied = true\n\n[memory]\nkind = rmt\ntokens = 4\nmask = block\n\n[segment]\nlength = 8\n\n"
      "[tbptt]\nmode = window\nwindow = 2\n",
      "rmt_block_window2.h5", {"--mesh.segment=2"});
  EXPECT_EQ(config.model.ffn, 36);
  EXPECT_EQ(config.memory.mask, MemoryMask::Block);
  EXPECT_EQ(config.tbptt.window, 2);
  EXPECT_EQ(config.mesh.segment, 2);
}

TEST(Config, IdentityHoldsWhatDecidesTheNumbersAndNothingElse) {
  const Config config = parse_config("", "x");
  const std::string identity = config_identity(config);
  for (const char* key : {"model.ffn=352\n", "memory.kind=none\n", "segment.length=0\n", "tbptt.window=1\n",
                          "data.batch=8\n", "optimizer.beta1=0.9\n", "run.seed=1\n", "device.dtype=auto\n"})
    EXPECT_NE(identity.find(key), std::string::npos) << key << " missing in\n" << identity;
  for (const char* same : {"mesh.segment=2", "device.threads=2", "run.steps=7", "log.every=1", "checkpoint.keep=5",
                           "run.dir=elsewhere", "tbptt.recompute=always", "data.micro_batch=2", "device.memory=1G",
                           "run.timeout=1", "eval.buckets=2", "optimizer.lr=1", "optimizer.clip=0", "data.path=a.h5"})
    EXPECT_EQ(config_identity(load_config("", {same})), identity) << same;
  for (const char* other :
       {"model.layers=5", "memory.reset=segment", "segment.length=64", "tbptt.mode=window", "rope.beta_fast=8",
        "rope.long_factor=2", "data.length=64", "optimizer.beta2=0.5", "run.seed=2", "device.dtype=fp32"})
    EXPECT_NE(config_identity(load_config("", {other})), identity) << other;
}

TEST(Config, ListsAreComparedByWhatTheySay) {
  const auto changed = [](const std::string& key, const std::string& then, const std::string& now) {
    return !changed_identity(parse_config("", "x.ini", {key + "=" + then}),
                             parse_config("", "x.ini", {key + "=" + now}))
                .empty();
  };
  EXPECT_FALSE(changed("--lora.targets", "q_proj,v_proj", " v_proj  q_proj,q_proj"));
  EXPECT_FALSE(changed("--lora.targets", "all", "down_proj,up_proj,gate_proj,o_proj,v_proj,k_proj,q_proj"));
  EXPECT_TRUE(changed("--lora.targets", "q_proj,v_proj", "q_proj"));
  EXPECT_FALSE(changed("--model.train", "memory,lora", "lora, memory"));
  EXPECT_TRUE(changed("--model.train", "memory,lora", "memory"));
  EXPECT_FALSE(changed("--rope.short_factor", "[1.0, 1.02]", "1 1.02"));
  EXPECT_TRUE(changed("--rope.short_factor", "1,1.02", "1.02,1"));
  EXPECT_FALSE(changed("--positions.split", "13,198", "198 13"));
}

TEST(Config, ABlockOfRowsBelongsToTheIdentityOfStrictAlone) {
  const auto identity = [](const char* kind, const char* block) {
    return config_identity(
        load_config("", {std::string("run.deterministic=") + kind, std::string("run.block=") + block}));
  };
  EXPECT_EQ(identity("mesh", "64"), identity("mesh", "128"));
  EXPECT_NE(identity("strict", "64"), identity("strict", "128"));
}

TEST(Config, ATildeIsTheHomeFolder) {
  const std::string before = std::getenv("HOME") ? std::getenv("HOME") : "";
  setenv("HOME", "/home/somebody", 1);
  const Config config = load_config("", {"--run.dir=~/runs/x", "--data.path=~", "--eval.json=a~/b"});
  setenv("HOME", before.c_str(), 1);
  EXPECT_EQ(config.run.dir, "/home/somebody/runs/x");
  EXPECT_EQ(config.data.path, "/home/somebody");
  EXPECT_EQ(config.eval.json, "a~/b");
}

TEST(Config, HelpShowsOnlyTheSectionsAskedFor) {
  const std::string help = config_help({"eval", "mesh"});
  EXPECT_NE(help.find("[mesh]"), std::string::npos);
  EXPECT_NE(help.find("--eval.buckets=VALUE"), std::string::npos);
  EXPECT_EQ(help.find("--model."), std::string::npos);
}

TEST(Config, FilesAreReadAndMissingOnesNamed) {
  const std::string path = testing::TempDir() + "config_test.ini";
  std::ofstream(path) << "[model]\nlayers = 7\nlayer = 3\n";
  try {
    load_config(path, {});
    FAIL() << "accepted an unknown key";
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), path + ":3: unknown key 'model.layer'");
  }
  std::ofstream(path) << "[model]\nlayers = 7\n";
  EXPECT_EQ(load_config(path, {}).model.layers, 7);
  std::remove(path.c_str());
  for (const std::string& missing : {path, testing::TempDir()}) {
    try {
      load_config(missing, {});
      FAIL() << "read " << missing;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::Usage);
      EXPECT_NE(std::string(error.what()).find(missing), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace memring
