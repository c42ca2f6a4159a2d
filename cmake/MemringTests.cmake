# How tests are declared. Every test has a time limit; a test with ranks fails if any rank fails. One thread a rank unless
# a test asks for more; those sleep while they wait, since there are more of them than cores.

set(memring_RANK_ENVIRONMENT
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
  OMPI_MCA_hwloc_base_binding_policy=none OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive)
# Open MPI leaks from plugins that it has unloaded, which no suppression can name: programs that start it skip that check.
set(memring_RANK_LEAKS "")
if(memring_SANITIZER STREQUAL "address")
  set(memring_RANK_LEAKS ASAN_OPTIONS=detect_leaks=0)
endif()

# A sanitizer makes a test up to ten times as slow.
function(memring_time_limit out seconds)
  if(memring_SANITIZER)
    math(EXPR seconds "${seconds} * 10")
  endif()
  set(${out} ${seconds} PARENT_SCOPE)
endfunction()

# memring_test(NAME TARGET LABEL [TIMEOUT seconds]): a GoogleTest program on one process.
function(memring_test name target label)
  cmake_parse_arguments(arg "" "TIMEOUT" "" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  memring_time_limit(limit ${arg_TIMEOUT})
  add_test(NAME ${name} COMMAND ${target})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${limit} LABELS ${label} ENVIRONMENT "${memring_RANK_ENVIRONMENT}")
endfunction()

# memring_rank_test(NAME LABEL RANKS 1 2 ... COMMAND program args... [TIMEOUT seconds]): one ctest entry per number of ranks.
function(memring_rank_test name label)
  cmake_parse_arguments(arg "" "TIMEOUT" "RANKS;COMMAND" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  memring_time_limit(limit ${arg_TIMEOUT})
  # CMake puts a target's path in place of its name in front of a command only, and there mpirun stands.
  list(POP_FRONT arg_COMMAND program)
  if(TARGET ${program})
    set(program $<TARGET_FILE:${program}>)
  endif()
  foreach(ranks ${arg_RANKS})
    set(processors ${ranks})
    if(ranks GREATER 2)
      set(processors 2)
    endif()
    add_test(NAME ${name}.ranks${ranks} COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${program} ${arg_COMMAND})
    set_tests_properties(${name}.ranks${ranks} PROPERTIES TIMEOUT ${limit} LABELS "${label};ranks${ranks}"
      ENVIRONMENT "${memring_RANK_ENVIRONMENT};${memring_RANK_LEAKS}" PROCESSORS ${processors})
  endforeach()
endfunction()
