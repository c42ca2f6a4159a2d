// How a folder's loops.h names its three builds. Private to kernels/; includes nothing, since loops.cpp files must stay
// free of inline functions from elsewhere (simd_math.h says why).
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Declares the table `name` of function pointers, once per instruction set; kernels/common/dispatch.h chooses one.
/// loops.cpp defines it in `namespace memring::MEMRING_ISA`.
#define MEMRING_DECLARE_LOOPS(Table, name) \
  namespace baseline {                     \
  extern const Table name;                 \
  }                                        \
  namespace avx2 {                         \
  extern const Table name;                 \
  }                                        \
  namespace avx512 {                       \
  extern const Table name;                 \
  }
