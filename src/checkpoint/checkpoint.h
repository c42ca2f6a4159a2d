// Checkpoints: a directory with one HDF5 file of full logical tensors and a manifest, independent of the mesh. A
// checkpoint exists if and only if its renamed directory holds a valid manifest (DESIGN.md, section 9).
//
//   <run>/checkpoints/step-000000123/state.h5       /params/<name>, /optimizer/m/<name>, /optimizer/v/<name>, /state
//   <run>/checkpoints/step-000000123/manifest.json  what is in it and where, digests of every 4 MiB, its own digest
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/queue.h"
#include "checkpoint/named_numbers.h"
#include "dist/communicator.h"
#include "dist/progress.h"

namespace memring {

/// The two numbers of a saved state that mean something here. "step", the optimizer steps done, names its checkpoint;
/// "sound" is false of what a diverged run leaves behind, which never pushes out weights that learn.
int64_t step_of(const NamedNumbers& state);
bool is_sound(const NamedNumbers& state);

/// One rank's part of what is saved or loaded: its shard [begin, end) of the model's flat buffers. All three views have
/// one data type, fp32 or fp64. What is saved may be on a device; what is loaded into is on the host.
struct CheckpointData {
  FlatBuffer layout;
  Range shard;
  View<> weights;  ///< [layout.size]: whole on every rank
  View<> m, v;     ///< [shard.size()]
  NamedNumbers state;
  Progress* progress = nullptr;  ///< advances with every block written, checked or read: a large checkpoint is no hang
  /// A tensor that what is loaded may have besides, and that the layout does without; empty: none.
  std::string spare = {};
};

/// The checkpoint whose weights a run started with.
struct WeightsSource {
  std::string path;    ///< where it lay then; empty: the run started with fresh ones
  std::string digest;  ///< of its manifest, and so of its state
};

/// What else the manifest records: for messages, `inspect`, and to say on resume what differs.
struct CheckpointInfo {
  std::string config;                     ///< render_config
  std::string identity;                   ///< config_identity
  std::string mesh, isa, dtype, version;  ///< dtype: what the run computes in; the tensors are fp32 or fp64
  int threads = 1, ranks = 1;
  WeightsSource source{};
};

/// What a writer is told besides.
struct WriterOptions {
  /// At least 2: so many verified checkpoints stay, and beside them the newest sound one.
  int64_t keep = 2;
  /// The checkpoint of this step calls itself sound and has proved not to be; -1: none.
  int64_t doubted = -1;
  /// On rank 0, in the writer's thread, behind each commit.
  std::function<void(const NamedNumbers& state)> committed = {};
};

/// Writes in the background: save() copies this rank's shard into a private buffer taken at construction (pinned memory
/// where the shard is on a device) and returns; a thread writes, fsyncs, and commits by renaming. No MPI in the thread.
/// One save in flight.
///
/// A failed save leaves no trace and no harm to earlier checkpoints; training may go on. Errors are Error(Io) with
/// path, reason and bytes needed, the same on every rank, so that all ranks decide alike.
class CheckpointWriter {
 public:
  /// `queue`, which must outlive it, is that of what is saved. `directory` is <run>/checkpoints, created when missing;
  /// the caller's rank 0 holds the RunLock, since what earlier processes left behind unfinished is removed here. Of
  /// `shape` only layout, shard and data type count: shards must tile the flat buffer in rank order. Collective.
  CheckpointWriter(const Queue& queue, Communicator& world, std::string directory, WriterOptions,
                   const CheckpointData& shape);
  /// Waits for the save in flight (a minute at most for other ranks, which may be gone). Not collective.
  ~CheckpointWriter();

