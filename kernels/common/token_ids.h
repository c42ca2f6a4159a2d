// Token ids as operators get them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/view.h"

namespace memring {

/// The same ids twice: where the operator computes, and on the host, which decides by them (which chunks count, which rows
/// of a table are touched) and checks them.
struct TokenIds {
  ConstView<int32_t> ids;
  std::span<const int32_t> host;

  /// Of an operator that computes on the host.
  TokenIds(ConstView<int32_t> on_host) : ids(on_host), host(on_host.as<int32_t>(), static_cast<size_t>(ids.size())) {}
  TokenIds(View<int32_t> on_host) : TokenIds(ConstView<int32_t>(on_host)) {}
  TokenIds(ConstView<int32_t> computed, std::span<const int32_t> decided) : ids(computed), host(decided) {}
};

}  // namespace memring
