// A GPU as a Device: its memory, streams, events and products where there is one, and what is said where there is none.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gpu/device.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/queue.h"
#include "tests/fuzz/fault_log.h"

namespace memring {
namespace {

TEST(GpuDevice, WithoutOneItIsRefusedInOneLine) {
  if (device_count() > 0) GTEST_SKIP() << "there is a GPU";
  try {
    open_device(0);
    FAIL() << "it was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Usage);
    const std::string text = error.what();
    EXPECT_EQ(text.rfind("no usable GPU: ", 0), 0u) << text;
    EXPECT_NE(text.find("; this build is of CUDA "), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    if (text.ends_with("the driver is absent")) {
      EXPECT_EQ(error.hint(),
                "Install NVIDIA's driver (a container takes that of its host), or set device.kind = cpu, or auto for "
                "the best that is there.");
    }
    if (!HasFailure())
      test::record_fault("H5", "device.kind = cuda where no usable GPU is", 1,
                         "refused with 2; the message has CUDA's own words and both versions");
  }
}

/// Runs on a GPU alone.
class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (device_count() == 0) GTEST_SKIP() << "there is no GPU";
    device_ = open_device(0);
    queue_ = Queue({.backend = Backend::Cuda, .device = device_.get()});
  }
  void finish() { queue_.finish(queue_.record()); }

  std::unique_ptr<Device> device_;
  Queue queue_;
};

TEST_F(OnGpu, CopiesAreDoneInOrderBehindTheEventsOfOtherStreams) {
  constexpr int64_t count = 1 << 20;
  Arena memory = queue_.arena(count * 8 + 512), staging = queue_.staging(count * 8 + 512);
  const View<float> a = memory.take<float>({count}), b = memory.take<float>({count}),
                    from = staging.take<float>({count}), to = staging.take<float>({count});
  std::iota(from.as<float>(), from.as<float>() + count, 0.0f);
  const Stream other = device_->stream(Priority::High);
  for (int round = 0; round < 100; ++round) {  // events are used again
    device_->copy(queue_.stream(), a, from);
    device_->wait(other, queue_.record());
    device_->copy(other, b, a);
    device_->wait(queue_.stream(), device_->record(other));
    device_->copy(queue_.stream(), to, b);
    device_->fill(queue_.stream(), a, 0xff);
  }
  finish();
  EXPECT_TRUE(std::equal(from.as<float>(), from.as<float>() + count, to.as<float>()));
  EXPECT_TRUE(device_->done(Event{}));
}

TEST_F(OnGpu, MemoryThatIsNotThereIsRefusedAndOthersIsTakenAfterwards) {
  EXPECT_THROW(device_->take(device_->facts().bytes * 2, Space::Device), Error);
  device_->give(device_->take(1 << 20, Space::Device), Space::Device);
  EXPECT_GT(device_->facts().free_bytes, 0);
  EXPECT_NE(device_->facts().name, "");
}

// Small integers, so that every sum is exact.
TEST_F(OnGpu, ProductsAreThoseOfPlainLoops) {
  constexpr int64_t m = 33, n = 65, k = 130;
  for (const bool turn_a : {false, true})
    for (const bool turn_b : {false, true})
      for (const DType dtype : {DType::BF16, DType::F32}) {
        SCOPED_TRACE(std::string(name_of(dtype)) + (turn_a ? " Aᵀ" : " A") + (turn_b ? " Bᵀ" : " B"));
        Arena memory = queue_.arena(1 << 20), staging = queue_.staging(1 << 20);
        const auto uploaded = [&](Shape shape, int64_t seed) {
          const View<> here = staging.take(dtype, shape), there = memory.take(dtype, shape);
          for (int64_t i = 0; i < shape.elements(); ++i) {
            const auto value = static_cast<float>((i * 7 + seed) % 9 - 4);
            if (dtype == DType::BF16)
              here.as<Bf16>()[i] = Bf16(value);
            else
              here.as<float>()[i] = value;
          }
          device_->copy(queue_.stream(), there, here);
          return std::pair(here, there);
        };
        const auto [a, on_a] = uploaded(turn_a ? Shape{k, m} : Shape{m, k}, 1);
        const auto [b, on_b] = uploaded(turn_b ? Shape{n, k} : Shape{k, n}, 2);
        const View<float> c = memory.take<float>({m, n}), found = staging.take<float>({m, n});
        matrix_product(queue_, c, Write::Overwrite, {on_a, turn_a}, {on_b, turn_b});
        matrix_product(queue_, c, Write::Accumulate, {on_a, turn_a}, {on_b, turn_b});
        device_->copy(queue_.stream(), found, c);
        finish();
        const auto number = [](ConstView<> x, int64_t i) {
          return x.dtype() == DType::BF16 ? x.as<Bf16>()[i].value() : x.as<float>()[i];
        };
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            float sum = 0;
            for (int64_t x = 0; x < k; ++x)
              sum += number(a, turn_a ? x * m + i : i * k + x) * number(b, turn_b ? j * k + x : x * n + j);
            ASSERT_EQ(found.as<float>()[i * n + j], 2 * sum) << i << ", " << j;
          }
      }
}

}  // namespace
}  // namespace memring
