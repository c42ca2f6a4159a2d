// The table of all config keys. A key is declared here once: its field (whose initialiser in config.h is the
// default), how a value is written, its range or choices, a sentence of help and an example. Everything else follows
// from the table.
// SPDX-License-Identifier: Apache-2.0
#include "config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include "config/conditions.h"
#include "config/nearest.h"

namespace memring {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();
constexpr double kInt32Max = std::numeric_limits<int32_t>::max();
constexpr Decides kNumbers = Decides::Numbers;
using namespace counts;  // the conditions of keys

template <auto Section, auto Key>
Field field_of(Config& config) {
  auto& value = config.*Section.*Key;
  if constexpr (std::is_enum_v<std::remove_reference_t<decltype(value)>>)
    return WordField(&value);
  else
    return &value;
}

using Getter = Field (*)(Config&);
using Text = std::string_view;

Option boolean(Text key, Getter get, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Boolean, decides, help, example};
}
Option integer(Text key, Getter get, ValueRange range, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Integer, decides, help, example, range};
}
Option size(Text key, Getter get, ValueRange range, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Size, decides, help, example, range};
}
Option real(Text key, Getter get, ValueRange range, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Real, decides, help, example, range};
}
Option duration(Text key, Getter get, Text help, Text example) {
  return {key, get, ValueKind::Duration, {}, help, example, {0, kNoLimit}};
}
Option text(Text key, Getter get, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Text, decides, help, example};
}
Option path(Text key, Getter get, Text help, Text example) { return {key, get, ValueKind::Path, {}, help, example}; }
std::vector<Text> words_of(Getter get) {
  Config any;
  return std::get<WordField>(get(any)).names();
}
Option choice(Text key, Getter get, Text help, Text example, Decides decides = {}) {
  return {key, get, ValueKind::Choice, decides, help, example, {}, words_of(get)};
}
/// A choice whose `later` names are known to the design but not to this build.
Option choice(Text key, Getter get, std::vector<Text> later, Text later_hint, Text help, Text example,
              Decides decides = {}) {
  return {key, get, ValueKind::Choice, decides, help, example, {}, words_of(get), std::move(later), later_hint};
}
Option checkpoint_of(Text key, Getter get, Text help, Text example) {
  return {key, get, ValueKind::Checkpoint, {}, help, example};
}

/// A key that means one start of the program, which no later start may repeat by itself.
Option of_one_start(Option option) {
  option.of_one_start = true;
  return option;
}

constexpr ValueRange at_least(double low) { return {low, kNoLimit}; }
constexpr ValueRange above(double low) { return {low, kNoLimit, true, false}; }
constexpr ValueRange count_from(double low) { return {low, kInt32Max}; }

template <auto Key>
constexpr Getter run = field_of<&Config::run, Key>;
template <auto Key>
constexpr Getter mesh = field_of<&Config::mesh, Key>;
template <auto Key>
constexpr Getter device = field_of<&Config::device, Key>;
template <auto Key>
constexpr Getter model = field_of<&Config::model, Key>;
template <auto Key>
constexpr Getter memory = field_of<&Config::memory, Key>;
template <auto Key>
constexpr Getter segment = field_of<&Config::segment, Key>;
template <auto Key>
constexpr Getter tbptt = field_of<&Config::tbptt, Key>;
template <auto Key>
constexpr Getter data = field_of<&Config::data, Key>;
template <auto Key>
constexpr Getter task = field_of<&Config::task, Key>;
template <auto Key>
constexpr Getter curriculum = field_of<&Config::curriculum, Key>;
template <auto Key>
constexpr Getter optimizer = field_of<&Config::optimizer, Key>;
template <auto Key>
constexpr Getter checkpoint = field_of<&Config::checkpoint, Key>;
template <auto Key>
constexpr Getter log = field_of<&Config::log, Key>;
template <auto Key>
constexpr Getter eval = field_of<&Config::eval, Key>;

