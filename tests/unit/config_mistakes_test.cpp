// Mistakes in a configuration: each gets a message with place, reason and remedy.
// SPDX-License-Identifier: Apache-2.0
#include "config_mistakes.h"

#include "config/nearest.h"

namespace memring {
namespace {

using test::expect_mistake;

TEST(ConfigMistakes, UnknownKeysNameFileLineAndNearestKey) {
  expect_mistake("\n[model]\n\n# x\nlayer = 3\n",
                 {"runs.ini:5: unknown key 'model.layer'", "Did you mean 'model.layers'?", "rope_theta"});
  expect_mistake("[model]\nlr = 3\n", {"runs.ini:2: unknown key 'model.lr'", "Did you mean 'optimizer.lr'?"});
  expect_mistake("[optimiser]\nlr = 3\n",
                 {"runs.ini:2: unknown section [optimiser]", "Did you mean 'optimizer.lr'?", "[optimizer]"});
  expect_mistake("", {"--model.dmi: unknown key 'model.dmi'", "Did you mean 'model.dim'?"}, {"--model.dmi=3"});
  expect_mistake("", {"--layers: unknown section", "Did you mean 'model.layers'?"}, {"--layers=3"});
  expect_mistake("", {"unknown key 'model.lay'"}, {"--model.lay=3"});  // no prefix guessing
}

TEST(ConfigMistakes, KeysSetTwiceNameBothLines) {
  expect_mistake("[model]\nlayers = 3\n[model]\nlayers = 3\n",
                 {"runs.ini:4: 'model.layers' is set twice (first in runs.ini:2)"});
}

TEST(ConfigMistakes, MalformedLinesNameTheirLine) {
  expect_mistake("[model]\nlayers 3\n", {"runs.ini:2: 'layers 3' is neither [section] nor key = value"});
  expect_mistake("[model\nlayers = 3\n", {"runs.ini:1: '[model' is not a section"});
  expect_mistake("[]\n", {"runs.ini:1: '[]' is not a section"});
  expect_mistake("layers = 3\n", {"runs.ini:1: 'layers' stands before the first section"});
  expect_mistake("[model]\n= 3\n", {"runs.ini:2: '= 3' is neither"});
  expect_mistake("[data]\npath = \"a\n", {"runs.ini:2: the quotes of 'path' do not close"});
  expect_mistake("[data]\npath = \"a\" b\n", {"runs.ini:2: the quotes of 'path' do not close"});
}

TEST(ConfigMistakes, BinaryFilesAreRefused) {
  expect_mistake(std::string("[model]\nlay\0ers = 3\n", 20),
                 {"runs.ini:2: byte 11 is 0x00; a configuration is plain text"});
  expect_mistake("\x89HDF\r\n\x1a\n", {"runs.ini is an HDF5 file"});
}

TEST(ConfigMistakes, WrongTypesAndRangesNameValueExpectationAndExample) {
  expect_mistake(
      "[model]\nlayers = four\n",
      {"runs.ini:2: model.layers = 'four' is not an integer; expected an integer, 1 to 32765", "model.layers = 12"});
  expect_mistake("[model]\nlayers = 2.5\n", {"is not an integer"});
  expect_mistake("[model]\nlayers = 0\n", {"runs.ini:2: model.layers = '0' is out of range"});
  expect_mistake("[model]\nlayers = 3 4\n", {"is not an integer"});
  expect_mistake("[model]\nlayers = 99999999999999999999\n", {"is out of range"});
  expect_mistake("[run]\nseed = -1\n", {"run.seed = '-1' is out of range"});
  expect_mistake("[optimizer]\nlr = fast\n", {"optimizer.lr = 'fast' is not a number; expected a number, at least 0"});
  expect_mistake("[optimizer]\nlr = nan\n", {"is not a number"});
  expect_mistake("[optimizer]\nlr = inf\n", {"is not a number"});
  expect_mistake("[optimizer]\nlr = -1\n", {"is out of range"});
  expect_mistake("[optimizer]\nbeta1 = 1\n", {"is out of range; expected a number, at least 0 and less than 1"});
  expect_mistake("[model]\nrope_theta = 0\n", {"is out of range; expected a number, more than 0"});
  expect_mistake("[checkpoint]\nkeep = 1\n", {"is out of range"});
  expect_mistake("[log]\nevery = 0\n", {"is out of range"});
  expect_mistake("[tbptt]\nwindow = 0\n", {"is out of range"});
  expect_mistake("[device]\ndtype = fp16\n",
                 {"device.dtype = 'fp16' is none of its values; expected auto, fp32, bf16, fp64", "'fp32'"});
  for (const char* targets : {"q_proj,qkv", "\"\"", "all none"})
    expect_mistake(fmt::format("[lora]\nrank = 4\ntargets = {}\n", targets),
                   {"runs.ini:3: lora.targets = '", "names other layers than a decoder has", "gate_proj"});
  EXPECT_NO_THROW(load_config("", {"lora.rank=4", "lora.targets=q_proj, down_proj"}));
  expect_mistake("[memory]\nkind = rtm\n", {"expected none, rmt, armt, uio, halo", "Did you mean 'rmt'?"});
  expect_mistake("[tbptt]\nrecompute = no\n", {"auto, always, never"});
  expect_mistake("[memory]\nmask = full\n", {"causal, block"});
  expect_mistake("[memory]\nreset = never\n", {"sequence, segment"});
}

TEST(ConfigMistakes, CombinationsThatCannotWorkNameTheirKeysAndPlace) {
  expect_mistake("[model]\nheads = 4\nkv_heads = 3\n",
                 {"runs.ini:3: model.heads = 4 is not a multiple of model.kv_heads = 3"});
  expect_mistake("[model]\nheads = 3\n", {"runs.ini:2: model.dim = 128 is not a multiple of model.heads = 3"});
  expect_mistake("[model]\nhead_dim = 7\n", {"runs.ini:2: model.head_dim = 7 is odd"});
  expect_mistake("[model]\ndim = 12\nheads = 4\n", {"model.head_dim = 3 is odd"});
  expect_mistake("[memory]\nkind = rmt\n", {"runs.ini:2: memory.kind = rmt needs segments, but segment.length = 0"});
  expect_mistake("[memory]\nkind = rmt\ntokens = 0\n[segment]\nlength = 8\n",
                 {"runs.ini:3: memory.kind = rmt needs memory tokens"});
  expect_mistake("[memory]\nkind = uio\ntokens = 3\n[segment]\nlength = 8\n",
                 {"runs.ini:3: memory.tokens = 3 does not divide segments of 8 tokens"});
  expect_mistake(
      "[memory]\nkind = uio\ntokens = 8\n[segment]\nlength = 8\n[curriculum]\nstages = 2x12,4\nmax_steps = 9\n",
      {"does not divide segments of 12 tokens"});
  expect_mistake("[memory]\nkind = uio\ntokens = 2\n[segment]\nlength = 8\n[lora]\nrank = 2\n",
                 {"lora.targets = q_proj,v_proj: uio has updates of its own"});
  expect_mistake("[mesh]\nsegment = 0\n",
                 {"runs.ini:2: mesh.data = 0, mesh.segment = 0, mesh.token = 1: only one axis"});
  expect_mistake("[run]\nsteps = 0\n", {"runs.ini:2", "would never end"});
  expect_mistake("[data]\nbatch = 2\nmicro_batch = 3\n",
                 {"runs.ini:3: data.micro_batch = 3 is more than data.batch = 2"});
  expect_mistake(
      "[run]\ndeterministic = strict\n[data]\nmicro_batch = 2\n",
      {"runs.ini:4: data.micro_batch = 2 with run.deterministic = strict", "Set data.micro_batch to 0 or 1"});
  expect_mistake("[run]\ndeterministic = strict\n[device]\ndtype = bf16\n",
                 {"runs.ini:4: device.dtype = bf16 with run.deterministic = strict", "Set device.dtype = fp32"});
  expect_mistake("[run]\nblock = 96\n", {"runs.ini:2: run.block = 96 is not a power of two"});
  expect_mistake("[optimizer]\nmin_lr = 1\n", {"runs.ini:2: optimizer.min_lr = 1 is more than optimizer.lr = 0.001"});
  expect_mistake("", {"--model.heads: model.dim = 128 is not a multiple of model.heads = 3"}, {"--model.heads=3"});
  EXPECT_NO_THROW(parse_config("[run]\nsteps = 0\ntime = 10\n", "x"));
  EXPECT_NO_THROW(parse_config("[model]\nheads = 3\nhead_dim = 10\n", "x"));  // head_dim need not be dim / heads
  EXPECT_NO_THROW(parse_config("[segment]\nlength = 8\n", "x"));              // kind none: independent segments
}

TEST(ConfigMistakes, ObjectivesThatTheDataCannotHave) {
  expect_mistake("[objective]\nkind = answer\n", {"runs.ini:2", "a token file does not say which tokens answer"});
  expect_mistake("[objective]\nkind = reconstruct\n", {"nothing crosses from the text to its repetition"});
  const std::string rmt = "[memory]\nkind = rmt\n[segment]\nlength = 8\n[objective]\nkind = reconstruct\n";
  expect_mistake(rmt + "[data]\nkind = memorize\nlength = 32\n", {"memorize, which has an answer of its own"});
  expect_mistake(rmt + "[data]\nlength = 40\n", {"reconstruct with sequences of 40 tokens", "a multiple of 16"});
  expect_mistake(rmt + "[curriculum]\nstages = 2,3,4\nmax_steps = 9\n", {"sequences of 24 tokens"});
  expect_mistake(rmt + "[curriculum]\nstages = 2,4\nmax_steps = 9\nshorter = 0.5\n", {"any number of segments"});
  expect_mistake("[objective]\nkind = distil\nwindow = 7\n[segment]\nlength = 8\n",
                 {"runs.ini:3", "objective.window = 7 is shorter than a segment of 8 tokens"});
  expect_mistake(
      "[objective]\nkind = distil\nwindow = 16\n[segment]\nlength = 8\n[curriculum]\nstages = 1x64,16\nmax_steps = 9\n",
      {"objective.window = 16 is shorter than a segment of 64 tokens"});
}

TEST(ConfigMistakes, SegmentsWithMoreRowsThanCanBeNumberedAreRefused) {
  EXPECT_EQ(load_config("", {"segment.length=2147483647"}).segment.length, 2147483647);
  expect_mistake("", {"is out of range", "0 to 2147483647"}, {"--segment.length=2147483648"});
  const std::vector<std::string> rmt = {"--memory.kind=rmt", "--memory.tokens=8", "--segment.length=2147483632"};
  expect_mistake(
      "", {"--segment.length: a segment of 2,147,483,632 tokens has 2,147,483,648 rows", "at most 2147483631"}, rmt);
  EXPECT_NO_THROW(load_config("", {"memory.kind=rmt", "memory.tokens=8", "segment.length=2147483631"}));
  EXPECT_NO_THROW(load_config("", {"memory.kind=armt", "memory.tokens=8", "segment.length=2147483639"}));
  expect_mistake("", {"--data.length: a segment of 2,147,483,648 tokens"}, {"--data.length=2G"});
  EXPECT_NO_THROW(load_config("", {"data.length=2G", "segment.length=1024"}));
  expect_mistake("", {"has 4,294,967,296 segments of 1"}, {"--data.length=4G", "--segment.length=1"});
  expect_mistake("", {"2,147,483,655 rows"},
                 {"--memory.kind=rmt", "--segment.length=16", "--curriculum.stages=1x2147483639,1000000000",
                  "--curriculum.max_steps=100"});
  expect_mistake("", {"out of range"}, {"--data.length=9223372036854775807"});
}

TEST(ConfigMistakes, HalosPositionsAndSinksFitItsSegments) {
  const std::vector<std::string> halo = {"--memory.kind=halo", "--segment.length=8"};
  const auto with = [&](const std::string& key) {
    std::vector<std::string> all = halo;
    all.push_back(key);
    return all;
  };
  expect_mistake("", {"--memory.kind: memory.kind = halo needs segments"}, {"--memory.kind=halo"});
  expect_mistake("", {"--memory.sinks: memory.sinks = 9 is more than segment.length = 8"}, with("--memory.sinks=9"));
  expect_mistake("", {"--eval.segments: segments of 16 tokens, but segment.length = 8"}, with("--eval.segments=2x16"));
  expect_mistake("", {"--data.length: a sequence of 2,147,483,648 tokens with memory.kind = halo"},
                 with("--data.length=2G"));
  EXPECT_NO_THROW(load_config("", {"memory.kind=halo", "segment.length=8", "memory.sinks=8", "memory.window=100"}));
}

TEST(Nearest, CountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("layer", "layers"), 1);
  EXPECT_EQ(edit_distance("dmi", "dim"), 1);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  const std::vector<std::string_view> words{"train", "eval", "pack"};
  EXPECT_EQ(nearest("trian", words), "train");
  EXPECT_EQ(nearest("evil", words), "eval");
  EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace memring
