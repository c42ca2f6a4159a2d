// Output head and loss, reference: one row at a time.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy/ref.h"

#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/linear/ref.h"

namespace memring::reference {
namespace {

template <class T>
T sum_of_exponentials(const T* logits, T largest, int64_t count) {
  T sum = 0;
  for (int64_t j = 0; j < count; ++j) sum += std::exp(logits[j] - largest);
  return sum;
}

}  // namespace

// nll = log(sum exp(logits)) - logits[target], shifted by the largest logit so that nothing overflows
template <class T>
void cross_entropy_forward(T* nll, const T* hidden, const T* weight, const int32_t* targets, CrossEntropyExtents e,
                           T* logits, Products products) {
  for (int64_t r = 0; r < e.rows; ++r, hidden += e.dim) {
    nll[r] = 0;
    if (targets[r] == kIgnoredTarget) continue;
    linear_forward(logits, Write::Overwrite, hidden, weight, 1, e.dim, e.vocab, products);
    const T largest = *std::max_element(logits, logits + e.vocab);
    nll[r] = std::log(sum_of_exponentials(logits, largest, e.vocab)) + (largest - logits[targets[r]]);
  }
}

// d nll / d logits = softmax(logits) - onehot(target);  d_hidden = d_logits W,  d_weight += d_logitsᵀ hidden
template <class T>
void cross_entropy_forward_backward(T* nll, T* d_hidden, T* d_weight, const T* hidden, const T* weight,
                                    const int32_t* targets, CrossEntropyExtents e, T* logits, Products products) {
  for (int64_t r = 0; r < e.rows; ++r, hidden += e.dim, d_hidden += e.dim) {
    cross_entropy_forward(nll + r, hidden, weight, targets + r, {1, e.dim, e.vocab}, logits, products);
    std::fill_n(d_hidden, e.dim, T(0));
    if (targets[r] == kIgnoredTarget) continue;
    const T largest = *std::max_element(logits, logits + e.vocab);
    const T sum = sum_of_exponentials(logits, largest, e.vocab);
    for (int64_t j = 0; j < e.vocab; ++j) logits[j] = std::exp(logits[j] - largest) / sum - (j == targets[r] ? 1 : 0);
    linear_input_gradient(d_hidden, Write::Overwrite, logits, weight, 1, e.dim, e.vocab, products);
    if (d_weight) linear_weight_gradient(d_weight, logits, hidden, 1, e.dim, e.vocab, products);
  }
}

// loss = (1 - share) nll + share KL(p || q);  d_hidden = (q - (1 - share) onehot(target) - share p) W
template <class T>
void cross_entropy_distil(T* loss, T* d_hidden, const T* hidden, const T* taught, double share, const T* weight,
                          const int32_t* targets, CrossEntropyExtents e, T* logits, Products products) {
  T* const teacher = logits + e.vocab;
  const T s = static_cast<T>(share);
  for (int64_t r = 0; r < e.rows; ++r, hidden += e.dim, taught += e.dim, d_hidden += e.dim) {
    loss[r] = 0;
    std::fill_n(d_hidden, e.dim, T(0));
    if (targets[r] == kIgnoredTarget) continue;
    linear_forward(logits, Write::Overwrite, hidden, weight, 1, e.dim, e.vocab, products);
    linear_forward(teacher, Write::Overwrite, taught, weight, 1, e.dim, e.vocab, products);
    const auto log_sum = [&](const T* x) {
      const T largest = *std::max_element(x, x + e.vocab);
      return largest + std::log(sum_of_exponentials(x, largest, e.vocab));
    };
    const T log_q = log_sum(logits), log_p = log_sum(teacher);
    loss[r] = (1 - s) * (log_q - logits[targets[r]]);
    for (int64_t j = 0; j < e.vocab; ++j) {
      const T p = std::exp(teacher[j] - log_p), q = std::exp(logits[j] - log_q);
      loss[r] += s * p * ((teacher[j] - log_p) - (logits[j] - log_q));
      logits[j] = q - s * p - (j == targets[r] ? 1 - s : 0);
    }
    linear_input_gradient(d_hidden, Write::Overwrite, logits, weight, 1, e.dim, e.vocab, products);
  }
}

template void cross_entropy_forward(float*, const float*, const float*, const int32_t*, CrossEntropyExtents, float*,
                                    Products);
template void cross_entropy_forward(double*, const double*, const double*, const int32_t*, CrossEntropyExtents, double*,
                                    Products);
template void cross_entropy_forward_backward(float*, float*, float*, const float*, const float*, const int32_t*,
                                             CrossEntropyExtents, float*, Products);
template void cross_entropy_forward_backward(double*, double*, double*, const double*, const double*, const int32_t*,
                                             CrossEntropyExtents, double*, Products);
template void cross_entropy_distil(float*, float*, const float*, const float*, double, const float*, const int32_t*,
                                   CrossEntropyExtents, float*, Products);
template void cross_entropy_distil(double*, double*, const double*, const double*, double, const double*,
                                   const int32_t*, CrossEntropyExtents, double*, Products);

}  // namespace memring::reference
