// Fuzz target: any text as a checkpoint's manifest, as it is and with a right digest put behind it. It is refused as
// Data, or every tensor that it names lies within the file that it describes.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "checkpoint/manifest.h"

using namespace memring;

namespace {

void expect_within(const Manifest& manifest) {
  const Range whole{0, manifest.layout.size};
  for (int group = 0; group < static_cast<int>(kGroups.size()); ++group)
    for (const Piece& piece : pieces_of(manifest.layout, manifest.places, group, whole, bytes_of(manifest.stored)))
      if (piece.file < 0 || piece.bytes < 0 || piece.file > manifest.file_bytes - piece.bytes) {
        fmt::print(stderr, "{} bytes at {} of a file of {}\n", piece.bytes, piece.file, manifest.file_bytes);
        std::abort();
      }
}

void expect_refused_or_consistent(const std::string& text) {
  try {
    const Manifest manifest = parse_manifest(text, "manifest.json");
    expect_within(manifest);
    parse_manifest(render_manifest(manifest), "rendered.json");
  } catch (const Error& error) {
    if (error.code() == ExitCode::Data) return;
    fmt::print(stderr, "refused with code {}: {}\n", static_cast<int>(error.code()), error.what());
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  const std::string text(reinterpret_cast<const char*>(bytes), count);
  expect_refused_or_consistent(text);
  expect_refused_or_consistent(seal_manifest(text));
  expect_refused_or_consistent(seal_manifest(text.substr(0, text.rfind(",\n \"digest\""))));
  return 0;
}
