// The twin's kernels of operators that have none of their own on a device yet: each one's reference, called when its
// stream comes to it.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/cuda.h"
#include "kernels/cross_entropy/cuda.h"
#include "kernels/cuda/twin/late.h"
#include "kernels/gated_unit/cuda.h"
#include "kernels/linear/cuda.h"
#include "kernels/projections/cuda.h"

namespace memring {
namespace {

const AssociativeKernels late_associative{late<&Associative::read>, late<&Associative::read_backward>,
                                          late<&Associative::write>, late<&Associative::write_backward>};
const CrossEntropyKernels late_cross_entropy{late<&CrossEntropy::forward>, late<&CrossEntropy::forward_backward>,
                                             late<&CrossEntropy::distil>};
const GatedUnitKernels late_gated_unit{late<&GatedUnit::products>, late<&GatedUnit::forward>,
                                       late<&GatedUnit::backward>};
const LinearKernels late_linear{late<&Linear::forward>, late<&Linear::input_gradient>, late<&Linear::weight_gradient>};
const ProjectionsKernels late_projections{late<&Projections::forward>, late<&Projections::backward>};

}  // namespace

const AssociativeKernels* const associative_cuda = &late_associative;
const CrossEntropyKernels* const cross_entropy_cuda = &late_cross_entropy;
const GatedUnitKernels* const gated_unit_cuda = &late_gated_unit;
const LinearKernels* const linear_cuda = &late_linear;
const ProjectionsKernels* const projections_cuda = &late_projections;

}  // namespace memring
