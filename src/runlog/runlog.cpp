// SPDX-License-Identifier: Apache-2.0
#include "runlog/runlog.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace memring {
namespace {

using Json = nlohmann::ordered_json;

Json record(const char* kind) { return {{"schema", 1}, {"kind", kind}, {"time", utc_now()}}; }

/// JSON has no NaN or Inf: null.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::string duration(double seconds) {
  const int64_t s = std::llround(seconds);
  if (s >= 86400) return fmt::format("{}d {:02}h", s / 86400, s / 3600 % 24);
  if (s >= 3600) return fmt::format("{}h {:02}m", s / 3600, s / 60 % 60);
  if (s >= 60) return fmt::format("{}m {:02}s", s / 60, s % 60);
  return fmt::format("{}s", s);
}

std::string rate(double per_second) {
  if (per_second >= 1e6) return fmt::format("{:.2f}M", per_second / 1e6);
  if (per_second >= 1e4) return fmt::format("{:.1f}k", per_second / 1e3);
  return fmt::format("{:.0f}", per_second);
}

/// "/1000 4.2%": what a step is of the run, by the limit that is nearer.
std::string done(const StepRecord& r) {
  const auto share = [](int64_t part, int64_t whole) {
    return whole > 0 ? std::min(1.0, static_cast<double>(part) / static_cast<double>(whole)) : 0;
  };
  const double most = std::max(share(r.step, r.steps), share(r.tokens, r.tokens_wanted));
  return (r.steps > 0 ? fmt::format("/{}", r.steps) : "") + (most > 0 ? fmt::format(" {:.1f}%", 100 * most) : "");
}

/// " (text 2.3100, kl 0.0412)"; empty where nobody teaches.
std::string mixed_from(const StepRecord& r) {
  if (!r.text_loss) return "";
  return fmt::format(" (text {:.4f}{})", *r.text_loss, r.divergence ? fmt::format(", kl {:.4f}", *r.divergence) : "");
}

/// " | key 0.1 den 0.02"; empty where nothing was measured.
std::string shown(const Diagnostics& diagnostics) {
  std::string text;
  for (size_t i = 0; diagnostics.measured() && i < diagnostics.values.size(); ++i)
    text += (i == 0 ? " | " : " ") + fmt::format(fmt::runtime(diagnostics.declared[i].shown), diagnostics.values[i]);
  return text;
}

/// Whether a person watches. Open MPI gives its ranks a pseudo-terminal whatever its own output is: then its output
/// counts.
bool on_terminal() {
  if (isatty(STDOUT_FILENO) != 1) return false;
  if (!std::getenv("OMPI_COMM_WORLD_RANK")) return true;
  const int launcher = open(fmt::format("/proc/{}/fd/1", getppid()).c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK);
  const bool terminal = launcher >= 0 && isatty(launcher) == 1;
  if (launcher >= 0) close(launcher);
  return terminal;
}

[[noreturn]] void cannot_write(const std::string& path, int reason) {
  throw Error(ExitCode::Io, fmt::format("{} cannot be written: {}", path, std::strerror(reason)),
              "Free some space, or set log.jsonl = false.");
}

/// A new file; close() throws what went wrong.
class Lines {
 public:
  explicit Lines(std::string path) : path_(std::move(path)), file_(path_, std::ios::trunc) {}
  void add(const std::string& line) {
    file_ << line << '\n';
    keep_reason();
    any_ = true;
  }
  bool any() const { return any_; }
  const std::string& path() const { return path_; }
  void close() {
    file_.close();
    keep_reason();
    if (!file_) cannot_write(path_, reason_);
  }

 private:
  void keep_reason() {
    if (!file_ && reason_ == 0) reason_ = errno;
  }
  std::string path_;
  std::ofstream file_;
  bool any_ = false;
  int reason_ = 0;  ///< errno of the first failure
};

void rename_log(const std::string& from, const std::string& to) {
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (error)
    throw Error(ExitCode::Io, fmt::format("cannot rename {} to {}: {}", from, to, error.message()),
                "Move it away, choose another run.dir, or set log.jsonl = false.");
}

/// The first of metrics.1.jsonl, metrics.2.jsonl, ... that is free.
std::string free_name(const std::string& path) {
  const std::filesystem::path log(path);
  std::error_code unknown;
  for (int number = 1;; ++number) {
    const auto name = log.parent_path() / fmt::format("{}.{}{}", log.stem().string(), number, log.extension().string());
    if (!std::filesystem::exists(std::filesystem::symlink_status(name, unknown))) return name.string();
  }
}

