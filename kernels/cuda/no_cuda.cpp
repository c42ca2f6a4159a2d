// In place of the CUDA backend in a program that was built without it: no device, and no kernels.
// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "kernels/adamw/cuda.h"
#include "kernels/associative/cuda.h"
#include "kernels/attention/cuda.h"
#include "kernels/cross_entropy/cuda.h"
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

bool has_device_backend() { return false; }

int device_count() { return 0; }

std::unique_ptr<Device> open_device(int) {
  throw Error(ExitCode::Usage, "this build has no CUDA backend",
              "Set device.kind = cpu, or auto for the best that is there.");
}

const AdamWKernels* const adamw_cuda = nullptr;
const AssociativeKernels* const associative_cuda = nullptr;
const AttentionKernels* const attention_cuda = nullptr;
const CrossEntropyKernels* const cross_entropy_cuda = nullptr;
const DpfpKernels* const dpfp_cuda = nullptr;
const ElementwiseKernels* const elementwise_cuda = nullptr;
const EmbeddingKernels* const embedding_cuda = nullptr;
const HeadsKernels* const heads_cuda = nullptr;
const LinearKernels* const linear_cuda = nullptr;
const LossSumKernels* const loss_sum_cuda = nullptr;
const SquaredNormKernels* const norm_cuda = nullptr;
const RmsNormKernels* const rmsnorm_cuda = nullptr;
const RopeKernels* const rope_cuda = nullptr;
const MoveRowsKernels* const rows_cuda = nullptr;
const SwiGluKernels* const swiglu_cuda = nullptr;

}  // namespace memring
