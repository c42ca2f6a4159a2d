// Lists of sequence shapes as a configuration writes them: "1,2,7,7x512" is so many segments, of segment.length tokens
// or of the number behind the x.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/ids.h"
#include "config/config.h"

namespace memring {

/// Of a sequence: positions, and their products with eval.buckets, stay inside 64 bits.
constexpr int64_t kMostTokens = int64_t{1} << 40;

/// Throws Error(Usage) naming the part that is no shape.
std::vector<SequenceShape> parse_shapes(std::string_view text, int64_t segment_length);

/// curriculum.stages, or without one the single shape of data.length and segment.length.
std::vector<SequenceShape> stages_of(const Config&);
/// Text tokens of a segment: segment.length, or without it data.length. The window that positions.kind stretches.
int64_t window_of(const Config&);
/// Whether positions.kind chooses the tokens of a sample from a document: cream and pose, of a token file, where a
/// sequence is one segment.
bool samples_of_documents(const Config&);
/// eval.segments, or without it the last stage.
std::vector<SequenceShape> eval_shapes(const Config&);

}  // namespace memring
