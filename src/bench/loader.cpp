// memring bench loader: how fast batches are read from a token file, beside plain reads of the same bytes.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/random.h"
#include "bench/bench.h"
#include "bench/workplace.h"
#include "bench/yardstick.h"
#include "data/dataset.h"
#include "data/token_file.h"
#include "engine/engine.h"
#include "io/file.h"

namespace memring {
namespace {

constexpr int64_t kBatches = 8192;  // in the file

void write_random_tokens(const std::string& path, int64_t tokens, int64_t vocab) {
  TokenFileWriter writer(path, "bytes", vocab);
  writer.begin_document();
  std::vector<int32_t> piece(1 << 16);
  const Random random(1, Purpose::Test);
  for (size_t i = 0; i < piece.size(); ++i)
    piece[i] = static_cast<int32_t>(random.below(static_cast<uint32_t>(i), static_cast<uint64_t>(vocab)));
  for (int64_t done = 0; done < tokens; done += std::ssize(piece)) writer.append(piece);
  writer.finish();
}

/// Every sequence of one pass over the file, in training order. Returns the tokens read.
double read_batches(const Dataset& dataset, const SequenceShape& shape, int64_t batch) {
  std::vector<int32_t> tokens(static_cast<size_t>(shape.length)), targets(tokens.size());
  const int64_t steps = dataset.sequences() / batch;
  for (int64_t step = 0; step < steps; ++step) {
    const auto source = dataset.at(step, shape);
    for (int64_t b = 0; b < batch; ++b) source->read(b, 0, tokens, targets);
  }
  return static_cast<double>(steps * batch * shape.length);
}

void read_plainly(const std::string& path) {
  const File file = File::open_read(path);
  std::vector<std::byte> piece(size_t{1} << 20);
  for (int64_t done = 0; done + std::ssize(piece) <= file.size(); done += std::ssize(piece)) file.read_at(done, piece);
}

}  // namespace

BenchResult bench_loader(const Config& config, const BenchOptions& options, Session& session) {
  std::optional<Workplace> workplace;
  const int64_t tokens = kBatches * config.data.batch * config.data.length;
  const std::string path = config.run.dir + "/memring-bench/tokens.h5";
  if (session.rank() == 0) {
    workplace.emplace(config.run.dir);
    write_random_tokens(path, tokens, std::min(config.model.vocab, 256));
  }
  session.world().barrier();
  Config reading = config;
  reading.data.path = path;
  const SequenceShape shape = sequence_shape(config);
  std::vector<double> first, later, plain;
  for (int64_t pair = 0; pair < options.pairs; ++pair) {
    double read = 0;
    const auto dataset = open_dataset(reading);
    const auto pass = [&] { read = read_batches(*dataset, shape, config.data.batch); };
    const double checking = seconds_of(session.world(), pass), again = seconds_of(session.world(), pass);
    first.push_back(read / checking / 1e6);
    later.push_back(read / again / 1e6);
    plain.push_back(static_cast<double>(tokens) / seconds_of(session.world(), [&] { read_plainly(path); }) / 1e6);
  }
  std::error_code unknown;
  BenchResult result;
  result.setting = {{"file", fmt::format("{} tokens of one byte in {}, in memory after the first pass", tokens,
                                         std::filesystem::absolute(config.run.dir, unknown).string())},
                    {"batches", fmt::format("{} sequences of {} tokens", config.data.batch, config.data.length)},
                    {"pairs", fmt::format("{}", options.pairs)}};
  result.figures = {{"first pass, digests checked", "M tokens/s", spread_of(first)},
                    {"later passes", "M tokens/s", spread_of(later)},
                    {"plain read", "MB/s", spread_of(plain)}};
  session.world().barrier();
  return result;
}

}  // namespace memring
