// What cuBLASLt is asked for, by a stand-in for its functions that computes it with plain loops; and how the library
// is found.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gpu/cublaslt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "kernels/cuda/gpu/library.h"
#include "tests/fuzz/fault_log.h"

namespace memring {
namespace {

// The stand-in: what its descriptors hold, and what it was asked.

struct Layout {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t leading;
};
struct Product {
  cublasComputeType_t compute;
  cudaDataType scale;
  cublasOperation_t left = CUBLAS_OP_N, right = CUBLAS_OP_N;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_MASK, a = 256, b = 256, c = 256, d = 256;
};
struct Asked {
  int handles = 0, objects = 0, heuristics = 0, products = 0;  // the first two: that are there now
  Preference preference;
  cublasComputeType_t compute{};
  cudaStream_t stream = nullptr;
  size_t workspace = 0;
  cublasStatus_t answer = CUBLAS_STATUS_SUCCESS;  // of a product
  int proposals = 1;
} asked;

template <class T, class Opaque>
T& behind(Opaque* one) {
  return *reinterpret_cast<T*>(one);
}
template <class T, class Opaque>
cublasStatus_t give(Opaque** to, const T& value) {
  *to = reinterpret_cast<Opaque*>(new T(value));
  ++asked.objects;
  return CUBLAS_STATUS_SUCCESS;
}
template <class T, class Opaque>
cublasStatus_t take(Opaque* one) {
  delete reinterpret_cast<T*>(one);
  --asked.objects;
  return CUBLAS_STATUS_SUCCESS;
}
template <class T>
T value_of(const void* bytes, size_t size) {
  EXPECT_EQ(size, sizeof(T));
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

double number_at(const void* data, cudaDataType type, int64_t i) {
  if (type == CUDA_R_64F) return static_cast<const double*>(data)[i];
  if (type == CUDA_R_32F) return static_cast<const float*>(data)[i];
  return static_cast<const Bf16*>(data)[i].value();
}
void set_number(void* data, cudaDataType type, int64_t i, double x) {
  if (type == CUDA_R_64F)
    static_cast<double*>(data)[i] = x;
  else if (type == CUDA_R_32F)
    static_cast<float*>(data)[i] = static_cast<float>(x);
  else
    static_cast<Bf16*>(data)[i] = Bf16(static_cast<float>(x));
}

/// D = alpha op(A) op(B) + beta C of column-major matrices, as the library's manual has it.
cublasStatus_t multiply(cublasLtHandle_t, cublasLtMatmulDesc_t product, const void* alpha, const void* A,
                        cublasLtMatrixLayout_t of_A, const void* B, cublasLtMatrixLayout_t of_B, const void* beta,
                        const void* C, cublasLtMatrixLayout_t of_C, void* D, cublasLtMatrixLayout_t of_D,
                        const cublasLtMatmulAlgo_t* algorithm, void*, size_t workspace, cudaStream_t stream) {
  const Product& p = behind<Product>(product);
  const Layout &a = behind<Layout>(of_A), &b = behind<Layout>(of_B), &c = behind<Layout>(of_C),
               &d = behind<Layout>(of_D);
  ++asked.products;
  asked.compute = p.compute;
  asked.stream = stream;
  asked.workspace = workspace;
  EXPECT_EQ(algorithm->data[0], 17u);  // what the heuristic proposed
  EXPECT_EQ(a.type, b.type);
  EXPECT_EQ(c.leading, d.leading);
  const bool turn_a = p.left == CUBLAS_OP_T, turn_b = p.right == CUBLAS_OP_T;
  const auto m = static_cast<int64_t>(turn_a ? a.columns : a.rows),
             k = static_cast<int64_t>(turn_a ? a.rows : a.columns),
             n = static_cast<int64_t>(turn_b ? b.rows : b.columns);
  if (static_cast<int64_t>(turn_b ? b.columns : b.rows) != k || static_cast<int64_t>(d.rows) != m ||
      static_cast<int64_t>(d.columns) != n || C != D)
    return CUBLAS_STATUS_INVALID_VALUE;
  const double scale = number_at(alpha, p.scale, 0), kept = number_at(beta, p.scale, 0);
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t x = 0; x < k; ++x)
        sum += number_at(A, a.type, turn_a ? i * a.leading + x : x * a.leading + i) *
               number_at(B, b.type, turn_b ? x * b.leading + j : j * b.leading + x);
      const int64_t at = j * d.leading + i;
      set_number(D, d.type, at, scale * sum + (kept == 0 ? 0 : kept * number_at(C, c.type, at)));
    }
  return asked.answer;
}

cublasStatus_t heuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                         cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t preference,
                         int wanted, cublasLtMatmulHeuristicResult_t* results, int* found) {
  ++asked.heuristics;
  asked.preference = behind<Preference>(preference);
  *found = std::min(wanted, asked.proposals);
  if (*found > 0) results[0].algo.data[0] = 17;
  if (*found > 0) results[0].state = CUBLAS_STATUS_SUCCESS;
  return CUBLAS_STATUS_SUCCESS;
}

