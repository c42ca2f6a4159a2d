// SPDX-License-Identifier: Apache-2.0
#include "eval/verify_samplers.h"

#include <algorithm>
#include <cmath>

#include "config/number_list.h"
#include "data/position_samplers.h"
#include "eval/peer_entry.h"

namespace memring {
namespace {

constexpr const char* kRemedy = "The file is damaged or was made by another program; make it again.";
constexpr int64_t kMostIds = int64_t{1} << 31;
constexpr int64_t kMostWindow = int64_t{1} << 24;

using Ids = std::vector<int64_t>;

/// What a sampler gives beside what the file expects, of one quantity.
struct Column {
  std::string name;
  std::vector<double> found{}, expected{};

  void add(int64_t here, int64_t there) {
    found.push_back(static_cast<double>(here));
    expected.push_back(static_cast<double>(there));
  }
  void add(std::span<const int32_t> ids, std::span<const int64_t> row) {
    for (size_t i = 0; i < row.size(); ++i) add(ids[i], row[i]);
  }
  /// The ids of these runs, and then -1 up to the row's length.
  void add(const IdRuns& runs, std::span<const int64_t> row) {
    std::vector<int32_t> ids(row.size(), -1);
    write_ids(runs, ids);
    add(ids, row);
  }
};

std::span<const int64_t> row_of(const Ids& table, int64_t row, int64_t width) {
  return std::span(table).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
}

/// One group of the file, and where its comparisons go.
class Entry : public PeerEntry {
 public:
  Entry(const Hdf5File& file, std::string name, Verification& result)
      : PeerEntry(file, std::move(name), kRemedy), result_(result) {}

  Ids ids(const std::string& dataset, const Shape& expected) const { return read<int64_t>(dataset, expected); }

  /// Integers: the same.
  void compare(const Column& column) const {
    result_.comparisons.push_back({name() + ' ' + column.name, relative_error(column.found, column.expected), 0});
  }
  /// A share of what chance allows.
  void compare_chance(const std::string& what, double share) const {
    result_.comparisons.push_back({name() + ' ' + what, share, 1, "share of chance's limit"});
  }

