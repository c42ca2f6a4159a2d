// The part of HDF5 that memring uses. Files hold contiguous, uncompressed, little-endian datasets at known offsets, so
// that bulk data is read and written by position, without HDF5. The library writes; it never reads a file that this
// process did not just make, since it crashes or hangs on some damaged ones (hdf5_structure.h reads instead).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/handle.h"
#include "base/view.h"

namespace memring {

/// Little-endian element types; Other is anything else.
enum class Hdf5Type : uint8_t { F32, F64, I32, I64, U8, U16, U32, U64, Other };
int64_t bytes_of(Hdf5Type);
const char* name_of(Hdf5Type);  ///< "float64", "uint16", ...
Hdf5Type hdf5_type(DType);

/// Where a dataset is. Names are full paths without the leading slash: "params/model.norm.weight".
struct Hdf5Dataset {
  std::string name;
  Hdf5Type type = Hdf5Type::Other;
  Shape shape;          ///< rank 0: a scalar
  int64_t offset = -1;  ///< of its first byte in the file; -1: not contiguous, or without elements
  int64_t bytes() const { return shape.elements() * bytes_of(type); }
};

/// A file that is read, by code of our own. Errors name the file and the object: Error(Data) for what is found
/// (missing, not HDF5, damaged, object absent or of another type or shape), Error(Io) for what the system refuses.
class Hdf5File {
 public:
  /// `what` names the kind of file in messages ("token file"), `remedy` is the hint when it is no such file.
  static Hdf5File open(const std::string& path, const std::string& what = "file", const std::string& remedy = {});
  ~Hdf5File();
  Hdf5File(Hdf5File&&) noexcept;

  const std::string& path() const;
  /// A dataset or group. Throws Error(Data) where the name is a soft link: a file speaks for itself.
  bool has(const std::string& name) const;
  Hdf5Dataset dataset(const std::string& name) const;
  /// All datasets below a group, sorted by name bytewise. Links to other files are not followed.
  std::vector<Hdf5Dataset> list(const std::string& group = "/") const;

  /// The groups directly below a group, full names, sorted bytewise.
  std::vector<std::string> groups(const std::string& group = "/") const;

  /// The whole dataset as T: double (from any float type), int32_t or int64_t (from integers that fit), row-major.
  template <class T>
  std::vector<T> read(const std::string& name) const;

  bool has_attribute(const std::string& name, const std::string& object = "/") const;
  std::string text_attribute(const std::string& name, const std::string& object = "/") const;
  int64_t integer_attribute(const std::string& name, const std::string& object = "/") const;
  /// Of a floating-point number or an integer.
  double number_attribute(const std::string& name, const std::string& object = "/") const;

 private:
  struct State;
  explicit Hdf5File(std::unique_ptr<State>);
  std::unique_ptr<State> state_;
};

struct Hdf5Traits {
  using Value = int64_t;  // hid_t
  static int64_t none() { return -1; }
  static void close(int64_t) noexcept;
};
using Hdf5Id = Handle<Hdf5Traits>;

/// A file that is made, by the library. Objects carry no times: the same content gives the same bytes. Not thread-safe
/// (the library is not): for the main thread, or for one thread at a time. Errors are Error(Io), name the file and the
/// object, and say what HDF5 said.
class Hdf5Writer {
 public:
  /// New or emptied. Datasets of at least `alignment` bytes start at multiples of it.
  static Hdf5Writer create(const std::string& path, int64_t alignment = 4096);
  /// A file that this process made, for adding; bytes behind what HDF5 knows of are left alone until a dataset is laid
  /// over them.
  static Hdf5Writer append(const std::string& path, int64_t alignment = 4096);

  /// Writes everything out (without fsync) and reports errors, which the destructor cannot.
  void close();

  void write_attribute(const std::string& name, const std::string& text, const std::string& object = "/");
  void write_attribute(const std::string& name, int64_t value, const std::string& object = "/");
  void write_attribute(const std::string& name, double value, const std::string& object = "/");

  void create_group(const std::string& name);
  /// Lays out a contiguous dataset, with missing groups, and returns where it is; its bytes are whatever the file holds
  /// there (zeros in a new file) until they are written, by write() or by position after close().
  Hdf5Dataset create_dataset(const std::string& name, Hdf5Type type, const Shape& shape);
  void write(const Hdf5Dataset& dataset, std::span<const std::byte> bytes);

 private:
  Hdf5Writer(std::string path, Hdf5Id file) : path_(std::move(path)), file_(std::move(file)) {}
  void put_attribute(const std::string& name, const std::string& object, int64_t stored, int64_t memory,
                     const void* value);

  std::string path_;
  Hdf5Id file_;
};

}  // namespace memring
