// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "checkpoint/files.h"
#include "checkpoint/run_lock.h"

namespace memring {

/// The folder that a benchmark writes in, below run.dir: locked against a second one, emptied before, removed behind.
class Workplace {
 public:
  explicit Workplace(const std::string& run) : path_(run + "/memring-bench"), lock_(path_) {
    remove_quietly(path_ + "/checkpoints");
  }
  ~Workplace() { remove_quietly(path_); }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

 private:
  std::string path_;
  RunLock lock_;
};

}  // namespace memring