CublasLt stand_in() {
  asked = {};
  CublasLt lt{};
  lt.create = [](cublasLtHandle_t* handle) {
    ++asked.handles;
    *handle = reinterpret_cast<cublasLtHandle_t>(&asked);
    return CUBLAS_STATUS_SUCCESS;
  };
  lt.destroy = [](cublasLtHandle_t) { return --asked.handles, CUBLAS_STATUS_SUCCESS; };
  lt.status_name = [](cublasStatus_t status) {
    return status == CUBLAS_STATUS_NOT_SUPPORTED ? "NOT_SUPPORTED" : "BAD";
  };
  lt.product_create = [](cublasLtMatmulDesc_t* to, cublasComputeType_t compute, cudaDataType scale) {
    return give(to, Product{compute, scale});
  };
  lt.product_destroy = [](cublasLtMatmulDesc_t one) { return take<Product>(one); };
  lt.product_set = [](cublasLtMatmulDesc_t one, cublasLtMatmulDescAttributes_t what, const void* value, size_t size) {
    const auto operation = value_of<cublasOperation_t>(value, size);
    EXPECT_TRUE(what == CUBLASLT_MATMUL_DESC_TRANSA || what == CUBLASLT_MATMUL_DESC_TRANSB);
    auto& product = behind<Product>(one);
    (what == CUBLASLT_MATMUL_DESC_TRANSA ? product.left : product.right) = operation;
    return CUBLAS_STATUS_SUCCESS;
  };
  lt.layout_create = [](cublasLtMatrixLayout_t* to, cudaDataType type, uint64_t rows, uint64_t columns,
                        int64_t leading) {
    return give(to, Layout{type, rows, columns, leading});
  };
  lt.layout_destroy = [](cublasLtMatrixLayout_t one) { return take<Layout>(one); };
  lt.preference_create = [](cublasLtMatmulPreference_t* to) { return give(to, Preference{}); };
  lt.preference_destroy = [](cublasLtMatmulPreference_t one) { return take<Preference>(one); };
  lt.preference_set = [](cublasLtMatmulPreference_t one, cublasLtMatmulPreferenceAttributes_t what, const void* value,
                         size_t size) {
    auto& p = behind<Preference>(one);
    if (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
      p.workspace = value_of<uint64_t>(value, size);
      return CUBLAS_STATUS_SUCCESS;
    }
    const auto number = value_of<uint32_t>(value, size);
    if (what == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) p.reduction = number;
    if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) p.a = number;
    if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES) p.b = number;
    if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES) p.c = number;
    if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES) p.d = number;
    return CUBLAS_STATUS_SUCCESS;
  };
  lt.heuristic = heuristic;
  lt.multiply = multiply;
  return lt;
}

// A matrix of random numbers in one of the types, and what is in it.

struct Matrix {
  DType dtype;
  Shape shape;
  std::vector<double> bytes;  // room for any type, aligned
  Matrix(DType type, Shape s, uint32_t stream) : dtype(type), shape(s), bytes(static_cast<size_t>(s.elements())) {
    const Random numbers(stream, Purpose::Test);
    for (int64_t i = 0; i < s.elements(); ++i)  // small integers: every sum is exact
      set_number(bytes.data(), library_type(), i, static_cast<double>(numbers.below(static_cast<uint32_t>(i), 9)) - 4);
  }
  cudaDataType library_type() const {
    return dtype == DType::F64 ? CUDA_R_64F : dtype == DType::F32 ? CUDA_R_32F : CUDA_R_16BF;
  }
  View<> view() { return {bytes.data(), dtype, shape, Space::Device}; }
  double at(int64_t i, int64_t j) const { return number_at(bytes.data(), library_type(), i * shape[1] + j); }
};

