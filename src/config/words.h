// Choices that a user writes as a word: an enum each, and one table of its names, which parsing, help, printing and
// messages share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/ids.h"
#include "base/lora_target.h"

namespace memring {

/// `words(E)` gives all of an enum, in the order of help.
template <class E>
struct Word {
  E value;
  std::string_view name;
};

/// run.deterministic: what gives the same bits.
enum class Determinism : uint8_t { Mesh, Strict };
constexpr auto words(Determinism) {
  return std::to_array<Word<Determinism>>({{Determinism::Mesh, "mesh"}, {Determinism::Strict, "strict"}});
}

/// run.on_usr1: what a run does on SIGUSR1.
enum class OnUsr1 : uint8_t { Stop, Continue };
constexpr auto words(OnUsr1) {
  return std::to_array<Word<OnUsr1>>({{OnUsr1::Stop, "stop"}, {OnUsr1::Continue, "continue"}});
}

/// device.kind
enum class DeviceKind : uint8_t { Auto, Cpu, Cuda };
constexpr auto words(DeviceKind) {
  return std::to_array<Word<DeviceKind>>(
      {{DeviceKind::Auto, "auto"}, {DeviceKind::Cpu, "cpu"}, {DeviceKind::Cuda, "cuda"}});
}

/// device.dtype: operands of matrix products.
enum class Precision : uint8_t { Auto, Fp32, Bf16, Fp64 };
constexpr auto words(Precision) {
  return std::to_array<Word<Precision>>(
      {{Precision::Auto, "auto"}, {Precision::Fp32, "fp32"}, {Precision::Bf16, "bf16"}, {Precision::Fp64, "fp64"}});
}

/// device.isa: of our own loops.
enum class LoopIsa : uint8_t { Auto, Baseline, Avx2, Avx512 };
constexpr auto words(LoopIsa) {
  return std::to_array<Word<LoopIsa>>(
      {{LoopIsa::Auto, "auto"}, {LoopIsa::Baseline, "baseline"}, {LoopIsa::Avx2, "avx2"}, {LoopIsa::Avx512, "avx512"}});
}

/// rope.scaling
constexpr auto words(RopeScaling) {
  return std::to_array<Word<RopeScaling>>({{RopeScaling::None, "none"},
                                           {RopeScaling::Linear, "linear"},
                                           {RopeScaling::Ntk, "ntk"},
                                           {RopeScaling::Dynamic, "dynamic"},
                                           {RopeScaling::Parts, "parts"},
                                           {RopeScaling::Yarn, "yarn"},
                                           {RopeScaling::RevisedYarn, "revised_yarn"},
                                           {RopeScaling::Llama3, "llama3"},
                                           {RopeScaling::LongRope, "longrope"}});
}

/// lora.targets
constexpr auto words(LoraTarget) {
  return std::to_array<Word<LoraTarget>>({{LoraTarget::Q, "q_proj"},
                                          {LoraTarget::K, "k_proj"},
                                          {LoraTarget::V, "v_proj"},
                                          {LoraTarget::O, "o_proj"},
                                          {LoraTarget::Gate, "gate_proj"},
                                          {LoraTarget::Up, "up_proj"},
                                          {LoraTarget::Down, "down_proj"}});
}

constexpr auto words(MemoryKind) {
  return std::to_array<Word<MemoryKind>>({{MemoryKind::None, "none"},
                                          {MemoryKind::Rmt, "rmt"},
                                          {MemoryKind::Armt, "armt"},
                                          {MemoryKind::Uio, "uio"},
                                          {MemoryKind::Halo, "halo"}});
}

/// memory.reset: where a memory starts anew.
enum class MemoryReset : uint8_t { Sequence, Segment };
constexpr auto words(MemoryReset) {
  return std::to_array<Word<MemoryReset>>({{MemoryReset::Sequence, "sequence"}, {MemoryReset::Segment, "segment"}});
}

constexpr auto words(MemoryMask) {
  return std::to_array<Word<MemoryMask>>({{MemoryMask::Causal, "causal"}, {MemoryMask::Block, "block"}});
}

/// tbptt.mode
enum class TbpttMode : uint8_t { Full, Window, Unbiased };
constexpr auto words(TbpttMode) {
  return std::to_array<Word<TbpttMode>>(
      {{TbpttMode::Full, "full"}, {TbpttMode::Window, "window"}, {TbpttMode::Unbiased, "unbiased"}});
}

/// tbptt.recompute
enum class RecomputeWhen : uint8_t { Auto, Always, Never };
constexpr auto words(RecomputeWhen) {
  return std::to_array<Word<RecomputeWhen>>(
      {{RecomputeWhen::Auto, "auto"}, {RecomputeWhen::Always, "always"}, {RecomputeWhen::Never, "never"}});
}

/// data.kind: a token file, or a memory task.
enum class DataKind : uint8_t { Tokens, Memorize, Detect, Reasoning, Associative, Copy, Passkey };
constexpr auto words(DataKind) {
  return std::to_array<Word<DataKind>>({{DataKind::Tokens, "tokens"},
                                        {DataKind::Memorize, "memorize"},
                                        {DataKind::Detect, "detect"},
                                        {DataKind::Reasoning, "reasoning"},
                                        {DataKind::Associative, "associative"},
                                        {DataKind::Copy, "copy"},
                                        {DataKind::Passkey, "passkey"}});
}

/// positions.kind: how position ids of training sequences are drawn.
enum class PositionsKind : uint8_t { Plain, Cream, Pose, RandPos, LongRecipe };
constexpr auto words(PositionsKind) {
  return std::to_array<Word<PositionsKind>>({{PositionsKind::Plain, "plain"},
                                             {PositionsKind::Cream, "cream"},
                                             {PositionsKind::Pose, "pose"},
                                             {PositionsKind::RandPos, "randpos"},
                                             {PositionsKind::LongRecipe, "longrecipe"}});
}

/// positions.form: of cream's Gaussian.
enum class CreamForm : uint8_t { Code, Renormalised };
constexpr auto words(CreamForm) {
  return std::to_array<Word<CreamForm>>({{CreamForm::Code, "code"}, {CreamForm::Renormalised, "renormalised"}});
}

/// objective.kind: what training asks of a sequence. Auto: the answer of a memory task, language modelling else.
enum class ObjectiveKind : uint8_t { Auto, Lm, Answer, Reconstruct, Distil };
constexpr auto words(ObjectiveKind) {
  return std::to_array<Word<ObjectiveKind>>({{ObjectiveKind::Auto, "auto"},
                                             {ObjectiveKind::Lm, "lm"},
                                             {ObjectiveKind::Answer, "answer"},
                                             {ObjectiveKind::Reconstruct, "reconstruct"},
                                             {ObjectiveKind::Distil, "distil"}});
}

/// optimizer.schedule: the course of the learning rate.
enum class RateSchedule : uint8_t { Cosine, Linear, Constant };
constexpr auto words(RateSchedule) {
  return std::to_array<Word<RateSchedule>>(
      {{RateSchedule::Cosine, "cosine"}, {RateSchedule::Linear, "linear"}, {RateSchedule::Constant, "constant"}});
}

/// checkpoint.resume; a step is written as its number.
constexpr auto words(ResumeFrom::What) {
  return std::to_array<Word<ResumeFrom::What>>(
      {{ResumeFrom::What::Newest, "newest"}, {ResumeFrom::What::Sound, "sound"}});
}

template <class E>
constexpr std::string_view word_of(E value) {
  for (const Word<E>& word : words(value))
    if (word.value == value) return word.name;
  return {};
}

}  // namespace memring
