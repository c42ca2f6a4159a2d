// Golden fixtures ("memring-fixture-1"): a tiny model, a batch, and what must come out, in float64
// (tests/golden/README.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/view.h"

namespace memring {

struct FixtureTensor {
  Shape shape;
  std::vector<double> values;
};

struct Fixture {
  std::string path, config, note;
  std::map<std::string, FixtureTensor> params, grads, state;  ///< by name, without the group's prefix
  FixtureTensor nll, logits;                                  ///< logits may be absent: empty values
  double loss = 0;
  Shape batch;  ///< [B, T]
  std::vector<int32_t> tokens, targets;
};

/// What kind of file it is, by its attribute 'format': empty where it has none. Throws Error where it is no HDF5.
std::string fixture_format(const std::string& path);

/// Throws Error(Data) naming file and dataset when something is missing or of another shape.
Fixture read_fixture(const std::string& path);

}  // namespace memring
