# Whether kernels for NVIDIA GPUs are built (memring_WITH_CUDA), and how nvcc is called. Nothing of CUDA is linked but its runtime,
# statically: the program starts where there is no driver, and says so when it is asked for a GPU.
set(memring_CUDA AUTO CACHE STRING "Kernels for NVIDIA GPUs: ON, OFF, or AUTO where a CUDA Toolkit is found")
set_property(CACHE memring_CUDA PROPERTY STRINGS AUTO ON OFF)
set(memring_CUDA_ARCHITECTURES 80 90a 100 CACHE STRING "What kernels are compiled for; the last as PTX too, for later GPUs")

find_package(CUDAToolkit 12 QUIET)  # in PATH, CUDA_PATH or /usr/local/cuda
find_path(cublasLt_INCLUDE_DIR cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
mark_as_advanced(cublasLt_INCLUDE_DIR)
set(memring_CUDA_HEADERS OFF)
if(CUDAToolkit_FOUND AND TARGET CUDA::cudart_static AND cublasLt_INCLUDE_DIR)
  set(memring_CUDA_HEADERS ON)
endif()

set(memring_WITH_CUDA OFF)
if(memring_CUDA STREQUAL "ON" AND NOT memring_CUDA_HEADERS)
  message(FATAL_ERROR "memring_CUDA is ON, and no CUDA Toolkit of version 12 or later with cuBLASLt was found in PATH, CUDA_PATH or "
    "/usr/local/cuda. Install one, say where it is with CUDA_PATH, or set memring_CUDA to OFF.")
elseif(memring_CUDA_HEADERS AND NOT memring_CUDA STREQUAL "OFF")
  set(memring_WITH_CUDA ON)
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
  set(CMAKE_CUDA_ARCHITECTURES OFF)  # CMake 3.25 does not know those with a letter
  enable_language(CUDA)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # which CMake 3.25 does not know for an nvcc of today
  if(CCACHE_PROGRAM AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  endif()
endif()
if(memring_CUDA STREQUAL "AUTO")
  message(STATUS "Kernels for NVIDIA GPUs: ${memring_WITH_CUDA}")
endif()

# memring_cuda_flags(TARGET): how nvcc compiles its .cu files.
function(memring_cuda_flags target)
  set(flags --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra,-Wshadow)
  if(memring_WERROR)
    list(APPEND flags --Werror=all-warnings)
  endif()
  foreach(architecture IN LISTS memring_CUDA_ARCHITECTURES)
    list(APPEND flags -gencode=arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  list(GET memring_CUDA_ARCHITECTURES -1 last)
  list(APPEND flags -gencode=arch=compute_${last},code=compute_${last})
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:${flags}>)
endfunction()
