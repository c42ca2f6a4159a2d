// cuBLASLt as a table of functions, which the library or a test fills, and products by it. No other file includes its
// header. Private to kernels/cuda/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cublasLt.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <type_traits>

#include "kernels/cuda/products.h"

namespace memring {

struct CublasLt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetStatusName) status_name;
  decltype(&cublasLtMatmulDescCreate) product_create;
  decltype(&cublasLtMatmulDescDestroy) product_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) product_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) multiply;
};

/// The library's own functions. Throws Error(Usage) where there is none.
CublasLt open_cublaslt();

/// Products on one device. How each is computed follows from its shape, types and the alignment of its operands alone:
/// the library's first proposal, kept for the next time.
class CublasLtProducts {
 public:
  /// The device must be the thread's current one.
  explicit CublasLtProducts(const CublasLt&);

  /// matrix_product(), on a stream. Two of them that may run at the same time must not share their workspace.
  void enqueue(cudaStream_t, View<uint8_t> workspace, Products, View<> c, Write, const Factor& a, const Factor& b);

 private:
  template <class T>
  using Owned = std::unique_ptr<T, cublasStatus_t (*)(T*)>;
  /// Extents, types, transpositions, alignments and workspace.
  using Key = std::array<int64_t, 12>;
  struct Plan {
    Owned<cublasLtMatmulDescOpaque_t> product;
    Owned<cublasLtMatrixLayoutOpaque_t> left, right, c;
    cublasLtMatmulAlgo_t algorithm;
  };
  template <class T, class... A>
  Owned<T> made(cublasStatus_t (*create)(T**, A...), cublasStatus_t (*destroy)(T*), const char* what,
                const std::type_identity_t<A>&... arguments) const;
  void expect(cublasStatus_t, const std::string& what) const;
  Plan plan(const Key&, Products, View<> c, const Factor& left, const Factor& right) const;

  CublasLt functions_;
  Owned<cublasLtContext> handle_;
  std::map<Key, Plan> plans_;
};

}  // namespace memring
