// SPDX-License-Identifier: Apache-2.0
#include "dist/cell_order.h"

#include <algorithm>

namespace memring::scheduling {

CellOrder::CellOrder(const Precedence& rules)
    : rules_(&rules), ranks_(rules.ranks()), depth_(rules.depth()), queues_(static_cast<size_t>(ranks_)) {
  const int32_t places = std::min(rules.policy().in_flight, rules.extent().streams);
  streams_.resize(static_cast<size_t>(places));
  for (int32_t place = 0; place < places; ++place) enter(place, 0);
}

bool CellOrder::next(CellTask& task) {
  while (!wake_.empty()) {
    const auto [now, rank] = wake_.top();
    wake_.pop();
    Queue& queue = queues_[rank];
    if (queue.busy_until > now) continue;
    for (; !queue.later.empty() && queue.later.top().ready <= now; queue.later.pop()) queue.now.push(queue.later.top());
    if (queue.now.empty()) continue;
    task = queue.now.top();
    queue.now.pop();
    const int64_t cost = Precedence::cost(task.run.verb);
    queue.busy_until = now + cost;
    wake_.emplace(queue.busy_until, rank);
    busy_ += cost;
    makespan_ = std::max(makespan_, queue.busy_until);
    complete(task, queue.busy_until);
    return true;
  }
  return false;
}

bool CellOrder::given(const CellRun& run, int32_t place, int32_t number) {
  StreamInFlight& stream = streams_[place];
  if (stream.number != number || stream.of(run.verb, run.pass).forgot(run.segment)) return true;
  return stream.of(run).done > rules_->number(run);
}

void CellOrder::enter(int32_t place, int64_t time) {
  StreamInFlight& stream = streams_[place];
  stream = {};
  if (next_stream_ == rules_->extent().streams) return;
  stream.number = next_stream_++;
  open_windows(place, time);
}

void CellOrder::open_windows(int32_t place, int64_t time) {
  StreamInFlight& stream = streams_[place];
  const int32_t segments = rules_->extent().segments, begin = stream.opened;
  const int32_t first = stream.oldest < stream.opened ? rules_->window_of(stream.oldest).number : stream.next_window;
  while (stream.opened < segments && stream.next_window - first < rules_->windows_under_way())
    stream.opened = rules_->window(stream.next_window++).end;
  for (const Pass pass : rules_->passes()) {
    const int32_t opened = std::min(stream.opened, rules_->segments(pass));
    // Those of a rank that follow are proposed when the one before them is given out; with Append it may be before
    // them.
    for (int32_t s = begin; s < (rules_->appends() ? opened : std::min(opened, begin + ranks_)); ++s) {
      Sweep& sweep = stream.of(Verb::Forward, pass)[s];
      sweep.end = std::max(sweep.end, time);
      propose(place, Verb::Forward, pass, s);
    }
    const Verb again = rules_->thinned() ? Verb::Rebuild : Verb::Recompute;
    for (int32_t s = begin; (rules_->thinned() || rules_->appends()) && s < opened; ++s)
      if (rules_->runs(again, pass, s)) propose(place, again, pass, s);
  }
}

/// The next cell of a sweep may be run as soon as it need not wait.
void CellOrder::propose(int32_t place, Verb verb, Pass pass, int32_t segment) {
  Sweep& sweep = streams_[place].of(verb, pass)[segment];
  if (sweep.proposed > sweep.done || sweep.done == depth_) return;
  ++sweep.proposed;
  consider(place, rules_->run(verb, pass, segment, sweep.done));
}

/// To its rank's queue, or behind the first run that it has to wait for.
void CellOrder::consider(int32_t place, const CellRun& run) {
  StreamInFlight& stream = streams_[place];
  int64_t ready = stream.of(run).end;
  for (const Wait& wait : rules_->waits_of(run)) {
    const int32_t count = rules_->number(wait.run) + 1, first = wait.run.segment;
    Sweeps& sweeps = stream.of(wait.run.verb, wait.run.pass);
    for (int32_t s = first; s < first + wait.count; ++s) {
      Sweep& before = sweeps[s];
      if (before.done < count) return before.waiting.push_back(run);
      if (before.done == count) ready = std::max(ready, before.end);
    }
  }
  const int32_t rank = rules_->rank_of(run.segment);
  queues_[rank].later.push({run, stream.number, place, ready, rules_->chain_from(run)});
  wake_.emplace(std::max(ready, queues_[rank].busy_until), rank);
}

/// `task` ends at `end`: others may go on.
void CellOrder::complete(const CellTask& task, int64_t end) {
  const auto [verb, pass, segment, level] = task.run;
  const int32_t place = task.place;
  StreamInFlight& stream = streams_[place];
  Sweep& sweep = stream.of(task.run);
  const bool last = ++sweep.done == depth_;
  sweep.end = end;
  woken_.clear();
  woken_.swap(sweep.waiting);
  for (const CellRun& run : woken_) consider(place, run);
  if (!last) return propose(place, verb, pass, segment);

  if (verb == Verb::Forward && segment + ranks_ < std::min(stream.opened, rules_->segments(pass)))
    propose(place, verb, pass, segment + ranks_);
  if (rules_->policy().backward && verb == rules_->rows_from(pass, segment))
    propose(place, Verb::Backward, pass, segment);
  if (verb != (rules_->policy().backward ? Verb::Backward : Verb::Forward)) return;
  if (verb == Verb::Backward && segment >= ranks_ && rules_->runs(Verb::Recompute, pass, segment - ranks_))
    propose(place, Verb::Recompute, pass, segment - ranks_);
  close_windows(place, end);
}

bool CellOrder::done(StreamInFlight& stream, Verb verb, int32_t segment) {
  const auto passes = rules_->passes();
  return std::all_of(passes.begin(), passes.end(), [&](Pass pass) {
    return segment >= rules_->segments(pass) || stream.of(verb, pass)[segment].done == depth_;
  });
}

/// Windows leave in order, also when a later one is done first: so their numbers, modulo Policy::windows, are theirs.
void CellOrder::close_windows(int32_t place, int64_t end) {
  StreamInFlight& stream = streams_[place];
  const int32_t before = stream.oldest;
  if (rules_->policy().backward) {
    for (; stream.oldest < stream.opened && done(stream, Verb::Backward, stream.oldest);
         stream.oldest = rules_->window_of(stream.oldest).end) {
    }
  } else {
    for (; stream.oldest < stream.opened && done(stream, Verb::Forward, stream.oldest); ++stream.oldest) {
    }
  }
  if (stream.oldest == before) return;
  // Segments from the oldest on wait for no more than a round of the ranks before it.
  for (auto& sweeps : stream.sweeps)
    for (Sweeps& pass : sweeps) pass.forget_before(stream.oldest - ranks_);
  if (stream.oldest == rules_->extent().segments) return enter(place, end);
  open_windows(place, end);
}

}  // namespace memring::scheduling
