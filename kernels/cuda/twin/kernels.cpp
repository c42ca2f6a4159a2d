// The twin's kernels in place of those that a device has (kernels/*/cuda.cu): each operator's reference, called when
// its stream comes to it, whose bits show whatever else is wrong.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/cuda.h"
#include "kernels/associative/cuda.h"
#include "kernels/attention/cuda.h"
#include "kernels/cross_entropy/cuda.h"
#include "kernels/cuda/twin/late.h"
#include "kernels/dpfp/cuda.h"
#include "kernels/elementwise/cuda.h"
#include "kernels/embedding/cuda.h"
#include "kernels/heads/cuda.h"
#include "kernels/linear/cuda.h"
#include "kernels/loss_sum/cuda.h"
#include "kernels/norm/cuda.h"
#include "kernels/rmsnorm/cuda.h"
#include "kernels/rope/cuda.h"
#include "kernels/rows/cuda.h"
#include "kernels/swiglu/cuda.h"

namespace memring {
namespace {

const AdamWKernels late_adamw{late<&AdamW::step>};
const DpfpKernels late_dpfp{late<&Dpfp::forward>, late<&Dpfp::backward>};
const AttentionKernels late_attention{late<&LocalAttention::forward_part>, late<&LocalAttention::backward_part>};
const AssociativeKernels late_associative{late<&Associative::read>, late<&Associative::read_backward>,
                                          late<&Associative::write>, late<&Associative::write_backward>};
const CrossEntropyKernels late_cross_entropy{late<&CrossEntropy::forward>, late<&CrossEntropy::forward_backward>,
                                             late<&CrossEntropy::distil>};
const ElementwiseKernels late_elementwise{late<&Elementwise::copy>, late<&Elementwise::fill>, late<&Elementwise::scale>,
                                          late<&Elementwise::add>};
const EmbeddingKernels late_embedding{late<&Embedding::forward>, late<&Embedding::backward>};
const HeadsKernels late_heads{late<&Heads::split>, late<&Heads::merge>};
const LossSumKernels late_loss_sum{late<&LossSum::add>};
const MoveRowsKernels late_rows{late<&MoveRows::run>, late<&MoveRows::sum>};
const LinearKernels late_linear{late<&Linear::forward>, late<&Linear::input_gradient>, late<&Linear::weight_gradient>};
const RmsNormKernels late_rmsnorm{late<&RmsNorm::forward>, late<&RmsNorm::backward>};
const RopeKernels late_rope{late<&Rope::table>, late<&Rope::forward>, late<&Rope::backward>};
const SquaredNormKernels late_norm{late<&SquaredNorm::add>};
const SwiGluKernels late_swiglu{late<&SwiGlu::forward>, late<&SwiGlu::backward>};

}  // namespace

const AdamWKernels* const adamw_cuda = &late_adamw;
const DpfpKernels* const dpfp_cuda = &late_dpfp;
const AttentionKernels* const attention_cuda = &late_attention;
const AssociativeKernels* const associative_cuda = &late_associative;
const CrossEntropyKernels* const cross_entropy_cuda = &late_cross_entropy;
const ElementwiseKernels* const elementwise_cuda = &late_elementwise;
const EmbeddingKernels* const embedding_cuda = &late_embedding;
const HeadsKernels* const heads_cuda = &late_heads;
const LossSumKernels* const loss_sum_cuda = &late_loss_sum;
const MoveRowsKernels* const rows_cuda = &late_rows;
const LinearKernels* const linear_cuda = &late_linear;
const RmsNormKernels* const rmsnorm_cuda = &late_rmsnorm;
const RopeKernels* const rope_cuda = &late_rope;
const SquaredNormKernels* const norm_cuda = &late_norm;
const SwiGluKernels* const swiglu_cuda = &late_swiglu;

}  // namespace memring
