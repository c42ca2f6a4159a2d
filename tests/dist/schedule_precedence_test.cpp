// The rules that say which work on a cell waits for which: as DESIGN.md's table has them, and the same from both ends.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "dist/precedence.h"
#include "schedule_cases.h"

namespace memring::scheduling {
namespace {

constexpr Verb kSweeps[] = {Verb::Forward, Verb::Rebuild, Verb::Recompute, Verb::Backward};

Precedence rules_of(const Case& c) { return {c.dependency, c.extent(), closed_of(c), c.ranks, c.policy}; }

/// "State of Forward 3.1, Memories of Forward encode 4-5.0": segment.cell.
std::string waits_in_words(const Precedence& rules, const CellRun& run) {
  static constexpr const char* kTakes[] = {"State", "Adjoint", "Rows", "Hidden", "Turn", "Memories", "Parts"};
  std::string text;
  for (const auto& [before, takes, count] : rules.waits_of(run))
    text += fmt::format("{}{} of {}{} {}{}.{}", text.empty() ? "" : ", ", kTakes[static_cast<int>(takes)],
                        name_of(before.verb), before.pass == Pass::Encode ? " encode" : "", before.segment,
                        count > 1 ? fmt::format("-{}", before.segment + count - 1) : "", before.level);
  return text;
}

std::string waits(const Case& c, Verb verb, int32_t segment, int32_t at = 0) {
  return waits_in_words(rules_of(c), {verb, Pass::Decode, segment, at});
}

std::string encode_waits(const Case& c, Verb verb, int32_t segment) {
  return waits_in_words(rules_of(c), {verb, Pass::Encode, segment});
}

template <class F>
void each_run(const Precedence& rules, const F& f) {
  for (const Pass pass : rules.passes())
    for (int32_t segment = 0; segment < rules.segments(pass); ++segment)
      for (const Verb verb : kSweeps)
        for (int32_t at = 0; rules.runs(verb, pass, segment) && at < rules.depth(); ++at)
          f(CellRun{verb, pass, segment, at});
}

TEST(Precedence, HasRoomForAFewWaitsAndForNoMore) {
  Waits waits;
  for (int32_t segment = 0; segment < 4; ++segment) waits.add({{.segment = segment}, Takes::Turn});
  EXPECT_THROW(waits.add({{.segment = 4}, Takes::Turn}), Error);
}

TEST(Precedence, OfIndependentSegmentsIsTheRanksTurnAlone) {
  const Case c{.dependency = Dependency::None, .ranks = 2, .segments = 6};
  EXPECT_EQ(waits(c, Verb::Forward, 1), "");
  EXPECT_EQ(waits(c, Verb::Forward, 4), "Turn of Backward 2.0");
  EXPECT_EQ(waits(c, Verb::Backward, 4), "Rows of Forward 4.0");
}

TEST(Precedence, OfAChainIsTheStateOfTheSegmentBefore) {
  const Case c{.dependency = Dependency::TopToInput, .ranks = 2, .segments = 6};
  EXPECT_EQ(waits(c, Verb::Forward, 0), "");
  EXPECT_EQ(waits(c, Verb::Forward, 3), "Turn of Forward 1.0, State of Forward 2.0");
  EXPECT_EQ(waits(c, Verb::Recompute, 3), "Turn of Backward 5.0, State of Forward 3.0");
  EXPECT_EQ(waits(c, Verb::Backward, 3), "Turn of Backward 5.0, Rows of Recompute 3.0, Adjoint of Backward 4.0");
  EXPECT_EQ(waits(c, Verb::Backward, 5), "Rows of Forward 5.0");
}

TEST(Precedence, OfAWavefrontIsTheCellBelowAndTheSameOneOfTheSegmentBefore) {
  const Case c{.dependency = Dependency::LayerLocal, .ranks = 2, .segments = 6, .depth = 3};
  EXPECT_EQ(waits(c, Verb::Forward, 3, 1), "Hidden of Forward 3.0, State of Forward 2.1");
  EXPECT_EQ(waits(c, Verb::Backward, 4, 1), "Hidden of Backward 4.2, Adjoint of Backward 5.1");
}

TEST(Precedence, OfAHaloIsThatOfAWavefront) {
  const Case c{.dependency = Dependency::Halo, .ranks = 2, .segments = 6, .depth = 3};
  EXPECT_EQ(waits(c, Verb::Forward, 3, 1), "Hidden of Forward 3.0, State of Forward 2.1");
  EXPECT_EQ(waits(c, Verb::Backward, 4, 1), "Hidden of Backward 4.2, Adjoint of Backward 5.1");
}

TEST(Precedence, EndsAtAClosedBoundaryForTheAdjointAlone) {
  const Case c{.dependency = Dependency::TopToInput, .ranks = 1, .segments = 6, .window = 3};
  EXPECT_EQ(waits(c, Verb::Forward, 3), "Turn of Forward 2.0, State of Forward 2.0");
  EXPECT_EQ(waits(c, Verb::Backward, 2), "Rows of Forward 2.0");
}

// Rebuilt states come from the last but one group on; the first of a group reads the state that Forward kept.
TEST(Precedence, OfThinnedBoundariesGoesThroughGroups) {
  const Case c{.dependency = Dependency::TopToInput, .segments = 6, .policy = {.boundaries = 2}};
  EXPECT_EQ(waits(c, Verb::Rebuild, 2), "Turn of Forward 5.0, Turn of Backward 4.0, State of Forward 2.0");
  EXPECT_EQ(waits(c, Verb::Rebuild, 3), "Turn of Rebuild 2.0, State of Rebuild 2.0");
  EXPECT_FALSE(rules_of(c).runs(Verb::Rebuild, Pass::Decode, 4));
}

// A rank waits for memories before its first decode alone.
TEST(Precedence, OfAppendIsTheMemoriesOfARoundAndThePartsOfTheirAdjoints) {
  const Case c{.dependency = Dependency::Append, .ranks = 3, .segments = 8};
  EXPECT_EQ(encode_waits(c, Verb::Forward, 2), "");
  EXPECT_EQ(encode_waits(c, Verb::Forward, 3), "Turn of Forward encode 0.0");
  EXPECT_EQ(waits(c, Verb::Forward, 5), "Turn of Forward encode 5.0, Memories of Forward encode 0-4.0");
  EXPECT_EQ(waits(c, Verb::Forward, 7), "Turn of Forward encode 4.0, Memories of Forward encode 0-6.0");
  EXPECT_EQ(waits(c, Verb::Forward, 4), "Turn of Backward 7.0");
  EXPECT_EQ(waits(c, Verb::Backward, 4), "Rows of Forward 4.0");
  EXPECT_EQ(encode_waits(c, Verb::Recompute, 6), "Turn of Backward 0.0");  // this rank's last decode
  EXPECT_EQ(encode_waits(c, Verb::Recompute, 3), "Turn of Backward encode 6.0");
  EXPECT_EQ(encode_waits(c, Verb::Backward, 3), "Rows of Recompute encode 3.0, Parts of Backward 4-6.0");
  EXPECT_EQ(encode_waits(c, Verb::Backward, 6), "Rows of Recompute encode 6.0, Parts of Backward 7.0");
  EXPECT_FALSE(rules_of(c).runs(Verb::Forward, Pass::Encode, 7));
  EXPECT_FALSE(rules_of(c).runs(Verb::Recompute, Pass::Decode, 3));
  Case kept = c;
  kept.policy.recompute = false;
  EXPECT_EQ(encode_waits(kept, Verb::Backward, 3),
            "Turn of Backward encode 6.0, Rows of Forward encode 3.0, Parts of Backward 4-6.0");
  Case evaluation = c;
  evaluation.policy.backward = false;
  EXPECT_EQ(waits(evaluation, Verb::Forward, 1), "Turn of Forward encode 4.0, Memories of Forward encode 0-6.0");
  EXPECT_EQ(waits(evaluation, Verb::Forward, 4), "Turn of Forward 1.0");
}

// Who writes a state or adjoint, and who reads it, ask the same rules: each finds the other, and nobody else.
TEST(Precedence, IsTheSameFromBothEnds) {
  int64_t found = 0;
  for (const Case& c : small_cases()) {
    const Precedence rules = rules_of(c);
    each_run(rules, [&](const CellRun& writer) {
      for (const Takes takes : {Takes::State, Takes::Adjoint}) {
        std::optional<CellRun> elsewhere, here;
        each_run(rules, [&](const CellRun& reader) {
          if (!rules.waits_of(reader).contain({writer, takes})) return;
          (reader.segment == writer.segment ? here : elsewhere) = reader;
          ++found;
        });
        EXPECT_EQ(rules.reader_of(writer, takes), elsewhere) << describe(c);
        if (takes == Takes::State) {
          EXPECT_EQ(rules.later_reader(writer), here) << describe(c);
        }
      }
    });
  }
  EXPECT_GT(found, 100);
}

TEST(Precedence, WaitsForRunsThatThereAre) {
  for (const Case& c : small_cases()) {
    const Precedence rules = rules_of(c);
    each_run(rules, [&](const CellRun& run) {
      for (const Wait& wait : rules.waits_of(run))
        for (int32_t i = 0; i < wait.count; ++i)
          EXPECT_TRUE(wait.at(i).segment >= 0 && rules.runs(wait.run.verb, wait.run.pass, wait.at(i).segment))
              << describe(c) << ": " << name_of(run.verb) << " " << run.segment << "." << run.level;
    });
  }
}

}  // namespace
}  // namespace memring::scheduling
