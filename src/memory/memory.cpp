// SPDX-License-Identifier: Apache-2.0
#include "memory/memory.h"

#include "kernels/elementwise/elementwise.h"
#include "memory/mechanisms.h"

namespace memring {

PartRows CellContext::part(Range numbers) const {
  PartRows part;
  for (int64_t row = 0; row < std::ssize(rows); ++row) {
    const int64_t number = rows[static_cast<size_t>(row)];
    if (number < numbers.begin || number >= numbers.end) continue;
    part.here.push_back(static_cast<int32_t>(row));
    part.number.push_back(static_cast<int32_t>(number - numbers.begin));
  }
  return part;
}

void clear_rows(CellContext& c, Range numbers) {
  const PartRows part = c.part(numbers);
  if (part.here.empty()) return;
  for (int64_t b = 0; b < c.batch; ++b)  // neighbours in the layout are neighbours here
    Elementwise::fill(c.queue, c.d_hidden.at(b).rows(part.here.front(), std::ssize(part.here)), 0);
}

std::unique_ptr<Memory> make_memory(const MemorySettings& settings, const Llama& llama, Params& params) {
  switch (settings.kind) {
    case MemoryKind::None:
      return make_no_memory();
    case MemoryKind::Armt:
      return make_armt(settings, llama.shape(), params);
    case MemoryKind::Halo:
      return make_halo(settings, llama.shape());
    case MemoryKind::Rmt:
      return make_rmt(settings, llama.shape(), params);
    case MemoryKind::Uio:
      return make_uio(settings, llama, params);
  }
  return nullptr;
}

}  // namespace memring
