// Executor: walks a rank's schedule and makes each action happen: joins the schedule (dist) with model and memory. A
// single process walks the same schedule without messages.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/readback.h"
#include "data/token_source.h"
#include "dist/gradient_sync.h"
#include "dist/mesh.h"
#include "dist/progress.h"
#include "engine/cell_runner.h"
#include "engine/execution_plan.h"
#include "engine/teacher.h"
#include "model/model.h"

namespace memring {

/// Receives what cells compute. `sequence` and `position` are global; nll and logits are [text] and [text, vocab].
/// Losses come for every position (0 where its target does not count), logits as Workload::logits says.
class ResultSink {
 public:
  virtual ~ResultSink() = default;
  virtual void losses(int64_t sequence, int64_t position, ConstView<> nll, std::span<const int32_t> targets) = 0;
  /// Without backward, where a base teaches: KL(base, model) of every position, 0 as losses are.
  virtual void divergences(int64_t /*sequence*/, int64_t /*position*/, ConstView<>) {}
  virtual void logits(int64_t /*sequence*/, int64_t /*position*/, ConstView<>, std::span<const int32_t> /*targets*/) {}
  /// Numbers of the state after the last segment, from number `first` on.
  virtual void final_state(int64_t /*sequence*/, int64_t /*first*/, ConstView<>) {}
};

class Executor {
 public:
  /// Runs the workload as the plan, which is this rank's, says. Takes no memory yet.
  Executor(Queue&, Model&, Mesh&, DType, Workload, Tbptt, ExecutionPlan);

  void allocate();  ///< takes what is planned

  /// One batch forward (and backward): losses and parameter gradients are sums over this rank's cells. `weights` are
  /// those of the batch's number of segments. On a device all of it has been enqueued.
  void run(const TokenSource& batch, const BoundaryWeights& weights, ResultSink* sink = nullptr);
  /// Of the batch that run last, without flags; waits until it is there.
  StepSums sums();

  /// Of one step's batch; the same on every rank.
  BoundaryWeights draw(int64_t step, const SequenceShape& shape) const {
    return tbptt_.draw(step, workload_.batch, shape.segments());
  }
  const Tbptt& tbptt() const { return tbptt_; }
  const ExecutionPlan& plan() const { return plan_; }
  int64_t state_numbers() const { return sizes_.state_numbers(); }  ///< of one sequence at a boundary
  /// What ResultSink::final_state gets of a sequence, in all: where segments append, the memories themselves.
  int64_t final_state_numbers(const SequenceShape&) const;
  Schedule& main_schedule() { return schedule(workload_.shapes.back().segments()); }
  /// Where to note what this rank is doing.
  void note_in(Progress& progress) {
    progress_ = &progress;
    progress.layers = static_cast<int32_t>(llama_.shape().layers);
    runner_.note_in(progress);
    if (teacher_) teacher_->note_in(progress);
    axis_.note_in(progress);
  }
  /// Where the gradients of decoder layers' own tensors go when the schedule reduces them; it must stay.
  void reduce_with(GradientSync& sync) { sync_ = &sync; }
  /// Called with (cells done, cells of this rank) after each compute cell: progress inside long steps.
  void set_cell_observer(std::function<void(int64_t, int64_t)> observer) { observer_ = std::move(observer); }

 private:
  struct Slot {
    View<uint8_t> memory;
    std::map<int32_t, Transfer> transfers;  ///< the messages in flight into or out of it, by peer
    bool arriving = false;                  ///< into it
    std::optional<CellSaved> saved;         ///< of kind Saved, while filled
  };

