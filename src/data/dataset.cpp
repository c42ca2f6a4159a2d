// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.h"

#include "config/shapes.h"
#include "data/document_samples.h"
#include "data/loader.h"
#include "data/positioned_data.h"
#include "data/repeated_text.h"
#include "data/task_data.h"

namespace memring {
namespace {

Loader open_loader(const Config& config) {
  const bool repeats = config.objective.kind == ObjectiveKind::Reconstruct;
  return Loader(TokenFile(config.data.path), {.batch = config.data.batch,
                                              .length = repeats ? config.data.length / 2 : config.data.length,
                                              .vocab = config.model.vocab,
                                              .seed = config.run.seed});
}

}  // namespace

std::unique_ptr<Dataset> open_dataset(const Config& config) {
  if (config.data.kind != DataKind::Tokens) return std::make_unique<TaskData>(open_task(config));
  auto text = std::make_unique<Loader>(open_loader(config));
  if (config.objective.kind != ObjectiveKind::Reconstruct) return text;
  return std::make_unique<RepeatedText>(std::move(text));
}

std::unique_ptr<Dataset> open_training_dataset(const Config& config) {
  if (config.positions.kind == PositionsKind::Plain) return open_dataset(config);
  const Positions positions(config);
  std::unique_ptr<Dataset> text;
  if (samples_of_documents(config))
    text = std::make_unique<DocumentSamples>(open_loader(config), positions, config.positions.document);
  else
    text = open_dataset(config);
  return std::make_unique<PositionedData>(std::move(text), positions);
}

}  // namespace memring
