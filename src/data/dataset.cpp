// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.h"

#include "config/shapes.h"
#include "data/loader.h"
#include "data/task_data.h"

namespace memring {

std::unique_ptr<Dataset> open_dataset(const Config& config) {
  if (config.data.kind != DataKind::Tokens) {
    auto task = std::make_unique<TaskData>(config.data, config.task, config.run.seed);
    auto shapes = stages_of(config);
    for (const SequenceShape& shape : eval_shapes(config)) shapes.push_back(shape);
    task->expect_room(config.model.vocab, shapes);
    return task;
  }
  return std::make_unique<Loader>(TokenFile(config.data.path), Loader::Options{.batch = config.data.batch,
                                                                               .length = config.data.length,
                                                                               .vocab = config.model.vocab,
                                                                               .seed = config.run.seed});
}

}  // namespace memring
