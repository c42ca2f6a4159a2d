// SPDX-License-Identifier: Apache-2.0
#include "tests/device/fiber/run.h"
#include "tests/device/words.h"

namespace memring::on_fibers {
namespace {

uint64_t next = 1;

}  // namespace

void set_seed(uint64_t seed) { next = seed; }
uint64_t seed() { return next; }

}  // namespace memring::on_fibers
