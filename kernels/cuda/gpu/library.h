// Library: a shared library that is opened while the program runs, so that it starts where the library is not. Private
// to kernels/cuda/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace memring {

/// Stays open until the process ends: libraries of CUDA do not take being closed.
class Library {
 public:
  /// Opens it by its soname: out of the folders that MEMRING_CUDA_LIBRARIES lists (as PATH lists some), or where the
  /// loader looks, or in the CUDA Toolkit, or among the packages of the Python environment that is active. Throws
  /// Error(Usage) saying where it was looked for, or why it could not be opened.
  explicit Library(const std::string& soname);

  /// Sets `function` to the library's function of this name. Throws Error(Usage) where it has none.
  template <class Function>
  void find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(address_of(name));
  }

 private:
  void* address_of(const char* name) const;

  std::string soname_;
  void* opened_ = nullptr;
};

}  // namespace memring
