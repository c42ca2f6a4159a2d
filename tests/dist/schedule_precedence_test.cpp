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

/// "State of Forward 3.1, Hidden of Forward 4.0": segment.cell.
std::string waits_in_words(const Precedence& rules, const CellRun& run) {
  static constexpr const char* kTakes[] = {"State", "Adjoint", "Rows", "Hidden", "Turn"};
  std::string text;
  for (const auto& [before, takes] : rules.waits_of(run))
    text += fmt::format("{}{} of {} {}.{}", text.empty() ? "" : ", ", kTakes[static_cast<int>(takes)],
                        name_of(before.verb), before.segment, before.level);
  return text;
}

std::string waits(const Case& c, Verb verb, int32_t segment, int32_t at = 0) {
  return waits_in_words(rules_of(c), {verb, Pass::Decode, segment, at});
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
  EXPECT_FALSE(rules_of(c).runs(Verb::Rebuild, 4));
}

// Who writes a state or adjoint, and who reads it, ask the same rules: each finds the other, and nobody else.
TEST(Precedence, IsTheSameFromBothEnds) {
  int64_t found = 0;
  for (const Case& c : small_cases()) {
    const Precedence rules = rules_of(c);
    const auto each = [&](const auto& f) {
      for (int32_t segment = 0; segment < c.segments; ++segment)
        for (const Verb verb : kSweeps)
          for (int32_t at = 0; rules.runs(verb, segment) && at < c.depth; ++at)
            f(CellRun{verb, Pass::Decode, segment, at});
    };
    each([&](const CellRun& writer) {
      for (const Takes takes : {Takes::State, Takes::Adjoint}) {
        std::optional<CellRun> elsewhere, here;
        each([&](const CellRun& reader) {
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
    for (int32_t segment = 0; segment < c.segments; ++segment)
      for (const Verb verb : kSweeps)
        for (int32_t at = 0; rules.runs(verb, segment) && at < c.depth; ++at)
          for (const auto& [before, takes] : rules.waits_of({verb, Pass::Decode, segment, at}))
            EXPECT_TRUE(before.segment >= 0 && before.segment < c.segments && rules.runs(before.verb, before.segment))
                << describe(c) << ": " << name_of(verb) << " " << segment << "." << at;
  }
}

}  // namespace
}  // namespace memring::scheduling
