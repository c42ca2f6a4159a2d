// SPDX-License-Identifier: Apache-2.0
#include "io/digest.h"

#include <fmt/core.h>
#include <xxhash.h>

#include "base/error.h"

namespace memring {

uint64_t digest_of(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string digest_text(uint64_t digest) { return fmt::format("{:016x}", digest); }

Digest::Digest() : state_(XXH3_createState()) {
  if (!state_ || XXH3_64bits_reset(state_.get()) != XXH_OK)
    throw Error(ExitCode::Io, "no memory for a digest", "Free some memory on this machine.");
}

void Digest::add(std::span<const std::byte> bytes) { XXH3_64bits_update(state_.get(), bytes.data(), bytes.size()); }

void Digest::add(std::string_view text) { XXH3_64bits_update(state_.get(), text.data(), text.size()); }

uint64_t Digest::value() const { return XXH3_64bits_digest(state_.get()); }

void Digest::Traits::close(Value state) noexcept { XXH3_freeState(state); }

}  // namespace memring
