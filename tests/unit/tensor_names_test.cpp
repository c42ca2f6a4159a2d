// Which tensors a list of words and patterns trains, and what it says when it names none.
// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_names.h"

#include <gtest/gtest.h>

#include "files.h"

namespace memring {
namespace {

Params some() {
  Params params;
  for (const char* name : {"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
                           "model.layers.11.self_attn.q_proj.weight", "model.layers.11.mlp.up_proj.weight",
                           "model.layers.11.self_attn.q_proj.lora_A.weight", "lm_head.weight", "memory.tokens"})
    params.declare(name, {2, 3}, {}, true);
  return params;
}

std::vector<std::string> trained(const std::string& list) {
  Params params = some();
  train_named(params, list);
  std::vector<std::string> names;
  for (const FlatEntry& entry : params.trained_layout().entries) names.push_back(entry.name);
  return names;
}

TEST(TrainNamed, TakesWordsAndPatterns) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(trained("all").size(), 7U);
  EXPECT_EQ(trained("memory"), Names{"memory.tokens"});
  EXPECT_EQ(trained("lora , memory"), (Names{"model.layers.11.self_attn.q_proj.lora_A.weight", "memory.tokens"}));
  EXPECT_EQ(trained("model.layers.*.mlp.*"),
            (Names{"model.layers.0.mlp.up_proj.weight", "model.layers.11.mlp.up_proj.weight"}));
  EXPECT_EQ(trained("lm_head.weight"), Names{"lm_head.weight"});
}

TEST(TrainNamed, WhatIsTrainedLiesInFrontInTheOrderOfItsNumbers) {
  Params params = some();
  train_named(params, "memory,*.up_proj.weight");
  const std::vector<int64_t> expected{18, 0, 24, 6, 30, 36, 12};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(params.layout().entries[i].offset, expected[i]) << i;
  EXPECT_EQ(params.layout().size, 42);
  EXPECT_EQ(params.trained_layout().size, 18);
}

TEST(TrainNamed, SaysWhatThereIs) {
  for (const char* list : {"memory.token", "model.layers.*.mlp.*,", "", "lm_head", "weights", "[m]emory.tokens*x"}) {
    Params params = some();
    test::expect_error(ExitCode::Usage,
                       {"model.train = ", "names no tensor", "model.layers.*.mlp.up_proj.weight (2)", "memory.tokens"},
                       [&] { train_named(params, list); });
  }
}

}  // namespace
}  // namespace memring
