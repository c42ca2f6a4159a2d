// SPDX-License-Identifier: Apache-2.0
#include "train/shared_folder.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <vector>

#include "checkpoint/agreement.h"
#include "io/file.h"
#include "train/wait_together.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = ".seen-by-hosts-";
constexpr double kLongestCache = 90;  // seconds: what NFS keeps of a folder (acdirmax is 60 by default)

/// The ranks that speak for a host each. Containers with names of their own count as hosts.
struct Hosts {
  std::vector<std::string> names;
  int mine = -1;  ///< which of them this rank speaks for; -1: none
};

Hosts hosts_of(Session& session) {
  constexpr size_t kName = 64;
  const auto size = static_cast<size_t>(session.size()), rank = static_cast<size_t>(session.rank());
  const std::string name = session.host().substr(0, kName - 1);
  std::vector<uint8_t> mine(kName, 0), all(kName * size);
  std::copy(name.begin(), name.end(), mine.begin());
  mine.back() = session.node().rank == 0;  // two hosts may have one name
  session.world().all_gather(View<uint8_t>(all.data(), {session.size(), kName}),
                             ConstView<uint8_t>(mine.data(), {kName}));
  Hosts hosts;
  for (size_t r = 0; r < size; ++r) {
    const auto* const entry = all.data() + r * kName;
    const std::string host(reinterpret_cast<const char*>(entry));
    if (!entry[kName - 1] && std::find(hosts.names.begin(), hosts.names.end(), host) != hosts.names.end()) continue;
    if (r == rank) hosts.mine = static_cast<int>(hosts.names.size());
    hosts.names.push_back(host);
  }
  return hosts;
}

/// This host's mark and those it looks for, under names that no other start has.
class Marks {
 public:
  Marks(Session& session, std::string folder, const Hosts& hosts) : folder_(std::move(folder)), hosts_(hosts) {
    int64_t start[2] = {::getpid(), std::chrono::system_clock::now().time_since_epoch().count()};
    session.world().broadcast(View<int64_t>(start, {2}), 0);
    name_ = fmt::format("{}{}-{}-", kMark, start[0], start[1]);
  }
  ~Marks() { remove(); }
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;

  bool seen_by_all() {
    if (hosts_.mine < 0) return true;
    // Again where it is gone: a folder may be mounted while we wait.
    std::error_code error;
    if (!fs::exists(path(hosts_.mine), error)) failure_ = failure_of([&] { write_text_file(path(hosts_.mine), ""); });
    const std::vector<uint8_t> seen = seen_here();
    return std::all_of(seen.begin(), seen.end(), [](uint8_t one) { return one != 0; });
  }
  /// By host, whether its mark is seen from here; a rank that speaks for no host sees them all.
  std::vector<uint8_t> seen_here() const {
    std::vector<uint8_t> seen(hosts_.names.size(), 1);
    std::error_code error;
    for (size_t i = 0; i < seen.size() && hosts_.mine >= 0; ++i) seen[i] = fs::exists(path(static_cast<int>(i)), error);
    return seen;
  }
  const std::optional<Failure>& failure() const { return failure_; }
  void remove() {
    std::error_code error;
    if (hosts_.mine >= 0) fs::remove(path(hosts_.mine), error);
  }

 private:
  std::string path(int host) const { return fmt::format("{}/{}{}", folder_, name_, host); }
  std::string folder_, name_;
  const Hosts& hosts_;
  std::optional<Failure> failure_;  ///< of the last try to write ours
};

void remove_old_marks(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.path().filename().string().rfind(kMark, 0) == 0) old.push_back(entry.path());
  for (const auto& path : old) fs::remove(path, error);
}

/// "node2 does not see what node1, node3 wrote" for the first few hosts that miss something.
std::string what_is_missing(const std::vector<uint8_t>& seen, const Hosts& hosts, size_t ranks) {
  constexpr size_t kTold = 4;
  const size_t count = hosts.names.size();
  std::vector<std::string> lines;
  size_t speaker = 0;
  for (size_t rank = 0; rank < ranks; ++rank) {
    const uint8_t* const row = seen.data() + rank * (count + 1);
    if (!row[count]) continue;
    const std::string& name = hosts.names[speaker++];
    std::vector<std::string> missing;
    for (size_t i = 0; i < count && missing.size() < kTold; ++i)
      if (!row[i]) missing.push_back(hosts.names[i]);
    if (!missing.empty()) lines.push_back(fmt::format("{} does not see what {} wrote", name, fmt::join(missing, ", ")));
  }
  if (lines.size() > kTold) lines.resize(kTold);
  return fmt::format("{}", fmt::join(lines, "; "));
}

}  // namespace

void require_shared_folder(Session& session, const SignalWatch& signals, const std::string& folder, double patience) {
  Communicator& world = session.world();
  const Hosts hosts = hosts_of(session);
  if (hosts.names.size() == 1) return;
  if (session.rank() == 0) remove_old_marks(folder);
  Marks marks(session, folder, hosts);
  const double seconds = std::min(patience, kLongestCache);
  if (wait_together(session, signals, seconds, [&] { return marks.seen_by_all(); })) return;

  const auto width = static_cast<int64_t>(hosts.names.size()) + 1;
  std::vector<uint8_t> mine = marks.seen_here(), all(static_cast<size_t>(width * world.size()));
  mine.push_back(hosts.mine >= 0);
  world.all_gather(View<uint8_t>(all.data(), {world.size(), width}), ConstView<uint8_t>(mine.data(), {width}));
  const auto failure = first_failure(world, marks.failure());
  marks.remove();
  world.barrier();
  if (session.rank() > 0) return world.barrier();
  std::error_code error;
  throw Error(
      ExitCode::Data,
      fmt::format("run.dir = {} is not the same folder on all hosts: {} (asked for {:g} s){}",
                  fs::absolute(folder, error).string(), what_is_missing(all, hosts, static_cast<size_t>(world.size())),
                  seconds, failure ? "; " + failure->text : ""),
      "Choose a run.dir on a file system that all hosts share, under the same path on each of them.");
}

}  // namespace memring
