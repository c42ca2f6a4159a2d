// Writing tensors as a .safetensors file: 8 bytes of header length (little-endian), a JSON header with type, shape and
// place of each tensor, then their bytes (https://huggingface.co/docs/safetensors, "Format").
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/view.h"

namespace memring {

struct NamedTensor {
  std::string name;
  ConstView<> values;  ///< dense, on the host
};

/// fp32 and fp64. Writes a new file, or replaces the content of an old one, and returns when it is on the disk. Throws
/// Error(Io).
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace memring
