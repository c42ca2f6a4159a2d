// Golden fixtures ("memring-fixture-1"): a tiny model, a batch, and what must come out, in float64
// (tests/golden/README.md); and those with the draws of a reservoir (tests/golden/peers/README.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/view.h"

namespace memring {

struct FixtureTensor {
  Shape shape;
  std::vector<double> values;
};

/// Which memories were alive at the loss of each segment, in each sequence.
struct ReservoirDraw {
  int64_t places = 0, segments = 0;
  std::vector<int32_t> alive;  ///< [segment, memory]: 1 or 0
  std::map<std::string, FixtureTensor> grads_unweighted;
};
inline constexpr const char* kReservoirFormat = "memring-peer-uio-reservoir-1";

struct Fixture {
  std::string path, config, note;
  std::map<std::string, FixtureTensor> params, grads, state;  ///< by name, without the group's prefix
  FixtureTensor nll, logits;                                  ///< logits may be absent: empty values
  double loss = 0;
  Shape batch;  ///< [B, T]
  std::vector<int32_t> tokens, targets;
  std::optional<ReservoirDraw> draw;
};

/// What kind of file it is, by its attribute 'format': empty where it has none. Throws Error where it is no HDF5.
std::string fixture_format(const std::string& path);

/// Throws Error(Data) naming file and dataset when something is missing or of another shape.
Fixture read_fixture(const std::string& path);

}  // namespace memring
