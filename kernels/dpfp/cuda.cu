// Feature map on a device: a block a row, whose own indices have 32 bits: each feature divides twice.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/dpfp/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

/// u = [relu(x); relu(-x)] of a row, at `i` from 0 to 2 key_dim, or as much further as one wraps round.
template <class T>
MEMRING_LANE Computed<T> half(const T* x, int key_dim, int i) {
  if (i >= 2 * key_dim) i -= 2 * key_dim;
  const Computed<T> value = i < key_dim ? computed(x[i]) : -computed(x[i - key_dim]);
  return value > 0 ? value : 0;
}

template <class T>
MEMRING_KERNEL void dpfp_forward(T* phi, const T* x, int key_dim, int nu) {
  const int width = 2 * key_dim;
  x += block_x() * key_dim;
  phi += block_x() * nu * width;
  for (int i = thread_index(); i < nu * width; i += block_threads()) {
    const int feature = i % width, shift = (i / width + 1) % width;
    store(phi[i], half(x, key_dim, feature) * half(x, key_dim, feature + width - shift));
  }
}

// Feature i of block j is u_i u_{i-j}: an entry of u has its gradient from where it is the first, and the second.
template <class T>
MEMRING_KERNEL void dpfp_backward(T* dx, const T* d_phi, const T* x, int key_dim, int nu) {
  using C = Computed<T>;
  const int width = 2 * key_dim;
  x += block_x() * key_dim;
  dx += block_x() * key_dim;
  d_phi += block_x() * nu * width;
  for (int c = thread_index(); c < key_dim; c += block_threads()) {
    const C sign = computed(x[c]) > 0 ? 1 : computed(x[c]) < 0 ? -1 : 0;
    const int i = sign < 0 ? c + key_dim : c;
    C du = 0;
    for (int j = 0; j < nu; ++j) {
      const int shift = (j + 1) % width, second = i + shift < width ? i + shift : i + shift - width;
      du += computed(d_phi[j * width + i]) * half(x, key_dim, i + width - shift) +
            computed(d_phi[j * width + second]) * half(x, key_dim, second);
    }
    store(dx[c], sign == 0 ? 0 : sign * du);
  }
}

void forward(Queue& queue, View<> phi, ConstView<> x, int64_t nu) {
  const int64_t rows = x.dim(0), key_dim = x.dim(1);
  if (phi.size() == 0) return;
  by_stored_type(x.dtype(), [&]<class T>() {
    launch<dpfp_forward<T>>(queue, Grid{rows, 1, threads_for_row(2 * nu * key_dim), 0}, address<T>(phi), address<T>(x),
                            static_cast<int>(key_dim), static_cast<int>(nu));
  });
}

void backward(Queue& queue, View<> dx, ConstView<> d_phi, ConstView<> x, int64_t nu) {
  const int64_t rows = x.dim(0), key_dim = x.dim(1);
  if (dx.size() == 0) return;
  by_stored_type(x.dtype(), [&]<class T>() {
    launch<dpfp_backward<T>>(queue, Grid{rows, 1, threads_for_row(key_dim), 0}, address<T>(dx), address<T>(d_phi),
                             address<T>(x), static_cast<int>(key_dim), static_cast<int>(nu));
  });
}

const DpfpKernels kernels{forward, backward};

}  // namespace

const DpfpKernels* const dpfp_cuda = &kernels;

}  // namespace memring
