// Copies of boxes of a tensor to the block's memory, on a GPU: cp.async.bulk.tensor of PTX, from sm_90 on
// (kernels/cuda/fiber/tensor_copy.h: on the host, and what each of these means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <barrier.h>
#include <cuda.h>

#include <stdexcept>

#define MEMRING_PARAMETER __grid_constant__  // the copy takes the address of the kernel's own parameter

namespace memring {

using TensorMap = CUtensorMap;

/// Throws std::runtime_error where the driver has no such map. (Not shared with fibers, where a program has both.)
static inline TensorMap tensor_map(const void* address, int64_t columns, int64_t rows, int64_t matrices, int box_rows) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* found = nullptr;  // by name: the driver is not linked
    cudaDriverEntryPointQueryResult result;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
    if (error != cudaSuccess || found == nullptr)
      throw std::runtime_error("the driver knows no cuTensorMapEncodeTiled");
    return reinterpret_cast<Encode>(found);
  }();
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
                              static_cast<cuuint64_t>(matrices)};
  const cuuint64_t row_bytes = sizes[0] * sizeof(Bf16), strides[] = {row_bytes, row_bytes * sizes[1]};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows), 1}, steps[] = {1, 1, 1};
  TensorMap map;
  const CUresult error = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(address), sizes, strides,
                                box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (error != CUDA_SUCCESS) throw std::runtime_error("cuTensorMapEncodeTiled answers " + std::to_string(error));
  return map;
}

MEMRING_LANE void tensor_copy(void* to, const TensorMap& map, int column, int row, int matrix, Barrier& barrier,
                              Place = Place::current()) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
          "r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(column), "r"(row), "r"(matrix)
      : "memory");
}

}  // namespace memring
