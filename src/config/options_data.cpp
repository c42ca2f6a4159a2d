// Keys of what sequences hold.
// SPDX-License-Identifier: Apache-2.0
#include "config/option_declarations.h"

namespace memring::declare {
namespace {

template <auto Key>
constexpr Getter data = field_of<&Config::data, Key>;
template <auto Key>
constexpr Getter positions = field_of<&Config::positions, Key>;
template <auto Key>
constexpr Getter task = field_of<&Config::task, Key>;
template <auto Key>
constexpr Getter curriculum = field_of<&Config::curriculum, Key>;

}  // namespace

std::vector<Option> data_options() {
  return {
      choice("data.kind", data<&DataConfig::kind>,
             "Where sequences come from: a token file, or a synthetic memory task.", "detect", kNumbers),
      path("data.path", data<&DataConfig::path>,
           "Token file made by `memring pack`; of a memory task: text for its noise, none = random words.",
           "data/books.h5"),
      integer("data.batch", data<&DataConfig::batch>, count_from(1),
              "Sequences of one optimizer step over the whole world.", "32", kNumbers),
      integer("data.micro_batch", data<&DataConfig::micro_batch>, count_from(0),
              "Sequences computed together as one stream; 0 = automatic.", "1"),
      size("data.length", data<&DataConfig::length>, {1, kMostTokens},
           "Tokens of one sequence; curriculum.stages sets it.", "64k", kNumbers)
          .when({kNoStages}),

      choice("positions.kind", positions<&PositionsConfig::kind>,
             "Position ids of training sequences: drawn anew for each, so that a model learns target tokens from a "
             "window of fewer. The window is the text of a segment: segment.length, or data.length where that is 0; a "
             "segment shorter than it keeps plain ids. Memory rows keep 0 .. tokens-1 before the text, which is "
             "shifted by them (rmt), or stand behind it (armt). Evaluation always has plain ids.",
             "cream", kNumbers),
      size("positions.target", positions<&PositionsConfig::target>, {0, kMostTokens},
           "Length to learn: the window or more; cream: a multiple of it, which is its factor.", "32k", kNumbers)
          .when({kPositions}),
      choice("positions.form", positions<&PositionsConfig::form>,
             "cream's Gaussian: as in the released code (clamped and truncated), or the paper's (truncated to its "
             "interval, rounded), which suits factors far from 8.",
             "renormalised", kNumbers)
          .when({kCream}),
      real("positions.sigma", positions<&PositionsConfig::sigma>, above(0),
           "Deviation of cream's Gaussian, in half steps of the factor.", "2.5", kNumbers)
          .when({kCream}),
      real("positions.mix", positions<&PositionsConfig::mix>, {0, 1},
           "Share of cream's samples with head and tail of a third of the window each (relativity); the others have "
           "positions.head (continuity).",
           "0.7", kNumbers)
          .when({kCream}),
      size("positions.head", positions<&PositionsConfig::head>, count_from(0),
           "Tokens of cream's head, and of its tail, under continuity; 0 = 4 x factor.", "32", kNumbers)
          .when({kCream}),
      size("positions.document", positions<&PositionsConfig::document>, {0, kMostTokens},
           "Longest piece of a document that a sample's tokens come from, the window or more; 0 = target. With a token "
           "file and one segment a sequence, cream and pose choose a sample's tokens from a piece of a document that "
           "is longer than the window.",
           "64k", kNumbers)
          .when({kDocuments}),
      text("positions.split", positions<&PositionsConfig::split>,
           "Token ids that end a sentence; the default: newline ! . ? as bytes.", "13,198,30", kNumbers)
          .when({kLongRecipe}),

      integer("task.noise", task<&TaskConfig::noise>, {1, 1 << 24}, "Random words between what matters.", "64",
              kNumbers)
          .when({kTask, kWords}),
      integer("task.symbols", task<&TaskConfig::symbols>, {1, 1 << 24},
              "Alphabet of associative's keys and of what copy copies.", "16", kNumbers)
          .when({kSymbols}),
      integer("task.values", task<&TaskConfig::values>, {1, 1 << 24}, "Number of associative's values.", "32", kNumbers)
          .when({kAssociative}),
      integer("task.key_length", task<&TaskConfig::key_length>, {1, 64}, "Symbols of an associative key.", "2",
              kNumbers)
          .when({kAssociative}),
      integer("task.distinct_keys", task<&TaskConfig::distinct_keys>, count_from(0),
              "Different keys of an associative sample, of which the latest value counts; 0 = no key comes twice.", "4",
              kNumbers)
          .when({kAssociative}),
      real("task.random_fact", task<&TaskConfig::random_fact>, {0, 1},
           "Share of memorize's training samples whose fact stands in any segment.", "0.5", kNumbers)
          .when({kMemorize}),
      integer("task.digits", task<&TaskConfig::digits>, {1, 64}, "Digits of passkey's key.", "8", kNumbers)
          .when({kPasskey}),
      real("task.depth", task<&TaskConfig::depth>, {-1, 1},
           "Share of the noise, from 0 to 1, that stands before passkey's key; -1 = another in each sample.", "0.5",
           kNumbers)
          .when({kPasskey}),

      text("curriculum.stages", curriculum<&CurriculumConfig::stages>,
           "Segments of a sequence, stage by stage, and their tokens behind an x where they are not segment.length.",
           "1,2,4,7x64,7", kNumbers),
      real("curriculum.shorter", curriculum<&CurriculumConfig::shorter>, {0, 1},
           "Share of batches with fewer segments than the stage has.", "0.5", kNumbers)
          .when({kSegments}),
      real(
          "curriculum.promote_loss", curriculum<&CurriculumConfig::promote_loss>, at_least(0),
          "Go on to the next stage once the loss, averaged over some 5 batches of full length, is below this; 0 = off.",
          "0.02", kNumbers)
          .when({kStages}),
      integer("curriculum.min_steps", curriculum<&CurriculumConfig::min_steps>, at_least(1),
              "Steps of a stage before it may be left early.", "300", kNumbers)
          .when({kStages, kPromotes}),
      integer("curriculum.max_steps", curriculum<&CurriculumConfig::max_steps>, at_least(0),
              "Most steps of a stage but the last, which lasts until the run ends; 0 = no limit.", "1000", kNumbers)
          .when({kStages}),
      integer("curriculum.after", curriculum<&CurriculumConfig::after>, at_least(0),
              "End the run so many steps after the last stage was learned, at run.steps at the latest; over them the "
              "learning rate falls to min_lr; 0 = off.",
              "500")
          .when({kStages, kPromotes}),
      real("curriculum.lr_power", curriculum<&CurriculumConfig::lr_power>, {0, 1},
           "Divide the learning rate by the stage's number of segments to this power: gradients through many segments "
           "are "
           "noisier.",
           "0.5")
          .when({kStages}),
  };
}

}  // namespace memring::declare