struct Types {
  DType factor, result;
};

TEST(CublasLt, ComputesRowMajorProductsOfEveryTypeAndTransposition) {
  constexpr int64_t m = 3, n = 5, k = 7;
  {
    CublasLtProducts products(stand_in());
    for (const Types types : {Types{DType::F32, DType::F32},
                              {DType::F64, DType::F64},
                              {DType::BF16, DType::BF16},
                              {DType::BF16, DType::F32}})
      for (const bool turn_a : {false, true})
        for (const bool turn_b : {false, true})
          for (const Write write : {Write::Overwrite, Write::Accumulate}) {
            SCOPED_TRACE(fmt::format("{} to {}, {} {}, {}", name_of(types.factor), name_of(types.result), turn_a,
                                     turn_b, write == Write::Accumulate));
            Matrix a(types.factor, turn_a ? Shape{k, m} : Shape{m, k}, 1);
            Matrix b(types.factor, turn_b ? Shape{n, k} : Shape{k, n}, 2);
            Matrix c(types.result, {m, n}, 3);
            const Matrix before = c;
            products.enqueue(nullptr, {}, Products::F32, c.view(), write, {a.view(), turn_a}, {b.view(), turn_b});
            for (int64_t i = 0; i < m; ++i)
              for (int64_t j = 0; j < n; ++j) {
                double sum = write == Write::Accumulate ? before.at(i, j) : 0;
                for (int64_t x = 0; x < k; ++x)
                  sum += (turn_a ? a.at(x, i) : a.at(i, x)) * (turn_b ? b.at(j, x) : b.at(x, j));
                EXPECT_EQ(c.at(i, j), sum) << i << ", " << j;
              }
          }
    EXPECT_EQ(asked.handles, 1);
  }
  EXPECT_EQ(asked.handles, 0);
  EXPECT_EQ(asked.objects, 0);
}

