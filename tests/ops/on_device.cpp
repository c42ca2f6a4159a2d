// Operators on a device: what a test's tensors hold, the device sees at the same addresses.
// SPDX-License-Identifier: Apache-2.0
#include "on_device.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <set>

#include "kernels/common/workspace.h"
#include "op_test.h"

namespace memring::test {
namespace {

struct Opened {
  std::unique_ptr<Device> device = open_device(0);
  Arena workspace{*device, 8 * kWorkspaceBytes, Space::Device};
  Stream stream = device->stream(Priority::Normal);  // one: on a GPU each has a workspace of its own
  Space space = Space::Host;
  Opened() { share_host_memory(*device); }
};

// FNV-1a (Fowler, Noll, Vo) of what tensors held at their ends: plain numbers, for some end last of all.
constexpr uint64_t kBasis = 0xcbf29ce484222325, kPrime = 0x100000001b3;
uint64_t digest = kBasis;

/// Tells the digest of each test, as a line: whoever runs the tests twice can compare.
class Bits final : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override { digest = kBasis; }
  void OnTestEnd(const testing::TestInfo& test) override {
    fmt::print("[     BITS ] {}.{} {:016x}\n", test.test_suite_name(), test.name(), digest);
    std::fflush(stdout);
  }
};
[[maybe_unused]] const bool told = (testing::UnitTest::GetInstance()->listeners().Append(new Bits), true);

Opened& opened() {
  static auto* const one = new Opened;  // tensors of static duration ask for it to the end
  return *one;
}

}  // namespace

std::vector<Queue::Options> fast_queues() { return every_queue(); }
std::vector<Queue::Options> every_queue() {
  return {{.backend = Backend::Cuda,
           .device = opened().device.get(),
           .stream = opened().stream,
           .workspace = opened().workspace.rest()}};
}

Space space_of_tensors() { return opened().space; }
void set_space_of_tensors(Space space) { opened().space = space; }
void ended(const void* numbers, size_t bytes) {
  const auto* at = static_cast<const uint8_t*>(numbers);
  for (size_t i = 0; i < bytes; ++i) digest = (digest ^ at[i]) * kPrime;
}
/// Destructors call it: what fails on the device fails the test.
void settle() {
  try {
    settle(*opened().device);
  } catch (const std::exception& error) {
    ADD_FAILURE() << "on the device: " << error.what();
  }
}

RowTable row_table(const std::vector<Row>& rows) {
  if (opened().space == Space::Host) return rows;
  std::vector<int32_t> numbers(static_cast<size_t>(RowTable::numbers(std::ssize(rows))));
  write_numbers(numbers, rows);
  static auto* const kept = new std::set<std::vector<int32_t>>;
  const std::vector<int32_t>& on_device = *kept->insert(std::move(numbers)).first;
  return {rows, {on_device.data(), {std::ssize(on_device)}, Space::Device}};
}

}  // namespace memring::test
