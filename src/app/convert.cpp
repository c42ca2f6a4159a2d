// memring convert: a trained adapter folded into the weights that it was trained on, or written as PEFT reads it.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/with_session.h"
#include "base/error.h"
#include "base/parallel.h"
#include "base/threads.h"
#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "engine/engine.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "model/tensor_names.h"
#include "train/frozen_weights.h"
#include "train/run_directory.h"
#include "train/train_state.h"
#include "train/weights_source.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

/// A model with memory for its weights alone, on the host.
struct Weights {
  Model model;
  Arena memory;

  Weights(const Config& config, DType dtype) : model(model_of(config)) {
    Arena measure;
    model.params.allocate(measure, dtype, Params::Gradients::None);
    memory = Arena(measure.peak());
    model.params.allocate(memory, dtype, Params::Gradients::None);
  }
};

/// The checkpoint itself, or the newest of a run.
CheckpointSummary find_checkpoint(const std::string& path) {
  const auto there = checkpoints_at(path);
  if (there.empty())
    throw Error(ExitCode::Data, fmt::format("{} {}", path, exists_at(path) ? "holds no checkpoint" : "does not exist"),
                "Give a run directory or one of its checkpoints.");
  return there.front();
}

Weights load(Communicator& world, const CheckpointSummary& checkpoint, const Config& config, Progress* progress) {
  Weights loaded(config, checkpoint.stored);
  const Params& params = loaded.model.params;
  CheckpointData data{.layout = params.trained_layout(),
                      .shard = {},
                      .weights = params.trained_weights(),
                      .m = {},
                      .v = {},
                      .state = {},
                      .progress = progress};
  load_checkpoint(world, checkpoint.path, data);
  load_frozen(world, checkpoint, config.model, params, params.weights(), progress);
  return loaded;
}

/// W + scale B A, summed in double and rounded once; a thread has whole rows.
void merge(View<> merged, const LinearLayer::Weights& w, int threads) {
  const int64_t out = w.weight.dim(0), in = w.weight.dim(1), rank = w.lora_a ? w.lora_a.dim(0) : 0;
  by_float_type(merged.dtype(), [&]<class T>() {
    const T *a = rank ? w.lora_a.as<T>() : nullptr, *b = rank ? w.lora_b.as<T>() : nullptr;
    const T* weight = w.weight.as<T>();
    T* to = merged.as<T>();
    parallel_ranges(threads, out, [&](int64_t begin, int64_t end, int) {
      std::vector<double> update(static_cast<size_t>(in));
      for (int64_t row = begin; row < end; ++row) {
        std::fill(update.begin(), update.end(), 0.0);
        for (int64_t r = 0; r < rank; ++r)
          for (int64_t i = 0; i < in; ++i)
            update[static_cast<size_t>(i)] += double{b[row * rank + r]} * double{a[r * in + i]};
        for (int64_t i = 0; i < in; ++i)
          to[row * in + i] =
              static_cast<T>(double{weight[row * in + i]} + w.lora_scale * update[static_cast<size_t>(i)]);
      }
    });
  });
}

void expect_new(const std::string& out) {
  if (exists_at(out))
    throw Error(ExitCode::Usage, fmt::format("{} is there already", out), "Choose a folder that does not exist yet.");
}

/// `--merge`: a run directory whose one checkpoint is the model without updates.
int write_merged(Session& session, const CheckpointSummary& checkpoint, const Config& config, const std::string& out) {
  expect_new(out);
  const Weights adapted = load(session.world(), checkpoint, config, &session.progress());
  Config plain = config;
  plain.run.dir = out;
  plain.model.from = "";
  plain.model.train = ModelConfig{}.train;
  plain.lora = {};
  if (plain.objective.kind == ObjectiveKind::Distil) plain.objective = {};  // whose base would learn now
  Weights merged(plain, checkpoint.stored);
  const Params &from = adapted.model.params, &to = merged.model.params;
  for (size_t tensor = 0; tensor < to.layout().entries.size(); ++tensor) {
    const std::string& name = to.layout().entries[tensor].name;
    const auto& there = from.layout().entries;
    const auto same = std::find_if(there.begin(), there.end(), [&](const FlatEntry& e) { return e.name == name; });
    const auto bytes = from.weight(static_cast<int>(same - there.begin())).host_bytes();
    std::copy(bytes.begin(), bytes.end(), to.weight(static_cast<int>(tensor)).host_bytes().begin());
  }
  const int threads = thread_count(0, session.node().cores).threads;
  for (int64_t layer = 0; layer < adapted.model.llama.shape().layers; ++layer) {
    const LayerTensors &updated = adapted.model.llama.layer(layer).tensors(),
                       &folded = merged.model.llama.layer(layer).tensors();
    for (const auto part : kProjections) {
      merge(to.weight((folded.*part).weight), (updated.*part).weights(from), threads);
      advance(&session.progress());
    }
  }

  Arena moments(2 * to.weights().bytes() + 512);  // of an optimizer that has not begun
  CheckpointInfo info = checkpoint.info;
  info.config = render_config(plain);
  info.identity = config_identity(plain) + data_line_in(checkpoint.info.identity);
  info.source = {};
  const CheckpointData data{.layout = to.layout(),
                            .shard = {0, to.layout().size},
                            .weights = to.weights(),
                            .m = moments.take(to.dtype(), {to.layout().size}),
                            .v = moments.take(to.dtype(), {to.layout().size}),
                            .state = checkpoint.state,
                            .progress = &session.progress()};
  make_run_directory(out);
  keep_configuration(plain);
  const Queue queue;
  CheckpointWriter writer(queue, session.world(), checkpoint_directory(out), {}, data);
  writer.save(data, info);
  writer.finish();
  write_progress(out, train_state(data.state));
  fmt::print("{}: the weights of {} with its updates (rank {}, {}) folded in\n", out, checkpoint.path, config.lora.rank,
             config.lora.targets);
  return static_cast<int>(ExitCode::Done);
}

