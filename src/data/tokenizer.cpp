// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer.h"

#include "base/error.h"

namespace memring {
namespace {

class Bytes : public Tokenizer {
 public:
  const char* name() const override { return "bytes"; }
  int64_t vocab() const override { return 256; }
  void encode(std::string_view piece, bool, std::vector<int32_t>& ids) override {
    const size_t first = ids.size();
    ids.resize(first + piece.size());
    for (size_t i = 0; i < piece.size(); ++i) ids[first + i] = static_cast<unsigned char>(piece[i]);
  }
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name) {
  if (name == "bytes") return std::make_unique<Bytes>();
  throw Error(ExitCode::Usage, fmt::format("unknown tokenizer \"{}\"", name), "Known tokenizers: bytes.");
}

}  // namespace memring
