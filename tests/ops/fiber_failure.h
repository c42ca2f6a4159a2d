// What a kernel on fibers ends with.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "kernels/cuda/fiber/block.h"

namespace memring {

/// The message of the error that the grid's threads end with, or "none".
inline std::string failure_of(const Grid& grid, const std::function<void()>& thread) {
  try {
    fiber::run(grid, 1, thread);
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

}  // namespace memring
