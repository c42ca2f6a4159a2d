// Keys of the objective and of the optimizer, and of what a run leaves and tells.
// SPDX-License-Identifier: Apache-2.0
#include "config/option_declarations.h"

namespace memring::declare {
namespace {

template <auto Key>
constexpr Getter objective = field_of<&Config::objective, Key>;
template <auto Key>
constexpr Getter optimizer = field_of<&Config::optimizer, Key>;
template <auto Key>
constexpr Getter checkpoint = field_of<&Config::checkpoint, Key>;
template <auto Key>
constexpr Getter log = field_of<&Config::log, Key>;
template <auto Key>
constexpr Getter eval = field_of<&Config::eval, Key>;

}  // namespace

std::vector<Option> training_options() {
  return {
      choice("objective.kind", objective<&ObjectiveConfig::kind>,
             "What training asks for: each next token (lm); a memory task's answer alone; the first half of each "
             "sequence once more, from memory (reconstruct); or the text beside the distribution that the frozen base "
             "gives it from the raw tokens (distil). auto = answer of a task, else lm.",
             "lm", kNumbers),
      real("objective.kl", objective<&ObjectiveConfig::kl>, {0, 1},
           "Share of the divergence KL(base || model) in the loss; the rest is the loss of the text.", "0.5", kNumbers)
          .when({kDistil}),
      size("objective.window", objective<&ObjectiveConfig::window>, count_from(0),
           "Raw tokens that the base sees, up to the end of a segment, by this run's [rope]; 0 = those of a segment "
           "and of "
           "the one before.",
           "1024", kNumbers)
          .when({kDistil}),

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
           "7,16,64,256")
          .when({kTask}),
      text("eval.lengths", eval<&EvalConfig::lengths>,
           "Of a memory task: lengths in tokens to evaluate, cut into segments of segment.length where there is one.",
           "128,256,512,1024")
          .when({kTask}),
      text("eval.depths", eval<&EvalConfig::depths>,
           "Of passkey: shares of the noise before the key, each evaluated at each length; empty = task.depth.",
           "0,0.25,0.5,0.75,1")
          .when({kPasskey}),
      boolean("eval.control", eval<&EvalConfig::control>,
              "Also evaluate with the memory reset at every segment: twice the work.", "false"),
      integer("eval.buckets", eval<&EvalConfig::buckets>, {1, 1 << 20}, "Position buckets of the result.", "16"),
      path("eval.json", eval<&EvalConfig::json>, "Also write the result to this JSON file.", "eval.json"),
  };
}

}  // namespace memring::declare
