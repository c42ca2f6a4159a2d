// SPDX-License-Identifier: Apache-2.0
#include "config/shapes.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "config/number_list.h"

namespace memring {
namespace {

constexpr int64_t kMostSegments = (int64_t{1} << 31) - 1;  // they are numbered with 32 bits

bool read_count(std::string_view text, int64_t& value, int64_t most) {
  return read_number(text, value) && value > 0 && value <= most;
}

}  // namespace

std::vector<SequenceShape> parse_shapes(std::string_view text, int64_t segment_length) {
  std::vector<SequenceShape> shapes;
  for_each_word(text, [&](std::string_view word) {
    const size_t cross = word.find('x');
    int64_t segments = 0, tokens = segment_length;
    if (!read_count(word.substr(0, cross), segments, kMostSegments) ||
        (cross != std::string_view::npos && !read_count(word.substr(cross + 1), tokens, kMostSegments)))
      throw Error(ExitCode::Usage,
                  fmt::format("'{}' is not a number of segments (7) or of segments and tokens (7x512)", word),
                  "Write the numbers with commas or spaces between them, for example 1,2,4,7x64.");
    if (tokens <= 0)
      throw Error(ExitCode::Usage, fmt::format("'{}' counts segments, but segment.length = 0", word),
                  "Set segment.length, or write the tokens of a segment behind an x, for example 7x64.");
    shapes.push_back({segments * tokens, tokens});
  });
  return shapes;
}

std::vector<SequenceShape> parse_lengths(std::string_view text, int64_t segment_length) {
  std::vector<SequenceShape> shapes;
  for_each_word(text, [&](std::string_view word) {
    int64_t tokens = 0;
    if (!read_count(word, tokens, kMostTokens))
      throw Error(ExitCode::Usage,
                  fmt::format("'{}' is not a number of tokens from 1 to {}", word, grouped(kMostTokens)),
                  "Write the numbers with commas or spaces between them, for example 128,1024,4096.");
    shapes.push_back({tokens, segment_length});
  });
  return shapes;
}

std::vector<double> parse_depths(std::string_view text) {
  std::vector<double> depths;
  for_each_word(text, [&](std::string_view word) {
    double depth = -1;
    if (!read_number(word, depth) || !(depth >= 0 && depth <= 1))
      throw Error(ExitCode::Usage, fmt::format("'{}' is not a share of the noise from 0 to 1", word),
                  "Write the shares with commas or spaces between them, for example 0,0.25,0.5,0.75,1.");
    if (std::find(depths.begin(), depths.end(), depth) != depths.end())
      throw Error(ExitCode::Usage, fmt::format("the share {} stands there twice", word), "Write each share once.");
    depths.push_back(depth);
  });
  return depths;
}

std::vector<SequenceShape> stages_of(const Config& config) {
  auto stages = parse_shapes(config.curriculum.stages, config.segment.length);
  if (stages.empty()) stages.push_back({config.data.length, config.segment.length});
  return stages;
}

int64_t longest_segment(const Config& config) {
  int64_t longest = 0;
  for (const SequenceShape& stage : stages_of(config)) longest = std::max(longest, stage.text_of(0));
  return longest;
}

int64_t window_of(const Config& config) {
  if (config.memory.kind == MemoryKind::Halo) return stages_of(config).back().length;  // positions go on over segments
  return config.segment.length > 0 ? config.segment.length : config.data.length;
}

bool samples_of_documents(const Config& config) {
  const PositionsKind kind = config.positions.kind;
  const auto stages = stages_of(config);
  return (kind == PositionsKind::Cream || kind == PositionsKind::Pose) && config.data.kind == DataKind::Tokens &&
         stages.size() == 1 && stages[0].segments() == 1 && stages[0].length == window_of(config);
}

std::vector<SequenceShape> eval_shapes(const Config& config) {
  auto shapes = parse_shapes(config.eval.segments, config.segment.length);
  for (const SequenceShape& shape : parse_lengths(config.eval.lengths, config.segment.length)) shapes.push_back(shape);
  if (shapes.empty()) shapes.push_back(stages_of(config).back());
  return shapes;
}

}  // namespace memring
