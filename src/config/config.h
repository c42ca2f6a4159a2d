// Every choice of a run, typed and validated once, immutable afterwards. Each option is declared once, in options.cpp:
// parsing, help, printing and documentation follow from that table.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/words.h"

namespace memring {

struct RunConfig {
  std::string dir = "runs/default";
  int64_t steps = 1000;    ///< optimizer steps; 0 = no limit, and so where tokens alone is set
  int64_t tokens = 0;      ///< stop after this many training tokens; 0 = no limit
  double time = 0;         ///< stop after this many seconds of training in this process; 0 = no limit
  double target_loss = 0;  ///< stop once a logged training loss is at most this; 0 = off
  uint64_t seed = 1;
  Determinism deterministic = Determinism::Mesh;
  int64_t block = 256;            ///< strict: rows of a canonical block, a power of two
  double timeout = 600;           ///< seconds without any progress after which a rank ends the job; 0 = off
  double wait = 120;              ///< seconds to wait at the start for what another host has to do first
  OnUsr1 on_usr1 = OnUsr1::Stop;  ///< save and exit 75, or save and go on
  int64_t max_skipped = 10;       ///< exit 70 after more than so many non-finite steps in a row
};

struct MeshConfig {
  int data = 0, segment = 1, token = 1;  ///< 0 = what is left of the world
};

struct DeviceConfig {
  DeviceKind kind = DeviceKind::Auto;
  Precision dtype = Precision::Auto;
  int threads = 0;     ///< per rank; 0 = cores / ranks of this node
  int64_t memory = 0;  ///< bytes a rank may plan for; 0 = its share of what the machine has
  LoopIsa isa = LoopIsa::Auto;
};

struct ModelConfig {
  int layers = 4, dim = 128, heads = 4;
  int kv_heads = 0;  ///< 0 = heads
  int head_dim = 0;  ///< 0 = dim / heads
  int ffn = 0;       ///< 0 = 8/3 dim, rounded up to a multiple of 16
  int vocab = 256;
  double rope_theta = 10000, norm_eps = 1e-5;
  double init_std = 0.02, embedding_std = 0.02;  ///< of weights and of embeddings at the start
  bool tied = true;
  std::string from{};         ///< checkpoint or run whose weights a new run starts with; empty = fresh ones
  std::string train = "all";  ///< words and patterns of the tensors that learn
};

/// Of the rotary frequencies (model/rotary.h).
struct RopeConfig {
  RopeScaling scaling = RopeScaling::None;
  double factor = 0;            ///< 0 = not given
  int64_t original_length = 0;  ///< 0 = the window
  double beta_fast = 32, beta_slow = 1;
  double low_freq_factor = 1, high_freq_factor = 4;
  double attention_factor = 0;  ///< 0 = as computed
  double mscale = 0, mscale_all_dim = 0;
  bool truncate = true;
  std::string short_factor, long_factor;  ///< lists of numbers
};

/// Low-rank updates of the decoder's linear layers (Hu et al. 2021); memory.lora_* are uio's own.
struct LoraConfig {
  int rank = 0;  ///< 0: none
  double alpha = 16;
  std::string targets = "q_proj,v_proj";
};

struct MemoryConfig {
  MemoryKind kind = MemoryKind::None;
  MemoryReset reset = MemoryReset::Sequence;
  int tokens = 8;
  MemoryMask mask = MemoryMask::Causal;
  double init_std = 1;       ///< of the memory tokens at the start
  int key_dim = 64, nu = 3;  // armt
  int64_t window = 0;        // halo: tokens that a token sees; 0: back to the segment before
  int sinks = 0;             // halo
  int lora_rank = 8;         // uio
  double lora_alpha = 16;
};

struct SegmentConfig {
  int64_t length = 0;  ///< text tokens of a segment; 0 = the whole sequence (kind none only)
};

struct TbpttConfig {
  TbpttMode mode = TbpttMode::Full;
  int64_t window = 1;
  double cut = 0.1;
  RecomputeWhen recompute = RecomputeWhen::Auto;
  int64_t boundaries = 0;  ///< recomputed: keep the state of every so many boundaries; 0: of all
};

struct DataConfig {
  DataKind kind = DataKind::Tokens;
  std::string path;         ///< token file; of a task: text for its noise
  int64_t batch = 8;        ///< sequences of one optimizer step over the whole world
  int64_t micro_batch = 0;  ///< sequences of one stream; 0 = automatic
  int64_t length = 1024;    ///< tokens of one sequence; set by curriculum.stages where there are some
};

/// Position ids of training text (data/positions.h); evaluation has plain ones.
struct PositionsConfig {
  PositionsKind kind = PositionsKind::Plain;
  int64_t target = 0;  ///< length to learn
  CreamForm form = CreamForm::Code;
  double sigma = 3;      ///< cream: of the Gaussian, in half steps of the factor
  double mix = 0.5;      ///< cream: share of samples under relativity
  int64_t head = 0;      ///< cream: head and tail under continuity; 0 = 4 x factor
  int64_t document = 0;  ///< cream, pose: most tokens of the piece of a document that a sample is of; 0 = target
  std::string split = "10 33 46 63";  ///< longrecipe: token ids that end a sentence
};

struct TaskConfig {
  int noise = 32;             ///< random words between what matters
  int symbols = 64;           ///< alphabet of keys (associative) and of what is copied (copy)
  int values = 16;            ///< associative
  int64_t key_length = 1;     ///< associative: symbols of a key
  int64_t distinct_keys = 0;  ///< associative: keys that the pairs share, the latest value counts; 0 = all differ
  double random_fact = 0;     ///< memorize: share of training samples whose fact begins any segment
  int64_t digits = 5;         ///< passkey: of the key
  double depth = -1;          ///< passkey: share of the noise that stands before the key; -1 = anywhere
};

struct CurriculumConfig {
  std::string stages;       ///< segments of each stage, "1,2,4,7x512"; empty = data.length from the first step on
  double shorter = 0;       ///< share of batches with fewer segments
  double promote_loss = 0;  ///< next stage once the average loss is below; 0 = off
  int64_t min_steps = 100;  ///< of a stage before it may be left early
  int64_t max_steps = 0;    ///< of a stage but the last; 0 = no limit
  double lr_power = 0;      ///< the learning rate is divided by a stage's segments to this power
  int64_t after = 0;        ///< the run ends so many steps after the last stage was learned; 0 = off
};

/// What training asks for. Evaluation counts a task's answers, and of a text all tokens.
struct ObjectiveConfig {
  ObjectiveKind kind = ObjectiveKind::Auto;
  double kl = 0.9;     ///< distil: share of the divergence from the base; the rest is the loss of the text
  int64_t window = 0;  ///< distil: tokens that the base sees, up to the end of a segment; 0 = two segments
};

struct OptimizerConfig {
  double lr = 1e-3, min_lr = 0;
  int64_t warmup = 0;  ///< steps
  RateSchedule schedule = RateSchedule::Cosine;
  double decay = 0.2;  ///< of RateSchedule::Constant: the last share of the run, over which it falls after all
  double weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double clip = 1.0;  ///< global norm; 0 = off
};

struct CheckpointConfig {
  int64_t every = 0;          ///< steps; 0 = not by steps
  double every_minutes = 10;  ///< 0 = not by time
  int64_t keep = 2;           ///< committed checkpoints that stay, at least 2
  ResumeFrom resume;          ///< of one start: on the command line alone
};

struct LogConfig {
  int64_t every = 10;  ///< steps between lines
  bool jsonl = true;
  bool schedule = false;  ///< print each rank's list of actions of the first step
};

struct EvalConfig {
  int64_t sequences = 0;  ///< 0 = all of the file; of a task 256
  std::string segments;   ///< tasks: one row of the table each
  std::string lengths;    ///< tasks: the same in tokens; both empty = as in training
  std::string depths;     ///< passkey: each row at each of these; empty = task.depth
  bool control = true;    ///< also with the memory reset at every segment
  int buckets = 8;        ///< position buckets
  std::string json;       ///< file for the result
};

struct Config {
  RunConfig run;
  MeshConfig mesh;
  DeviceConfig device;
  ModelConfig model;
  RopeConfig rope;
  LoraConfig lora;
  MemoryConfig memory;
  SegmentConfig segment;
  TbpttConfig tbptt;
  DataConfig data;
  PositionsConfig positions;
  TaskConfig task;
  CurriculumConfig curriculum;
  ObjectiveConfig objective;
  OptimizerConfig optimizer;
  CheckpointConfig checkpoint;
  LogConfig log;
  EvalConfig eval;
};

/// Reads an ini file (`path` may be empty: defaults only), then applies `--section.key=value` overrides, fills in
/// derived values (kv_heads, head_dim, ffn, original_length) and validates each value's range and all combinations that
/// need no rank or data. Throws Error(Usage) naming file, line and key, what was expected and the nearest valid key.
Config load_config(const std::string& path, const std::vector<std::string>& overrides);

/// The text of a configuration file. Throws Error with what keeps it from being read.
std::string read_config(const std::string& path);

/// load_config from a text (a fixture's or a checkpoint's `config`); `name` stands for the file in messages.
Config parse_config(std::string_view text, const std::string& name, const std::vector<std::string>& overrides = {});

/// What load_config makes of a training run's file and overrides, and which keys of the file have no effect there.
/// Throws Error(Usage) also for an override without effect, and for a learning rate that decays towards no end.
struct TrainingConfig {
  Config config;
  std::vector<std::string> unused;
};
TrainingConfig load_training_config(const std::string& path, const std::vector<std::string>& overrides);

/// "section.key = value" of each setting of a text whose key this program does not know.
std::vector<std::string> unknown_settings(std::string_view text, const std::string& name);

/// A key whose value differs between two configurations, by what it means (of a list the blanks do not count); one of
/// a single start is no part of them.
struct ChangedKey {
  std::string key, then, now;
};
std::vector<ChangedKey> changed_keys(const Config& then, const Config& now);
/// Those of them that belong to the identity of both.
std::vector<ChangedKey> changed_identity(const Config& then, const Config& now);
/// Those of these that have an effect; the value of a side where the key has none is empty.
std::vector<ChangedKey> changed_effects(const Config& then, const Config& now);

/// Every key with its value as ini text that parse_config reads back to the same Config; without those of one start.
std::string render_config(const Config&);

/// What the first key of a section has chosen, and the others that count and differ from their defaults: "yarn, factor
/// 8, original_length 128".
std::string settings_text(const Config&, std::string_view section);

/// The keys that decide what is computed (not where, how fast, how long or how it is logged), one `section.key=value` a
/// line: a run directory may be continued only by a configuration whose identity is the same. The learning rate's
/// course and clipping are not among them: they are what one turns when a run goes astray. run.block is one of them
/// under run.deterministic = strict alone.
std::string config_identity(const Config&);

/// `--help` text of the sections named (all when empty): each key with type, default, range and an example.
std::string config_help(const std::vector<std::string>& sections);

}  // namespace memring
