// The bytes of a checkpoint's file: laid out by HDF5, written by position, one part for each rank. No ranks' talk here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>

#include "checkpoint/manifest.h"

namespace memring {

/// A bound of the file's size before it is laid out.
int64_t file_estimate(const FlatBuffer& layout, DType dtype);

/// Makes the file with all its datasets, whose bytes are still zeros, and notes places and size in the manifest. HDF5
/// works in memory: a full disk is met by our own writes only. Throws Error(Io).
void lay_out(Manifest& manifest, const std::string& path);

/// Writes a shard from private copies of weights, m and v ([shard.size()] each), compares what the file then holds with
/// the copies, and makes it durable. Returns, as JSON, [block, digest] of those blocks whose tensor bytes are all of
/// this shard; their other bytes are HDF5's and were there before. `progress` (may be null) advances with each
/// block. Throws Error(Io).
std::string write_part(const Manifest& manifest, const std::string& path, Range shard,
                       const std::array<View<>, 3>& copies, Progress* progress = nullptr);

/// Takes over digests that write_part returned.
void add_digests(Manifest& manifest, const std::string& record);
/// Reads the blocks that have no digest yet: what several ranks wrote into, and what only HDF5 did.
void complete_digests(Manifest& manifest, const std::string& path, Progress* progress = nullptr);

}  // namespace memring
