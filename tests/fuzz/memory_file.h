// Bytes as a file that has a path and no place on a disk.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "io/file.h"

namespace memring::test {

class MemoryFile {
 public:
  explicit MemoryFile(std::span<const uint8_t> bytes) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    File::open_write(path()).write_at(0, std::as_bytes(bytes));
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_.get()); }

 private:
  Handle<DescriptorTraits> descriptor_;
};

}  // namespace memring::test
