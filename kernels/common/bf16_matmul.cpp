// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/bf16_matmul.h"

#include <dnnl.hpp>
#include <map>
#include <new>
#include <tuple>

#include "base/error.h"

#ifndef MEMRING_STD_THREADS
#include <omp.h>
#endif

namespace memring {
namespace {

using Type = dnnl::memory::data_type;

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

/// A primitive is made for a number of threads, so this belongs to its key.
int team_size() {
#ifdef MEMRING_STD_THREADS
  return 1;
#else
  return omp_in_parallel() ? 1 : omp_get_max_threads();
#endif
}

/// A stored [rows, cols] matrix, or its transpose when `transposed`.
dnnl::memory::desc operand(Transpose transposed, int64_t rows, int64_t cols) {
  return transposed == Transpose::Yes ? dnnl::memory::desc({rows, cols}, Type::bf16, dnnl::memory::dims{1, rows})
                                      : dnnl::memory::desc({rows, cols}, Type::bf16, dnnl::memory::dims{cols, 1});
}

struct Product {
  dnnl::memory::desc a, b, c;
  dnnl::matmul matmul;
};

Product make_product(Transpose a, Transpose b, int64_t m, int64_t n, int64_t k, Write write, int64_t ldc) {
  Product product{operand(a, m, k), operand(b, k, n), {{m, n}, Type::f32, dnnl::memory::dims{ldc, 1}}, {}};
  dnnl::primitive_attr attributes;
  if (write == Write::Accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  product.matmul = dnnl::matmul(dnnl::matmul::primitive_desc(engine(), product.a, product.b, product.c, attributes));
#else
  product.matmul = dnnl::matmul(
      dnnl::matmul::primitive_desc(dnnl::matmul::desc(product.a, product.b, product.c), attributes, engine()));
#endif
  return product;
}

}  // namespace

bool bf16_matmul_is_fast() {
  static const bool fast = cpu_has_amx_bf16() && (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) &
                                                  static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx)) ==
                                                     static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
  return fast;
}

void bf16_matmul(Transpose a, Transpose b, int64_t m, int64_t n, int64_t k, const uint16_t* A, const uint16_t* B,
                 Write write, float* C, int64_t ldc) {
  using Key = std::tuple<Transpose, Transpose, int64_t, int64_t, int64_t, Write, int64_t, int>;
  constexpr size_t kMostProducts = 512;  // a run uses a few dozen shapes; this only bounds what odd ones can pile up
  thread_local std::map<Key, Product> products;
  thread_local dnnl::stream stream(engine());
  try {
    const Key key{a, b, m, n, k, write, ldc, team_size()};
    auto found = products.find(key);
    if (found == products.end()) {
      if (products.size() == kMostProducts) products.clear();
      found = products.emplace(key, make_product(a, b, m, n, k, write, ldc)).first;
    }
    const Product& product = found->second;
    auto memory = [](const dnnl::memory::desc& desc, const void* data) {
      return dnnl::memory(desc, engine(), const_cast<void*>(data));  // oneDNN only reads its sources
    };
    product.matmul.execute(stream, {{DNNL_ARG_SRC, memory(product.a, A)},
                                    {DNNL_ARG_WEIGHTS, memory(product.b, B)},
                                    {DNNL_ARG_DST, memory(product.c, C)}});
    stream.wait();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw Error(ExitCode::Internal,
                fmt::format("oneDNN's bf16 product of [{}, {}] and [{}, {}] failed: {}", m, k, k, n, error.message),
                "Set device.dtype = fp32, and report this with the output of memring doctor.");
  }
}

}  // namespace memring