/// `--to-peft`: what PEFT's PeftModel.from_pretrained reads (LoraConfig and get_peft_model_state_dict).
int write_peft(Session& session, const CheckpointSummary& checkpoint, const Config& config, const std::string& out) {
  expect_new(out);
  const Weights adapted = load(session.world(), checkpoint, config, &session.progress());
  const Params& params = adapted.model.params;
  std::vector<NamedTensor> tensors;
  std::vector<FlatEntry> others;
  for (size_t tensor = 0; tensor < params.layout().entries.size(); ++tensor) {
    const FlatEntry& entry = params.layout().entries[tensor];
    if (is_lora(entry.name))
      tensors.push_back({"base_model.model." + entry.name, params.weight(static_cast<int>(tensor))});
    else if (params.trained(static_cast<int>(tensor)))
      others.push_back(entry);
  }
  const LoraShape& lora = adapted.model.llama.shape().lora;
  nlohmann::ordered_json root = {{"peft_type", "LORA"},
                                 {"task_type", "CAUSAL_LM"},
                                 {"base_model_name_or_path", checkpoint.info.source.path},
                                 {"r", lora.rank},
                                 {"lora_alpha", config.lora.alpha},
                                 {"target_modules", nlohmann::json::array()},
                                 {"lora_dropout", 0.0},
                                 {"bias", "none"},
                                 {"fan_in_fan_out", false},
                                 {"inference_mode", true}};
  for (const auto& [target, name] : words(LoraTarget{}))
    if (lora.on(target)) root["target_modules"].push_back(name);
  std::error_code error;
  fs::create_directories(out, error);
  if (error)
    throw Error(ExitCode::Io, fmt::format("cannot create folder {}: {}", out, error.message()),
                "Choose another folder.");
  write_safetensors(out + "/adapter_model.safetensors", tensors);
  write_text_file(out + "/adapter_config.json", root.dump(2) + "\n");
  fmt::print("{}: {} tensors of {} as PEFT names them\n", out, tensors.size(), checkpoint.path);
  if (!others.empty()) fmt::print("left out, for PEFT has no place for it: {}\n", names_of(others, others.size()));
  return static_cast<int>(ExitCode::Done);
}

}  // namespace

int run_convert(const CommandLine& line) {
  const bool merged = line.given("merge"), peft = line.given("to-peft");
  if (merged == peft || merged != line.given("out"))
    throw Error(ExitCode::Usage, "memring convert makes one of two things: --merge with --out=DIR, or --to-peft=DIR",
                "For example: memring convert runs/adapter --merge --out=runs/merged");
  return with_session(line.argc, line.argv, [&](Session& session) {
    if (session.size() > 1)
      throw Error(ExitCode::Usage, fmt::format("memring convert was started on {} ranks", session.size()),
                  "Start it without mpirun: it works alone.");
    const CheckpointSummary checkpoint = find_checkpoint(line.arguments.at(0));
    Config config = parse_config(checkpoint.info.config, checkpoint.path);
    if (line.given("base")) config.model.from = line.text("base");
    if (config.lora.rank == 0)
      throw Error(ExitCode::Usage, fmt::format("{} has no updates to convert (lora.rank = 0)", checkpoint.path),
                  "Give a run that was trained with lora.rank above 0, or one of its checkpoints.");
    return merged ? write_merged(session, checkpoint, config, line.text("out"))
                  : write_peft(session, checkpoint, config, line.text("to-peft"));
  });
}

}  // namespace memring
