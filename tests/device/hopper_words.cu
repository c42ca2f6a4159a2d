// Words of Hopper, for sm_90a alone. SPDX-License-Identifier: Apache-2.0
#include <mma.h>
#include <run.h>

#include "tests/device/hopper_product.h"
#include "tests/device/words.h"

namespace memring::MEMRING_WORLD {
namespace {

Bf16 bf16_of(int number) {  // the compilers for devices have no constructor of it
  Bf16 found;
  const float x = static_cast<float>(number);
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  found.bits = static_cast<uint16_t>(bits >> 16);  // exact for small integers
  return found;
}
std::vector<Bf16> integers(int64_t count, int factor) {
  std::vector<Bf16> numbers;
  for (int64_t i = 0; i < count; ++i) numbers.push_back(bf16_of(static_cast<int>(i * factor % 9) - 4));
  return numbers;
}

struct Box {
  uint32_t of[8][32];
  Barrier barrier;
};

/// A box that reaches beyond three sides of its tensor, as it lies in the block's memory.
MEMRING_KERNEL void box(uint32_t* found, const MEMRING_PARAMETER TensorMap map) {
  auto& shared = block_memory<Box>();
  if (lane_index() == 0) {
    barrier_init(shared.barrier, 2);
    barrier_expect(shared.barrier, sizeof(shared.of));
    tensor_copy(shared.of, map, 16, -1, 1, shared.barrier);
    barrier_arrive(shared.barrier);
  }
  meet_warp();
  barrier_wait(shared.barrier, 0);
  for (int row = 0; row < 8; ++row) found[row * kWarp + lane_index()] = shared.of[row][lane_index()];
}

std::vector<uint32_t> found_in_box() {
  Numbers<Bf16> numbers(integers(2 * 5 * 72, 5));
  Numbers<uint32_t> found(std::vector<uint32_t>(8 * 32));
  start<box>({1, 1, kWarp, sizeof(Box)}, found.data(), tensor_map(numbers.data(), 72, 5, 2, 8));
  return found.read();
}

std::vector<uint32_t> bits_of(const std::vector<float>& numbers) {
  std::vector<uint32_t> bits(numbers.size());
  memcpy(bits.data(), numbers.data(), numbers.size() * sizeof(float));
  return bits;
}

template <int Columns>
std::vector<uint32_t> product() {
  const int m = 130, n = 72, k = 200;
  Numbers<Bf16> a(integers(m * k, 5)), b(integers(n * k, 7));
  Numbers<float> c(std::vector<float>(static_cast<size_t>(m * n)));
  start<hopper_product<Columns, true>>(product_grid<Columns>(m, n), c.data(), tensor_map(a.data(), k, m, 1, kRows),
                                       tensor_map(b.data(), k, n, 1, Columns), m, n, k);
  return bits_of(c.read());
}

struct Values {
  Bf16 of[2][32][64];
  Barrier barrier;
};

/// a in registers, [64, 32], and b by its rows, [32, 128], in two boxes beside each other.
MEMRING_KERNEL void columns_of_b(float* found, const MEMRING_PARAMETER TensorMap map) {
  auto& shared = block_memory<Values>();
  if (thread_index() == 0) {
    barrier_init(shared.barrier, 1);
    barrier_expect(shared.barrier, sizeof(shared.of));
    for (int i = 0; i < 2; ++i) tensor_copy(shared.of[i], map, 64 * i, 0, 0, shared.barrier);
  }
  meet_block();
  barrier_wait(shared.barrier, 0);
  uint32_t a[2][4];
  for (int k = 0; k < 2; ++k)
    for (int i = 0; i < 4; ++i) {
      const int at = thread_index() + 5 * i + 3 * k;
      a[k][i] = pack_bf16(static_cast<float>(at % 7 - 3), static_cast<float>(at % 5 - 2));
    }
  float sums[64];
  for (float& sum : sums) sum = 1;
  wgmma_fence(sums);
  for (int k = 0; k < 2; ++k) wgmma<true>(sums, a[k], operand(shared.of[0][16 * k], sizeof(shared.of[0])), true);
  wgmma_commit();
  wgmma_wait<0>(sums);
  for (int i = 0; i < 64; ++i) found[128 * i + thread_index()] = sums[i];
}

std::vector<uint32_t> found_by_columns() {
  Numbers<Bf16> b(integers(32 * 128, 7));
  Numbers<float> found(std::vector<float>(64 * 128));
  start<columns_of_b>({1, 1, 128, sizeof(Values)}, found.data(), tensor_map(b.data(), 128, 32, 1, 32));
  return bits_of(found.read());
}

}  // namespace

const std::vector<DeviceWord>& hopper_words() {
  static const std::vector<DeviceWord> all{
      {"a box of a tensor", found_in_box},
      {"a product of two warpgroups, 64 columns", product<64>},
      {"a product of two warpgroups, 128 columns", product<128>},
      {"a in registers, b by its rows", found_by_columns},
  };
  return all;
}

}  // namespace memring::MEMRING_WORLD
