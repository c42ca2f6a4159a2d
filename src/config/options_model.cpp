// Keys of the model, its memory and the gradients through it.
// SPDX-License-Identifier: Apache-2.0
#include "config/option_declarations.h"

namespace memring::declare {
namespace {

template <auto Key>
constexpr Getter model = field_of<&Config::model, Key>;
template <auto Key>
constexpr Getter rope = field_of<&Config::rope, Key>;
template <auto Key>
constexpr Getter lora = field_of<&Config::lora, Key>;
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
      text("model.train", model<&ModelConfig::train>,
           "What learns: all, memory, lora, or names of tensors in which * stands for any text, with commas between "
           "them. The rest is frozen as model.from has it: it takes no gradient, no state of the optimizer and no "
           "reduction, and checkpoints name it by digest instead of holding it.",
           "memory,model.layers.*.mlp.*", kNumbers),

      choice("rope.scaling", rope<&RopeConfig::scaling>,
             "How rotary frequencies are scaled for a longer window than that of the training before: by positions "
             "(linear), by the base (ntk; dynamic, as far as the longest segment of the run reaches beyond "
             "original_length), by frequency (parts; yarn, with a temperature; revised_yarn, as in CREAM; llama3), or "
             "by lists (longrope). Keys are those of a Hugging Face config.json.",
             "yarn", kNumbers),
      real("rope.factor", rope<&RopeConfig::factor>, at_least(0),
           "How many times longer the window becomes, 1 or more; it must be given.", "8", kNumbers)
          .when({kScaled}),
      size("rope.original_length", rope<&RopeConfig::original_length>, {0, kMostTokens},
           "Positions of the window before (original_max_position_embeddings); 0 = segment.length or data.length of "
           "the training.",
           "4096", kNumbers)
          .when({kOfWindow}),
      real("rope.beta_fast", rope<&RopeConfig::beta_fast>, above(0),
           "Frequencies of so many turns in original_length, or more, stay.", "24", kNumbers)
          .when({kBlends}),
      real("rope.beta_slow", rope<&RopeConfig::beta_slow>, above(0),
           "Frequencies of so many turns in original_length, or fewer, are divided by the factor.", "2", kNumbers)
          .when({kBlends}),
      boolean("rope.truncate", rope<&RopeConfig::truncate>, "Where the blend begins and ends is a whole dimension.",
              "false", kNumbers)
          .when({kBlends}),
      real("rope.low_freq_factor", rope<&RopeConfig::low_freq_factor>, above(0),
           "llama3's beta_slow: wavelengths above original_length / low_freq_factor are multiplied by the factor.", "2",
           kNumbers)
          .when({kLlama3}),
      real("rope.high_freq_factor", rope<&RopeConfig::high_freq_factor>, above(0),
           "llama3's beta_fast: wavelengths below original_length / high_freq_factor stay.", "8", kNumbers)
          .when({kLlama3}),
      real("rope.attention_factor", rope<&RopeConfig::attention_factor>, at_least(0),
           "Cosines and sines are multiplied by it; 0 = the method's own: 0.1 ln factor + 1 (yarn), "
           "sqrt(1 + ln factor / ln original_length) (longrope).",
           "1.1", kNumbers)
          .when({kTemperature}),
      real("rope.mscale", rope<&RopeConfig::mscale>, at_least(0),
           "With mscale_all_dim, DeepSeek's temperature: (0.1 mscale ln factor + 1) / (0.1 mscale_all_dim ln factor + "
           "1); 0 = not so.",
           "1", kNumbers)
          .when({kYarn, kComputedTemperature, kBothScales}),
      real("rope.mscale_all_dim", rope<&RopeConfig::mscale_all_dim>, at_least(0), "See mscale.", "0.707", kNumbers)
          .when({kYarn, kComputedTemperature, kBothScales}),
      text("rope.short_factor", rope<&RopeConfig::short_factor>,
           "What divides each of the head_dim / 2 frequencies in a run whose segments have no more than "
           "original_length positions.",
           "1,1.02,1.1,1.3", kNumbers)
          .when({kLongRope}),
      text("rope.long_factor", rope<&RopeConfig::long_factor>,
           "The same where the longest segment of the run has more; with positions.kind, where its target is longer.",
           "1,1.6,4.2,8", kNumbers)
          .when({kLongRope}),

      integer("lora.rank", lora<&LoraConfig::rank>, {0, 1 << 16},
              "Rank of trained updates of linear layers (LoRA), beside their weights; 0 = none. model.train = lora "
              "trains nothing else.",
              "8", kNumbers),
      real("lora.alpha", lora<&LoraConfig::alpha>, above(0), "Updates are scaled by alpha / rank.", "32", kNumbers)
          .when({kLora}),
      text("lora.targets", lora<&LoraConfig::targets>,
           "Layers that have one, in every decoder layer: of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
           "down_proj; or all.",
           "q_proj,k_proj,v_proj,o_proj", kNumbers)
          .when({kLora}),

