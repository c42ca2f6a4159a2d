// memring pack: text files, folders or standard input to a token file.
// SPDX-License-Identifier: Apache-2.0
#include "data/pack.h"
#include "base/error.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "app/command.h"
#include "base/text.h"

namespace memring {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// On a terminal one line that is written anew at most once a second; in a file a line every 10 seconds.
class ProgressLine {
 public:
  ~ProgressLine() {
    if (terminal_ && shown_) std::fputs("\r\033[K", stderr);
  }
  void show(const PackProgress& progress) {
    const double seconds = seconds_since(start_);
    if (seconds < next_) return;
    next_ = seconds + interval_;
    shown_ = true;
    const double rate = static_cast<double>(progress.bytes) / seconds;
    std::string line = fmt::format("packing: {} documents, {}", grouped(progress.documents),
                                   bytes_text(static_cast<double>(progress.bytes)));
    if (progress.total > 0) {
      const double left = static_cast<double>(std::max<int64_t>(progress.total - progress.bytes, 0)) / rate;
      line += fmt::format(" of {}, {:.0f} s left", bytes_text(static_cast<double>(progress.total)), left);
    }
    line += fmt::format(", {}/s", bytes_text(rate));
    std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", line.c_str());
    std::fflush(stderr);
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) != 0, shown_ = false;
  double interval_ = terminal_ ? 1 : 10, next_ = interval_;
  Clock::time_point start_ = Clock::now();
};

/// A line for each, as long as a person would read them.
void tell(const char* what, const std::vector<std::string>& lines) {
  constexpr size_t kMost = 20;
  for (size_t i = 0; i < std::min(lines.size(), kMost); ++i) fmt::print(stderr, "memring: {}{}\n", what, lines[i]);
  if (lines.size() > kMost) fmt::print(stderr, "memring: {}{} more\n", what, lines.size() - kMost);
}

}  // namespace

int run_pack(const CommandLine& line) {
  const std::string& out = line.text("out");
  const Clock::time_point start = Clock::now();
  PackResult result;
  {
    ProgressLine progress;
    result = pack(line.arguments, out, line.text("tokenizer"), [&](const PackProgress& now) { progress.show(now); });
  }
  const double seconds = seconds_since(start);
  tell("skipped ", result.skipped);
  tell("packed twice: ", result.repeated);
  fmt::print("{}: {} documents, {} tokens (tokenizer {}), digest {}{}\n", out, grouped(result.documents),
             grouped(result.tokens), line.text("tokenizer"), result.digest,
             result.replaced ? "; replaced the file of that name" : "");
  fmt::print("read {} in {:.1f} s ({}/s)\n", bytes_text(static_cast<double>(result.bytes)), seconds,
             bytes_text(static_cast<double>(result.bytes) / std::max(seconds, 1e-9)));
  return 0;
}

}  // namespace memring
