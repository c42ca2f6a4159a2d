// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include <bit>
#include <nlohmann/json.hpp>
#include <span>

#include "base/error.h"
#include "io/file.h"

namespace memring {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  nlohmann::ordered_json root = {{"__metadata__", {{"format", "pt"}}}};
  int64_t end = 0;
  for (const auto& [name, values] : tensors) {
    check(values.dtype() == DType::F32 || values.dtype() == DType::F64,
          fmt::format("{} is {}, which is not written as safetensors", name, name_of(values.dtype())));
    root[name] = {{"dtype", values.dtype() == DType::F32 ? "F32" : "F64"},
                  {"shape", values.shape().extents()},
                  {"data_offsets", {end, end + values.bytes()}}};
    end += values.bytes();
  }
  std::string header = root.dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the numbers are aligned

  File file = File::create(path);
  const uint64_t length = header.size();
  file.write_at(0, std::as_bytes(std::span(&length, 1)));
  file.write_at(sizeof(length), std::as_bytes(std::span(header)));
  int64_t at = static_cast<int64_t>(sizeof(length) + header.size());
  for (const auto& [name, values] : tensors) {
    file.write_at(at, values.host_bytes());
    at += values.bytes();
  }
  file.sync();
  file.close();
}

}  // namespace memring
