// Verification of rotary frequencies: every entry of a file of tables that transformers and CREAM computed
// ("memring-peer-rope-1", tests/golden/README.md).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "eval/verify.h"

namespace memring {

constexpr const char* kRopeFormat = "memring-peer-rope-1";

/// Two comparisons for each entry ("transformers/yarn_2 inv_freq" and "... attention_factor"): the largest relative
/// error of a number, at most 1e-12. Throws Error(Data) where an entry lacks something or has settings that are
/// unknown.
Verification verify_rope(const std::string& path);

}  // namespace memring
