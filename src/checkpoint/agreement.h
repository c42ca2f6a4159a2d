// What one rank met, told to all: ranks that read and write files agree on the outcome before they go on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/as_error.h"
#include "dist/communicator.h"

namespace memring {

struct Failure {
  std::string text, hint;
  ExitCode code = ExitCode::Io;
};

/// Calls f and returns what it threw.
template <class F>
std::optional<Failure> failure_of(F&& f) {
  try {
    f();
  } catch (const std::exception& exception) {
    const Error error = as_error(exception);
    return Failure{error.what(), error.hint(), error.code()};
  }
  return std::nullopt;
}

/// Rank 0's text, on every rank. Collective.
inline void broadcast_text(Communicator& ranks, std::string& text, int root = 0) {
  auto length = static_cast<int64_t>(text.size());
  ranks.broadcast(View<int64_t>(&length, {1}), root);
  text.resize(static_cast<size_t>(length));
  if (length > 0) ranks.broadcast(View<uint8_t>(reinterpret_cast<uint8_t*>(text.data()), {length}), root);
}

/// The failure of the lowest rank that has one, on every rank; its text names that rank. Collective.
inline std::optional<Failure> first_failure(Communicator& ranks, const std::optional<Failure>& mine) {
  const int64_t lowest = ranks.size() - ranks.all_reduce_max(mine ? ranks.size() - ranks.rank() : 0);
  if (lowest == ranks.size()) return std::nullopt;
  Failure failure = mine.value_or(Failure{});
  broadcast_text(ranks, failure.text, static_cast<int>(lowest));
  broadcast_text(ranks, failure.hint, static_cast<int>(lowest));
  auto code = static_cast<int64_t>(failure.code);
  ranks.broadcast(View<int64_t>(&code, {1}), static_cast<int>(lowest));
  failure.code = static_cast<ExitCode>(code);
  if (ranks.size() > 1) failure.text = "rank " + std::to_string(lowest) + ": " + failure.text;
  return failure;
}

/// Calls f on rank 0, where files are looked at, and throws on every rank what it threw there. Collective.
template <class F>
void on_rank_0(Communicator& ranks, F&& f) {
  std::optional<Failure> failure;
  if (ranks.rank() == 0) failure = failure_of(f);
  if (failure = first_failure(ranks, failure); failure) throw Error(failure->code, failure->text, failure->hint);
}

/// Throws Error(code) on the lowest rank whose `mine` is not rank 0's, while the others wait for that to end the job.
/// `differences` puts rank 0's text and this rank's into words. Collective.
template <class Differences>
void require_same(Communicator& ranks, const std::string& mine, ExitCode code, const Differences& differences,
                  const std::string& hint) {
  std::string first = mine;
  broadcast_text(ranks, first);
  const int64_t lowest = ranks.size() - ranks.all_reduce_max(first != mine ? ranks.size() - ranks.rank() : 0);
  if (lowest == ranks.rank()) throw Error(code, differences(first, mine), hint);
  if (lowest < ranks.size()) ranks.barrier();
}

/// The same for a token file that each rank opens by itself.
inline void require_same_tokens(Communicator& ranks, const std::string& path, const std::string& digest) {
  require_same(
      ranks, digest, ExitCode::Data,
      [&](const std::string& first, const std::string& mine) {
        return path + " holds other tokens here than on rank 0: digest " + mine + ", there " + first;
      },
      "Give every rank the same token file.");
}

}  // namespace memring