/// Leaves what a run that goes on from `first_step` has logged before: without records of later steps, which it logs
/// again, and without a line torn by a crash. Those records go to a file of their own, and so does the whole log where
/// the run begins anew. Returns that file's path; empty: there was nothing to set aside.
std::string cut_log(const std::string& path, int64_t first_step) {
  std::error_code unknown;
  if (std::filesystem::exists(path, unknown) && !std::filesystem::is_regular_file(path, unknown))
    throw Error(ExitCode::Io, fmt::format("{} cannot be replaced: it is no regular file", path),
                "Move it away, choose another run.dir, or set log.jsonl = false.");
  std::ifstream old(path);
  if (!old || old.peek() == std::ifstream::traits_type::eof()) return {};
  std::string aside = free_name(path);
  if (first_step == 0) {
    rename_log(path, aside);
    return aside;
  }
  Lines kept(path + ".tmp"), later(aside + ".tmp");
  for (std::string line; std::getline(old, line);) {
    const Json parsed = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) continue;
    const auto step = parsed.find("step");
    const bool behind = step != parsed.end() && (!step->is_number_integer() || step->get<int64_t>() > first_step);
    (behind ? later : kept).add(line);
  }
  kept.close();
  later.close();
  // What is set aside first: no moment lacks a record.
  if (later.any())
    rename_log(later.path(), aside);
  else
    std::filesystem::remove(later.path(), unknown);
  rename_log(kept.path(), path);
  return later.any() ? aside : std::string();
}

}  // namespace

RunLog::RunLog(const Options& options) : options_(options) {
  if (!options_.speaks) return;
  terminal_ = on_terminal();
}

void RunLog::start(StartFacts facts) {
  facts_ = std::move(facts);
  if (!options_.speaks) return;
  for (const auto& [key, value] : facts_.lines) print(fmt::format("{:<10} {}", key, value));
}

