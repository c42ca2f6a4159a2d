// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gpu/cublaslt.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda/gpu/library.h"

namespace memring {
namespace {

cudaDataType type_of(DType dtype) {
  if (dtype == DType::F32) return CUDA_R_32F;
  if (dtype == DType::F64) return CUDA_R_64F;
  if (dtype == DType::BF16) return CUDA_R_16BF;
  refuse_view(std::string("a product of numbers of type ") + name_of(dtype));
}

/// In bytes, as far as algorithms ask for it.
uint32_t alignment_of(ConstView<> view) {
  const auto address = reinterpret_cast<uintptr_t>(view.data());
  return static_cast<uint32_t>(std::min<uintptr_t>(address & (~address + 1), 256));
}

std::string text_of(const Factor& f) { return f.stored.text() + (f.transposed ? " transposed" : ""); }

}  // namespace

CublasLt open_cublaslt() {
  const Library library("libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR));
  CublasLt lt{};
  library.find(lt.create, "cublasLtCreate");
  library.find(lt.destroy, "cublasLtDestroy");
  library.find(lt.status_name, "cublasLtGetStatusName");
  library.find(lt.product_create, "cublasLtMatmulDescCreate");
  library.find(lt.product_destroy, "cublasLtMatmulDescDestroy");
  library.find(lt.product_set, "cublasLtMatmulDescSetAttribute");
  library.find(lt.layout_create, "cublasLtMatrixLayoutCreate");
  library.find(lt.layout_destroy, "cublasLtMatrixLayoutDestroy");
  library.find(lt.preference_create, "cublasLtMatmulPreferenceCreate");
  library.find(lt.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  library.find(lt.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  library.find(lt.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  library.find(lt.multiply, "cublasLtMatmul");
  return lt;
}

void CublasLtProducts::expect(cublasStatus_t status, const std::string& what) const {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(
        ExitCode::Internal, fmt::format("cuBLASLt: {}: {}", what, functions_.status_name(status)),
        "See with nvidia-smi whether the device works, and whether its driver is of this CUDA version or later.");
}

template <class T, class... A>
CublasLtProducts::Owned<T> CublasLtProducts::made(cublasStatus_t (*create)(T**, A...), cublasStatus_t (*destroy)(T*),
                                                  const char* what, const std::type_identity_t<A>&... arguments) const {
  T* one = nullptr;
  expect(create(&one, arguments...), what);
  return {one, destroy};
}

CublasLtProducts::CublasLtProducts(const CublasLt& functions)
    : functions_(functions), handle_(made(functions.create, functions.destroy, "its start")) {}

void CublasLtProducts::enqueue(cudaStream_t stream, View<uint8_t> workspace, Products products, View<> c, Write write,
                               const Factor& a, const Factor& b) {
  // The library's matrices are column-major, and so the transposes of ours: it computes cᵀ = bᵀ aᵀ.
  const Factor &left = b, &right = a;
  const DType dtype = a.stored.dtype();
  const Key key{a.rows(),        b.columns(),        a.columns(),       a.transposed,           b.transposed,
                int64_t(dtype),  int64_t(c.dtype()), int64_t(products), alignment_of(a.stored), alignment_of(b.stored),
                alignment_of(c), workspace.bytes()};
  auto found = plans_.find(key);
  if (found == plans_.end()) found = plans_.emplace(key, plan(key, products, c, left, right)).first;
  const Plan& plan = found->second;

  // Of the type of the sums.
  const float one = 1, kept = write == Write::Accumulate ? 1 : 0;
  const double one64 = one, kept64 = kept;
  const bool wide = dtype == DType::F64;
  const void *const alpha = wide ? static_cast<const void*>(&one64) : &one, *const beta =
                                                                                wide ? static_cast<const void*>(&kept64)
                                                                                     : &kept;
  expect(
      functions_.multiply(handle_.get(), plan.product.get(), alpha, left.stored.data(), plan.left.get(),
                          right.stored.data(), plan.right.get(), beta, c.data(), plan.c.get(), c.data(), plan.c.get(),
                          &plan.algorithm, workspace.data(), static_cast<size_t>(workspace.bytes()), stream),
      fmt::format("{} of {} and {}", c.text(), text_of(a), text_of(b)));
}

CublasLtProducts::Plan CublasLtProducts::plan(const Key& key, Products products, View<> c, const Factor& left,
                                              const Factor& right) const {
  const auto& lt = functions_;
  const auto of_library = [&](ConstView<> matrix) {
    const int64_t rows = matrix.dim(1), columns = matrix.dim(0);
    return made(lt.layout_create, lt.layout_destroy, "a layout", type_of(matrix.dtype()), static_cast<uint64_t>(rows),
                static_cast<uint64_t>(columns), rows);
  };
  const DType dtype = left.stored.dtype();
  // Of fp32 without TF32.
  const cublasComputeType_t compute = dtype == DType::F64                                 ? CUBLAS_COMPUTE_64F
                                      : dtype == DType::F32 && products == Products::Bf16 ? CUBLAS_COMPUTE_32F_FAST_16BF
                                                                                          : CUBLAS_COMPUTE_32F;
  Plan plan{
      made(lt.product_create, lt.product_destroy, "a product", compute, dtype == DType::F64 ? CUDA_R_64F : CUDA_R_32F),
      of_library(left.stored),
      of_library(right.stored),
      of_library(c),
      {}};
  const auto set_side = [&](cublasLtMatmulDescAttributes_t side, const Factor& f) {
    const cublasOperation_t operation = f.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    expect(lt.product_set(plan.product.get(), side, &operation, sizeof operation), "a transposition");
  };
  set_side(CUBLASLT_MATMUL_DESC_TRANSA, left);
  set_side(CUBLASLT_MATMUL_DESC_TRANSB, right);

  const auto preference = made(lt.preference_create, lt.preference_destroy, "a preference");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
    expect(lt.preference_set(preference.get(), what, &value, sizeof value), "a preference");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(key.back()));
  // Parts of a sum meet in the workspace, in their order and in the type of sums: atomic additions would wander.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(left.stored));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(right.stored));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(c));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(c));
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  const cublasStatus_t status = lt.heuristic(handle_.get(), plan.product.get(), plan.left.get(), plan.right.get(),
                                             plan.c.get(), plan.c.get(), preference.get(), 1, &best, &found);
  expect(status != CUBLAS_STATUS_SUCCESS ? status
         : found < 1                     ? CUBLAS_STATUS_NOT_SUPPORTED
                                         : best.state,
         fmt::format("no algorithm for {} of {} and {}", c.text(), text_of(right), text_of(left)));
  plan.algorithm = best.algo;
  return plan;
}

}  // namespace memring
