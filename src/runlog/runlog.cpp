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
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"

namespace memring {
namespace {

using Json = nlohmann::ordered_json;

std::string utc_now() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

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

/// Drops step records behind `first_step` and a torn last line: a resumed run logs those steps again.
void cut_log(const std::string& path, int64_t first_step) {
  std::ifstream old(path);
  if (!old) return;
  const std::string fresh = path + ".tmp";
  {
    std::ofstream kept(fresh, std::ios::trunc);
    for (std::string line; std::getline(old, line);) {
      const Json parsed = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      const Json* step = parsed.is_object() && parsed.contains("step") ? &parsed["step"] : nullptr;
      const bool later = step && (!step->is_number_integer() || step->get<int64_t>() > first_step);
      if (parsed.is_object() && !later) kept << line << '\n';
    }
    if (!kept.flush())
      throw Error(ExitCode::Io, fmt::format("{} cannot be written: {}", fresh, std::strerror(errno)),
                  "Free some space, or set log.jsonl = false.");
  }
  std::error_code error;
  std::filesystem::rename(fresh, path, error);
  if (!error) return;
  std::filesystem::remove(fresh, error);
  throw Error(ExitCode::Io, fmt::format("{} cannot be replaced: it is no regular file, or not ours", path),
              "Move it away, choose another run.dir, or set log.jsonl = false.");
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
  cut_log(options_.jsonl, first_step);
  file_ = Handle<DescriptorTraits>(::open(options_.jsonl.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
  if (!file_)
    throw Error(ExitCode::Io, fmt::format("{} cannot be opened: {}", options_.jsonl, std::strerror(errno)),
                "Choose another run.dir, or set log.jsonl = false.");
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
  lost_lines_ = written != std::ssize(line);
  if (!lost_lines_ || after_a_loss) return;
  const int reason = written < 0 ? errno : ENOSPC;  // half a line: the disk is full
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
  window_tokens_ += r.step_tokens;
  window_seconds_ += r.step_seconds;
  ++window_steps_;

  Json json = record("step");
  json["step"] = r.step;
  json["loss"] = number(r.loss);
  json["lr"] = r.lr;
  json["norm"] = number(r.norm);
  json["tokens"] = r.tokens;
  json["step_seconds"] = r.step_seconds;
  json["tokens_per_s"] = r.step_seconds > 0 ? static_cast<double>(r.step_tokens) / r.step_seconds : 0;
  json["memory_mib"] = static_cast<double>(r.memory_bytes) / (1 << 20);
  json["segments"] = r.segments;
  json["skipped"] = r.skipped;
  const bool associative = std::isfinite(r.smallest_key);
  if (associative) {
    json["smallest_key"] = r.smallest_key;
    json["smallest_denominator"] = number(r.smallest_denominator);
  }
  write(json.dump());

  const bool last = r.step == r.steps || (r.tokens_wanted > 0 && r.tokens >= r.tokens_wanted);
  if (r.step % options_.every != 0 && !last) return;
  const double per_second = window_seconds_ > 0 ? static_cast<double>(window_tokens_) / window_seconds_ : 0;
  print(fmt::format("step {}{} | loss {:.4f} | lr {:.2e} | norm {:.2f}{} | {} tok/s | {:.0f} MiB{}{}", r.step, done(r),
                    r.loss, r.lr, r.norm,
                    associative ? fmt::format(" | key {:.1g} den {:.1g}", r.smallest_key, r.smallest_denominator) : "",
                    rate(per_second), static_cast<double>(r.memory_bytes) / (1 << 20),
                    r.skipped > 0 ? fmt::format(" | skipped {}", r.skipped) : "", left(r)));
  window_seconds_ = 0;
  window_steps_ = 0;
  window_tokens_ = 0;
}

std::string RunLog::left(const StepRecord& r) const {
  if (r.steps == 0 && r.tokens_wanted == 0) return "";
  double seconds = std::numeric_limits<double>::infinity();
  if (r.steps > 0)
    seconds = static_cast<double>(r.steps - r.step) * window_seconds_ / static_cast<double>(window_steps_);
  if (r.tokens_wanted > 0 && window_tokens_ > 0)
    seconds = std::min(seconds, static_cast<double>(std::max<int64_t>(r.tokens_wanted - r.tokens, 0)) *
                                    window_seconds_ / static_cast<double>(window_tokens_));
  return std::isfinite(seconds) ? fmt::format(" | left {}", duration(seconds)) : "";
}

void RunLog::stage(int64_t step, int64_t stage, int64_t stages, const SequenceShape& shape, double loss) {
  if (!options_.speaks) return;
  print(fmt::format("stage      {} of {} after step {}: {} segments of {} tokens (loss {:.4f} before)", stage + 1,
                    stages, step, shape.segments(), shape.text_of(0), loss));
  Json json = record("stage");
  json["step"] = step;
  json["stage"] = stage + 1;
  json["segments"] = shape.segments();
  json["segment_tokens"] = shape.text_of(0);
  json["loss_before"] = number(loss);
  write(json.dump());
}

void RunLog::skipped(int64_t step, double norm, int64_t in_row) {
  if (!options_.speaks) return;
  print(fmt::format("skip       step {}: the gradient's norm is {} ({} in a row)", step, norm, in_row));
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

void RunLog::end(const std::string& reason, int64_t step, int64_t tokens, double seconds, int exit_code) {
  if (!options_.speaks) return;
  print(fmt::format("end        {}: step {}, {} tokens, {}", reason, step, tokens, duration(seconds)));
  Json json = record("run_end");
  json["reason"] = reason;
  json["step"] = step;
  json["tokens"] = tokens;
  json["seconds"] = seconds;
  json["exit_code"] = exit_code;
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
