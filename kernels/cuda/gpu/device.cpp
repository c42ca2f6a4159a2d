// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gpu/device.h"

#include <fmt/format.h>

#include "base/error.h"

namespace memring {
namespace {

/// What NVIDIA advises for Hopper. Each stream has its own, since products of two may run at the same time.
constexpr int64_t kWorkspaceOfProducts = int64_t{32} << 20;

std::string text_of(cudaError_t error) {
  return fmt::format("{} ({})", cudaGetErrorString(error), cudaGetErrorName(error));
}

/// Throws Error(Internal) naming the call that failed, or that hears of an earlier kernel's failure.
void expect(cudaError_t error, const char* call) {
  if (error != cudaSuccess)
    throw Error(ExitCode::Internal, fmt::format("the GPU: {}: {}", call, text_of(error)),
                "An earlier kernel may be at fault: compute-sanitizer, or CUDA_LAUNCH_BLOCKING=1, shows which.");
}

/// "13.0"
std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

std::string what_to_do(cudaError_t error, int driver) {
  if (driver == 0) return "Install NVIDIA's driver (a container takes that of its host)";
  if (error == cudaErrorInsufficientDriver) return "Install a newer driver, build with a toolkit that this one takes";
  return "Look what nvidia-smi and CUDA_VISIBLE_DEVICES show";
}

/// The ordinal, now the thread's current device.
int entered(int ordinal) {
  int count = 0, driver = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaDriverGetVersion(&driver);
  const std::string instead = "set device.kind = cpu, or auto for the best that is there.";
  if (error != cudaSuccess || count == 0)
    throw Error(ExitCode::Usage,
                fmt::format("no usable GPU: {}; this build is of CUDA {}, the driver {}",
                            error == cudaSuccess ? "none is there" : text_of(error), version_text(CUDART_VERSION),
                            driver == 0 ? "is absent" : "takes " + version_text(driver)),
                what_to_do(error, driver) + ", or " + instead);
  if (ordinal < 0 || ordinal >= count)
    throw Error(ExitCode::Usage, fmt::format("GPU {} was asked for, and this process sees {}", ordinal, count),
                "Name one of them, or " + instead);
  expect(cudaSetDevice(ordinal), "cudaSetDevice");
  return ordinal;
}

int attribute(cudaDeviceAttr which, int ordinal) {
  int value = 0;
  expect(cudaDeviceGetAttribute(&value, which, ordinal), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace

bool has_device_backend() { return true; }

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::unique_ptr<Device> open_device(int ordinal) { return std::make_unique<GpuDevice>(ordinal); }

GpuDevice::GpuDevice(int ordinal) : products_((entered(ordinal), open_cublaslt())) {
  cudaDeviceProp properties;
  expect(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  facts_.name = properties.name;
  facts_.capability = fmt::format("sm_{}{}", attribute(cudaDevAttrComputeCapabilityMajor, ordinal),
                                  attribute(cudaDevAttrComputeCapabilityMinor, ordinal));
  stream(Priority::Normal);
  // Behind all that the runtime and the libraries take for themselves.
  size_t free = 0, all = 0;
  expect(cudaMemGetInfo(&free, &all), "cudaMemGetInfo");
  facts_.bytes = static_cast<int64_t>(all);
  facts_.free_bytes = static_cast<int64_t>(free);
}

// Errors have been told by done(), and the process ends with them.
GpuDevice::~GpuDevice() {
  cudaDeviceSynchronize();
  for (const Work& one : streams_) {
    cudaStreamDestroy(one.native);
    cudaFree(one.workspace.data());
  }
  for (cudaEvent_t event : pool_) cudaEventDestroy(event);
  for (cudaEvent_t event : events_)
    if (event) cudaEventDestroy(event);
}

std::byte* GpuDevice::take(int64_t bytes, Space space) {
  void* block = nullptr;
  const auto size = static_cast<size_t>(bytes > 0 ? bytes : 1);
  const cudaError_t error =
      space == Space::Device ? cudaMalloc(&block, size) : cudaHostAlloc(&block, size, cudaHostAllocDefault);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // which would else be the next call's
    throw Error(ExitCode::Io,
                fmt::format("out of {} memory: {:.1f} MiB were refused",
                            space == Space::Device ? facts_.name + "'s" : "pinned host",
                            static_cast<double>(bytes) / (1 << 20)),
                "Use a smaller data.micro_batch or model, more ranks, or set device.memory lower.");
  }
  expect(error, space == Space::Device ? "cudaMalloc" : "cudaHostAlloc");
  return static_cast<std::byte*>(block);
}

void GpuDevice::give(std::byte* block, Space space) noexcept {
  cudaDeviceSynchronize();
  if (space == Space::Device)
    cudaFree(block);
  else
    cudaFreeHost(block);
}

Stream GpuDevice::stream(Priority priority) {
  int least = 0, greatest = 0;
  expect(cudaDeviceGetStreamPriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
  cudaStream_t native = nullptr;
  expect(cudaStreamCreateWithPriority(&native, cudaStreamNonBlocking, priority == Priority::High ? greatest : least),
         "cudaStreamCreateWithPriority");
  streams_.push_back({native, {}});
  auto* const workspace = reinterpret_cast<uint8_t*>(take(kWorkspaceOfProducts, Space::Device));
  streams_.back().workspace = {workspace, {kWorkspaceOfProducts}, Space::Device};
  return {static_cast<int32_t>(streams_.size()) - 1};
}

void GpuDevice::copy(Stream stream, View<> to, ConstView<> from) {
  if (to.bytes() != from.bytes()) throw ShapeError(fmt::format("a copy of {} to {}", from.text(), to.text()));
  if (to.bytes() == 0) return;
  expect(cudaMemcpyAsync(to.data(), from.data(), static_cast<size_t>(to.bytes()), cudaMemcpyDefault, native(stream)),
         "cudaMemcpyAsync");
}

void GpuDevice::fill(Stream stream, View<> view, uint8_t byte) {
  if (view.bytes() == 0) return;
  expect(cudaMemsetAsync(view.data(), byte, static_cast<size_t>(view.bytes()), native(stream)), "cudaMemsetAsync");
}

Event GpuDevice::record(Stream stream) {
  forget_reached();
  cudaEvent_t event = nullptr;
  if (pool_.empty()) {
    expect(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  } else {
    event = pool_.back();
    pool_.pop_back();
  }
  events_.push_back(event);
  expect(cudaEventRecord(event, native(stream)), "cudaEventRecord");
  return {first_ + static_cast<int64_t>(events_.size()) - 1};
}

void GpuDevice::wait(Stream stream, Event event) {
  if (event.number < first_) return;
  if (cudaEvent_t const one = events_[static_cast<size_t>(event.number - first_)])
    expect(cudaStreamWaitEvent(native(stream), one, 0), "cudaStreamWaitEvent");
}

bool GpuDevice::done(Event event) {
  if (failed_) throw Error(*failed_);
  if (event.number < first_) return true;
  cudaEvent_t& one = events_[static_cast<size_t>(event.number - first_)];
  if (!one) return true;
  if (!reached(one)) return false;
  pool_.push_back(one);
  one = nullptr;
  return true;
}

bool GpuDevice::reached(cudaEvent_t event) {
  const cudaError_t status = cudaEventQuery(event);
  if (status == cudaErrorNotReady) return false;
  try {
    expect(status, "what it was asked to do");
  } catch (const Error& error) {
    failed_ = error;
    throw;
  }
  return true;
}

/// So that there are no more of them than are under way.
void GpuDevice::forget_reached() {
  while (!events_.empty() && (!events_.front() || reached(events_.front()))) {
    if (events_.front()) pool_.push_back(events_.front());
    events_.pop_front();
    ++first_;
  }
}

void GpuDevice::multiply(Stream stream, Products products, View<> c, Write write, const Factor& a, const Factor& b) {
  products_.enqueue(native(stream), streams_[static_cast<size_t>(stream.number)].workspace, products, c, write, a, b);
}

cudaStream_t stream_of(const Queue& queue) {
  return static_cast<GpuDevice&>(*queue.device()).native(queue.stream());  // there are no others in this program
}

void matrix_product(Queue& queue, View<> c, Write write, const Factor& a, const Factor& b) {
  if (c.size() == 0) return;
  auto& device = static_cast<GpuDevice&>(*queue.device());
  if (a.columns() > 0) return device.multiply(queue.stream(), queue.products(), c, write, a, b);
  if (write == Write::Overwrite) device.fill(queue.stream(), c, 0);
}

}  // namespace memring
