// The twin shows what it is for: a host that reads what a device has, a missing event, a buffer used again too early.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/readback.h"
#include "base/surroundings.h"
#include "kernels/cuda/twin/device.h"
#include "kernels/elementwise/elementwise.h"
#include "op_test.h"

namespace memring::test {
namespace {

constexpr int64_t kNumbers = 64;

/// A queue on a stream of its own, and a tensor on the device.
struct OnDevice {
  explicit OnDevice(Device& of)
      : queue({.backend = Backend::Cuda, .device = &of, .stream = of.stream(Priority::Normal)}),
        arena(queue.arena(kNumbers * 4)),
        numbers(arena.take<float>({kNumbers})) {}
  Queue queue;
  Arena arena;
  View<float> numbers;
};

float first_of(const Queue& queue, View<float> numbers) {
  float first = 0;
  copy_now(queue, View<float>(&first, {1}), numbers.rows(0, 1));
  return first;
}

TEST(TwinDevice, TheHostCannotTouchWhatADeviceHas) {
  TwinDevice device(1);
  OnDevice one(device);
  EXPECT_THROW(one.numbers.as<float>(), ShapeError);
  EXPECT_DEATH(one.numbers.data()[0] = 1, "");  // not even where nothing checks
  EXPECT_EQ(first_of(one.queue, one.numbers), 0) << "an arena is zeroed";
}

TEST(TwinDevice, NothingHappensBeforeItIsWaitedFor) {
  TwinDevice device(1);
  OnDevice one(device);
  Arena staging = one.queue.staging(kNumbers * 4);
  const View<float> here = staging.take<float>({kNumbers});
  std::fill_n(here.data(), kNumbers, 1.0f);
  copy_later(one.queue, one.numbers, here);
  std::fill_n(here.data(), kNumbers, 2.0f);  // too early: the copy has not come to it
  EXPECT_EQ(first_of(one.queue, one.numbers), 2);
}

/// What stream B finds of a number that stream A writes, with and without an event between, in many orders.
std::vector<int> found_by_another_stream(bool with_event) {
  std::vector<int> found(3);
  for (int round = 0; round < 50; ++round) {
    TwinDevice device(static_cast<uint64_t>(round));
    OnDevice a(device), b(device);
    Elementwise::fill(a.queue, a.numbers, 1);
    Elementwise::scale(a.queue, a.numbers, 2);
    if (with_event) device.wait(b.queue.stream(), a.queue.record());
    Elementwise::copy(b.queue, b.numbers, a.numbers);
    ++found[static_cast<size_t>(first_of(b.queue, b.numbers))];
  }
  return found;
}

TEST(TwinDevice, StreamsRunInAnyOrderButForEvents) {
  const std::vector<int> without = found_by_another_stream(false);
  EXPECT_GT(without[0], 0);
  EXPECT_GT(without[1], 0);
  EXPECT_EQ(found_by_another_stream(true)[2], 50);
}

TEST(TwinDevice, WorkOfAQueueIsItsOwnDevices) {
  TwinDevice first(1);
  OnDevice one(first);
  TwinDevice second(2);
  OnDevice two(second);
  Elementwise::fill(one.queue, one.numbers, 1);
  Elementwise::fill(two.queue, two.numbers, 2);
  EXPECT_EQ(first_of(one.queue, one.numbers), 1);
  EXPECT_EQ(first_of(two.queue, two.numbers), 2);
}

void fail() { throw Error(ExitCode::Numeric, "planted"); }

TEST(TwinDevice, WorkThatFailsIsTheLastAndWhoeverAsksHearsOfIt) {
  TwinDevice device(1);
  OnDevice one(device), another(device);
  device.enqueue(one.queue.stream(), fail);
  const Event behind = one.queue.record();
  EXPECT_THROW(one.queue.finish(behind), Error);
  for (int again = 0; again < 3; ++again) EXPECT_THROW(device.done(behind), Error);
  EXPECT_THROW(another.queue.finish(Event{}), Error) << "even of what was reached long ago";
  EXPECT_THROW(device.settle(), Error);
}

TEST(TwinDevice, WorkThatFailsWhileMemoryIsGivenBackIsHeardOfLater) {
  TwinDevice device(1);
  {
    const OnDevice one(device);
    device.enqueue(one.queue.stream(), fail);
  }
  EXPECT_THROW(device.done(Event{}), Error);
}

TEST(TwinDevice, AnEventThatWasWaitedForCountsAsWork) {
  TwinDevice device(1);
  OnDevice one(device);
  std::atomic<int64_t> work{0};
  one.queue.count_work_in(work);
  Elementwise::fill(one.queue, one.numbers, 1);
  const Event filled = one.queue.record();
  EXPECT_EQ(work, 0) << "nothing has happened yet";
  one.queue.finish(filled);
  EXPECT_EQ(work, 1);
  one.queue.finish(filled);
  EXPECT_EQ(work, 1) << "it had been reached";
}

TEST(TwinDevice, AQueueHasTheWorkspaceThatItWasGiven) {
  TwinDevice device(1);
  OnDevice one(device);
  EXPECT_EQ(message_of([&] { one.queue.workspace(8); }),
            "an operator wants 8 bytes of its queue's workspace, which has 0");
  const Arena memory = one.queue.arena(8);
  one.queue.set_workspace(memory.rest());
  EXPECT_EQ(one.queue.workspace(8).data(), memory.rest().data());
}

TEST(TwinDevice, WhatTheEnvironmentAsksForIsANumberOrRefusedByName) {
  for (const char* name : {"MEMRING_TWIN_DEVICES", "MEMRING_TWIN_SEED"}) {
    const std::string before = variable(name);
    for (const std::string value : {"abc", "7x", "-1", " 1", "99999999999999999999"}) {
      ASSERT_EQ(setenv(name, value.c_str(), 1), 0);
      EXPECT_EQ(message_of([] { open_device(0); }),
                fmt::format("{} is \"{}\", which is no whole number that is 0 or more", name, value));
    }
    ASSERT_EQ(before.empty() ? unsetenv(name) : setenv(name, before.c_str(), 1), 0);
  }
}

TEST(TwinDevice, AnOperatorTakesNothingFromTheHost) {
  TwinDevice device(1);
  OnDevice one(device);
  const std::vector<float> here(kNumbers);
  EXPECT_THROW(Elementwise::copy(one.queue, one.numbers, ConstView<float>(here.data(), {kNumbers})), ShapeError);
}

}  // namespace
}  // namespace memring::test