TEST(CublasLt, IsAskedForFp32AsItIsOrInBf16AndForNoAtomicSums) {
  CublasLtProducts products(stand_in());
  std::vector<double> workspace(64);
  const auto multiply_in = [&](Types types, Products rounding) {
    Matrix a(types.factor, {8, 8}, 1), b(types.factor, {8, 8}, 2), c(types.result, {8, 8}, 3);
    auto* const stream = reinterpret_cast<cudaStream_t>(&workspace);
    products.enqueue(stream, View<uint8_t>(reinterpret_cast<uint8_t*>(workspace.data()), {512}, Space::Device),
                     rounding, c.view(), Write::Overwrite, {a.view()}, {b.view()});
    EXPECT_EQ(asked.stream, stream);
    EXPECT_EQ(asked.workspace, 512u);
    EXPECT_EQ(asked.preference.workspace, 512u);
    EXPECT_EQ(asked.preference.reduction, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    return asked.compute;
  };
  EXPECT_EQ(multiply_in({DType::F32, DType::F32}, Products::F32), CUBLAS_COMPUTE_32F);
  EXPECT_EQ(multiply_in({DType::F32, DType::F32}, Products::Bf16), CUBLAS_COMPUTE_32F_FAST_16BF);
  EXPECT_EQ(multiply_in({DType::BF16, DType::F32}, Products::Bf16), CUBLAS_COMPUTE_32F);
  EXPECT_EQ(multiply_in({DType::F64, DType::F64}, Products::F32), CUBLAS_COMPUTE_64F);
}

TEST(CublasLt, ProposesOnceForEachShapeAndAlignment) {
  CublasLtProducts products(stand_in());
  Matrix a(DType::F32, {9, 4}, 1), b(DType::F32, {4, 4}, 2), c(DType::F32, {9, 4}, 3);
  const auto multiply_rows = [&](int64_t first, int64_t rows) {
    products.enqueue(nullptr, {}, Products::F32, c.view().rows(first, rows), Write::Overwrite,
                     {a.view().rows(first, rows)}, {b.view()});
  };
  multiply_rows(0, 8);
  multiply_rows(0, 8);
  EXPECT_EQ(asked.heuristics, 1);
  multiply_rows(1, 8);  // 16 bytes further on
  EXPECT_EQ(asked.heuristics, 2);
  const auto alignment = [](Matrix& matrix) {
    const auto address = reinterpret_cast<uintptr_t>(matrix.view().rows(1, 8).data());
    return std::min<uintptr_t>(256, address & (~address + 1));
  };
  EXPECT_EQ(asked.preference.b, alignment(a));  // the library's second factor is our first
  EXPECT_EQ(asked.preference.c, alignment(c));
  EXPECT_EQ(asked.preference.d, alignment(c));
  multiply_rows(0, 7);
  EXPECT_EQ(asked.heuristics, 3);
  EXPECT_EQ(asked.products, 4);
}

std::string failure_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(CublasLt, AFailureNamesTheProduct) {
  CublasLtProducts products(stand_in());
  Matrix a(DType::BF16, {2, 3}, 1), b(DType::BF16, {4, 3}, 2), c(DType::F32, {2, 4}, 3);
  const auto multiply_once = [&] {
    products.enqueue(nullptr, {}, Products::F32, c.view(), Write::Overwrite, {a.view()}, transposed(b.view()));
  };
  const std::string product =
      "fp32[2, 4] on the device of bf16[2, 3] on the device and bf16[4, 3] on the device transposed";
  asked.proposals = 0;
  EXPECT_EQ(failure_of(multiply_once), "cuBLASLt: no algorithm for " + product + ": NOT_SUPPORTED");
  asked.proposals = 1;
  asked.answer = CUBLAS_STATUS_EXECUTION_FAILED;
  EXPECT_EQ(failure_of(multiply_once), "cuBLASLt: " + product + ": BAD");
  if (!HasFailure())
    test::record_fault("H5", "cuBLASLt refuses a product, or fails at it", 2,
                       "ended with 71; the message names types, shapes and status");
}

TEST(Library, SaysWhereItWasLookedFor) {
  const std::string failure = failure_of([] { Library("libnot_there.so.1"); });
  EXPECT_NE(failure.find("libnot_there.so.1 was found neither by the loader nor in "), std::string::npos) << failure;
  EXPECT_NE(failure.find("/usr/local/cuda/lib64"), std::string::npos) << failure;
  if (!HasFailure())
    test::record_fault("H5", "a library for GPUs that is not there", 1,
                       "refused with 2; the message lists where it was looked for");
}

TEST(Library, SaysWhatItLacks) {
  const Library library("libm.so.6");
  double (*cosine)(double) = nullptr;
  library.find(cosine, "cos");
  EXPECT_EQ(cosine(0), 1);
  EXPECT_EQ(failure_of([&] { library.find(cosine, "not_there"); }), "libm.so.6 has no function not_there");
  if (!HasFailure())
    test::record_fault("H5", "a library for GPUs that is older than what it is asked for", 1,
                       "refused with 2; the message names library and function");
}

TEST(Library, IsFoundInTheUsersFoldersFirst) {
  const std::string folder = testing::TempDir() + "memring_library";
  ASSERT_EQ(std::system(("mkdir -p '" + folder + "' && echo no library > '" + folder + "/libm.so.6'").c_str()), 0);
  ASSERT_EQ(setenv("MEMRING_CUDA_LIBRARIES", ("/nowhere:" + folder).c_str(), 1), 0);
  EXPECT_NO_THROW(Library("libm.so.6"));  // the one that cannot be opened is passed over
  const std::string failure = failure_of([] { Library("libnot_there.so.1"); });
  unsetenv("MEMRING_CUDA_LIBRARIES");
  EXPECT_NE(failure.find("in /nowhere, " + folder + ", "), std::string::npos) << failure;
}

TEST(Library, HasAllThatProductsNeed) {
  try {
    Library("libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR));
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  EXPECT_NO_THROW(open_cublaslt());
}

}  // namespace
}  // namespace memring
