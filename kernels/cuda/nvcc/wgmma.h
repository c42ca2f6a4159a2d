// Products of a warpgroup that it does not wait for, on a GPU: wgmma of PTX, for sm_90a alone
// (kernels/cuda/fiber/wgmma.h: on the host, and what each of these means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <copy_async.h>
#include <lane.h>

// Operands of an instruction's text.
#define MEMRING_SUMS_8(d, i)                                                                                  \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define MEMRING_SUMS_64(d) MEMRING_SUMS_8(d, 0), MEMRING_SUMS_8(d, 8), MEMRING_SUMS_8(d, 16), MEMRING_SUMS_8(d, 24)
#define MEMRING_SUMS_128(d) \
  MEMRING_SUMS_64(d), MEMRING_SUMS_8(d, 32), MEMRING_SUMS_8(d, 40), MEMRING_SUMS_8(d, 48), MEMRING_SUMS_8(d, 56)

namespace memring {

MEMRING_LANE uint64_t operand(const void* at, int group_bytes = 16) {
  return (static_cast<uint64_t>(shared_address(at)) & 0x3ffff) >> 4 | static_cast<uint64_t>(group_bytes >> 4) << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;  // eight rows further; swizzled by 128 bytes
}

/// For the compiler: these registers are read and written here.
template <int Count>
MEMRING_LANE void touch(float (&registers)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}

template <int... Counts>
MEMRING_LANE void wgmma_fence(float (&... sums)[Counts]) {
  (touch(sums), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
MEMRING_LANE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending, int... Counts>
MEMRING_LANE void wgmma_wait(float (&... sums)[Counts]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
  (touch(sums), ...);
}

template <bool ColumnsOfB = false>
MEMRING_LANE void wgmma(float (&sums)[32], uint64_t a, uint64_t b, bool accumulate, Place = Place::current()) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %34, 0; "
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, %35; }"
      : MEMRING_SUMS_64(sums)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(ColumnsOfB ? 1 : 0));
}
template <bool ColumnsOfB = false>
MEMRING_LANE void wgmma(float (&sums)[32], const uint32_t (&a)[4], uint64_t b, bool accumulate,
                        Place = Place::current()) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %37, 0; "
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38; }"
      : MEMRING_SUMS_64(sums)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(ColumnsOfB ? 1 : 0));
}
template <bool ColumnsOfB = false>
MEMRING_LANE void wgmma(float (&sums)[64], uint64_t a, uint64_t b, bool accumulate, Place = Place::current()) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %66, 0; "
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1, 0, %67; }"
      : MEMRING_SUMS_128(sums)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(ColumnsOfB ? 1 : 0));
}
template <bool ColumnsOfB = false>
MEMRING_LANE void wgmma(float (&sums)[64], const uint32_t (&a)[4], uint64_t b, bool accumulate,
                        Place = Place::current()) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %69, 0; "
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70; }"
      : MEMRING_SUMS_128(sums)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(ColumnsOfB ? 1 : 0));
}

template <int Count>
MEMRING_LANE void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
MEMRING_LANE void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}

}  // namespace memring
