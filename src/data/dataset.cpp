// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.h"

#include "data/loader.h"
#include "data/task_data.h"

namespace memring {

std::unique_ptr<Dataset> open_dataset(const Config& config) {
  if (config.data.kind != DataKind::Tokens) return std::make_unique<TaskData>(open_task(config));
  return std::make_unique<Loader>(TokenFile(config.data.path), Loader::Options{.batch = config.data.batch,
                                                                               .length = config.data.length,
                                                                               .vocab = config.model.vocab,
                                                                               .seed = config.run.seed});
}

}  // namespace memring
