// The twin's kernels of operators that have none of their own on a device yet: each one's reference, called when its
// stream comes to it.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/cuda.h"
#include "kernels/attention/cuda.h"
#include "kernels/cuda/twin/late.h"
#include "kernels/dpfp/cuda.h"
#include "kernels/embedding/cuda.h"
#include "kernels/loss_sum/cuda.h"
#include "kernels/norm/cuda.h"
#include "kernels/rows/cuda.h"

namespace memring {
namespace {

const AdamWKernels late_adamw{late<&AdamW::step>};
const AttentionKernels late_attention{late<&LocalAttention::forward_part>, late<&LocalAttention::backward_part>};
const DpfpKernels late_dpfp{late<&Dpfp::forward>, late<&Dpfp::backward>};
const EmbeddingKernels late_embedding{late<&Embedding::forward>, late<&Embedding::backward>};
const LossSumKernels late_loss_sum{late<&LossSum::add>};
const SquaredNormKernels late_norm{late<&SquaredNorm::add>};
const MoveRowsKernels late_rows{late<&MoveRows::run>, late<&MoveRows::sum>};

}  // namespace

const AdamWKernels* const adamw_cuda = &late_adamw;
const AttentionKernels* const attention_cuda = &late_attention;
const DpfpKernels* const dpfp_cuda = &late_dpfp;
const EmbeddingKernels* const embedding_cuda = &late_embedding;
const LossSumKernels* const loss_sum_cuda = &late_loss_sum;
const SquaredNormKernels* const norm_cuda = &late_norm;
const MoveRowsKernels* const rows_cuda = &late_rows;

}  // namespace memring