std::vector<Option> table() {
  return {
      path("run.dir", run<&RunConfig::dir>, "Run directory: checkpoints, log and configuration.", "runs/books"),
      integer(
          "run.steps", run<&RunConfig::steps>, at_least(0),
          "Optimizer steps; 0 = no limit, as where run.tokens alone is set. A schedule ends with the nearer of both.",
          "5000"),
      size("run.tokens", run<&RunConfig::tokens>, at_least(0), "Stop after this many training tokens; 0 = no limit.",
           "100M"),
      duration("run.time", run<&RunConfig::time>,
               "Stop after this much training time in one start of the program; 0 = no limit.", "11:30:00"),
      real("run.target_loss", run<&RunConfig::target_loss>, at_least(0),
           "Stop once a logged training loss (nats per token) is at most this; 0 = off.", "1.5"),
      integer("run.seed", run<&RunConfig::seed>, at_least(0), "Seed of all random numbers.", "42", kNumbers),
      choice("run.deterministic", run<&RunConfig::deterministic>,
             "What gives the same bits: mesh = the same mesh, threads and instruction set; strict = the same "
             "instruction set alone, on any number of ranks (slower, more memory).",
             "strict"),
      integer(
          "run.block", run<&RunConfig::block>, {1, 512},
          "Rows of a segment that strict computes together, a power of two: less work at more, finer shares at less.",
          "128", Decides::StrictNumbers)
          .when({kStrict}),
      duration("run.timeout", run<&RunConfig::timeout>,
               "End the job when a rank makes no progress for this long; 0 = never.", "00:30:00"),
      duration(
          "run.wait", run<&RunConfig::wait>,
          "Wait at the start for so long, at most, until another host gives up the run directory, or sees the same "
          "files there.",
          "00:05:00"),
      choice("run.on_usr1", run<&RunConfig::on_usr1>, "On SIGUSR1: save and exit with code 75, or save and go on.",
             "continue"),
      integer("run.max_skipped", run<&RunConfig::max_skipped>, at_least(1),
              "Exit with code 70 after more than this many steps in a row whose gradient is not finite.", "20"),

      integer("mesh.data", mesh<&MeshConfig::data>, count_from(0),
              "Groups of ranks with different sequences; 0 = what is left of the world.", "2"),
      integer("mesh.segment", mesh<&MeshConfig::segment>, count_from(0),
              "Ranks that share the segments of a sequence; 0 = what is left of the world.", "2"),
      integer("mesh.token", mesh<&MeshConfig::token>, count_from(0),
              "Ranks that share the tokens of a segment (ring attention); 0 = what is left of the world.", "2"),

      choice("device.kind", device<&DeviceConfig::kind>, "Where the arithmetic runs; auto = cpu.", "cpu"),
      choice(
          "device.dtype", device<&DeviceConfig::dtype>,
          "Operands of matrix products; auto = bf16 where the CPU has AMX, else fp32; fp64 runs the reference kernels.",
          "fp32", kNumbers),
      integer(
          "device.threads", device<&DeviceConfig::threads>, {0, 4096},
          "Threads per rank, whatever OMP_* variables say; 0 = OMP_NUM_THREADS, else SLURM_CPUS_PER_TASK, else cores "
          "/ ranks of this host; then at most the cores this rank may use, and OMP_THREAD_LIMIT.",
          "2"),
      size("device.memory", device<&DeviceConfig::memory>, at_least(0),
           "Bytes a rank may plan for; 0 = its share of what host, control groups, ulimit and Slurm leave.", "4G"),
      choice("device.isa", device<&DeviceConfig::isa>,
             "Instruction set of memring's own loops; auto = the best this CPU has.", "avx2")
          .when({kCpu}),

      integer("model.layers", model<&ModelConfig::layers>, {1, 32765}, "Decoder layers.", "12", kNumbers),
      integer("model.dim", model<&ModelConfig::dim>, {1, 1 << 20}, "Width of the residual stream.", "768", kNumbers),
      integer("model.heads", model<&ModelConfig::heads>, {1, 1 << 16}, "Query heads.", "12", kNumbers),
      integer("model.kv_heads", model<&ModelConfig::kv_heads>, {0, 1 << 16},
              "Key and value heads; divides heads; 0 = heads.", "4", kNumbers),
      integer("model.head_dim", model<&ModelConfig::head_dim>, {0, 1 << 16}, "Width of a head, even; 0 = dim / heads.",
              "64", kNumbers),
      integer("model.ffn", model<&ModelConfig::ffn>, {0, 1 << 24},
              "Width of the MLP; 0 = 8/3 dim, rounded up to a multiple of 16.", "2048", kNumbers),
      integer("model.vocab", model<&ModelConfig::vocab>, count_from(1), "Number of token ids; bytes need 256.", "32000",
              kNumbers),
      real("model.rope_theta", model<&ModelConfig::rope_theta>, above(0), "Base of the rotary angles.", "500000",
           kNumbers),
      real("model.norm_eps", model<&ModelConfig::norm_eps>, {0, 1, true, false}, "Epsilon inside RMSNorm's root.",
           "1e-6", kNumbers),
      real("model.init_std", model<&ModelConfig::init_std>, {0, 1, true, false},
           "Standard deviation of weights at the start (what writes to the residual stream starts smaller).", "0.08",
           kNumbers),
      real("model.embedding_std", model<&ModelConfig::embedding_std>, {0, 10, true, false},
           "Standard deviation of embeddings at the start.", "0.3", kNumbers),
      boolean("model.tied", model<&ModelConfig::tied>, "The output head uses the embedding's weights.", "false",
              kNumbers),

      choice(
          "memory.kind", memory<&MemoryConfig::kind>, {"uio", "halo"},
          "Set memory.kind = rmt (recurrent memory tokens), armt (an associative memory in each layer) or none.",
          "What crosses a segment boundary: nothing, recurrent memory tokens, or an associative memory in each layer.",
          "rmt", kNumbers),
      choice("memory.reset", memory<&MemoryConfig::reset>,
             "Where the memory starts anew; segment is the control experiment.", "segment", kNumbers)
          .when({kMemory, kSegments}),
      integer("memory.tokens", memory<&MemoryConfig::tokens>, {0, 1 << 20}, "Memory tokens.", "16", kNumbers)
          .when({kMemory}),
      choice("memory.mask", memory<&MemoryConfig::mask>,
             "Attention among rmt's memory rows: causal, or full inside the read and the write block.", "block",
             kNumbers)
          .when({kMemory}),
      integer("memory.key_dim", memory<&MemoryConfig::key_dim>, {1, 1 << 16},
              "Width of armt's keys; a layer's state has 2 nu key_dim rows of model.dim.", "32", kNumbers)
          .when({kArmt}),
      real("memory.init_std", memory<&MemoryConfig::init_std>, {0, 10, true, false},
           "Standard deviation of the memory tokens at the start.", "0.1", kNumbers)
          .when({kMemory}),
      integer("memory.nu", memory<&MemoryConfig::nu>, {1, 64}, "Order of armt's feature map: how sparse its keys are.",
              "2", kNumbers)
          .when({kArmt}),
      integer("memory.lora_rank", memory<&MemoryConfig::lora_rank>, {1, 1 << 16}, "Rank of uio's LoRA.", "16", kNumbers)
          .when({kUio}),
      real("memory.lora_alpha", memory<&MemoryConfig::lora_alpha>, above(0),
           "uio's LoRA is scaled by lora_alpha / lora_rank.", "32", kNumbers)
          .when({kUio}),

      size("segment.length", segment<&SegmentConfig::length>, count_from(0),
           "Text tokens of a segment; 0 = the whole sequence (memory.kind = none only).", "512", kNumbers),

      choice("tbptt.mode", tbptt<&TbpttConfig::mode>,
             "Gradient through time: exact; cut every tbptt.window segments; or cut at random and re-weighted, so that "
             "its mean is exact.",
             "window", kNumbers)
          .when({kMemory, kKept, kSegments}),
      integer("tbptt.window", tbptt<&TbpttConfig::window>, at_least(1),
              "Segments between two cuts of the gradient (mode window).", "4", kNumbers)
          .when({kMemory, kKept, kSegments, kWindow}),
      real("tbptt.cut", tbptt<&TbpttConfig::cut>, {0, 0.9},
           "Probability of a cut at each boundary (mode unbiased). What reaches over k boundaries has the relative "
           "variance (1 - cut)^-k - 1.",
           "0.25", kNumbers)
          .when({kMemory, kKept, kSegments, kUnbiased}),
      choice("tbptt.recompute", tbptt<&TbpttConfig::recompute>,
             "Recompute a segment's activations in backward; auto = only where they do not fit device.memory.",
             "always"),
      integer(
          "tbptt.boundaries", tbptt<&TbpttConfig::boundaries>, count_from(0),
          "Where activations are recomputed, keep the memory's state at every so many segment boundaries and rebuild "
          "the others by one more forward; 0 = keep all.",
          "16")
          .when({kMemory, kKept, kSegments}),

      choice("data.kind", data<&DataConfig::kind>,
             "Where sequences come from: a token file, or a synthetic memory task.", "detect", kNumbers),
      path("data.path", data<&DataConfig::path>,
           "Token file made by `memring pack`; of a memory task: text for its noise, none = random words.",
           "data/books.h5"),
      integer("data.batch", data<&DataConfig::batch>, count_from(1),
              "Sequences of one optimizer step over the whole world.", "32", kNumbers),
      integer("data.micro_batch", data<&DataConfig::micro_batch>, count_from(0),
              "Sequences computed together as one stream; 0 = automatic.", "1"),
      size("data.length", data<&DataConfig::length>, {1, kMostTokens},
           "Tokens of one sequence; curriculum.stages sets it.", "64k", kNumbers)
          .when({kNoStages}),

      integer("task.noise", task<&TaskConfig::noise>, {1, 1 << 24}, "Random words between what matters.", "64",
              kNumbers)
          .when({kTask, kWords}),
      integer("task.symbols", task<&TaskConfig::symbols>, {1, 1 << 24},
              "Alphabet of associative's keys and of what copy copies.", "16", kNumbers)
          .when({kSymbols}),
      integer("task.values", task<&TaskConfig::values>, {1, 1 << 24}, "Number of associative's values.", "32", kNumbers)
          .when({kAssociative}),
      integer("task.key_length", task<&TaskConfig::key_length>, {1, 64}, "Symbols of an associative key.", "2",
              kNumbers)
          .when({kAssociative}),
      integer("task.distinct_keys", task<&TaskConfig::distinct_keys>, count_from(0),
              "Different keys of an associative sample, of which the latest value counts; 0 = no key comes twice.", "4",
              kNumbers)
          .when({kAssociative}),
      real("task.random_fact", task<&TaskConfig::random_fact>, {0, 1},
           "Share of memorize's training samples whose fact stands in any segment.", "0.5", kNumbers)
          .when({kMemorize}),

      text("curriculum.stages", curriculum<&CurriculumConfig::stages>,
           "Segments of a sequence, stage by stage, and their tokens behind an x where they are not segment.length.",
           "1,2,4,7x64,7", kNumbers),
      real("curriculum.shorter", curriculum<&CurriculumConfig::shorter>, {0, 1},
           "Share of batches with fewer segments than the stage has.", "0.5", kNumbers)
          .when({kSegments}),
      real(
          "curriculum.promote_loss", curriculum<&CurriculumConfig::promote_loss>, at_least(0),
          "Go on to the next stage once the loss, averaged over some 5 batches of full length, is below this; 0 = off.",
          "0.02", kNumbers)
          .when({kStages}),
      integer("curriculum.min_steps", curriculum<&CurriculumConfig::min_steps>, at_least(1),
              "Steps of a stage before it may be left early.", "300", kNumbers)
          .when({kStages, kPromotes}),
      integer("curriculum.max_steps", curriculum<&CurriculumConfig::max_steps>, at_least(0),
              "Most steps of a stage but the last, which lasts until the run ends; 0 = no limit.", "1000", kNumbers)
          .when({kStages}),
      integer("curriculum.after", curriculum<&CurriculumConfig::after>, at_least(0),
              "End the run so many steps after the last stage was learned, at run.steps at the latest; over them the "
              "learning rate falls to min_lr; 0 = off.",
              "500")
          .when({kStages, kPromotes}),
      real("curriculum.lr_power", curriculum<&CurriculumConfig::lr_power>, {0, 1},
           "Divide the learning rate by the stage's number of segments to this power: gradients through many segments "
           "are "
           "noisier.",
           "0.5")
          .when({kStages}),

      real("optimizer.lr", optimizer<&OptimizerConfig::lr>, at_least(0), "Peak learning rate of AdamW.", "3e-4"),
      real("optimizer.min_lr", optimizer<&OptimizerConfig::min_lr>, at_least(0),
           "Learning rate at the end; at most lr.", "3e-5")
          .when({kFalls}),
      integer("optimizer.warmup", optimizer<&OptimizerConfig::warmup>, at_least(0),
              "Steps over which the learning rate rises to lr.", "100"),
      choice("optimizer.schedule", optimizer<&OptimizerConfig::schedule>,
             "Way from lr to min_lr; constant = level, then linear over the last `decay` of the run.", "linear"),
      real("optimizer.decay", optimizer<&OptimizerConfig::decay>, {0, 1},
           "Share of the run in which schedule constant decays.", "0.1")
          .when({kConstant, kEnd}),
      real("optimizer.weight_decay", optimizer<&OptimizerConfig::weight_decay>, at_least(0), "Decoupled weight decay.",
           "0.01", kNumbers),
      real("optimizer.beta1", optimizer<&OptimizerConfig::beta1>, {0, 1, false, true}, "Decay of the gradient's mean.",
           "0.95", kNumbers),
      real("optimizer.beta2", optimizer<&OptimizerConfig::beta2>, {0, 1, false, true},
           "Decay of the gradient's square.", "0.99", kNumbers),
      real("optimizer.eps", optimizer<&OptimizerConfig::eps>, above(0), "Added to the root of the gradient's square.",
           "1e-6", kNumbers),
      real("optimizer.clip", optimizer<&OptimizerConfig::clip>, at_least(0),
           "Largest global norm of the gradient; 0 = no clipping.", "0.5"),

      integer("checkpoint.every", checkpoint<&CheckpointConfig::every>, at_least(0),
              "Steps between checkpoints; 0 = not by steps.", "500"),
      real("checkpoint.every_minutes", checkpoint<&CheckpointConfig::every_minutes>, at_least(0),
           "Minutes between checkpoints; 0 = not by time.", "30"),
      integer("checkpoint.keep", checkpoint<&CheckpointConfig::keep>, at_least(2),
              "Newest checkpoints that stay; the newest sound one stays besides.", "3"),
      of_one_start(
          checkpoint_of("checkpoint.resume", checkpoint<&CheckpointConfig::resume>,
                        "Checkpoint that this start goes on from: newest, sound (the newest that is) or a step; newer "
                        "ones are renamed aside. On the command line only, once.",
                        "sound")),

      integer("log.every", log<&LogConfig::every>, at_least(1), "Steps between log lines.", "50"),
      boolean("log.jsonl", log<&LogConfig::jsonl>, "Also write metrics.jsonl into the run directory.", "false"),
      boolean("log.schedule", log<&LogConfig::schedule>, "Print each rank's list of actions of the first step.",
              "true"),

      integer("eval.sequences", eval<&EvalConfig::sequences>, at_least(0),
              "Sequences to evaluate; 0 = all of the file, or 256 of a memory task.", "64"),
      text("eval.segments", eval<&EvalConfig::segments>,
           "Of a memory task: numbers of segments to evaluate, written as in curriculum.stages; empty = as trained.",
           "7,16,64,256"),
      boolean("eval.control", eval<&EvalConfig::control>,
              "Also evaluate with the memory reset at every segment: twice the work.", "false"),
      integer("eval.buckets", eval<&EvalConfig::buckets>, {1, 1 << 20}, "Position buckets of the result.", "16"),
      path("eval.json", eval<&EvalConfig::json>, "Also write the result to this JSON file.", "eval.json"),
  };
}

