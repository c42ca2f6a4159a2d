# Shared compile settings and the helper that builds hot loops once per instruction set.

# A compiler that CI does not build with has warnings of its own, which must not stop a user.
set(memring_compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
set(memring_errors "")
if(memring_WERROR AND memring_compiler MATCHES "^(GNU 12|Clang 14)\\.")
  set(memring_errors -Werror)
elseif(memring_WERROR)
  message(STATUS "Warnings are no errors: CI builds with GNU 12 and Clang 14, not with ${memring_compiler}")
endif()

add_library(memring_options INTERFACE)
target_compile_options(memring_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual ${memring_errors}
  $<$<CONFIG:Release>:-O3>)
target_include_directories(memring_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(memring_options INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
# A sanitizer's checks take the optimizer long: -O1 -g1 compiles up to three times as fast as -O2 -g.
if(memring_SANITIZER STREQUAL "address")
  target_compile_options(memring_options INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer -O1 -g1)
  target_link_options(memring_options INTERFACE -fsanitize=address,undefined)
elseif(memring_SANITIZER STREQUAL "fuzzer")
  # Clang only: its libFuzzer learns from what the code branches on. Every file reports that; targets link the engine.
  target_compile_options(memring_options INTERFACE
    -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -O1 -g1 -Wno-pass-failed)
  target_link_options(memring_options INTERFACE -fsanitize=fuzzer-no-link,address,undefined)
elseif(memring_SANITIZER STREQUAL "thread")
  # libgomp and oneDNN are not instrumented: this build runs parallel_for on std::thread and the reference kernels.
  target_compile_options(memring_options INTERFACE -fsanitize=thread -O1 -g1)
  target_link_options(memring_options INTERFACE -fsanitize=thread)
elseif(memring_SANITIZER)
  message(FATAL_ERROR "memring_SANITIZER is '${memring_SANITIZER}'; expected address, thread, fuzzer or nothing")
endif()

# memring_isa_sources(TARGET GROUP FILE...): compiles each file once per instruction set into TARGET. The file sees
# MEMRING_ISA (baseline, avx2 or avx512), which names the namespace its functions go to, and one of those is chosen at run time.
# GROUP names the object libraries, so that several folders can call this for one target.
function(memring_isa_sources target group)
  set(flags_baseline "")
  set(flags_avx2 -mavx2 -mfma)
  set(flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512)
  foreach(isa baseline avx2 avx512)
    add_library(${group}_${isa} OBJECT ${ARGN})
    target_link_libraries(${group}_${isa} PRIVATE memring_options)
    target_compile_definitions(${group}_${isa} PRIVATE MEMRING_ISA=${isa})
    # Vectorising needs neither errno nor traps; sums are re-associated only where a loop says so (omp simd).
    target_compile_options(${group}_${isa} PRIVATE ${flags_${isa}} -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${group}_${isa}>)
  endforeach()
endfunction()
