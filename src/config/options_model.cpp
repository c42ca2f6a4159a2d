// Keys of the model, its memory and the gradients through it.
// SPDX-License-Identifier: Apache-2.0
#include "config/option_declarations.h"

namespace memring::declare {
namespace {

template <auto Key>
constexpr Getter model = field_of<&Config::model, Key>;
template <auto Key>
constexpr Getter memory = field_of<&Config::memory, Key>;
template <auto Key>
constexpr Getter segment = field_of<&Config::segment, Key>;
template <auto Key>
constexpr Getter tbptt = field_of<&Config::tbptt, Key>;

}  // namespace

std::vector<Option> model_options() {
  return {
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
      path(
          "model.from", model<&ModelConfig::from>,
          "Checkpoint, or run (its newest), whose weights a new run starts with, at step 0 and with a fresh optimizer; "
          "what it lacks starts fresh. A run that has a checkpoint goes on from that one.",
          "runs/books"),

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
  };
}

}  // namespace memring::declare
