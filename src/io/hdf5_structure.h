// What an HDF5 file says it holds, read without the HDF5 library: that crashes or hangs on some damaged files, and the
// files come from disks, copies and people. Only what memring's own writer and h5py's defaults make is understood: the
// structure that HDF5 has written since 1.0 unless told otherwise (File Format Specification 3.0: superblock 0, groups
// as symbol tables, object headers of version 1). Every place and length is checked against the file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "io/file.h"
#include "io/hdf5.h"

namespace memring {

constexpr std::string_view kHdf5Signature("\x89HDF\r\n\x1a\n", 8);  ///< the first bytes of a file

/// A single value; Other is anything that is no text, integer or floating-point number, or more than one of them.
struct Hdf5Attribute {
  enum class Kind : uint8_t { Text, Integer, Number, Other } kind = Kind::Other;
  std::string text;
  int64_t integer = 0;
  double number = 0;
};

struct Hdf5Object {
  /// Link: to another place in the file, which is not followed. Other: what memring has no use for.
  enum class Kind : uint8_t { Group, Dataset, Link, Other } kind = Kind::Other;
  Hdf5Dataset dataset;  ///< its range lies within the file
  std::map<std::string, Hdf5Attribute> attributes;
};

/// All objects by full path ("params/w"; the root is "/"). Throws Error(Data), whose text does not
/// name the file, when the structure is damaged, of another kind, or larger than a few megabytes.
std::map<std::string, Hdf5Object> read_structure(const File& file);

}  // namespace memring
