# One target per folder. A folder's target sees only what it names in DEPS, so that the build itself
# keeps the direction of the dependencies (ARCHITECTURE.md).

add_library(branchline_flags INTERFACE)
target_include_directories(branchline_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(branchline_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough -Wunused -Woverloaded-virtual
  -Wno-missing-field-initializers)
target_link_options(branchline_flags INTERFACE -fuse-ld=lld -Wl,--gc-sections)
target_compile_options(branchline_flags INTERFACE -ffunction-sections -fdata-sections)

set(BRANCHLINE_SANITIZE "" CACHE STRING "sanitizers, e.g. address,undefined or thread")
if(BRANCHLINE_SANITIZE)
  target_compile_options(branchline_flags INTERFACE -fsanitize=${BRANCHLINE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(branchline_flags INTERFACE -fsanitize=${BRANCHLINE_SANITIZE})
  if(BRANCHLINE_SANITIZE MATCHES "thread")
    # TSan does not understand stand-alone fences.
    target_compile_definitions(branchline_flags INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
  endif()
endif()

# libFuzzer targets (tests/fuzz/README.md): everything is instrumented, so that they see what an input reaches.
option(BRANCHLINE_FUZZ "build the fuzz targets; with the preset asan" OFF)
if(BRANCHLINE_FUZZ)
  target_compile_options(branchline_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# branchline_library(NAME SOURCES ... DEPS ...): a static library `bl_NAME`.
function(branchline_library name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  add_library(bl_${name} STATIC ${A_SOURCES})
  target_link_libraries(bl_${name} PUBLIC branchline_flags ${A_DEPS})
endfunction()

function(branchline_program name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE branchline_flags ${A_DEPS})
  if(BRANCHLINE_SANITIZE MATCHES "thread")
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/tsan_suppressions.cc)
  endif()
endfunction()
