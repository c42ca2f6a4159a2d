// Verification of position samplers: every entry of a file of draws and of what the authors' programs made of them
// ("memring-peer-samplers-1", tests/golden/README.md), integer for integer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "eval/verify.h"

namespace memring {

constexpr const char* kSamplersFormat = "memring-peer-samplers-1";

/// A comparison for each kind of integers of an entry ("cream/n256_f8 positions"), at most 0 apart; tokens where the
/// middle is clear of the tail. CREAM's counts of half steps must fit its exact probabilities: their chi-square, and
/// the z-score of the mean of the middle's end, as a share of what chance exceeds once in a million. Throws Error(Data)
/// where a dataset is missing, or has another shape or a draw that no sampler takes.
Verification verify_samplers(const std::string& path);

}  // namespace memring
