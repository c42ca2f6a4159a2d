// SPDX-License-Identifier: Apache-2.0
#include "engine/executor.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/profile.h"
#include "kernels/elementwise/elementwise.h"

namespace memring {
namespace {

/// Of the longest segment's text, memory rows left out, as in a window that was trained: its tokens, or the ids that it
/// may have in their place; of a sequence where its segments' go on.
int64_t positions_of(const Workload& workload, const Memory& memory) {
  int64_t positions = std::max<int64_t>({workload.positions, workload.trained_positions, 1});
  for (const SequenceShape& shape : workload.shapes) {
    const auto last = static_cast<int32_t>(shape.segments() - 1);
    positions =
        std::max({positions, shape.text_of(0), memory.first_position(Pass::Decode, last) + shape.text_of(last)});
  }
  return positions;
}

/// Whether sequences of `own` tokens begin with it here; a token of the vocabulary stands there instead. (Those that
/// only fill a batch up, behind the last one, do not have it, and nobody reads what becomes of them.)
bool take_repeat_tokens(std::span<int32_t> tokens, int64_t own) {
  if (tokens.empty() || tokens[0] != kRepeatToken) return false;
  for (size_t first = 0; first < tokens.size(); first += static_cast<size_t>(own)) tokens[first] = 0;
  return true;
}

}  // namespace

Executor::Executor(Queue& queue, Model& model, Mesh& mesh, DType dtype, Workload workload, Tbptt tbptt,
                   ExecutionPlan plan)
    : queue_(queue),
      params_(model.params),
      llama_(model.llama),
      memory_(*model.memory),
      mesh_(mesh),
      dtype_(dtype),
      workload_(std::move(workload)),
      tbptt_(tbptt),
      plan_(std::move(plan)),
      axis_(mesh.token_transport(), queue.block()),
      sizes_(llama_.shape(), memory_, dtype, axis_.split(), cell_uses(workload_, tbptt)),
      runner_(queue, {params_, llama_, memory_, model.repeat_token}, axis_, sizes_, ids_) {
  if (workload_.teaching.window > 0) teacher_.emplace(queue, params_, llama_, axis_, ids_, dtype);
}

Range Executor::sequences_of(int32_t stream) const {
  const Range all = plan_.sequences;
  const int64_t first = all.begin + stream * plan_.micro_batch;
  return {first, std::min(first + plan_.micro_batch, all.end)};
}

Schedule& Executor::schedule(int64_t segments) {
  const auto found = schedules_.find(segments);
  if (found != schedules_.end()) return found->second;
  return schedules_.emplace(segments, plan_.schedule(tbptt_.always_closed(segments))).first->second;
}

// Where the weight is 0 the adjoint becomes zero and is not multiplied, so that an infinity cannot leak through.
void Executor::weigh(View<> adjoints, Range sequences, int32_t segment, const BoundaryWeights& weights) {
  for (int64_t b = 0; b < sequences.size(); ++b) {
    const double weight = weights.at(sequences.begin + b, segment);
    if (weight == 0)
      Elementwise::fill(queue_, adjoints.at(b), 0);
    else if (weight != 1)
      Elementwise::scale(queue_, adjoints.at(b), weight);
  }
}

void Executor::allocate() {
  const MemoryPlan& memory = plan_.memory;
  scratch_ = queue_.arena(memory.bytes_of(MemoryPurpose::Scratch));
  if (!queue_.device()) reserve_product_copies(queue_.products(), plan_.copies);
  const SequenceShape raw{workload_.raw_tokens(), workload_.raw_tokens()};
  runner_.allocate_angles(
      memory.bytes_of(MemoryPurpose::Angles) - (teacher_ ? teacher_->allocate(plan_.micro_batch, raw.length) : 0),
      rotary_scale(llama_.shape().rotary, llama_.shape().head_dim, positions_of(workload_, memory_)));
  axis_.allocate(queue_, memory.bytes_of(MemoryPurpose::Ring));
  int64_t slots = 0;
  for (const MemoryPurpose purpose :
       {MemoryPurpose::States, MemoryPurpose::Adjoints, MemoryPurpose::Saved, MemoryPurpose::Hidden})
    slots += memory.bytes_of(purpose);
  arena_ = queue_.arena(slots);
  int64_t numbers = 0, results = 0, keys = 0;
  for (const SequenceShape& shape : workload_.shapes) {
    numbers = std::max(numbers, sizes_.numbers(plan_.micro_batch, shape));
    results = std::max(results, sizes_.results(plan_.extent(1), plan_.micro_batch, shape,
                                               workload_.logits != Workload::Logits::None, workload_.final_state));
    keys = std::max(keys, sizes_.keys_before(shape));
  }
  if (teacher_) numbers += teacher_->sizes().cells().numbers(plan_.micro_batch, raw);
  ids_.allocate(queue_, numbers);
  runner_.allocate_keys(keys);
  if (queue_.device()) sink_copy_ = queue_.staging(results);
  allocate_numbers();
  if (mesh_.shape().segment * mesh_.shape().token > 1)
    queue_.add_poll([this] {
      mesh_.segment_transport().progress();
      mesh_.token_transport().progress();
    });
}

void Executor::allocate_numbers() {
  const std::span<const Diagnostic> declared = memory_.diagnostics();
  const Shape shape{kLossSums + std::ssize(declared)};
  numbers_arena_ = queue_.arena(shape[0] * bytes_of(DType::F64));
  numbers_ = numbers_arena_.take<double>(shape);
  first_numbers_arena_ = queue_.staging(shape[0] * bytes_of(DType::F64));
  first_numbers_ = first_numbers_arena_.take<double>(shape);
  std::fill_n(first_numbers_.data(), kLossSums, 0.0);
  for (size_t i = 0; i < declared.size(); ++i) first_numbers_.data()[kLossSums + i] = declared[i].none();
  read_numbers_.allocate(queue_, shape[0]);
  runner_.set_sums(numbers_.rows(1, 1), numbers_.rows(kLossSums, std::ssize(declared)));
}

void Executor::lay_out(const Schedule& schedule, int64_t text) {
  arena_.rewind(0);
  for (const SlotKind kind : {SlotKind::State, SlotKind::Adjoint, SlotKind::Saved, SlotKind::Hidden}) {
    auto& slots = slots_[static_cast<size_t>(kind)];
    slots = std::vector<Slot>(static_cast<size_t>(schedule.slots(kind)));
    const int64_t bytes = sizes_.slot(kind, plan_.extent(1), plan_.micro_batch, text);
    for (Slot& slot : slots) slot.memory = arena_.take<uint8_t>({bytes});
  }
}

View<> Executor::state_view(SlotKind kind, int32_t index, Range sequences, const Cell& cell) {
  if (index == kNoSlot) return {};
  return slot(kind, index).memory.reinterpreted(dtype_, {sequences.size(), sizes_.state_numbers(cell)});
}

View<> Executor::hidden_view(int32_t index, Range sequences, int64_t text, Pass pass) {
  Arena block(slot(SlotKind::Hidden, index).memory);
  return sizes_.carve_hidden(block, sequences.size(), text, pass);
}

std::span<const int32_t> Executor::read_positions(Range sequences, const TokenSource& batch, int32_t segment) {
  check(batch.own_positions() == workload_.own_positions(),
        "position ids of sequences that were not planned, or missing");
  if (!batch.own_positions()) return {};
  const auto text = static_cast<size_t>(shape_.text_of(segment));
  positions_.resize(static_cast<size_t>(sequences.size()) * text);
  for (int64_t b = 0; b < sequences.size(); ++b)
    batch.positions(sequences.begin + b, segment, std::span(positions_).subspan(static_cast<size_t>(b) * text, text));
  return positions_;
}

/// Those that are in two ranges of the text which begins at `begin`.
void Executor::read_tokens(Range sequences, const TokenSource& batch, int64_t begin, const std::array<Range, 2>& own,
                           std::span<int32_t> tokens, std::span<int32_t> targets) {
  size_t count = 0;
  for (int64_t b = 0; b < sequences.size(); ++b)
    for (const Range& range : own) {
      if (range.size() == 0) continue;
      const auto size = static_cast<size_t>(range.size());
      batch.read(sequences.begin + b, begin + range.begin, tokens.subspan(count, size), targets.subspan(count, size));
      count += size;
      queue_.poll();  // what is read for the first time is checked
    }
}

CellText Executor::read_text(Range sequences, const TokenSource& batch, const Cell& cell) {
  const int32_t segment = cell.segment;
  CellText text{.batch = sequences.size(),
                .text = shape_.text_of(segment),
                .own = sizes_.own_text_rows(shape_.text_of(segment), cell.pass),
                .tokens = {},
                .targets = {},
                .positions = read_positions(sequences, batch, segment),
                .every_row = workload_.logits == Workload::Logits::All};
  ids_.next_cell(queue_);
  if (!CellSizes::embeds(cell) && !sizes_.has_head(cell)) return text;
  const std::span<int32_t> tokens = ids_.take(text.batch * text.own), targets = ids_.take(text.batch * text.own);
  read_tokens(sequences, batch, segment * shape_.segment_length, sizes_.own_text(text.text, cell.pass), tokens,
              targets);
  text.repeats = take_repeat_tokens(tokens, text.own);
  text.tokens = ids_.ready(queue_, tokens);
  text.targets = ids_.ready(queue_, targets);
  return text;
}

void Executor::compute(const Action& a, const TokenSource& batch, const BoundaryWeights& weights, ResultSink* sink) {
  const Range sequences = sequences_of(a.cell.stream);
  CellText text = read_text(sequences, batch, a.cell);
  ArenaScope scope(scratch_);
  if (a.verb == Verb::Backward) return backward(a, sequences, batch, text, weights, sink);

  const bool counted = std::any_of(text.targets.host.begin(), text.targets.host.end(),
                                   [](int32_t target) { return target != kIgnoredTarget; });
  // Nobody reads what an evaluation computes here: no target counts, and nothing crosses to the next segment.
  const bool last_word = !crosses_boundaries(memory_.dependency()) ||
                         (memory_.dependency() == Dependency::Append && a.cell.pass == Pass::Decode);
  if (!plan_.policy.backward && !counted && last_word && mesh_.shape().token == 1 &&
      workload_.logits != Workload::Logits::All) {
    const View<> nll = scratch_.take(dtype_, {sequences.size() * text.own});
    Elementwise::fill(queue_, nll, 0);
    return deliver(sequences, a.cell.segment, text, nll, sink);
  }

  if (teacher_ && !plan_.policy.backward && sizes_.has_head(a.cell))
    text.taught = teach(a.cell, sequences, batch, text);

  CellSaved passing;
  CellSaved* saved = &passing;
  if (a.saved == kNoSlot) {
    passing = sizes_.carve_passing(scratch_, sequences.size(), text.text, a.cell.pass,
                                   hidden_view(a.hidden, sequences, text.text, a.cell.pass));
  } else {
    Slot& rows = slot(SlotKind::Saved, a.saved);
    Arena block(rows.memory);
    if (!rows.saved) rows.saved = sizes_.carve_saved(block, sequences.size(), text.text, a.cell.pass);
    saved = &*rows.saved;
  }
  const View<> state_out = state_view(SlotKind::State, a.out, sequences, a.cell);
  const View<> told = told_view(a, sequences, sink);
  runner_.forward(text, a.cell, *saved,
                  {.in = state_view(SlotKind::State, a.in, sequences, a.cell),
                   .out = state_out,
                   .earlier = earlier_segments(a, sequences, weights),
                   .told = told},
                  scratch_);
  if (a.verb != Verb::Forward) return;
  if (a.cell.pass == Pass::Encode) return deliver_told(a.cell, sequences, told, sink);

  if (sizes_.has_head(a.cell)) deliver_head(a.cell, sequences, text, *saved, counted, sink);
  // All ranks of a token axis hold the state.
  if (sink && state_out && a.cell.segment + 1 == shape_.segments() && mesh_.coord().token == 0)
    for (int64_t b = 0; b < sequences.size(); ++b)
      sink->final_state(sequences.begin + b, sizes_.numbers_below(a.cell), on_host(state_out.at(b)));
}

/// What the base makes of the raw text up to the end of the cell's segment.
Taught Executor::teach(const Cell& cell, Range sequences, const TokenSource& batch, const CellText& text) {
  const int64_t end = cell.segment * shape_.segment_length + text.text;
  const Range window = taught_window(end, workload_.teaching.window);
  const CellSizes& cells = teacher_->sizes().cells();
  const std::array<Range, 2> own = cells.own_text(window.size(), Pass::Decode);
  CellText raw{.batch = text.batch,
               .text = window.size(),
               .own = own[0].size() + own[1].size(),
               .tokens = {},
               .targets = {},
               .every_row = true};
  const std::span<int32_t> tokens = ids_.take(raw.batch * raw.own), targets = ids_.take(raw.batch * raw.own);
  read_tokens(sequences, batch, window.begin, own, tokens, targets);
  raw.tokens = ids_.ready(queue_, tokens);
  return {teacher_->rows(raw, text.text, sizes_.own_text(text.text, Pass::Decode), scratch_), workload_.teaching.share};
}

void Executor::backward(const Action& a, Range sequences, const TokenSource& batch, CellText text,
                        const BoundaryWeights& weights, ResultSink* sink) {
  const bool initial = a.cell.segment == 0 || !crosses_boundaries(memory_.dependency());
  const Cell whole = plan_.extent(shape_.segments()).whole(a.cell);
  if (teacher_ && sizes_.has_head(a.cell)) text.taught = teach(a.cell, sequences, batch, text);
  const View<> nll = scratch_.take(dtype_, {sequences.size() * text.own});
  const View<> d_state_in = state_view(SlotKind::Adjoint, a.out, sequences, whole);
  const View<> d_state_out = a.cell.pass == Pass::Encode ? completed_adjoint(a.in, sequences, whole)
                                                         : state_view(SlotKind::Adjoint, a.in, sequences, whole);
  runner_.backward(text, a.cell, whole, *slot(SlotKind::Saved, a.saved).saved,
                   hidden_view(a.hidden, sequences, text.text, a.cell.pass), initial, d_state_out, d_state_in,
                   earlier_segments(a, sequences, weights), nll, scratch_);
  // Behind the lowest part: only then is all of it there.
  if (d_state_in && a.cell.layer == whole.layer) weigh(d_state_in, sequences, a.cell.segment, weights);
  if (sizes_.has_head(a.cell)) deliver(sequences, a.cell.segment, text, nll, sink);
  if (memory_.dependency() == Dependency::Append && a.cell.pass == Pass::Decode && a.cell.layer == whole.layer)
    complete_adjoints(a, sequences);
}

void Executor::run(const TokenSource& batch, const BoundaryWeights& weights, ResultSink* sink) {
  shape_ = batch.shape();
  const bool planned = std::any_of(workload_.shapes.begin(), workload_.shapes.end(), [&](const SequenceShape& shape) {
    return shape_.segments() <= shape.segments() && shape_.text_of(0) <= shape.text_of(0);
  });
  check(planned && weights.segments == shape_.segments(),
        fmt::format("a batch of {} segments of {} tokens that was not planned, with weights for {}", shape_.segments(),
                    shape_.text_of(0), weights.segments));
  // With cuts that change from step to step a rank of a segment axis, or one that keeps few states, may need more slots
  // than planned: boundaries stay open, and where they are cut zeros go back.
  const bool cuts = mesh_.shape().segment == 1 && plan_.policy.boundaries == 0;
  Schedule& usual = schedule(shape_.segments());
  // Cuts need no more slots on one rank: those that were planned serve every pattern of them.
  lay_out(usual, shape_.text_of(0));
  std::optional<Schedule> cut;
  if (std::vector<bool> closed = weights.closed(plan_.sequences); cuts && closed != usual.closed())
    cut = plan_.schedule(std::move(closed));
  Schedule& actions = cut ? *cut : usual;
  actions.restart();
  copy_later(queue_, numbers_, first_numbers_);
  targets_ = tokens_ = 0;
  progress_->enter(Phase::Schedule);

  const int64_t segments = shape_.segments(), ranks = mesh_.shape().segment;
  const int64_t of_rank = segments / ranks + (mesh_.coord().segment < segments % ranks);
  const bool encodes = memory_.dependency() == Dependency::Append;  // all but the last segment
  const int64_t encoded = encodes ? of_rank - (mesh_.coord().segment == (segments - 1) % ranks) : 0;
  const int64_t cells = plan_.streams * (of_rank * plan_.depth + encoded);
  int64_t cells_done = 0;

  std::vector<Action> some;
  while (actions.next_actions(some)) {
    for (const Action& a : some) {
      progress_->verb = a.verb;
      progress_->peer = a.peer;
      progress_->segment = a.cell.segment;
      progress_->layer = a.cell.layer;
      progress_->begin();
      switch (a.verb) {
        case Verb::PostReceive:
        case Verb::Send:
        case Verb::Wait:
          exchange(a);
          break;
        case Verb::Reduce:
          reduce(a.cell);
          break;
        case Verb::Clear:
          Elementwise::fill(queue_, appended_adjoint(a.slot, sequences_of(a.cell.stream), a.cell), 0);
          break;
        case Verb::Add:
          add(a);
          break;
        case Verb::Free:
          slot(a.kind, a.slot).saved.reset();
          break;
        default:
          compute(a, batch, weights, sink);
          if (observer_ && finishes_cell(a)) observer_(++cells_done, cells);
      }
      hold(a);
    }
  }
  read_numbers_.start(queue_, numbers_);
}

StepSums Executor::sums() {
  const std::span<const double> numbers = read_numbers_.wait(queue_);
  check(!numbers.empty(), "the sums of a batch were asked for before one ran");
  StepSums sums{.nll = numbers[0],
                .text_nll = numbers[teacher_ ? 1 : 0],
                .targets = targets_,
                .tokens = tokens_,
                .diagnostics = Diagnostics(memory_.diagnostics())};
  sums.diagnostics.combine(numbers.subspan(kLossSums));
  return sums;
}

/// Of what this rank has to do with a cell of a sequence in a step.
bool Executor::finishes_cell(const Action& a) const {
  if (!plan_.policy.backward) return a.verb == Verb::Forward;
  return a.verb == Verb::Backward && a.cell.layer == plan_.extent(shape_.segments()).whole(a.cell).layer;
}

// What all layers share (embedding, head, final norm, a memory's) is complete at the end of the step.
void Executor::reduce(const Cell& cell) {
  if (!sync_) return;
  for (int64_t layer = std::min<int64_t>(cell.layer + cell.layers, llama_.shape().layers) - 1;
       layer >= std::max<int64_t>(cell.layer, 0); --layer)
    if (const Range range = llama_.trained(params_, layer); range.size() > 0)
      sync_->start(queue_, params_.grads(), range);
}

// The ranks of a token axis all hold a state, so each sends its part of it, and the parts meet at the other end.
void Executor::exchange(const Action& a) {
  Slot& s = slot(a.kind, a.slot);
  const Range sequences = sequences_of(a.cell.stream);
  const bool appended = a.kind == SlotKind::Adjoint && a.cell.pass == Pass::Encode;
  const View<> states =
      appended ? appended_adjoint(a.slot, sequences, a.cell) : state_view(a.kind, a.slot, sequences, a.cell);
  const View<> all = states.reshaped({states.size()});
  const Range part = axis_.share(all.size());
  if (a.verb == Verb::Wait) {
    if (const auto under_way = s.transfers.find(a.peer); under_way != s.transfers.end()) {
      under_way->second.join(queue_);
      s.transfers.erase(under_way);
    }
    if (s.arriving) axis_.gather(queue_, all);
    return;
  }
  s.arriving = a.verb == Verb::PostReceive;
  const View<> mine = all.rows(part.begin, part.size());
  if (mine.size() == 0) return;
  Transport& segment = mesh_.segment_transport();
  s.transfers[a.peer] =
      s.arriving ? segment.receive(queue_, mine, a.peer, a.tag) : segment.send(queue_, mine, a.peer, a.tag);
}

}  // namespace memring
