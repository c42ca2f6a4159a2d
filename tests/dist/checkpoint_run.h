// What the tests of checkpoints share: a folder that all ranks see, and a model whose every number is known.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "checkpoint/agreement.h"
#include "checkpoint/checkpoint.h"
#include "dist/mesh_arithmetic.h"
#include "ranks.h"

namespace memring {

/// A new folder under the system's place for temporary files, removed at the end. Collective over the world.
class SharedFolder {
 public:
  SharedFolder() {
    path_ = (std::filesystem::temp_directory_path() / "memring-checkpoint-XXXXXX").string();
    if (session().rank() == 0 && !::mkdtemp(path_.data())) ADD_FAILURE() << "no temporary folder";
    broadcast_text(world(), path_);
  }
  ~SharedFolder() {
    world().barrier();
    if (session().rank() == 0) std::filesystem::remove_all(path_);
  }
  const std::string& path() const { return path_; }
  /// Names of what is in it, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

inline FlatBuffer layout_of(const std::vector<std::pair<std::string, Shape>>& tensors) {
  FlatBuffer layout;
  for (const auto& [name, shape] : tensors) {
    layout.entries.push_back({name, shape, layout.size});
    layout.size += shape.elements();
  }
  return layout;
}

/// Tensors below and above HDF5's alignment and a digest's block, an empty one and a scalar.
inline FlatBuffer mixed_layout() {
  return layout_of({{"model.embed_tokens.weight", {257, 129}},
                    {"model.layers.0.self_attn.q_proj.weight", {601, 1001}},
                    {"model.layers.0.input_layernorm.weight", {7}},
                    {"memory.empty", {0, 4}},
                    {"memory.scale", {}},
                    {"model.layers.1.mlp.up_proj.weight", {3, 5, 11}},
                    {"lm_head.weight", {517, 1024}}});
}

inline FlatBuffer small_layout() {
  return layout_of({{"a.weight", {5, 3}}, {"b.weight", {2}}, {"c.weight", {40, 40}}});
}

/// One rank's training state of a model. Element i of a group differs for each i, group and generation.
template <class T>
struct Trained {
  Trained(Communicator& ranks, FlatBuffer flat_layout, int generation) {
    data.layout = std::move(flat_layout);
    data.shard = part_of(data.layout.size, ranks.size(), ranks.rank());
    weights.resize(static_cast<size_t>(data.layout.size));
    m.resize(static_cast<size_t>(data.shard.size()));
    v.resize(static_cast<size_t>(data.shard.size()));
    data.weights = flat(weights);
    data.m = flat(m);
    data.v = flat(v);
    become(generation);
  }
  static T value(int generation, int group, int64_t i) {
    return static_cast<T>(generation * 3 + group + 1) / 7 + static_cast<T>(i) / 1024;
  }
  void become(int generation) {
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = value(generation, 0, static_cast<int64_t>(i));
    for (size_t i = 0; i < m.size(); ++i) {
      m[i] = value(generation, 1, data.shard.begin + static_cast<int64_t>(i));
      v[i] = value(generation, 2, data.shard.begin + static_cast<int64_t>(i));
    }
    data.state = {{"step", generation}, {"tokens", generation * 4096}, {"seconds", generation * 0.1}, {"sound", true}};
  }
  void expect_generation(int generation, const std::string& what) {
    Trained expected = *this;
    expected.become(generation);
    expect_same(weights, expected.weights, 0, static_cast<int64_t>(weights.size()), what + ", weights");
    expect_same(m, expected.m, 0, data.shard.size(), what + ", m");
    expect_same(v, expected.v, 0, data.shard.size(), what + ", v");
    EXPECT_EQ(data.state, expected.data.state) << what;
  }
  std::vector<T> weights, m, v;
  CheckpointData data;
};

inline CheckpointInfo test_info(int ranks) {
  CheckpointInfo info;
  info.config = "[run]\nsteps = 3 # \"quoted\"\n";
  info.identity = "model.dim=3";
  info.mesh = "data 1, segment 1, token 1";
  info.isa = "baseline";
  info.dtype = "fp32";
  info.version = "0.1.0";
  info.threads = 1;
  info.ranks = ranks;
  return info;
}

/// Of tensors on the host.
inline const Queue& host_queue() {
  static const Queue queue;
  return queue;
}

/// Saves these generations of a model, one after the other; the step is the generation. Collective over `ranks`.
template <class T>
void save_generations(Communicator& ranks, const std::string& directory, const FlatBuffer& layout,
                      const std::vector<int>& generations, int64_t keep = 100) {
  Trained<T> trained(ranks, layout, 0);
  CheckpointWriter writer(host_queue(), ranks, directory, {.keep = keep}, trained.data);
  for (const int generation : generations) {
    trained.become(generation);
    writer.save(trained.data, test_info(ranks.size()));
  }
  writer.finish();
}

/// The same, of weights that are not sound.
inline void save_dead(const std::string& directory, const std::vector<int>& generations, WriterOptions options) {
  Trained<float> trained(world(), small_layout(), 0);
  CheckpointWriter writer(host_queue(), world(), directory, std::move(options), trained.data);
  for (const int generation : generations) {
    trained.become(generation);
    trained.data.state.set("sound", false);
    writer.save(trained.data, test_info(world().size()));
  }
  writer.finish();
}

/// Calls f(group of the first k ranks) on those.
template <class F>
void with_first_ranks(int count, F&& f) {
  Communicator group = world().split(session().rank() < count ? 0 : 1, session().rank(), "test");
  if (session().rank() < count) f(group);
  world().barrier();
}

/// Runs f on one rank while the others wait.
template <class F>
void on_rank_0(F&& f) {
  world().barrier();
  if (session().rank() == 0) f();
  world().barrier();
}

inline std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void flip_byte(const std::string& path, int64_t position) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(position);
  const auto byte = static_cast<char>(file.get() ^ 0x10);
  file.seekp(position);
  file.put(byte);
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

}  // namespace memring
