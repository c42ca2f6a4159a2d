// SPDX-License-Identifier: Apache-2.0
#include "place.h"

namespace memring {

Queue queue_under_test(int threads) { return Queue({.threads = threads}); }

}  // namespace memring
