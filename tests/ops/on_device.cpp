// Operators on a device: what a test's tensors hold, the device sees at the same addresses.
// SPDX-License-Identifier: Apache-2.0
#include "on_device.h"

#include <set>

#include "kernels/common/workspace.h"
#include "op_test.h"

namespace memring::test {
namespace {

struct Opened {
  std::unique_ptr<Device> device = open_device(0);
  Arena workspace{*device, 8 * kWorkspaceBytes, Space::Device};
  Space space = Space::Host;
  Opened() { share_host_memory(*device); }
};

Opened& opened() {
  static auto* const one = new Opened;  // tensors of static duration ask for it to the end
  return *one;
}

}  // namespace

std::vector<Queue::Options> fast_queues() { return every_queue(); }
std::vector<Queue::Options> every_queue() {
  return {{.backend = Backend::Cuda,
           .device = opened().device.get(),
           .stream = opened().device->stream(Priority::Normal),
           .workspace = opened().workspace.rest()}};
}

Space space_of_tensors() { return opened().space; }
void set_space_of_tensors(Space space) { opened().space = space; }
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
