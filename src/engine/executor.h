// Executor: walks a rank's schedule and makes each action happen: joins the schedule (dist) with model and memory. A
// single process walks the same schedule without messages.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/memory_limits.h"
#include "config/words.h"
#include "data/token_source.h"
#include "dist/gradient_sync.h"
#include "dist/mesh.h"
#include "dist/progress.h"
#include "dist/schedule.h"
#include "engine/cell_runner.h"
#include "engine/tbptt.h"

namespace memring {

/// What a run computes, whatever the ranks.
struct Workload {
  int64_t batch = 1;  ///< sequences of a step over the whole world
  /// Every batch has one of these shapes, or one of them with fewer segments; the last is what the run is about.
  std::vector<SequenceShape> shapes{{}};
  int64_t micro_batch = 0;  ///< sequences of one stream; 0: automatic
  bool backward = true;
  bool final_state = false;  ///< deliver the state after the last segment
  /// Which logits to deliver (small vocabularies). Counted: at least those of counted targets; others may be left out,
  /// which saves their time.
  enum class Logits : uint8_t { None, Counted, All } logits = Logits::None;
};

/// What backward has of the forward sweep: whether it recomputes, and from how many states (Policy::boundaries).
struct Recompute {
  RecomputeWhen when = RecomputeWhen::Auto;
  int32_t boundaries = 0;
};

/// What a rank takes from the machine, by purpose, in bytes.
struct MemoryPlan {
  std::vector<std::pair<std::string, int64_t>> parts;
  int64_t total() const;
};

/// Receives what cells compute. `sequence` and `position` are global; nll and logits are [text] and [text, vocab].
/// Losses come for every position (0 where its target does not count), logits as Workload::logits says.
class ResultSink {
 public:
  virtual ~ResultSink() = default;
  virtual void losses(int64_t sequence, int64_t position, ConstView<> nll, std::span<const int32_t> targets) = 0;
  virtual void logits(int64_t /*sequence*/, int64_t /*position*/, ConstView<>, std::span<const int32_t> /*targets*/) {}
  /// Numbers of the state after the last segment, from number `first` on.
  virtual void final_state(int64_t /*sequence*/, int64_t /*first*/, ConstView<>) {}
};

class Executor {
 public:
  /// Nothing is taken yet: plan() says what would be.
  Executor(Queue&, const Params&, const Llama&, Memory&, Mesh&, DType, Workload, Tbptt);

  /// Fixes streams and recompute policy so that each rank's plan stays within what its limit leaves (on top of `fixed`
  /// bytes that others take). Collective, so that all ranks of a schedule decide alike. Throws Error(Usage) with the
  /// plan where nothing fits, on one rank that lacks memory, while the others wait for that to end the job.
  void fit(Recompute, const MemoryLimit&, int64_t fixed);
  void allocate();

  /// One batch forward (and backward): losses and parameter gradients are sums over this rank's cells. `weights` are
  /// those of the batch's number of segments.
  StepSums run(const TokenSource& batch, const BoundaryWeights& weights, ResultSink* sink = nullptr);

  /// Of one step's batch; the same on every rank.
  BoundaryWeights draw(int64_t step, const SequenceShape& shape) const {
    return tbptt_.draw(step, workload_.batch, shape.segments());
  }
  const Tbptt& tbptt() const { return tbptt_; }
  MemoryPlan plan();  ///< for the shapes that take most
  bool recomputes() const { return policy_.recompute; }
  int64_t state_numbers() const { return runner_.state_numbers(); }  ///< of one sequence at a boundary
  int64_t streams() const { return streams_; }
  int64_t micro_batch() const { return micro_batch_; }
  double efficiency() { return main_schedule().efficiency(); }
  Schedule& main_schedule() { return schedule(workload_.shapes.back().segments()); }
  /// Where to note what this rank is doing.
  void note_in(Progress& progress) {
    progress_ = &progress;
    progress.layers = static_cast<int32_t>(llama_.shape().layers);
    runner_.note_in(progress);
    axis_.note_in(progress);
  }
  /// Where the gradients of decoder layers' own tensors go when the schedule reduces them; it must stay.
  void reduce_with(GradientSync& sync) { sync_ = &sync; }
  /// Called with (cells done, cells of this rank) after each compute cell: progress inside long steps.
  void set_cell_observer(std::function<void(int64_t, int64_t)> observer) { observer_ = std::move(observer); }

 private:
  /// What one stream holds in this run.
  struct Stream {
    int64_t first = 0, count = 0;  ///< sequences of the batch
  };
  struct Slot {
    View<uint8_t> memory;
    Transfer transfer;               ///< the message in flight into or out of it
    bool arriving = false;           ///< into it
    std::optional<CellSaved> saved;  ///< of kind Saved, while filled
  };

  bool wavefront() const;  ///< cells are layers, so that all ranks work on one stream
  Range own_sequences() const;
  Extent extent(int32_t segments) const;
  Schedule derive(std::vector<bool> closed) const;
  Schedule& schedule(int64_t segments);  ///< with the boundaries that are closed in every step
  void weigh(View<> adjoints, const Stream&, int32_t segment, const BoundaryWeights&);
  void split(int64_t micro_batch);
  int64_t slot_bytes(SlotKind, int64_t text) const;
  /// The most bytes of any shape: f(text rows of its longest segment).
  template <class F>
  int64_t most_bytes(const F& f) const;
  int64_t scratch_bytes() const;
  int64_t ring_bytes() const;
  int64_t angle_bytes() const;
  void lay_out(const Schedule&, int64_t text);  ///< carves the slots of a batch out of the arena
  Stream stream(int32_t index) const;
  Slot& slot(SlotKind kind, int32_t index) { return slots_[static_cast<size_t>(kind)][static_cast<size_t>(index)]; }
  View<> state_view(SlotKind, int32_t slot, const Stream&, const Cell&);
  View<> hidden_view(int32_t slot, const Stream&, int64_t text);
  void exchange(const Action&);  ///< PostReceive, Send and Wait
  void reduce(const Cell&);
  bool finishes_cell(const Action&) const;
  CellText read_text(const Stream&, const TokenSource&, const Cell&);
  void compute(const Action&, const TokenSource&, const BoundaryWeights&, ResultSink*, StepSums&);
  void backward(const Action&, const Stream&, const CellText&, const BoundaryWeights&, ResultSink*, StepSums&);
  void deliver_head(const Cell&, const Stream&, const CellText&, const CellSaved&, bool counted, ResultSink*,
                    StepSums&);
  template <class F>
  void for_pieces(const CellText&, const F&) const;
  void deliver(const Stream&, int64_t segment, const CellText&, ConstView<> nll, ResultSink*, StepSums&) const;

  Queue& queue_;
  const Params& params_;
  const Llama& llama_;
  Memory& memory_;
  Mesh& mesh_;
  DType dtype_;
  Workload workload_;
  SequenceShape shape_;  ///< of the batch that runs
  Tbptt tbptt_;
  TokenAxis axis_;
  CellRunner runner_;
  Policy policy_;
  int64_t micro_batch_ = 1, streams_ = 1;
  int32_t depth_ = 1;                      ///< cells of a segment
  std::map<int64_t, Schedule> schedules_;  // by segments: a curriculum has a few
  Arena arena_, scratch_;
  std::vector<Slot> slots_[kSlotKinds];
  std::vector<int32_t> tokens_, targets_;
  Progress unseen_;
  Progress* progress_ = &unseen_;
  std::function<void(int64_t, int64_t)> observer_;
  GradientSync* sync_ = nullptr;
};

}  // namespace memring
