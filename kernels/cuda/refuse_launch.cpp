// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/refuse_launch.h"

#include <string_view>

#include "base/error.h"

namespace memring {

void refuse_launch(const char* file, int line, const Grid& grid, const char* why) {
  const std::string_view path = file;
  const size_t kernels = path.rfind("kernels/");
  throw Error(ExitCode::Internal,
              fmt::format("{}:{}: a kernel of {} x {} blocks of {} threads with {} bytes each did not start: {}",
                          path.substr(kernels == std::string_view::npos ? 0 : kernels), line, grid.x, grid.y,
                          grid.threads, grid.bytes, why),
              "It may also be an earlier kernel that failed: compute-sanitizer names it.");
}

}  // namespace memring
