// RunLog: what a run tells its user, each fact once, to many sinks: the terminal and metrics.jsonl (schema:
// docs/metrics.md). Rank 0 speaks; on other ranks every call does nothing.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/diagnostics.h"
#include "base/handle.h"
#include "base/ids.h"
#include "runlog/terminal.h"

namespace memring {

struct StepRecord {
  int64_t step = 0, steps = 0;  ///< done, and wanted (0: as many as come)
  int64_t tokens_wanted = 0;
  double loss = 0, lr = 0, norm = 0;
  /// Where a base teaches: what the loss is mixed from, the loss of the text and the divergence from the base.
  std::optional<double> text_loss = {}, divergence = {};
  int64_t tokens = 0;            ///< trained on so far
  int64_t step_tokens = 0;       ///< of this step
  int64_t segments = 1;          ///< of its sequences
  double step_seconds = 0;       ///< of this step
  int64_t memory_bytes = 0;      ///< VmHWM of the largest rank
  Diagnostics diagnostics = {};  ///< of the memory
  int64_t skipped = 0;
};

/// Where a curriculum stands: in which of its stages, counted from 1; the last may be learned, and goes on.
struct StageRecord {
  int64_t stage = 1, stages = 1;
  bool learned = false;
};

/// What a run says when it starts.
struct StartFacts {
  std::vector<std::pair<std::string, std::string>> lines;  ///< "key value", in this order
  std::vector<std::pair<std::string, int>> hosts;          ///< names, and how many ranks each has; for the file
};

class RunLog {
 public:
  struct Options {
    bool speaks = true;  ///< rank 0
    std::string jsonl;   ///< file; empty: none
    int64_t every = 10;  ///< steps between lines
  };
  explicit RunLog(const Options&);
  /// Where lines of an earlier attempt went that do not belong to this one, metrics.N.jsonl; empty: there were none.
  const std::string& set_aside() const { return set_aside_; }

  /// The lines of the start. They are printed at once, before the run takes memory and reads checkpoints; the file
  /// waits for open().
  void start(StartFacts facts);
  /// Opens the file, and writes the run_start record, then what was recorded before. The run goes on behind
  /// `first_step`: later lines of an earlier attempt go to a file of their own. Once.
  void open(int64_t first_step);
  void resumed(int64_t step, const std::string& path, const std::vector<std::string>& differences);
  void step(const StepRecord&);  ///< every step goes to the file, each `every`-th to the terminal
  /// A stage of the curriculum begins after `step`, or the last one is learned; `loss` is the running average before.
  void stage(int64_t step, const StageRecord&, const SequenceShape&, double loss);
  void skipped(int64_t step, double norm, int64_t in_row);
  void saved(int64_t step, const std::string& path, double held_seconds);
  void note(const std::string& text);
  void warning(const std::string& text);
  void end(const std::string& reason, int64_t step, int64_t tokens, double seconds, int exit_code, const StageRecord&);
  /// Inside a long step, on a terminal only: a line that is drawn over.
  void progress(int64_t step, int64_t done, int64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  void print(const std::string& line);
  /// " | left 3m 20s", at the pace of the steps since the last line.
  std::string left(const StepRecord&) const;
  void clear_bar();
  /// Where one of the two is lost, a warning says so once.
  void show(Terminal&, const std::string& text);
  void write(const std::string& json);

  Options options_;
  StartFacts facts_;
  std::string set_aside_;
  Handle<DescriptorTraits> file_;
  std::vector<std::string> early_;  ///< records from before the file was opened
  Terminal out_{1}, err_{2};
  bool terminal_ = false, bar_ = false;
  bool lost_lines_ = false;  ///< the file could not take the last line
  Clock::time_point step_start_ = Clock::now(), last_bar_ = Clock::now();
  // Since the last line of the terminal.
  double line_seconds_ = 0;
  int64_t line_tokens_ = 0, line_steps_ = 0;
};

}  // namespace memring