template <class F>
std::string words_of(const std::vector<Condition>& conditions, const F& told) {
  std::string text;
  for (const Condition& condition : conditions)
    if (told(condition)) text += fmt::format("{}{}", text.empty() ? "" : " and ", condition.words);
  return text;
}

}  // namespace

std::span<const Option> options() {
  static const std::vector<Option> all = table();
  return all;
}

const Option* find_option(std::string_view key) {
  for (const Option& option : options())
    if (option.key == key) return &option;
  return nullptr;
}

std::string conditions_text(const Option& option) {
  return words_of(option.counts, [](const Condition&) { return true; });
}

std::string unmet_conditions(const Option& option, const Config& config) {
  return words_of(option.counts, [&](const Condition& condition) { return !condition.holds(config); });
}

std::string_view nearest_key(std::string_view key) {
  const std::string_view name = key.substr(key.rfind('.') + 1);
  std::string_view best;
  int best_distance = std::numeric_limits<int>::max();
  for (const Option& option : options()) {
    // A right name in a wrong section (model.lr) counts as one mistake, a nearly right one as three.
    const int distance = std::min(edit_distance(key, option.key), 2 * edit_distance(name, option.name()) + 1);
    if (distance < best_distance) best = option.key, best_distance = distance;
  }
  return best;
}

}  // namespace memring
