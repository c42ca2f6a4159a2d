// Loading: rank 0 reads the manifest, all ranks share the checking of digests and the reading of weights. Tensors
// are read by position, so damaged bytes never reach HDF5 (which crashes on some of them).
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "checkpoint/agreement.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "dist/mesh_arithmetic.h"
#include "dist/transport.h"

namespace memring {
namespace {

constexpr const char* kDamaged = "Remove its directory to start from the one before it, or restore it from a copy.";

/// Throws the same error on every rank if any rank met one. What the system refuses to read may be as good as ever, so
/// that goes before damage, for which an older checkpoint is taken.
void agree(Communicator& world, const std::optional<Failure>& mine) {
  const bool refused = mine && mine->code != ExitCode::Data;
  auto failure = first_failure(world, refused ? mine : std::nullopt);
  if (!failure) failure = first_failure(world, mine);
  if (failure) throw Error(failure->code, failure->text, failure->hint);
}

Manifest shared_manifest(Communicator& world, const std::string& path) {
  std::string text;
  std::optional<Failure> failure;
  if (world.rank() == 0) failure = failure_of([&] { text = manifest_text(path); });
  agree(world, failure);
  broadcast_text(world, text);
  return parse_manifest(text, path + "/" + kManifestFile);
}

/// Places in the file for each tensor of the model, by name. Throws when the checkpoint is of another model: `spare` is
/// the only other tensor that it may have.
std::vector<Places> places_for(const FlatBuffer& model, DType dtype, const std::string& spare, const Manifest& manifest,
                               const std::string& path) {
  constexpr int kNamed = 5;
  std::map<std::string, size_t> in_file;
  for (size_t i = 0; i < manifest.places.size(); ++i) in_file[manifest.layout.entries[i].name] = i;
  std::vector<Places> places;
  std::string list;
  int differ = 0;
  const auto differs = [&](const std::string& what) {
    if (differ++ < kNamed) list += (list.empty() ? "" : "; ") + what;
  };
  for (const FlatEntry& entry : model.entries) {
    const auto found = in_file.find(entry.name);
    if (found == in_file.end()) {
      differs(fmt::format("{} {} is only in the model", entry.name, entry.shape.text()));
      continue;
    }
    const FlatEntry& saved = manifest.layout.entries[found->second];
    if (!(saved.shape == entry.shape))
      differs(fmt::format("{} is {} in the model and {} in the checkpoint", entry.name, entry.shape.text(),
                          saved.shape.text()));
    places.push_back(manifest.places[found->second]);
    in_file.erase(found);
  }
  for (const FlatEntry& saved : manifest.layout.entries)
    if (in_file.count(saved.name) && saved.name != spare)
      differs(fmt::format("{} {} is only in the checkpoint", saved.name, saved.shape.text()));
  const char* hint =
      "Use the configuration that the run was started with (memring inspect shows it), or another run.dir.";
  if (differ > 0)
    throw NotUsableHere(ExitCode::Data,
                        fmt::format("{} is of another model: {} of its tensors differ: {}{}", path, differ, list,
                                    differ > kNamed ? "; ..." : ""),
                        hint);
  if (manifest.stored != dtype)
    throw NotUsableHere(ExitCode::Data,
                        fmt::format("{} holds {} tensors; this run keeps its weights in {}", path,
                                    name_of(manifest.stored), name_of(dtype)),
                        hint);
  return places;
}

/// Those tensors of a model that a checkpoint has too, with their places in its file.
struct Found {
  Matched matched;
  FlatBuffer layout;
  std::vector<Places> places;
};

Found find_tensors(const FlatBuffer& model, const Manifest& manifest, const std::string& path) {
  std::map<std::string, size_t> in_file;
  for (size_t i = 0; i < manifest.places.size(); ++i) in_file[manifest.layout.entries[i].name] = i;
  Found found{.matched = {.source = summary_of(manifest, path), .fresh = {}, .left = {}}, .layout = {}, .places = {}};
  for (const FlatEntry& entry : model.entries) {
    const auto there = in_file.find(entry.name);
    if (there == in_file.end()) {
      found.matched.fresh.push_back(entry);
      continue;
    }
    const FlatEntry& saved = manifest.layout.entries[there->second];
    if (!(saved.shape == entry.shape))
      throw NotUsableHere(
          ExitCode::Data,
          fmt::format("{} is {} in this model and {} in {}", entry.name, entry.shape.text(), saved.shape.text(), path),
          "Give this model the sizes of that one (memring inspect shows its configuration).");
    found.layout.entries.push_back(entry);
    found.places.push_back(manifest.places[there->second]);
    in_file.erase(there);
  }
  for (const FlatEntry& saved : manifest.layout.entries)
    if (in_file.count(saved.name)) found.matched.left.push_back(saved);
  return found;
}

/// numbers of type `stored` become elements [at, ...) of `into`.
void convert(DType stored, const std::vector<std::byte>& bytes, View<> into, int64_t at) {
  by_float_type(stored, [&]<class From>() {
    by_float_type(into.dtype(), [&]<class To>() {
      const auto* from = reinterpret_cast<const From*>(bytes.data());
      const int64_t count = std::ssize(bytes) / static_cast<int64_t>(sizeof(From));
      std::transform(from, from + count, into.as<To>() + at, [](From number) { return static_cast<To>(number); });
    });
  });
}

/// `stored`: data type of the file. Element `first` of `into` is the first of the range.
void read_range(const File& file, DType stored, const FlatBuffer& layout, const std::vector<Places>& places, int group,
                Range range, View<> into, int64_t first, Progress* progress) {
  const int64_t element = bytes_of(stored);
  std::byte* const bytes = into.host_bytes().data() + first * element;
  std::vector<std::byte> block;
  for (const Piece& piece : pieces_of(layout, places, group, range, element))
    for (int64_t done = 0; done < piece.bytes; done += kBlockBytes, advance(progress)) {
      const auto size = static_cast<size_t>(std::min(kBlockBytes, piece.bytes - done));
      if (stored == into.dtype()) {
        file.read_at(piece.file + done, {bytes + piece.memory + done, size});
      } else {
        block.resize(size);
        file.read_at(piece.file + done, block);
        convert(stored, block, into, first + (piece.memory + done) / element);
      }
    }
}

/// Every digest is checked by one of the ranks.
void check_digests(Communicator& world, const Manifest& manifest, const std::string& path, const char* hint,
                   Progress* progress) {
  agree(world, failure_of([&] {
          const Range mine = part_of(manifest.blocks(), world.size(), world.rank());
          const auto faults = check_blocks(manifest, path, mine, 1, progress);
          if (!faults.empty()) throw Error(ExitCode::Data, faults.front(), hint);
        }));
}

/// Each rank reads its part of the weights, those of `layout`, and `more` of its own; then all have all of them.
template <class More>
void read_weights(Communicator& world, const Manifest& manifest, const std::string& path, const FlatBuffer& layout,
                  const std::vector<Places>& places, View<> weights, Progress* progress, const More& more) {
  std::vector<int64_t> bounds = {0};
  for (int rank = 0; rank < world.size(); ++rank) bounds.push_back(part_of(weights.size(), world.size(), rank).end);
  const auto me = static_cast<size_t>(world.rank());
  agree(world, failure_of([&] {
          const File file = File::open_read(path + "/" + kStateFile);
          read_range(file, manifest.stored, layout, places, 0, {bounds[me], bounds[me + 1]}, weights, bounds[me],
                     progress);
          more(file);
        }));
  Queue queue;
  const auto transport = host_transport(world);
  transport->all_gather_shards(queue, weights, bounds).join(queue);
}

/// `step`: what the directory's name promises, if it does.
CheckpointSummary load(Communicator& world, const std::string& path, std::optional<int64_t> step,
                       CheckpointData& data) {
  expect_shape(data.weights, {data.layout.size}, "checkpoint weights");
  if (data.m) expect(data.m, data.weights.dtype(), {data.shard.size()}, "checkpoint m");
  if (data.v) expect(data.v, data.weights.dtype(), {data.shard.size()}, "checkpoint v");

  const Manifest manifest = shared_manifest(world, path);
  if (step && *step != step_of(manifest.state))
    throw Error(ExitCode::Data, fmt::format("{} holds the manifest of step {}", path, step_of(manifest.state)),
                kDamaged);
  check_digests(world, manifest, path, kDamaged, data.progress);
  const std::vector<Places> places = places_for(data.layout, data.weights.dtype(), data.spare, manifest, path);
  read_weights(world, manifest, path, data.layout, places, data.weights, data.progress, [&](const File& file) {
    const auto read_moment = [&](int group, View<> moment) {
      if (moment) read_range(file, manifest.stored, data.layout, places, group, data.shard, moment, 0, data.progress);
    };
    read_moment(1, data.m);
    read_moment(2, data.v);
  });
  data.state = manifest.state;
  return summary_of(manifest, path);
}

/// "step 5, step 10 (not sound), step 15 (not usable)"
std::string describe_all(const std::vector<std::pair<int64_t, std::string>>& directories) {
  std::string list;
  for (auto at = directories.rbegin(); at != directories.rend(); ++at) {
    std::string about;
    try {
      if (!read_manifest(at->second).sound) about = " (not sound)";
    } catch (const Error&) {
      about = " (not usable)";
    }
    list += fmt::format("{}step {}{}", list.empty() ? "" : ", ", at->first, about);
  }
  return list.empty() ? "none" : list;
}

/// Steps to try, newest first. Rank 0 alone looks: on a network file system the others may not see it yet.
std::vector<int64_t> candidates(const std::string& directory, const ResumeFrom& from) {
  const auto found = checkpoint_directories(directory);
  std::vector<int64_t> steps;
  if (from.what == ResumeFrom::What::Sound) {
    for (const CheckpointSummary& checkpoint : list_checkpoints(directory))
      if (checkpoint.sound) steps.push_back(checkpoint.step);
    if (steps.empty())
      throw Error(ExitCode::Data,
                  fmt::format("{} holds no sound checkpoint; it holds: {}", directory, describe_all(found)),
                  "Choose one of these steps, or start afresh in another run.dir.");
    return steps;
  }
  for (const auto& [step, path] : found)
    if (from.what == ResumeFrom::What::Newest || step == from.step) steps.push_back(step);
  if (from.what == ResumeFrom::What::Step && steps.empty())
    throw Error(
        ExitCode::Usage,
        fmt::format("{} holds no checkpoint of step {}; it holds: {}", directory, from.step, describe_all(found)),
        "Choose one of these steps, or leave checkpoint.resume out to go on from the newest.");
  return steps;
}

/// Steps to try, newest first: those that rank 0 sees. Collective.
std::vector<int64_t> shared_steps(Communicator& world, const std::string& directory, const ResumeFrom& from) {
  std::vector<int64_t> steps;
  std::optional<Failure> failure;
  if (world.rank() == 0) failure = failure_of([&] { steps = candidates(directory, from); });
  agree(world, failure);
  auto count = static_cast<int64_t>(steps.size());
  world.broadcast(View<int64_t>(&count, {1}), 0);
  steps.resize(static_cast<size_t>(count));
  if (count > 0) world.broadcast(View<int64_t>(steps.data(), {count}), 0);
  return steps;
}

/// Whether rank 0 finds that a run has pruned the checkpoint meanwhile. Collective.
bool is_gone(Communicator& world, const std::string& path) {
  int64_t gone = world.rank() == 0 && !checkpoint_exists(path);
  world.broadcast(View<int64_t>(&gone, {1}), 0);
  return gone != 0;
}

/// What to do where nothing was taken: one that the system refused to read, or all damaged.
struct Remedies {
  const char* refused;
  const char* none;
};

/// What `load` makes of the newest checkpoint of `directory`, its path and its step, that is not damaged, of those that
/// `from` allows. Collective.
template <class Load>
auto load_first_good(Communicator& world, const std::string& directory, const ResumeFrom& from,
                     std::vector<std::string>& warnings, const Remedies& remedies, const Load& load)
    -> std::optional<decltype(load(directory, int64_t{}))> {
  std::string reasons;
  std::set<int64_t> tried;
  for (;;) {
    const std::vector<int64_t> steps = shared_steps(world, directory, from);
    if (steps.empty() && tried.empty()) return std::nullopt;
    const auto next = std::find_if(steps.begin(), steps.end(), [&](int64_t step) { return tried.count(step) == 0; });
    if (next == steps.end()) break;
    tried.insert(*next);
    const std::string path = directory + "/" + checkpoint_name(*next);
    try {
      return load(path, *next);
    } catch (const NotUsableHere&) {
      throw;
    } catch (const Error& error) {
      if (error.code() == ExitCode::Io)
        throw Error(ExitCode::Io, error.what(), fmt::format("{} {}", error.hint(), remedies.refused));
      if (error.code() != ExitCode::Data) throw;
      warnings.push_back(
          is_gone(world, path)
              ? fmt::format("checkpoint {} was removed while it was read, so the newest that is there now is tried",
                            path)
              : fmt::format("checkpoint {} is not usable, so the one before it is tried: {}", path, error.what()));
      reasons += fmt::format("\n  {}: {}", checkpoint_name(*next), error.what());
    }
  }
  throw Error(ExitCode::Data,
              fmt::format("none of the {} checkpoints in {} is usable:{}", tried.size(), directory, reasons),
              remedies.none);
}

}  // namespace

CheckpointSummary load_checkpoint(Communicator& world, const std::string& path, CheckpointData& data) {
  return load(world, path, std::nullopt, data);
}

Matched match_weights(const std::string& path, const FlatBuffer& layout) {
  return find_tensors(layout, parse_manifest(manifest_text(path), path + "/" + kManifestFile), path).matched;
}

Matched load_weights(Communicator& world, const std::string& path, const FlatBuffer& layout, View<> weights,
                     Progress* progress) {
  expect_shape(weights, {layout.size}, "weights");
  const Manifest manifest = shared_manifest(world, path);
  check_digests(world, manifest, path, "Restore it from a copy, or name another checkpoint.", progress);
  Found found = find_tensors(layout, manifest, path);
  read_weights(world, manifest, path, found.layout, found.places, weights, progress, [](const File&) {});
  return std::move(found.matched);
}

std::optional<CheckpointSummary> load_newest(Communicator& world, const std::string& directory, CheckpointData& data,
                                             std::vector<std::string>& warnings, const ResumeFrom& from) {
  constexpr Remedies kRemedies = {
      "It was not passed over: an older checkpoint is taken only when --checkpoint.resume names its step.",
      "Restore one from a copy, or choose another run.dir to start afresh."};
  return load_first_good(world, directory, from, warnings, kRemedies,
                         [&](const std::string& path, int64_t step) { return load(world, path, step, data); });
}

std::optional<Matched> load_newest_weights(Communicator& world, const std::string& directory, const FlatBuffer& layout,
                                           View<> weights, std::vector<std::string>& warnings, Progress* progress) {
  constexpr Remedies kRemedies = {"It was not passed over: an older checkpoint is taken only when it is named.",
                                  "Restore one from a copy, or name another run or checkpoint."};
  return load_first_good(world, directory, {}, warnings, kRemedies, [&](const std::string& path, int64_t) {
    return load_weights(world, path, layout, weights, progress);
  });
}

}  // namespace memring
