// SPDX-License-Identifier: Apache-2.0
#include "memory/memory.h"

#include "memory/mechanisms.h"

namespace memring {

std::unique_ptr<Memory> make_memory(const MemorySettings& settings, const ModelShape& shape, Params& params) {
  switch (settings.kind) {
    case MemoryKind::None:
      return make_no_memory();
    case MemoryKind::Armt:
      return make_armt(settings, shape, params);
    case MemoryKind::Rmt:
      return make_rmt(settings, shape, params);
  }
  return nullptr;
}

}  // namespace memring