  Schedule& schedule(int64_t segments);  ///< with the boundaries that are closed in every step
  void weigh(View<> adjoints, Range sequences, int32_t segment, const BoundaryWeights&);
  void allocate_numbers();
  void lay_out(const Schedule&, int64_t text);  ///< carves the slots of a batch out of the arena
  Range sequences_of(int32_t stream) const;     ///< of the batch
  Slot& slot(SlotKind kind, int32_t index) { return slots_[static_cast<size_t>(kind)][static_cast<size_t>(index)]; }
  View<> state_view(SlotKind, int32_t slot, Range sequences, const Cell&);
  /// The same of adjoints that segments append: [adjoints, batch, numbers].
  View<> appended_adjoint(int32_t slot, Range sequences, const Cell&);
  /// What of it goes on into the segment, in the accumulation type.
  View<> completed_adjoint(int32_t slot, Range sequences, const Cell&);
  void hold(const Action&);
  EarlierSegments earlier_segments(const Action&, Range sequences, const BoundaryWeights&);
  void complete_adjoints(const Action&, Range sequences);
  void add(const Action&);
  View<> hidden_view(int32_t slot, Range sequences, int64_t text, Pass);
  void exchange(const Action&);  ///< PostReceive, Send and Wait
  void reduce(const Cell&);
  bool finishes_cell(const Action&) const;
  /// Of the segment's text, until the next call; none where all sequences have the plain ones.
  std::span<const int32_t> read_positions(Range sequences, const TokenSource&, int32_t segment);
  void read_tokens(Range sequences, const TokenSource&, int64_t begin, const std::array<Range, 2>& own,
                   std::span<int32_t> tokens, std::span<int32_t> targets);
  CellText read_text(Range sequences, const TokenSource&, const Cell&);
  void compute(const Action&, const TokenSource&, const BoundaryWeights&, ResultSink*);
  void backward(const Action&, Range sequences, const TokenSource&, CellText, const BoundaryWeights&, ResultSink*);
  Taught teach(const Cell&, Range sequences, const TokenSource&, const CellText&);
  void deliver_head(const Cell&, Range sequences, const CellText&, const CellSaved&, bool counted, ResultSink*);
  void deliver_divergence(const Cell&, Range sequences, const CellText&, const HeadRows&, const CellSaved&,
                          ResultSink*);
  template <class F>
  void for_pieces(const CellText&, const F&) const;
  View<> told_view(const Action&, Range sequences, const ResultSink*);
  void deliver_told(const Cell&, Range sequences, View<> told, ResultSink*);
  void deliver(Range sequences, int64_t segment, const CellText&, ConstView<> nll, ResultSink*);
  ConstView<> on_host(ConstView<>);  ///< itself, or a copy for a sink, until the next one

  Queue& queue_;
  const Params& params_;
  const Llama& llama_;
  Memory& memory_;
  Mesh& mesh_;
  DType dtype_;
  Workload workload_;
  SequenceShape shape_;  ///< of the batch that runs
  Tbptt tbptt_;
  const ExecutionPlan plan_;
  TokenAxis axis_;
  CellSizes sizes_;
  CellRunner runner_;
  std::map<int64_t, Schedule> schedules_;  // by segments: a curriculum has a few
  Arena arena_, scratch_;
  std::vector<Slot> slots_[kSlotKinds];
  /// Where segments append: the slots of the memories that are here and of their adjoints, by stream and segment.
  std::map<std::pair<int32_t, int32_t>, int32_t> memories_, adjoints_;
  std::vector<ConstView<>> earlier_;
  std::vector<View<>> d_earlier_;
  std::unique_ptr<bool[]> alive_;
  CellNumbers ids_;
  std::optional<Teacher> teacher_;
  std::vector<int32_t> positions_;
  // Of the batch: sums of its losses and the memory's diagnostics, where they are made, and counts.
  Arena numbers_arena_, first_numbers_arena_;
  View<double> numbers_, first_numbers_;
  Readback<double> read_numbers_;
  double targets_ = 0, tokens_ = 0;
  Arena sink_copy_;  ///< of what is on a device
  Progress unseen_;
  Progress* progress_ = &unseen_;
  std::function<void(int64_t, int64_t)> observer_;
  GradientSync* sync_ = nullptr;
};

}  // namespace memring
