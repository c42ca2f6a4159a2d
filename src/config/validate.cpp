// Ranges of single values are in options.cpp; here are the rules that join two or more keys.
// SPDX-License-Identifier: Apache-2.0
#include "config/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "config/demand.h"
#include "config/lora_targets.h"
#include "config/number_list.h"
#include "config/options.h"
#include "config/shapes.h"

namespace memring {
namespace {

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // rows and segments are numbered with 32 bits

void validate_model(const ModelConfig& m, const PlaceOf& place_of) {
  demand(m.heads % m.kv_heads == 0, place_of, {"model.kv_heads", "model.heads"},
         fmt::format("model.heads = {} is not a multiple of model.kv_heads = {}", m.heads, m.kv_heads),
         "Each key/value head serves the same number of query heads: set model.kv_heads to a divisor of model.heads, "
         "or 0 for as many.");
  demand(m.head_dim % 2 == 0, place_of, {"model.head_dim", "model.heads", "model.dim"},
         fmt::format("model.head_dim = {} is odd; rotary embedding turns pairs (model.dim = {}, model.heads = {})",
                     m.head_dim, m.dim, m.heads),
         "Set model.head_dim to an even number, or choose model.dim and model.heads so that dim / heads is even.");
}

void validate_lora(const LoraConfig& lora, const PlaceOf& place_of) {
  demand(
      lora.rank == 0 || parse_lora_targets(lora.targets), place_of, {"lora.targets"},
      fmt::format("lora.targets = '{}' names other layers than a decoder has", shown(lora.targets)),
      "Choose of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj, with commas between them, or all.");
}

void validate_uio(const Config& c, const PlaceOf& place_of) {
  demand(c.positions.kind == PositionsKind::Plain, place_of, {"positions.kind", "memory.kind"},
         fmt::format("positions.kind = {} with memory.kind = uio, whose memories have positions of their own",
                     word_of(c.positions.kind)),
         "Set positions.kind = plain.");
  const auto targets = c.lora.rank > 0 ? parse_lora_targets(c.lora.targets) : std::nullopt;
  const bool taken = targets && std::any_of(targets->begin(), targets->end(), [](LoraTarget target) {
                       return target == LoraTarget::Q || target == LoraTarget::K || target == LoraTarget::V;
                     });
  demand(
      !taken, place_of, {"lora.targets", "memory.kind"},
      fmt::format("lora.targets = {}: uio has updates of its own on q_proj, k_proj and v_proj", shown(c.lora.targets)),
      "Choose others, for example o_proj,gate_proj,up_proj,down_proj.");
}

void validate_memory(const Config& c, const PlaceOf& place_of) {
  const bool none = c.memory.kind == MemoryKind::None;
  demand(none || c.segment.length > 0, place_of, {"memory.kind", "segment.length"},
         fmt::format("memory.kind = {} needs segments, but segment.length = 0", word_of(c.memory.kind)),
         "Set segment.length to the text tokens of a segment, for example 128, or memory.kind = none.");
  const bool tokens = has_effect("memory.tokens", c);
  demand(!tokens || c.memory.tokens >= 1, place_of, {"memory.tokens", "memory.kind"},
         fmt::format("memory.kind = {} needs memory tokens, but memory.tokens = 0", word_of(c.memory.kind)),
         "Set memory.tokens to 1 or more, or memory.kind = none.");
  demand(c.memory.kind != MemoryKind::Armt || c.memory.mask == MemoryMask::Causal, place_of,
         {"memory.mask", "memory.kind"},
         fmt::format("memory.mask = {}: armt's rows are causal", word_of(c.memory.mask)),
         "Set memory.mask = causal, or memory.kind = rmt.");
  if (c.memory.kind == MemoryKind::Uio) validate_uio(c, place_of);
  if (c.memory.kind != MemoryKind::Halo) return;
  demand(c.memory.sinks <= c.segment.length, place_of, {"memory.sinks", "segment.length"},
         fmt::format("memory.sinks = {} is more than segment.length = {}: sinks are in the first segment",
                     c.memory.sinks, c.segment.length),
         "Set memory.sinks to a few tokens, 4 for example.");
}

void validate_uio_shape(const Config& c, const SequenceShape& shape, const PlaceOf& place_of) {
  demand(shape.segment_length % c.memory.tokens == 0, place_of,
         {"memory.tokens", "segment.length", "curriculum.stages", "eval.segments"},
         fmt::format(
             "memory.tokens = {} does not divide segments of {} tokens: uio compresses a segment by a whole number",
             c.memory.tokens, shape.segment_length),
         "Set memory.tokens to a divisor of each segment length.");
}

void validate_halo_shape(const Config& c, const SequenceShape& shape, const PlaceOf& place_of) {
  demand(shape.segment_length == c.segment.length, place_of, {"curriculum.stages", "eval.segments"},
         fmt::format("segments of {} tokens, but segment.length = {}: halo's positions go on by segments of one length",
                     shape.segment_length, c.segment.length),
         "Set one segment length, and vary the number of segments.");
  demand(shape.length <= kMost, place_of, {"data.length", "curriculum.stages", "eval.lengths", "eval.segments"},
         fmt::format("a sequence of {} tokens with memory.kind = halo, whose positions go up to {}",
                     grouped(shape.length), grouped(kMost)),
         fmt::format("Set sequences of at most {} tokens.", kMost));
}

void validate_mesh(const MeshConfig& m, const PlaceOf& place_of) {
  const int open = (m.data == 0) + (m.segment == 0) + (m.token == 0);
  demand(open <= 1, place_of, {"mesh.token", "mesh.segment", "mesh.data"},
         fmt::format(
             "mesh.data = {}, mesh.segment = {}, mesh.token = {}: only one axis can take what is left of the world",
             m.data, m.segment, m.token),
         "Set all but one of them to a number of ranks.");
}

void validate_run(const Config& c, const PlaceOf& place_of) {
  const bool ends_with_curriculum = c.curriculum.after > 0 && c.curriculum.promote_loss > 0;
  demand(c.run.steps > 0 || c.run.tokens > 0 || c.run.time > 0 || c.run.target_loss > 0 || ends_with_curriculum,
         place_of, {"run.steps"},
         "run.steps, run.tokens, run.time and run.target_loss are all 0: the run would never end",
         "Set one of them, for example run.steps = 1000.");
  demand(!c.run.dir.empty(), place_of, {"run.dir"}, "run.dir is empty",
         "Set run.dir to the directory of the run, for example runs/first.");
  demand(c.data.micro_batch <= c.data.batch, place_of, {"data.micro_batch", "data.batch"},
         fmt::format("data.micro_batch = {} is more than data.batch = {}", c.data.micro_batch, c.data.batch),
         "Set data.micro_batch to at most data.batch, or to 0 for an automatic choice.");
  const bool strict = c.run.deterministic == Determinism::Strict;
  demand(std::has_single_bit(static_cast<uint64_t>(c.run.block)), place_of, {"run.block"},
         fmt::format("run.block = {} is not a power of two", c.run.block), "Set run.block to 64, 128, 256 or 512.");
  demand(!strict || c.data.micro_batch <= 1, place_of, {"data.micro_batch", "run.deterministic"},
         fmt::format("data.micro_batch = {} with run.deterministic = strict, which computes each sequence by itself",
                     c.data.micro_batch),
         "Set data.micro_batch to 0 or 1, or run.deterministic = mesh.");
  demand(
      !strict || c.device.kind != DeviceKind::Cuda, place_of, {"device.kind", "run.deterministic"},
      "run.deterministic = strict is not for device.kind = cuda: exact sums of every product would cost several times "
      "the step",
      "Set run.deterministic = mesh, or device.kind = cpu.");
  demand(!strict || c.device.dtype != Precision::Bf16, place_of, {"device.dtype", "run.deterministic"},
         "device.dtype = bf16 with run.deterministic = strict, which needs fp32 or fp64",
         "Set device.dtype = fp32, or run.deterministic = mesh.");
  demand(c.tbptt.boundaries == 0 || c.tbptt.recompute != RecomputeWhen::Never, place_of,
         {"tbptt.boundaries", "tbptt.recompute"},
         fmt::format("tbptt.boundaries = {} thins the states that recomputing starts from, but tbptt.recompute = never",
                     c.tbptt.boundaries),
         "Set tbptt.recompute = always, or leave tbptt.boundaries out.");
  demand(!has_effect("optimizer.min_lr", c) || c.optimizer.min_lr <= c.optimizer.lr, place_of,
         {"optimizer.min_lr", "optimizer.lr"},
         fmt::format("optimizer.min_lr = {} is more than optimizer.lr = {}", c.optimizer.min_lr, c.optimizer.lr),
         "Set optimizer.min_lr to at most optimizer.lr.");
}

void validate_sizes(const Config& c, const PlaceOf& place_of) {
  const int64_t of_memory = memory_rows_of(c.memory.kind, c.memory.tokens).all();
  auto shapes = stages_of(c);
  for (const SequenceShape& shape : eval_shapes(c)) shapes.push_back(shape);
  for (const SequenceShape& shape : shapes) {
    const int64_t text = shape.segment_length > 0 ? shape.segment_length : shape.length;
    demand(text <= kMost - of_memory, place_of,
           {"segment.length", "data.length", "curriculum.stages", "eval.segments", "eval.lengths"},
           fmt::format("a segment of {} tokens has {} rows with those of its memory; {} can be numbered", grouped(text),
                       grouped(text + of_memory), grouped(kMost)),
           fmt::format("Set segment.length to at most {}.", kMost - of_memory));
    demand(shape.segments() <= kMost, place_of, {"data.length", "segment.length", "eval.lengths"},
           fmt::format("a sequence of {} tokens has {} segments of {}; {} can be numbered", grouped(shape.length),
                       grouped(shape.segments()), grouped(shape.segment_length), grouped(kMost)),
           fmt::format("Set segment.length to at least {}, or a shorter data.length.", shape.length / kMost + 1));
    demand(shape.length <= kMostTokens, place_of, {"curriculum.stages", "eval.segments"},
           fmt::format("a sequence of {} segments of {} tokens is longer than {} tokens", grouped(shape.segments()),
                       grouped(shape.segment_length), grouped(kMostTokens)),
           "Set fewer segments, or shorter ones: 7x64 is seven of 64 tokens.");
    if (c.memory.kind == MemoryKind::Uio) validate_uio_shape(c, shape, place_of);
    if (c.memory.kind == MemoryKind::Halo) validate_halo_shape(c, shape, place_of);
  }
}

/// Parses the list of a key, and puts the place where it was set in front of what is wrong with it.
template <class Parse>
auto list_at(std::string_view key, const PlaceOf& place_of, const Parse& parse) {
  try {
    return parse();
  } catch (const Error& error) {
    const std::string place = place_of(key);
    throw Error(error.code(), fmt::format("{}{}{}: {}", place, place.empty() ? "" : ": ", key, error.what()),
                error.hint());
  }
}

std::vector<SequenceShape> stages_at(const Config& c, const PlaceOf& place_of) {
  return list_at("curriculum.stages", place_of, [&] { return parse_shapes(c.curriculum.stages, c.segment.length); });
}

void validate_curriculum(const Config& c, const PlaceOf& place_of) {
  const auto stages = stages_at(c, place_of);
  demand(stages.empty() || stages.back().segment_length == c.segment.length, place_of,
         {"curriculum.stages", "segment.length"},
         fmt::format("the last of curriculum.stages has segments of {} tokens, but segment.length = {}",
                     stages.empty() ? 0 : stages.back().segment_length, c.segment.length),
         "A curriculum ends with what is wanted: set segment.length to the last stage's, or add a stage.");
  for (const SequenceShape& stage : stages)
    demand(stage.length <= stages.back().length, place_of, {"curriculum.stages"},
           fmt::format("curriculum.stages has sequences of {} tokens before the last, of {}", stage.length,
                       stages.back().length),
           "A curriculum ends with its longest sequences: put them last, or add a stage.");
  demand(stages.size() < 2 || c.curriculum.promote_loss > 0 || c.curriculum.max_steps > 0, place_of,
         {"curriculum.stages"},
         fmt::format("curriculum.stages has {} stages, and nothing leads to the second", stages.size()),
         "Set curriculum.promote_loss, for example 0.02, or curriculum.max_steps, for example 1000.");
  demand(!has_effect("curriculum.min_steps", c) || c.curriculum.max_steps == 0 ||
             c.curriculum.max_steps >= c.curriculum.min_steps,
         place_of, {"curriculum.max_steps", "curriculum.min_steps"},
         fmt::format("curriculum.max_steps = {} is less than curriculum.min_steps = {}", c.curriculum.max_steps,
                     c.curriculum.min_steps),
         "Raise curriculum.max_steps, or lower curriculum.min_steps.");
}

void validate_positions(const Config& c, const PlaceOf& place_of) {
  const PositionsConfig& p = c.positions;
  if (p.kind == PositionsKind::Plain) return;
  demand(c.memory.kind != MemoryKind::Halo, place_of, {"positions.kind", "memory.kind"},
         fmt::format("positions.kind = {} draws ids for each segment, but halo's go on over segments", word_of(p.kind)),
         "Set positions.kind = plain, or another memory.kind.");
  demand(c.objective.kind != ObjectiveKind::Distil, place_of, {"positions.kind", "objective.kind"},
         fmt::format("positions.kind = {} with objective.kind = distil: the base reads raw text by plain ids",
                     word_of(p.kind)),
         "Set positions.kind = plain, or another objective.kind.");
  const int64_t window = window_of(c), of_memory = memory_rows_of(c.memory.kind, c.memory.tokens).all();
  const char* sets_window = c.segment.length > 0 ? "segment.length" : "data.length";
  demand(p.target >= window, place_of, {"positions.target", "positions.kind"},
         fmt::format("positions.target = {} is shorter than the window of {} tokens ({})", grouped(p.target),
                     grouped(window), sets_window),
         fmt::format("Set positions.target to the length that the model is to learn, for example {}.", 8 * window));
  demand(p.target <= kMost - of_memory, place_of, {"positions.target"},
         fmt::format("positions.target = {} has position ids up to {} with those of the memory; {} can be numbered",
                     grouped(p.target), grouped(p.target + of_memory), grouped(kMost)),
         fmt::format("Set positions.target to at most {}.", kMost - of_memory));
  if (p.kind == PositionsKind::Cream) {
    demand(p.target % window == 0, place_of, {"positions.target"},
           fmt::format("positions.target = {} is no multiple of the window of {} tokens ({}), as cream needs",
                       grouped(p.target), grouped(window), sets_window),
           fmt::format("Set positions.target = {}.", std::min(p.target / window + 1, kMost / window) * window));
    const int64_t head = p.head > 0 ? p.head : 4 * (p.target / window);
    demand(window >= 3 && (p.mix == 1 || 2 * head < window), place_of, {"positions.head", "positions.target"},
           fmt::format("a window of {} tokens ({}) has no room between cream's head and tail of {} each",
                       grouped(window), sets_window, grouped(head)),
           window >= 3 ? fmt::format("Set positions.head to at most {}, or a longer window.", (window - 1) / 2)
                       : "Set a window of 3 tokens or more.");
  }
  demand(!samples_of_documents(c) || p.document == 0 || p.document >= window, place_of, {"positions.document"},
         fmt::format("positions.document = {} is shorter than the window of {} tokens ({})", grouped(p.document),
                     grouped(window), sets_window),
         "Set it to the window or more, or to 0 for positions.target.");
  const auto split = parse_token_ids(p.split);
  demand(p.kind != PositionsKind::LongRecipe || (split && !split->empty()), place_of, {"positions.split"},
         fmt::format("positions.split = '{}' is no list of token ids", shown(p.split)),
         "Write the ids that end a sentence with spaces or commas between them, for example 13 198 30.");
  if (p.kind != PositionsKind::LongRecipe) return;
  const auto most = *std::max_element(split->begin(), split->end());
  demand(most < c.model.vocab, place_of, {"positions.split", "model.vocab"},
         fmt::format("positions.split has the id {}, outside the model's vocabulary (vocab = {})", most, c.model.vocab),
         "Write ids that the tokenizer gives to what ends a sentence.");
}

void validate_task(const Config& c, const PlaceOf& place_of) {
  const bool passkey = c.data.kind == DataKind::Passkey;
  demand(c.data.kind == DataKind::Tokens || passkey || c.segment.length > 0, place_of, {"data.kind", "segment.length"},
         fmt::format("data.kind = {} needs segments, but segment.length = 0", word_of(c.data.kind)),
         "Set segment.length to the text tokens of a segment, for example 16.");
  demand(c.task.depth == -1 || c.task.depth >= 0, place_of, {"task.depth"},
         fmt::format("task.depth = {} is neither a share of the noise from 0 to 1 nor -1", c.task.depth),
         "Set task.depth = -1 for keys anywhere, or for example 0.5.");
}

void validate_objective(const Config& c, const PlaceOf& place_of) {
  const ObjectiveConfig& o = c.objective;
  const bool text = c.data.kind == DataKind::Tokens;
  demand(o.kind != ObjectiveKind::Answer || !text, place_of, {"objective.kind", "data.kind"},
         "objective.kind = answer with data.kind = tokens: a token file does not say which tokens answer",
         "Set objective.kind = lm, or a memory task as data.kind.");
  if (o.kind == ObjectiveKind::Distil) {
    const int64_t least = longest_segment(c);
    demand(o.window == 0 || o.window >= least, place_of, {"objective.window", "segment.length"},
           fmt::format("objective.window = {} is shorter than a segment of {} tokens, all of which the base has to see",
                       o.window, grouped(least)),
           "Set objective.window to several segments, or to 0.");
  }
  if (o.kind != ObjectiveKind::Reconstruct) return;
  demand(text, place_of, {"objective.kind", "data.kind"},
         fmt::format("objective.kind = reconstruct with data.kind = {}, which has an answer of its own",
                     word_of(c.data.kind)),
         "Set data.kind = tokens.");
  demand(c.memory.kind != MemoryKind::None, place_of, {"objective.kind", "memory.kind"},
         "objective.kind = reconstruct with memory.kind = none: nothing crosses from the text to its repetition",
         "Set memory.kind = uio, rmt, armt or halo.");
  demand(c.curriculum.shorter == 0, place_of, {"curriculum.shorter", "objective.kind"},
         fmt::format("curriculum.shorter = {} draws any number of segments; objective.kind = reconstruct needs an even "
                     "one",
                     c.curriculum.shorter),
         "Set curriculum.shorter = 0.");
  for (const SequenceShape& stage : stages_of(c))
    demand(stage.length % (2 * stage.segment_length) == 0, place_of,
           {"data.length", "curriculum.stages", "objective.kind"},
           fmt::format("objective.kind = reconstruct with sequences of {} tokens: half of them, in whole segments of "
                       "{}, is read, and repeated in the other half",
                       stage.length, stage.segment_length),
           fmt::format("Set data.length to a multiple of {}.", 2 * stage.segment_length));
}

void validate_eval(const Config& c, const PlaceOf& place_of) {
  list_at("eval.segments", place_of, [&] { return parse_shapes(c.eval.segments, c.segment.length); });
  list_at("eval.lengths", place_of, [&] { return parse_lengths(c.eval.lengths, c.segment.length); });
  list_at("eval.depths", place_of, [&] { return parse_depths(c.eval.depths); });
}

}  // namespace

void derive(Config& c, const PlaceOf& place_of) {
  if (c.run.tokens > 0 && place_of("run.steps").empty()) c.run.steps = 0;
  ModelConfig& m = c.model;
  if (m.kv_heads == 0) m.kv_heads = m.heads;
  if (m.head_dim == 0) {
    demand(m.dim % m.heads == 0, place_of, {"model.heads", "model.dim"},
           fmt::format("model.dim = {} is not a multiple of model.heads = {}", m.dim, m.heads),
           "Set model.heads to a divisor of model.dim, or set model.head_dim.");
    m.head_dim = m.dim / m.heads;
  }
  if (const auto stages = stages_at(c, place_of); !stages.empty()) c.data.length = stages.back().length;
  if (c.rope.original_length == 0 && has_effect("rope.original_length", c)) c.rope.original_length = window_of(c);
  if (m.ffn == 0) m.ffn = (8 * m.dim + 47) / 48 * 16;  // 8/3 dim, up to a multiple of 16: ceil(8 dim / (3 * 16)) * 16
}

void validate(const Config& c, const PlaceOf& place_of) {
  validate_model(c.model, place_of);
  validate_rope(c, place_of);
  validate_lora(c.lora, place_of);
  validate_memory(c, place_of);
  validate_mesh(c.mesh, place_of);
  validate_task(c, place_of);
  validate_curriculum(c, place_of);
  validate_objective(c, place_of);
  validate_eval(c, place_of);
  validate_sizes(c, place_of);
  validate_run(c, place_of);
}

void validate_training(const Config& c, const PlaceOf& place_of) { validate_positions(c, place_of); }

}  // namespace memring
