// Conditions of the table of options: what a key needs to have an effect on a run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <initializer_list>

#include "config/options.h"
#include "config/shapes.h"

namespace memring::counts {

inline bool constant(const Config& c) { return c.optimizer.schedule == RateSchedule::Constant; }
inline bool associative(const Config& c) { return c.data.kind == DataKind::Associative; }
inline bool scaled_by(const Config& c, std::initializer_list<RopeScaling> scalings) {
  return std::find(scalings.begin(), scalings.end(), c.rope.scaling) != scalings.end();
}

constexpr Condition kCpu{[](const Config& c) { return c.device.kind != DeviceKind::Cuda; }, "device.kind = cpu"};
constexpr Condition kStrict{[](const Config& c) { return c.run.deterministic == Determinism::Strict; },
                            "run.deterministic = strict"};

constexpr Condition kScaled{[](const Config& c) { return c.rope.scaling != RopeScaling::None; },
                            "rope.scaling other than none"};
constexpr Condition kOfWindow{[](const Config& c) {
                                return !scaled_by(c, {RopeScaling::None, RopeScaling::Linear, RopeScaling::Ntk});
                              },
                              "rope.scaling = dynamic, parts, yarn, revised_yarn, llama3 or longrope"};
constexpr Condition kBlends{[](const Config& c) {
                              return scaled_by(c, {RopeScaling::Parts, RopeScaling::Yarn, RopeScaling::RevisedYarn});
                            },
                            "rope.scaling = parts, yarn or revised_yarn"};
constexpr Condition kYarn{[](const Config& c) {
                            return scaled_by(c, {RopeScaling::Yarn, RopeScaling::RevisedYarn});
                          },
                          "rope.scaling = yarn or revised_yarn"};
constexpr Condition kTemperature{
    [](const Config& c) {
      return scaled_by(c, {RopeScaling::Yarn, RopeScaling::RevisedYarn, RopeScaling::LongRope});
    },
    "rope.scaling = yarn, revised_yarn or longrope"};
constexpr Condition kComputedTemperature{[](const Config& c) { return c.rope.attention_factor == 0; },
                                         "rope.attention_factor = 0"};
constexpr Condition kBothScales{[](const Config& c) { return c.rope.mscale > 0 && c.rope.mscale_all_dim > 0; },
                                "rope.mscale and rope.mscale_all_dim above 0"};
constexpr Condition kLlama3{[](const Config& c) { return c.rope.scaling == RopeScaling::Llama3; },
                            "rope.scaling = llama3"};
constexpr Condition kLongRope{[](const Config& c) { return c.rope.scaling == RopeScaling::LongRope; },
                              "rope.scaling = longrope"};

constexpr Condition kLora{[](const Config& c) { return c.lora.rank > 0; }, "lora.rank above 0"};

constexpr Condition kMemory{[](const Config& c) { return c.memory.kind != MemoryKind::None; },
                            "memory.kind other than none"};
constexpr Condition kHalo{[](const Config& c) { return c.memory.kind == MemoryKind::Halo; }, "memory.kind = halo"};
constexpr Condition kArmt{[](const Config& c) { return c.memory.kind == MemoryKind::Armt; }, "memory.kind = armt"};
constexpr Condition kUio{[](const Config& c) { return c.memory.kind == MemoryKind::Uio; }, "memory.kind = uio"};
constexpr Condition kRecurrent{
    [](const Config& c) { return c.memory.kind == MemoryKind::Rmt || c.memory.kind == MemoryKind::Armt; },
    "memory.kind = rmt or armt"};
constexpr Condition kMemoryTokens{[](const Config& c) { return kRecurrent.holds(c) || kUio.holds(c); },
                                  "memory.kind = rmt, armt or uio"};
constexpr Condition kChained{[](const Config& c) { return kRecurrent.holds(c) || kHalo.holds(c); },
                             "memory.kind = rmt, armt or halo"};
constexpr Condition kKept{[](const Config& c) { return c.memory.reset == MemoryReset::Sequence; },
                          "memory.reset = sequence"};
constexpr Condition kSegments{[](const Config& c) {
                                const auto stages = stages_of(c);
                                return std::any_of(stages.begin(), stages.end(),
                                                   [](const SequenceShape& s) { return s.segments() > 1; });
                              },
                              "sequences of more than one segment.length"};
constexpr Condition kWindow{[](const Config& c) { return c.tbptt.mode == TbpttMode::Window; }, "tbptt.mode = window"};
constexpr Condition kUnbiased{[](const Config& c) { return c.tbptt.mode == TbpttMode::Unbiased; },
                              "tbptt.mode = unbiased"};
constexpr Condition kWindowOrReservoir{
    [](const Config& c) { return kWindow.holds(c) || (kUio.holds(c) && kUnbiased.holds(c)); },
    "tbptt.mode = window, or unbiased with memory.kind = uio"};

constexpr Condition kTask{[](const Config& c) { return c.data.kind != DataKind::Tokens; },
                          "a memory task as data.kind"};
constexpr Condition kWords{[](const Config& c) { return c.data.path.empty(); }, "no data.path"};
constexpr Condition kMemorize{[](const Config& c) { return c.data.kind == DataKind::Memorize; },
                              "data.kind = memorize"};
constexpr Condition kPasskey{[](const Config& c) { return c.data.kind == DataKind::Passkey; }, "data.kind = passkey"};
constexpr Condition kAssociative{associative, "data.kind = associative"};
constexpr Condition kSymbols{[](const Config& c) { return associative(c) || c.data.kind == DataKind::Copy; },
                             "data.kind = associative or copy"};

constexpr Condition kPositions{[](const Config& c) { return c.positions.kind != PositionsKind::Plain; },
                               "positions.kind other than plain"};
constexpr Condition kCream{[](const Config& c) { return c.positions.kind == PositionsKind::Cream; },
                           "positions.kind = cream"};
constexpr Condition kDocuments{samples_of_documents,
                               "positions.kind = cream or pose, data.kind = tokens and one segment a sequence"};
constexpr Condition kLongRecipe{[](const Config& c) { return c.positions.kind == PositionsKind::LongRecipe; },
                                "positions.kind = longrecipe"};

constexpr Condition kDistil{[](const Config& c) { return c.objective.kind == ObjectiveKind::Distil; },
                            "objective.kind = distil"};

constexpr Condition kNoStages{[](const Config& c) { return c.curriculum.stages.empty(); }, "no curriculum.stages"};
constexpr Condition kStages{[](const Config& c) { return stages_of(c).size() > 1; },
                            "curriculum.stages of two or more"};
constexpr Condition kPromotes{[](const Config& c) { return c.curriculum.promote_loss > 0; },
                              "curriculum.promote_loss above 0"};

constexpr Condition kEnd{[](const Config& c) { return c.run.steps > 0 || c.run.tokens > 0; },
                         "run.steps or run.tokens above 0"};
constexpr Condition kConstant{constant, "optimizer.schedule = constant"};
constexpr Condition kFalls{[](const Config& c) {
                             const bool decays = !constant(c) || c.optimizer.decay > 0;
                             return (kEnd.holds(c) && decays) ||
                                    (kStages.holds(c) && kPromotes.holds(c) && c.curriculum.after > 0);
                           },
                           "a learning rate that falls: with run.steps or run.tokens under optimizer.schedule = cosine "
                           "or linear, or optimizer.decay above 0; or with curriculum.after"};

}  // namespace memring::counts
