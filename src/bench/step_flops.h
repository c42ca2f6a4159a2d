// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config.h"

namespace memring {

/// Flops of one training step as budgets count them (DESIGN.md, section 10): 6 for each weight of a product and row
/// that it is applied to (4 for one that is frozen; the head: text rows only), and for each pair of a query and a key
/// that it sees 4 head_dim forward and twice that backward, in each head; ARMT's projections and products with its
/// state likewise. What is computed again does not count.
double step_flops(const Config&);

}  // namespace memring
