// Fuzz target: any bytes as a token file, read as training and inspect read it, and as HDF5 of any content. It is
// refused as Data, or everything it says it holds can be read.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "data/token_file.h"
#include "eval/verify_rope.h"
#include "io/fixture.h"
#include "io/hdf5.h"
#include "memory_file.h"

using namespace memring;

namespace {

/// Whether f ends well or with Error(Data).
template <class F>
bool readable(F&& f) {
  try {
    f();
    return true;
  } catch (const Error& error) {
    if (error.code() == ExitCode::Data) return false;
    std::fprintf(stderr, "refused with code %d: %s\n", static_cast<int>(error.code()), error.what());
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  const test::MemoryFile memory({bytes, count});
  readable([&] {
    const TokenFile file(memory.path());
    std::vector<int32_t> tokens(static_cast<size_t>(std::min<int64_t>(file.tokens(), 1000)));
    file.read(0, tokens);
    file.read(file.tokens() - static_cast<int64_t>(tokens.size()), tokens);
    file.verify();
    file.digest();
  });
  readable([&] {
    const Hdf5File file = Hdf5File::open(memory.path());
    for (const Hdf5Dataset& dataset : file.list()) readable([&] { file.read<double>(dataset.name); });
    for (const Hdf5Dataset& dataset : file.list()) readable([&] { file.read<int64_t>(dataset.name); });
  });
  readable([&] { read_fixture(memory.path()); });
  readable([&] { verify_rope(memory.path()); });
  return 0;
}
