// The twin's kernels in place of those that a device has (kernels/*/cuda.cu): each operator's reference, called when
// its stream comes to it, whose bits show whatever else is wrong.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/cuda.h"
#include "kernels/cross_entropy/cuda.h"
#include "kernels/cuda/twin/late.h"
#include "kernels/elementwise/cuda.h"
#include "kernels/heads/cuda.h"
#include "kernels/linear/cuda.h"
#include "kernels/rmsnorm/cuda.h"
#include "kernels/rope/cuda.h"
#include "kernels/swiglu/cuda.h"

namespace memring {
namespace {

const AssociativeKernels late_associative{late<&Associative::read>, late<&Associative::read_backward>,
                                          late<&Associative::write>, late<&Associative::write_backward>};
const CrossEntropyKernels late_cross_entropy{late<&CrossEntropy::forward>, late<&CrossEntropy::forward_backward>,
                                             late<&CrossEntropy::distil>};
const ElementwiseKernels late_elementwise{late<&Elementwise::copy>, late<&Elementwise::fill>, late<&Elementwise::scale>,
                                          late<&Elementwise::add>};
const HeadsKernels late_heads{late<&Heads::split>, late<&Heads::merge>};
const LinearKernels late_linear{late<&Linear::forward>, late<&Linear::input_gradient>, late<&Linear::weight_gradient>};
const RmsNormKernels late_rmsnorm{late<&RmsNorm::forward>, late<&RmsNorm::backward>};
const RopeKernels late_rope{late<&Rope::table>, late<&Rope::forward>, late<&Rope::backward>};
const SwiGluKernels late_swiglu{late<&SwiGlu::forward>, late<&SwiGlu::backward>};

}  // namespace

const AssociativeKernels* const associative_cuda = &late_associative;
const CrossEntropyKernels* const cross_entropy_cuda = &late_cross_entropy;
const ElementwiseKernels* const elementwise_cuda = &late_elementwise;
const HeadsKernels* const heads_cuda = &late_heads;
const LinearKernels* const linear_cuda = &late_linear;
const RmsNormKernels* const rmsnorm_cuda = &late_rmsnorm;
const RopeKernels* const rope_cuda = &late_rope;
const SwiGluKernels* const swiglu_cuda = &late_swiglu;

}  // namespace memring
