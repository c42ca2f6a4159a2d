// Verification: a fixture's loss, logits, memory state and gradients, computed on this machine, backend and mesh,
// beside the values of an independent float64 reference.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "config/config.h"
#include "dist/session.h"
#include "io/fixture.h"

namespace memring {

struct Comparison {
  std::string quantity;  ///< loss, nll, logits, state, gradients
  double error = 0;      ///< |found - expected| / |expected|, as one vector, unless `measure` says otherwise
  double tolerance = 0;
  const char* measure = "relative error";
  bool passed() const { return error <= tolerance; }  ///< false for NaN
};

/// |found - expected| / |expected|; the numerator alone where nothing but zero is expected. Of the same size.
double relative_error(std::span<const double> found, std::span<const double> expected);

struct Verification {
  std::vector<Comparison> comparisons;
  std::string worst_gradient;  ///< the tensor that differs most, for finding a fault
  double worst_error = 0;
  std::string setting;  ///< data type, mesh, recompute: what ran
  bool passed() const;
};

/// Largest relative errors; 0: by data type (fp64 1e-9; fp32 2e-5 for the loss and 1e-4; bf16 coarse).
struct Tolerances {
  double loss = 0, values = 0, gradients = 0;
};

/// `config` is the fixture's own with overrides applied (mesh, device, tbptt.recompute). Collective; the result is the
/// same on every rank. Throws Error(Data) where the fixture's tensors are not those of its configuration.
Verification verify_fixture(const Fixture&, const Config&, Tolerances, Session&);

}  // namespace memring