void RunLog::open(int64_t first_step) {
  if (!options_.speaks || options_.jsonl.empty()) return;
  set_aside_ = cut_log(options_.jsonl, first_step);
  file_ = Handle<DescriptorTraits>(::open(options_.jsonl.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
  if (!file_) {
    const int reason = errno;
    throw Error(ExitCode::Io, fmt::format("{} cannot be opened: {}", options_.jsonl, std::strerror(reason)),
                "Choose another run.dir, or set log.jsonl = false.");
  }
  Json json = record("run_start");
  for (const auto& [key, value] : facts_.lines) json[key] = value;
  json["hosts"] = Json::array();
  for (const auto& [name, ranks] : facts_.hosts) json["hosts"].push_back({{"name", name}, {"ranks", ranks}});
  json["step"] = first_step;
  write(json.dump());
  for (const auto& early : std::exchange(early_, {})) write(early);
}

void RunLog::clear_bar() {
  if (bar_) out_.write("\r\033[K");
  bar_ = false;
}

void RunLog::show(Terminal& to, const std::string& text) {
  const bool known = to.lost();
  if (to.write(text) || known) return;
  warning(fmt::format("standard {} is lost ({}): training goes on without it{}", &to == &out_ ? "output" : "error",
                      to.reason(), options_.jsonl.empty() ? "" : "; its lines are in " + options_.jsonl));
}

void RunLog::print(const std::string& line) {
  clear_bar();
  show(out_, line + "\n");
}

void RunLog::write(const std::string& json) {
  if (!file_) {
    if (!options_.jsonl.empty()) early_.push_back(json);
    return;
  }
  const bool after_a_loss = lost_lines_;
  // A line that was cut off ends where the next one begins: readers pass over it.
  const std::string line = (after_a_loss ? "\n" : "") + json + "\n";
  const ssize_t written = ::write(file_.get(), line.data(), line.size());
  const int reason = written < 0 ? errno : ENOSPC;  // half a line: the disk is full
  lost_lines_ = written != std::ssize(line);
  if (!lost_lines_ || after_a_loss) return;
  clear_bar();
  show(err_, fmt::format("memring: warning: {} cannot be written: {}. Free some space; training goes on, and its lines "
                         "are missing until then.\n",
                         options_.jsonl, std::strerror(reason)));
}

void RunLog::resumed(int64_t step, const std::string& path, const std::vector<std::string>& differences) {
  if (!options_.speaks) return;
  print(fmt::format("resume     from step {} ({})", step, path));
  for (const auto& difference : differences) print(fmt::format("           {}", difference));
  Json json = record("resume");
  json["step"] = step;
  json["path"] = path;
  json["differences"] = differences;
  write(json.dump());
}

void RunLog::step(const StepRecord& r) {
  if (!options_.speaks) return;
  step_start_ = Clock::now();
  line_tokens_ += r.step_tokens;
  line_seconds_ += r.step_seconds;
  ++line_steps_;

  Json json = record("step");
  json["step"] = r.step;
  json["loss"] = number(r.loss);
  if (r.text_loss) json["text_loss"] = number(*r.text_loss);
  if (r.divergence) json["divergence"] = number(*r.divergence);
  json["lr"] = r.lr;
  json["norm"] = number(r.norm);
  json["tokens"] = r.tokens;
  json["step_seconds"] = r.step_seconds;
  json["tokens_per_s"] = r.step_seconds > 0 ? static_cast<double>(r.step_tokens) / r.step_seconds : 0;
  json["memory_mib"] = static_cast<double>(r.memory_bytes) / (1 << 20);
  json["segments"] = r.segments;
  json["skipped"] = r.skipped;
  for (size_t i = 0; r.diagnostics.measured() && i < r.diagnostics.values.size(); ++i)
    json[std::string(r.diagnostics.declared[i].name)] = number(r.diagnostics.values[i]);
  write(json.dump());

  const bool last = r.step == r.steps || (r.tokens_wanted > 0 && r.tokens >= r.tokens_wanted);
  if (r.step % options_.every != 0 && !last) return;
  const double per_second = line_seconds_ > 0 ? static_cast<double>(line_tokens_) / line_seconds_ : 0;
  print(fmt::format("step {}{} | loss {:.4f}{} | lr {:.2e} | norm {:.2f}{} | {} tok/s | {:.0f} MiB{}{}", r.step,
                    done(r), r.loss, mixed_from(r), r.lr, std::fabs(r.norm), shown(r.diagnostics), rate(per_second),
                    static_cast<double>(r.memory_bytes) / (1 << 20),
                    r.skipped > 0 ? fmt::format(" | skipped {}", r.skipped) : "", left(r)));
  line_seconds_ = 0;
  line_steps_ = 0;
  line_tokens_ = 0;
}

std::string RunLog::left(const StepRecord& r) const {
  if (r.steps == 0 && r.tokens_wanted == 0) return "";
  double seconds = std::numeric_limits<double>::infinity();
  if (r.steps > 0) seconds = static_cast<double>(r.steps - r.step) * line_seconds_ / static_cast<double>(line_steps_);
  if (r.tokens_wanted > 0 && line_tokens_ > 0)
    seconds = std::min(seconds, static_cast<double>(std::max<int64_t>(r.tokens_wanted - r.tokens, 0)) * line_seconds_ /
                                    static_cast<double>(line_tokens_));
  return std::isfinite(seconds) ? fmt::format(" | left {}", duration(seconds)) : "";
}

void RunLog::stage(int64_t step, const StageRecord& stage, const SequenceShape& shape, double loss) {
  if (!options_.speaks) return;
  if (stage.learned)
    print(fmt::format("stage      {} of {}, the last, is learned after step {} (loss {:.4f})", stage.stage,
                      stage.stages, step, loss));
  else
    print(fmt::format("stage      {} of {} after step {}: {} segments of {} tokens (loss {:.4f} before)", stage.stage,
                      stage.stages, step, shape.segments(), shape.text_of(0), loss));
  Json json = record(stage.learned ? "learned" : "stage");
  json["step"] = step;
  json["stage"] = stage.stage;
  json["segments"] = shape.segments();
  json["segment_tokens"] = shape.text_of(0);
  json["loss_before"] = number(loss);
  write(json.dump());
}

void RunLog::skipped(int64_t step, double norm, int64_t in_row) {
  if (!options_.speaks) return;
  print(fmt::format("skip       step {}: the gradient's norm is {} ({} in a row)", step, std::fabs(norm), in_row));
  Json json = record("skip");
  json["step"] = step;
  json["in_row"] = in_row;
  write(json.dump());
}

void RunLog::saved(int64_t step, const std::string& path, double held_seconds) {
  if (!options_.speaks) return;
  print(fmt::format("save       step {} to {} (training held up {:.3f} s)", step, path, held_seconds));
  Json json = record("save");
  json["step"] = step;
  json["path"] = path;
  json["held_seconds"] = held_seconds;
  write(json.dump());
}

void RunLog::note(const std::string& text) {
  if (options_.speaks) print(text);
}

void RunLog::warning(const std::string& text) {
  if (!options_.speaks) return;
  clear_bar();
  show(err_, fmt::format("memring: warning: {}\n", text));
  Json json = record("warning");
  json["text"] = text;
  write(json.dump());
}

void RunLog::end(const std::string& reason, int64_t step, int64_t tokens, double seconds, int exit_code,
                 const StageRecord& stage) {
  if (!options_.speaks) return;
  print(fmt::format("end        {}: step {}, {} tokens, {}", reason, step, tokens, duration(seconds)));
  Json json = record("run_end");
  json["reason"] = reason;
  json["step"] = step;
  json["tokens"] = tokens;
  json["seconds"] = seconds;
  json["exit_code"] = exit_code;
  json["stage"] = stage.stage;
  json["stages"] = stage.stages;
  json["learned"] = stage.learned;
  write(json.dump());
}

void RunLog::progress(int64_t step, int64_t done, int64_t total) {
  if (!options_.speaks || !terminal_) return;
  const auto now = Clock::now();
  constexpr auto kQuiet = std::chrono::seconds(2);  // shorter steps need no bar
  if (now - step_start_ < kQuiet || now - last_bar_ < std::chrono::milliseconds(200)) return;
  last_bar_ = now;
  constexpr int64_t kWidth = 30;
  const auto filled = static_cast<size_t>(kWidth * done / std::max<int64_t>(total, 1));
  show(out_, fmt::format("\r  step {} [{}{}] {}/{} cells", step, std::string(filled, '='),
                         std::string(kWidth - filled, ' '), done, total));
  bar_ = true;
}

}  // namespace memring