      choice("memory.kind", memory<&MemoryConfig::kind>,
             "What crosses a segment boundary: nothing; recurrent memory tokens (rmt); an associative memory in each "
             "layer "
             "(armt); compressed keys and values of all earlier segments (uio); or keys and values of the last tokens "
             "(halo).",
             "rmt", kNumbers),
      choice("memory.reset", memory<&MemoryConfig::reset>,
             "Where the memory starts anew; segment is the control experiment.", "segment", kNumbers)
          .when({kMemory, kSegments}),
      integer("memory.tokens", memory<&MemoryConfig::tokens>, {0, 1 << 20},
              "Memory tokens; of uio: those that a segment is compressed to, a divisor of segment.length.", "16",
              kNumbers)
          .when({kMemoryTokens}),
      choice("memory.mask", memory<&MemoryConfig::mask>,
             "Attention among rmt's memory rows: causal, or full inside the read and the write block.", "block",
             kNumbers)
          .when({kRecurrent}),
      integer("memory.key_dim", memory<&MemoryConfig::key_dim>, {1, 1 << 16},
              "Width of armt's keys; a layer's state has 2 nu key_dim rows of model.dim.", "32", kNumbers)
          .when({kArmt}),
      real("memory.init_std", memory<&MemoryConfig::init_std>, {0, 10, true, false},
           "Standard deviation of the memory tokens at the start.", "0.1", kNumbers)
          .when({kRecurrent}),
      integer("memory.nu", memory<&MemoryConfig::nu>, {1, 64}, "Order of armt's feature map: how sparse its keys are.",
              "2", kNumbers)
          .when({kArmt}),
      size(
          "memory.window", memory<&MemoryConfig::window>, {0, 1 << 30},
          "Tokens that a token sees with halo, itself among them (sliding window); 0 = those of its segment and of the "
          "one before (Transformer-XL).",
          "1024", kNumbers)
          .when({kHalo}),
      integer("memory.sinks", memory<&MemoryConfig::sinks>, {0, 1 << 20},
              "Tokens at the start of a sequence that all see besides with halo (attention sinks).", "4", kNumbers)
          .when({kHalo}),
      integer("memory.lora_rank", memory<&MemoryConfig::lora_rank>, {1, 1 << 16},
              "Rank of the updates of uio's encoder (q, v) and transfer head (k, v).", "16", kNumbers)
          .when({kUio}),
      real("memory.lora_alpha", memory<&MemoryConfig::lora_alpha>, above(0),
           "They are scaled by lora_alpha / lora_rank.", "32", kNumbers)
          .when({kUio}),

      size("segment.length", segment<&SegmentConfig::length>, count_from(0),
           "Text tokens of a segment; 0 = the whole sequence (memory.kind = none only).", "512", kNumbers),

      choice(
          "tbptt.mode", tbptt<&TbpttConfig::mode>,
          "Gradient through time: exact; cut every tbptt.window segments; or cut at random and re-weighted, so that "
          "its mean is exact. With uio: to all memories; to those of the tbptt.window segments before; or to a random "
          "tbptt.window of all, re-weighted.",
          "window", kNumbers)
          .when({kMemory, kKept, kSegments}),
      integer("tbptt.window", tbptt<&TbpttConfig::window>, at_least(1),
              "Segments between two cuts of the gradient; with uio memories that it reaches.", "4", kNumbers)
          .when({kMemory, kKept, kSegments, kWindowOrReservoir}),
      real("tbptt.cut", tbptt<&TbpttConfig::cut>, {0, 0.9},
           "Probability of a cut at each boundary (mode unbiased). What reaches over k boundaries has the relative "
           "variance (1 - cut)^-k - 1.",
           "0.25", kNumbers)
          .when({kChained, kKept, kSegments, kUnbiased}),
      choice("tbptt.recompute", tbptt<&TbpttConfig::recompute>,
             "Recompute a segment's activations in backward; auto = only where they do not fit device.memory.",
             "always"),
      integer(
          "tbptt.boundaries", tbptt<&TbpttConfig::boundaries>, count_from(0),
          "Where activations are recomputed, keep the memory's state at every so many segment boundaries and rebuild "
          "the others by one more forward; 0 = keep all, or with tbptt.recompute = auto, where they do not fit, as "
          "many as "
          "do.",
          "16")
          .when({kChained, kKept, kSegments}),
  };
}

}  // namespace memring::declare