  /// Waits for the save in flight, starts the next, and returns the seconds for which training was held up. Throws the
  /// error of the save that was in flight (then nothing was started: call again), or says why this one cannot begin.
  /// Collective.
  double save(const CheckpointData&, const CheckpointInfo&);
  /// Waits for the save in flight and throws its error. Collective; returns at once when there is none.
  void finish();
  /// Step, -1 when none by this writer. Rank 0 knows it at once, the other ranks after their next save() or finish().
  int64_t last_committed() const;
  double last_seconds() const;  ///< of that checkpoint, from save() to commit
  /// What failed behind a commit (an older checkpoint that cannot be removed), once; the checkpoint itself is saved.
  /// Rank 0 knows; nullopt on the others.
  std::optional<std::string> take_warning();
  /// Of the private buffer: all that a save takes of the host's memory.
  static int64_t buffer_bytes(const CheckpointData& shape);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct CheckpointSummary {
  std::string path;
  int64_t step = 0;
  bool sound = true;  ///< as its state says, unless a later start has found otherwise
  CheckpointInfo info;
  NamedNumbers state;
  FlatBuffer layout;
  DType stored = DType::F32;  ///< data type of the tensors in the file
  int64_t bytes = 0;          ///< of the file
  std::string digest;         ///< of the manifest, which holds those of the state
};

/// Committed checkpoints of a directory, newest first: manifests checked, data not. Anything else there is passed over.
/// Throws Error(Io) when the system refuses to read one, and Error(Data) when the directory is a link to nothing.
std::vector<CheckpointSummary> list_checkpoints(const std::string& directory);

/// Recomputes every digest of one checkpoint; returns the faults in words, with the bytes and tensors that they hit
/// (empty: intact). `progress` (may be null) advances with each block. Throws Error(Io) when the system refuses to read
/// it.
std::vector<std::string> verify_checkpoint(const std::string& path, Progress* progress = nullptr);

/// Reads and checks the manifest in a checkpoint's directory. Throws Error(Data) with what is wrong.
CheckpointSummary read_manifest(const std::string& path);

/// Loads the newest good checkpoint, of those that `from` allows. A damaged one is named in `warnings` (the same on
/// every rank) and the one before it is taken; where one is removed while it is read (a run prunes), the newest that is
/// there then; one that the system refuses to read is Error(Io). Fills weights (all), m and v (the shard; left alone
/// when m is an empty view) and state. Manifest, size and all digests are checked before a byte is used; HDF5 never
/// sees the file, since the manifest says where the tensors are. nullopt: there is none. Throws Error(Data) when there
/// are checkpoints and none is good, Error(Usage), with a list of what there is, when `from` names a step that has
/// none, and Error(Data) also, without falling back, when an intact one is of a newer format or of another model
/// (listing the differing tensors): to go on from an older one would silently lose work. Then and when a read fails
/// half-way the views may be partly filled. Collective.
std::optional<CheckpointSummary> load_newest(Communicator& world, const std::string& directory, CheckpointData& data,
                                             std::vector<std::string>& warnings, const ResumeFrom& from = {});
/// How tensors of a model were matched by name with those of a checkpoint of another.
struct Matched {
  CheckpointSummary source;
  std::vector<FlatEntry> fresh;  ///< only in the model
  std::vector<FlatEntry> left;   ///< only in the checkpoint
};
/// From the manifest alone. Throws Error(Data) when it is not good, or a tensor has another shape (naming both).
Matched match_weights(const std::string& path, const FlatBuffer& layout);
/// Fills those tensors of `weights` [layout.size], fp32 or fp64, that the checkpoint has, whatever its data type, and
/// leaves the others as they are. Throws as match_weights, and Error(Data) when the file is damaged. Collective.
Matched load_weights(Communicator& world, const std::string& path, const FlatBuffer& layout, View<> weights,
                     Progress* progress);
/// The same from the newest good checkpoint of a directory: one that is damaged is passed over as in load_newest, one
/// whose tensors have other shapes is not. nullopt: there is none. Collective.
std::optional<Matched> load_newest_weights(Communicator& world, const std::string& directory, const FlatBuffer& layout,
                                           View<> weights, std::vector<std::string>& warnings, Progress* progress);
/// One checkpoint by the path of its directory (for `eval`). Throws Error(Data) when it is not good. Collective.
CheckpointSummary load_checkpoint(Communicator& world, const std::string& path, CheckpointData& data);

}  // namespace memring
