// Products of a device whose kernels run on fibers: plain loops, when the stream comes to them.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/products.h"

#include "kernels/cuda/fiber/lane.h"
#include "kernels/cuda/stored_type.h"
#include "kernels/cuda/twin/device.h"

namespace memring {
namespace {

/// A factor's element as the product sees it.
template <class T>
Computed<T> seen(T x, Products products) {
  if constexpr (std::is_same_v<T, float>)
    return products == Products::Bf16 ? round_to_bf16(x) : x;
  else
    return computed(x);
}

/// Where a factor's element [i, j] lies: at i * row + j * column.
struct Strides {
  int64_t row, column;
  explicit Strides(const Factor& f)
      : row(f.transposed ? 1 : f.stored.dim(1)), column(f.transposed ? f.stored.dim(1) : 1) {}
};

template <class O, class T>
void multiply(O* c, Write write, const T* a, Strides of_a, const T* b, Strides of_b, int64_t m, int64_t n, int64_t k,
              Products products) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      Computed<T> sum = 0;
      for (int64_t x = 0; x < k; ++x)
        sum += seen(a[i * of_a.row + x * of_a.column], products) * seen(b[x * of_b.row + j * of_b.column], products);
      O& to = c[i * n + j];
      store(to, write == Write::Accumulate ? computed(to) + sum : sum);
    }
}

}  // namespace

void matrix_product(Queue& queue, View<> c, Write write, const Factor& a, const Factor& b) {
  auto& device = static_cast<TwinDevice&>(*queue.device());  // there are no others in a program with these kernels
  const auto loops = [&]<class O, class T>() {
    device.enqueue(queue.stream(), [=, &device, products = queue.products()] {
      multiply(device.on_host(address<O>(c)), write, device.on_host(address<T>(a.stored)), Strides(a),
               device.on_host(address<T>(b.stored)), Strides(b), a.rows(), b.columns(), a.columns(), products);
    });
  };
  by_stored_type(a.stored.dtype(), [&]<class T>() {
    if (c.dtype() == dtype_of<T>()) return loops.template operator()<T, T>();
    if constexpr (std::is_same_v<T, Bf16>) return loops.template operator()<float, T>();
  });
}

}  // namespace memring