 private:
  Verification& result_;
};

// --- CREAM

/// Of r as released: what lies outside the grid belongs to its ends.
double probability(const Cream& cream, int64_t r) {
  const double below = r == 2 ? 0 : cream.cdf(static_cast<double>(r));
  return (r == 2 * cream.factor ? 1 : cream.cdf(static_cast<double>(r) + 1)) - below;
}

int64_t ends_of(const Cream& cream, int64_t mode) {
  return mode == 0 ? cream.relativity_ends() : cream.continuity_ends();
}

/// The origin's own draws: how often each r came, where the middle may end, and where it ended on average.
void verify_histogram(const Entry& entry, const Cream& cream, int64_t mode) {
  const std::string prefix = fmt::format("histogram/mode{}_", mode);
  if (!entry.has(prefix + "r")) return;
  const int64_t bins = entry.length(prefix + "r");
  const Ids steps = entry.ids(prefix + "r", {bins}), count = entry.ids(prefix + "count", {bins}),
            interval = entry.ids(prefix + "end_low_high", {bins, 2});
  const auto mean = entry.read<double>(prefix + "end_mean", {bins});
  constexpr double kNormal = 4.9;  // standard deviations that chance exceeds once in a million
  double draws = 0, chi_square = 0, not_drawn = 1, worst_mean = 0;
  for (const int64_t c : count) draws += static_cast<double>(c);
  Column intervals{prefix + "end_low_high"};
  for (size_t i = 0; i < steps.size(); ++i) {
    const int64_t r = entry.within(prefix + "r", steps[i], 2, 2 * cream.factor);
    const auto drawn = static_cast<double>(entry.within(prefix + "count", count[i], 1, kMostIds));
    const double share = probability(cream, r), expected = draws * share;
    not_drawn -= share;
    chi_square += (drawn - expected) * (drawn - expected) / expected;
    const auto [low, high] = cream.middle_ends(ends_of(cream, mode), r);
    intervals.add(low, interval[2 * i]);
    intervals.add(high, interval[2 * i + 1]);
    const auto width = static_cast<double>(high - low + 1);
    entry.expect(std::isfinite(mean[i]), fmt::format("{}end_mean has {}", prefix, mean[i]));
    const double off = std::abs(mean[i] - static_cast<double>(low + high) / 2),
                 allowed = kNormal * std::sqrt((width * width - 1) / 12 / drawn);
    worst_mean = std::max(worst_mean, off == 0 ? 0 : off / allowed);
  }
  chi_square += draws * std::max(not_drawn, 0.0);
  // The limit by Wilson and Hilferty: the cube root of chi-square over its freedom is nearly normal.
  const double freedom = std::max(static_cast<double>(bins) - 1, 1.0), spread = 2 / (9 * freedom),
               limit = freedom * std::pow(1 - spread + kNormal * std::sqrt(spread), 3);
  entry.compare(intervals);
  entry.compare_chance(prefix + "count", chi_square / limit);
  entry.compare_chance(prefix + "end_mean", worst_mean);
}

void verify_cream(const Entry& entry) {
  Cream cream{.window = entry.integer("window", 3, kMostWindow), .factor = entry.integer("factor", 1, kMostIds)};
  entry.within("factor", cream.factor, 1, kMostIds / cream.window);
  cream.sigma = entry.positive("sigma");
  const int64_t n = cream.window, rows = entry.length("u");
  const auto column = [&](const char* name) { return entry.ids(name, {rows}); };
  const Ids mode = column("mode"), steps = column("r"), low = column("low"), high = column("high"), end = column("end"),
            head = column("head"), tail = column("tail"), document = column("document");
  const auto u = entry.read<double>("u", {rows});
  const Ids positions = entry.ids("positions", {rows, n}), tokens = entry.ids("tokens", {rows, n});
  Column step{"r"}, interval{"low, high"}, ends{"head, tail"}, ids{"positions"}, taken{"tokens"};
  for (int64_t row = 0; row < rows; ++row) {
    const auto i = static_cast<size_t>(row);
    const int64_t each = ends_of(cream, entry.within("mode", mode[i], 0, 1));
    entry.expect(2 * each < n, fmt::format("a window of {} has no room for a head and a tail of {}", n, each));
    entry.within("document", document[i], n + 1, kMostIds);
    entry.within("end", end[i], n - each - 1, cream.target() - each - 1);
    entry.expect(u[i] >= 0 && u[i] < 1, fmt::format("u is {}; a number in [0, 1) was expected", u[i]));
    const int64_t r = cream.half_steps(u[i]);
    const auto [from, to] = cream.middle_ends(each, r);
    step.add(r, steps[i]);
    interval.add(from, low[i]);
    interval.add(to, high[i]);
    ends.add(each, head[i]);
    ends.add(each, tail[i]);
    ids.add(cream.positions(each, end[i]), row_of(positions, row, n));
    // Between the two the origin takes tokens twice.
    if (end[i] < document[i] - each || end[i] >= document[i])
      taken.add(cream.tokens(each, end[i], document[i]), row_of(tokens, row, n));
  }
  for (const Column* checked : {&step, &interval, &ends, &ids, &taken}) entry.compare(*checked);
  for (const int64_t kind : {0, 1}) verify_histogram(entry, cream, kind);
}

// --- PoSE, RandPos, LongRecipe

void verify_pose(const Entry& entry) {
  const int64_t window = entry.integer("window", 1, kMostWindow), target = entry.integer("target", window, kMostIds),
                cap = entry.integer("document_cap", 1, kMostIds), rows = entry.length("n");
  const auto column = [&](const char* name) { return entry.ids(name, {rows}); };
  const Ids document = column("document"), available = column("available"), count = column("n"),
            first = column("first"), second_end = column("second_end"), skip = column("skip");
  const Ids positions = entry.ids("positions", {rows, window}), tokens = entry.ids("tokens", {rows, window});
  Column sizes{"available, n"}, ids{"positions"}, taken{"tokens"};
  for (int64_t row = 0; row < rows; ++row) {
    const auto i = static_cast<size_t>(row);
    const int64_t length = entry.within("document", document[i], 1, kMostIds), there = std::min(length, cap),
                  n = std::min(window, there);
    sizes.add(there, available[i]);
    sizes.add(n, count[i]);
    entry.within("first", first[i], 1, (n + 1) / 2);
    entry.within("second_end", second_end[i], n, there);
    entry.within("skip", skip[i], 0, target - n);
    ids.add(pose_positions(n, first[i], skip[i]), row_of(positions, row, window));
    taken.add(pose_tokens(n, first[i], second_end[i]), row_of(tokens, row, window));
  }
  for (const Column* checked : {&sizes, &ids, &taken}) entry.compare(*checked);
}

/// One draw of a window, or several in rows.
void verify_randpos(const Entry& entry) {
  const int64_t window = entry.integer("window", 1, kMostWindow), target = entry.integer("target", window, kMostIds);
  const Shape shape = entry.shape("draw");
  entry.expect(shape.rank() >= 1 && shape[shape.rank() - 1] == window,
               fmt::format("its draw is {}; rows of {} were expected", shape.text(), window));
  const Ids draw = entry.ids("draw", shape), positions = entry.ids("positions", shape);
  Column ids{"positions"};
  for (int64_t row = 0; row < std::ssize(draw) / window; ++row) {
    std::vector<int32_t> drawn;
    for (const int64_t id : row_of(draw, row, window))
      drawn.push_back(static_cast<int32_t>(entry.within("draw", id, 0, target - 1)));
    randpos_positions(drawn);
    ids.add(drawn, row_of(positions, row, window));
  }
  entry.compare(ids);
}

/// A text of group `entry`, whose parent has what is common to several.
void verify_longrecipe(const Entry& common, const Entry& entry) {
  const int64_t base = common.integer("base", 1, kMostWindow), target = common.integer("target", base, kMostIds);
  const std::optional<std::vector<int32_t>> split = parse_token_ids(common.text("split_tokens"));
  common.expect(split.has_value(),
                fmt::format("split_tokens are \"{}\"; token ids were expected", common.text("split_tokens")));
  std::vector<int32_t> tokens;
  for (const int64_t id : entry.ids("tokens", {base}))
    tokens.push_back(static_cast<int32_t>(entry.within("tokens", id, 0, kMostIds - 1)));
  const std::vector<int64_t> sentences = sentence_lengths(tokens, *split);
  const auto count = std::ssize(sentences);
  const Ids expected_sentences = entry.ids("sentence_lengths", {entry.length("sentence_lengths")}),
            slots = entry.ids("slots", {entry.length("slots")}), spread = entry.ids("spread", {base}),
            positions = entry.ids("positions", {base});
  const bool alike = std::ssize(expected_sentences) == count && std::ssize(slots) == count;
  Column lengths{"sentence_lengths"}, own{"spread of its slots"}, ids{"positions"};
  lengths.add(count, std::ssize(expected_sentences));
  if (alike) {
    for (size_t s = 0; s < sentences.size(); ++s) {
      lengths.add(sentences[s], expected_sentences[s]);
      entry.within("slots", slots[s], s == 0 ? 0 : slots[s - 1] + 1, target - base + count - 1);
    }
    std::vector<int32_t> ours(static_cast<size_t>(base));
    longrecipe_spread(sentences, slots, ours);
    own.add(ours, spread);
  }
  std::vector<int32_t> drawn;
  for (const int64_t id : spread) drawn.push_back(static_cast<int32_t>(entry.within("spread", id, 0, target - 1)));
  longrecipe_positions(entry.integer("first", 0, base), drawn);
  ids.add(drawn, positions);
  for (const Column* checked : {&lengths, &own, &ids}) entry.compare(*checked);
}

}  // namespace

Verification verify_samplers(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, "file of samplers", kRemedy);
  Verification result;
  for (const std::string& method : file.groups())
    for (const std::string& name : file.groups(method)) {
      const size_t before = result.comparisons.size();
      const Entry entry(file, name, result);
      if (method == "cream") verify_cream(entry);
      if (method == "pose") verify_pose(entry);
      if (method == "randpos") verify_randpos(entry);
      if (method == "longrecipe")
        for (const std::string& text : file.groups(name)) verify_longrecipe(entry, {file, text, result});
      entry.expect(result.comparisons.size() > before,
                   fmt::format("/{} is no entry of cream, pose or randpos, nor a text of longrecipe", name));
    }
  if (result.comparisons.empty())
    throw Error(ExitCode::Data, fmt::format("{} holds no entry of cream, pose, randpos or longrecipe", path), kRemedy);
  result.setting = "position ids, integer for integer";
  return result;
}

}  // namespace memring
