// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/twin/device.h"

#include <fmt/format.h>
#include <sanitizer/asan_interface.h>  // whose macros do nothing without AddressSanitizer
#include <sys/mman.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/as_error.h"
#include "base/surroundings.h"

namespace memring {
namespace {

size_t pages(int64_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (static_cast<size_t>(bytes) / page + 1) * page;
}

/// What the test that starts this process asks for; `otherwise` where it says nothing.
template <typename Number>
Number asked_for(const char* name, Number otherwise) {
  const std::string value = variable(name);
  if (value.empty()) return otherwise;
  Number number{};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size() || number < 0)
    throw Error(ExitCode::Usage, fmt::format("{} is \"{}\", which is no whole number that is 0 or more", name, value),
                "Set it to one, or unset it.");
  return number;
}

}  // namespace

bool has_device_backend() { return true; }

// One, or as many as a test asks for.
int device_count() { return asked_for<int>("MEMRING_TWIN_DEVICES", 1); }

std::unique_ptr<Device> open_device(int ordinal) {
  if (ordinal < 0 || ordinal >= device_count())
    throw Error(ExitCode::Usage, fmt::format("device {} was asked for, and there are {}", ordinal, device_count()),
                "Use one from 0 on.");
  return std::make_unique<TwinDevice>(asked_for<uint64_t>("MEMRING_TWIN_SEED", 1));
}

TwinDevice::TwinDevice(uint64_t seed) : random_(seed, Purpose::Test) {
  facts_.name = "twin of a device";
  facts_.capability = "on the host";
  facts_.bytes = facts_.free_bytes = int64_t{4} << 30;
}

std::byte* TwinDevice::take(int64_t bytes, Space space) {
  if (space != Space::Device) {
    auto* const block = static_cast<std::byte*>(std::aligned_alloc(4096, pages(bytes)));
    if (!block) throw out_of_memory(bytes);
    pinned_[block] = bytes;
    return block;
  }
  const size_t size = pages(bytes);
  const int file = memfd_create("device memory", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(size)) != 0) throw out_of_memory(bytes);
  void* const device = mmap(nullptr, size, PROT_NONE, MAP_SHARED, file, 0);
  void* const host = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (device == MAP_FAILED || host == MAP_FAILED) throw out_of_memory(bytes);
  std::memset(host, 0xff, size);
  ASAN_POISON_MEMORY_REGION(static_cast<std::byte*>(host) + bytes, size - static_cast<size_t>(bytes));
  blocks_[static_cast<std::byte*>(device)] = {static_cast<std::byte*>(host), size, bytes};
  return static_cast<std::byte*>(device);
}

void TwinDevice::give(std::byte* block, Space space) noexcept {
  run_dry();
  if (space != Space::Device) {
    pinned_.erase(block);
    return std::free(block);
  }
  const auto found = blocks_.find(block);
  if (found == blocks_.end()) return;
  ASAN_UNPOISON_MEMORY_REGION(found->second.host, found->second.bytes);
  munmap(found->second.host, found->second.bytes);
  munmap(block, found->second.bytes);
  blocks_.erase(found);
}

int64_t TwinDevice::taken(Space space) const {
  int64_t bytes = 0;
  if (space == Space::Device)
    for (const auto& [address, block] : blocks_) bytes += block.taken;
  else
    for (const auto& [address, of_block] : pinned_) bytes += of_block;
  return bytes;
}

Stream TwinDevice::stream(Priority) {
  streams_.emplace_back();
  return {static_cast<int32_t>(streams_.size()) - 1};
}

void TwinDevice::copy(Stream stream, View<> to, ConstView<> from) {
  if (to.bytes() != from.bytes()) throw ShapeError(fmt::format("a copy of {} to {}", from.text(), to.text()));
  if (to.bytes() == 0) return;
  enqueue(stream,
          [=, this] { std::memmove(on_host(to).data(), on_host(from).data(), static_cast<size_t>(to.bytes())); });
}

void TwinDevice::fill(Stream stream, View<> view, uint8_t byte) {
  if (view.bytes() == 0) return;
  enqueue(stream, [=, this] { std::memset(on_host(view).data(), byte, static_cast<size_t>(view.bytes())); });
}

Event TwinDevice::record(Stream stream) {
  const auto event = static_cast<int64_t>(reached_.size());
  auto& work = streams_[static_cast<size_t>(stream.number)];
  reached_.push_back(work.empty());
  if (!work.empty()) work.push_back({{}, event, 0});
  return {event};
}

void TwinDevice::wait(Stream stream, Event event) {
  if (!reached(event.number)) streams_[static_cast<size_t>(stream.number)].push_back({{}, 0, event.number});
}

bool TwinDevice::done(Event event) {
  const bool moved = reached(event.number) || step();
  tell();
  check(moved, "the streams wait for each other: an event can never be reached");
  return reached(event.number);
}

void TwinDevice::enqueue(Stream stream, std::function<void()> run) {
  streams_[static_cast<size_t>(stream.number)].push_back({std::move(run), 0, 0});
}

const std::byte* TwinDevice::address_on_host(const void* device_address) const {
  const auto* const address = static_cast<const std::byte*>(device_address);
  const auto above = blocks_.upper_bound(address);
  if (above != blocks_.begin()) {
    const auto& [begin, block] = *std::prev(above);
    if (address < begin + block.bytes) return block.host + (address - begin);
  }
  check(shares_, "an address of no block of the device");
  return address;
}

bool TwinDevice::step() {
  if (error_) return false;
  std::vector<size_t> able;
  for (size_t s = 0; s < streams_.size(); ++s)
    if (!streams_[s].empty() && ready(streams_[s].front())) able.push_back(s);
  if (able.empty()) return false;
  auto& stream = streams_[able[random_.below(drawn_++, able.size())]];
  const Work work = std::move(stream.front());
  stream.pop_front();
  try {
    if (work.run) work.run();
  } catch (...) {
    error_ = std::current_exception();
    return false;
  }
  if (work.reaches) reached_[static_cast<size_t>(work.reaches)] = true;
  return true;
}

void TwinDevice::run_dry() {
  while (step()) {
  }
}

void TwinDevice::tell() const {
  if (error_) std::rethrow_exception(error_);
}

void TwinDevice::settle() {
  run_dry();
  tell();
}

}  // namespace memring
