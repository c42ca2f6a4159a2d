// Fibers are held to the hardware: the words that kernels are written with give the same bits on both. Where there is
// no GPU, fibers are run alone.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/device/words.h"

namespace memring {
namespace {

void expect_same_in_any_order(const std::vector<DeviceWord>& words) {
  for (const DeviceWord& word : words) {
    SCOPED_TRACE(word.name);
    on_fibers::set_seed(1);
    const std::vector<uint32_t> found = word.found();
    EXPECT_FALSE(found.empty());
    on_fibers::set_seed(2);
    EXPECT_EQ(word.found(), found);
  }
}

TEST(DeviceWords, GiveTheSameBitsOnFibersInAnyOrderOfThreads) {
  expect_same_in_any_order(on_fibers::words());
  expect_same_in_any_order(on_fibers::hopper_words());
}

void expect_the_same(const std::vector<DeviceWord>& on_gpu, const std::vector<DeviceWord>& on_fibers) {
  ASSERT_EQ(on_gpu.size(), on_fibers.size());
  for (size_t i = 0; i < on_gpu.size(); ++i) {
    SCOPED_TRACE(on_gpu[i].name);
    const std::vector<uint32_t> there = on_gpu[i].found(), here = on_fibers[i].found();
    ASSERT_EQ(there.size(), here.size());
    size_t different = 0;
    for (size_t at = 0; at < there.size(); ++at)
      if (there[at] != here[at] && ++different <= 8)
        ADD_FAILURE() << "word " << at << ": " << std::hex << there[at] << " on the GPU, " << here[at] << " on fibers";
    EXPECT_EQ(different, 0) << "of " << there.size();
  }
}

TEST(DeviceWords, AreOnTheGpuWhatTheyAreOnFibers) {
  const on_gpu::Gpu gpu = on_gpu::gpu();
  if (!gpu.usable) GTEST_SKIP() << gpu.name;
  expect_the_same(on_gpu::words(), on_fibers::words());
}

TEST(DeviceWords, OfHopperAreOnTheGpuWhatTheyAreOnFibers) {
  const on_gpu::Gpu gpu = on_gpu::gpu();
  if (!gpu.hopper) GTEST_SKIP() << gpu.name << (gpu.usable ? " is not of compute capability 9.0" : "");
  expect_the_same(on_gpu::hopper_words(), on_fibers::hopper_words());
}

}  // namespace
}  // namespace memring
