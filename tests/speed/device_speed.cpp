// What single operators take on a device, asked for line by line, so that another program can be asked in turns
// (launch/gpu_check.sh; tests/speed/pytorch_speed.py answers the same questions).
//   copy BYTES · product N · forward HEADS HEAD_DIM ROWS · backward HEADS HEAD_DIM ROWS
// product: N x N x N, bf16. forward, backward: attention of one sequence, bf16, causal. The answer is a line: seconds
// and by whom, or "none" and why not.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <iostream>
#include <sstream>

#include "base/error.h"
#include "base/random.h"
#include "base/readback.h"
#include "kernels/attention/attention.h"
#include "kernels/common/workspace.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/linear/linear.h"

namespace memring {
namespace {

constexpr int64_t kAlignment = 256;     // an arena's
constexpr double kLeastSeconds = 0.02;  // of one measurement, so that neither clock nor launches show

class DeviceSpeed {
 public:
  std::string answer(const std::string& question) {
    std::istringstream words(question);
    std::string what;
    int64_t size = 0, head_dim = 0, rows = 0;
    const bool sized = words >> what >> size && size > 0;
    if (sized && what == "copy") return copy(size);
    if (sized && what == "product") return product(size);
    if (sized && (what == "forward" || what == "backward") && words >> head_dim >> rows && head_dim > 0 && rows > 0)
      return attention(what == "backward", size, head_dim, rows);
    return fmt::format("none \"{}\" is no question with sizes of 1 or more", question);
  }

 private:
  std::string copy(int64_t bytes) {
    const Shape shape{bytes / bytes_of(DType::F32)};
    Arena memory = queue_.arena(2 * bytes + kAlignment);
    const View<> from = memory.take(DType::F32, shape), to = memory.take(DType::F32, shape);
    return seconds_of([&] { Elementwise::copy(queue_, to, from); });
  }

  std::string product(int64_t n) {
    Arena memory = queue_.arena(3 * (n * n * bytes_of(DType::BF16) + kAlignment));
    const View<> x = random(memory, {n, n}), w = random(memory, {n, n}), y = random(memory, {n, n});
    return seconds_of([&] { Linear::forward(queue_, y, Write::Overwrite, x, w); });
  }

  std::string attention(bool backward, int64_t heads, int64_t head_dim, int64_t rows) {
    const Shape shape{1, heads, rows, head_dim};
    Arena memory =
        queue_.arena(8 * (shape.elements() * bytes_of(DType::BF16) + kAlignment) + heads * rows * bytes_of(DType::F32));
    const View<> q = random(memory, shape), d_o = random(memory, shape), o = random(memory, shape),
                 dq = random(memory, shape), lse = memory.take(DType::F32, {1, heads, rows});
    std::vector<Row> causal(static_cast<size_t>(rows));
    for (int32_t i = 0; i < rows; ++i) causal[static_cast<size_t>(i)] = {.position = i, .order = i, .from = 0, .to = i};
    RowStore store;
    const RowTable table = store.add(queue_, causal);
    const KeySpan span{.k = random(memory, shape),
                       .v = random(memory, shape),
                       .dk = random(memory, shape),
                       .dv = random(memory, shape),
                       .rows = table};
    const Arena workspace = queue_.arena(kWorkspaceBytes + LocalAttention::workspace_bytes(DType::BF16, heads * rows));
    queue_.set_workspace(workspace.rest());
    LocalAttention local;
    const std::span spans(&span, 1);
    local.forward(queue_, o, lse, q, table, spans);
    return seconds_of([&] {
      if (backward)
        local.backward(queue_, dq, d_o, o, lse, q, table, spans);
      else
        local.forward(queue_, o, lse, q, table, spans);
    });
  }

  /// Zeros would draw less power, and run faster, than what training multiplies.
  View<> random(Arena& memory, Shape shape) {
    constexpr int64_t kPiece = 1 << 18;
    if (!staged_) {
      staging_ = queue_.staging(kPiece * bytes_of(DType::BF16));
      staged_ = staging_.take<Bf16>({kPiece});
      const Random numbers(1, Purpose::Test);
      for (int64_t i = 0; i < kPiece; ++i)
        staged_.as<Bf16>()[i] = Bf16(static_cast<float>(2 * numbers.uniform(static_cast<uint32_t>(i)) - 1));
    }
    const View<> tensor = memory.take(DType::BF16, shape), flat = tensor.reshaped({shape.elements()});
    for (int64_t at = 0; at < flat.size(); at += kPiece) {
      const int64_t count = std::min(kPiece, flat.size() - at);
      copy_later(queue_, flat.rows(at, count), staged_.rows(0, count));
    }
    return tensor;
  }

  std::string seconds_of(const std::function<void()>& work) {
    const auto measure = [&](int64_t repeats) {
      queue_.finish(queue_.record());
      const auto start = std::chrono::steady_clock::now();
      for (int64_t i = 0; i < repeats; ++i) work();
      queue_.finish(queue_.record());
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
             static_cast<double>(repeats);
    };
    measure(1);
    const double first = measure(1);
    const int64_t repeats = std::llround(std::ceil(kLeastSeconds / first));
    return fmt::format("{:.6e} {}", repeats > 1 ? measure(repeats) : first, device_->facts().name);
  }

  std::unique_ptr<Device> device_ = open_device(0);
  Queue queue_{{.backend = Backend::Cuda, .device = device_.get(), .stream = device_->stream(Priority::Normal)}};
  Arena staging_;
  View<Bf16> staged_;
};

}  // namespace
}  // namespace memring

int main() {
  try {
    memring::DeviceSpeed speed;
    for (std::string question; std::getline(std::cin, question);) std::cout << speed.answer(question) << std::endl;
  } catch (const std::exception& error) {  // after an error a device answers nothing more
    std::cout << "none " << error.what() << std::endl;
    return 1;
  }
}
