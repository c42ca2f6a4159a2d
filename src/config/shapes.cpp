// SPDX-License-Identifier: Apache-2.0
#include "config/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace memring {
namespace {

constexpr int64_t kMost = int64_t{1} << 31;  // segments are numbered with 32 bits

bool read_number(std::string_view text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value > 0 && value < kMost;
}

}  // namespace

std::vector<SequenceShape> parse_shapes(std::string_view text, int64_t segment_length) {
  constexpr std::string_view kBetween = " ,\t";
  std::vector<SequenceShape> shapes;
  for (size_t begin = text.find_first_not_of(kBetween); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    const size_t cross = word.find('x');
    int64_t segments = 0, tokens = segment_length;
    if (!read_number(word.substr(0, cross), segments) ||
        (cross != std::string_view::npos && !read_number(word.substr(cross + 1), tokens)))
      throw Error(ExitCode::Usage,
                  fmt::format("'{}' is not a number of segments (7) or of segments and tokens (7x512)", word),
                  "Write the numbers with commas or spaces between them, for example 1,2,4,7x64.");
    if (tokens <= 0)
      throw Error(ExitCode::Usage, fmt::format("'{}' counts segments, but segment.length = 0", word),
                  "Set segment.length, or write the tokens of a segment behind an x, for example 7x64.");
    shapes.push_back({segments * tokens, tokens});
    begin = text.find_first_not_of(kBetween, end);
  }
  return shapes;
}

std::vector<SequenceShape> stages_of(const Config& config) {
  auto stages = parse_shapes(config.curriculum.stages, config.segment.length);
  if (stages.empty()) stages.push_back({config.data.length, config.segment.length});
  return stages;
}

int64_t window_of(const Config& config) {
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
  if (shapes.empty()) shapes.push_back(stages_of(config).back());
  return shapes;
}

}  // namespace memring
