// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>

#include "base/error.h"
#include "io/file.h"
#include "io/hdf5.h"

namespace memring {
namespace {

static_assert(std::is_same_v<hid_t, int64_t>, "HDF5 1.10 or newer is needed");

/// The library prints its error stack by default; its text goes into our messages instead.
void quiet() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

/// What HDF5 says about its last failure: the innermost entry of its error stack, which is then emptied.
std::string reason() {
  std::string text;
  auto keep_first = [](unsigned, const H5E_error2_t* entry, void* out) -> herr_t {
    auto& kept = *static_cast<std::string*>(out);
    if (kept.empty() && entry->desc) kept = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &text);
  H5Eclear2(H5E_DEFAULT);
  // What the system refused is told over several lines, with the time and addresses.
  constexpr std::string_view kSystem = "error message = '";
  if (const size_t system = text.find(kSystem); system != std::string::npos) text.erase(0, system + kSystem.size());
  return text.substr(0, text.find_first_of(text.find('\n') == std::string::npos ? "\n" : "'\n"));
}

[[noreturn]] void no_write(const std::string& path, const std::string& action) {
  throw Error(ExitCode::Io, fmt::format("cannot {} in {}: HDF5 says: {}", action, path, reason()),
              "Check that the folder exists, is writable and has space left.");
}

Hdf5Id written(hid_t id, const std::string& path, const std::string& action) {
  if (id < 0) no_write(path, action);
  return Hdf5Id(id);
}

hid_t stored_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::F32:
      return H5T_IEEE_F32LE;
    case Hdf5Type::F64:
      return H5T_IEEE_F64LE;
    case Hdf5Type::I32:
      return H5T_STD_I32LE;
    case Hdf5Type::I64:
      return H5T_STD_I64LE;
    case Hdf5Type::U8:
      return H5T_STD_U8LE;
    case Hdf5Type::U16:
      return H5T_STD_U16LE;
    case Hdf5Type::U32:
      return H5T_STD_U32LE;
    case Hdf5Type::U64:
      return H5T_STD_U64LE;
    case Hdf5Type::Other:
      break;
  }
  throw Error(ExitCode::Internal, "no HDF5 type for Hdf5Type::Other", "This is a bug in memring; please report it.");
}

/// Opening settings. The structure is the one that hdf5_structure.h reads, whatever the library's default. No locks:
/// the file is ours alone, and file systems of clusters often refuse them.
Hdf5Id access(int64_t alignment) {
  Hdf5Id list(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_libver_bounds(list.get(), H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(list.get(), false, true);
#endif
  if (alignment > 1) H5Pset_alignment(list.get(), static_cast<hsize_t>(alignment), static_cast<hsize_t>(alignment));
  return list;
}

/// Settings for a new object: no times in it, missing groups are made.
Hdf5Id timeless(hid_t cls) {
  Hdf5Id list(H5Pcreate(cls));
  H5Pset_obj_track_times(list.get(), false);
  return list;
}

Hdf5Id with_groups() {
  Hdf5Id list(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(list.get(), 1);
  return list;
}

}  // namespace

void Hdf5Traits::close(int64_t id) noexcept { H5Idec_ref(id); }

int64_t bytes_of(Hdf5Type type) {
  constexpr std::array<int64_t, 9> bytes{4, 8, 4, 8, 1, 2, 4, 8, 0};
  return bytes[static_cast<size_t>(type)];
}

const char* name_of(Hdf5Type type) {
  constexpr std::array names{"float32", "float64", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "another"};
  return names[static_cast<size_t>(type)];
}

Hdf5Type hdf5_type(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return Hdf5Type::F32;
    case DType::F64:
      return Hdf5Type::F64;
    case DType::I32:
      return Hdf5Type::I32;
    case DType::I64:
      return Hdf5Type::I64;
    case DType::U8:
      return Hdf5Type::U8;
    case DType::Exact:  // no file holds sums, or a working copy
    case DType::BF16:
      break;
  }
  return Hdf5Type::Other;
}

Hdf5Writer Hdf5Writer::create(const std::string& path, int64_t alignment) {
  quiet();
  const Hdf5Id format = timeless(H5P_FILE_CREATE), settings = access(alignment);
  Hdf5Id file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, format.get(), settings.get()));
  if (!file) {
    const std::string said = reason();
    File::create(path);  // throws with the system's reason
    throw Error(ExitCode::Io, fmt::format("cannot create {}: HDF5 says: {}", path, said),
                "Check that its folder has space left, and that no other process has this file open.");
  }
  return {path, std::move(file)};
}

Hdf5Writer Hdf5Writer::append(const std::string& path, int64_t alignment) {
  quiet();
  return {path, written(H5Fopen(path.c_str(), H5F_ACC_RDWR, access(alignment).get()), path, "add objects")};
}

void Hdf5Writer::close() {
  // Flushed first: H5Fclose after a failed write may leave the library in a state that it cannot leave.
  if (file_ && H5Fflush(file_.get(), H5F_SCOPE_LOCAL) < 0) no_write(path_, "write the structure");
  if (file_ && H5Fclose(file_.release()) < 0) no_write(path_, "write the structure");
}

void Hdf5Writer::put_attribute(const std::string& name, const std::string& object, int64_t stored, int64_t memory,
                               const void* value) {
  const std::string action = fmt::format("write attribute '{}' of {}", name, object);
  const Hdf5Id scalar(H5Screate(H5S_SCALAR));
  const Hdf5Id attribute = written(H5Acreate_by_name(file_.get(), object.c_str(), name.c_str(), stored, scalar.get(),
                                                     H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                   path_, action);
  if (H5Awrite(attribute.get(), memory, value) < 0) no_write(path_, action);
}

void Hdf5Writer::write_attribute(const std::string& name, const std::string& text, const std::string& object) {
  const Hdf5Id type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const char* data = text.c_str();
  put_attribute(name, object, type.get(), type.get(), &data);
}

void Hdf5Writer::write_attribute(const std::string& name, int64_t value, const std::string& object) {
  put_attribute(name, object, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void Hdf5Writer::write_attribute(const std::string& name, double value, const std::string& object) {
  put_attribute(name, object, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

void Hdf5Writer::create_group(const std::string& name) {
  const Hdf5Id group =
      written(H5Gcreate2(file_.get(), name.c_str(), with_groups().get(), timeless(H5P_GROUP_CREATE).get(), H5P_DEFAULT),
              path_, fmt::format("create group {}", name));
}

Hdf5Dataset Hdf5Writer::create_dataset(const std::string& name, Hdf5Type type, const Shape& shape) {
  std::array<hsize_t, Shape::kMaxRank> extents{};
  std::copy(shape.extents().begin(), shape.extents().end(), extents.begin());
  const Hdf5Id space(shape.rank() ? H5Screate_simple(shape.rank(), extents.data(), nullptr) : H5Screate(H5S_SCALAR));
  const Hdf5Id layout = timeless(H5P_DATASET_CREATE);
  H5Pset_layout(layout.get(), H5D_CONTIGUOUS);
  H5Pset_alloc_time(layout.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(layout.get(), H5D_FILL_TIME_NEVER);
  const Hdf5Id made = written(H5Dcreate2(file_.get(), name.c_str(), stored_type(type), space.get(), with_groups().get(),
                                         layout.get(), H5P_DEFAULT),
                              path_, fmt::format("create dataset /{} {}", name, shape.text()));
  const haddr_t offset = H5Dget_offset(made.get());  // undefined without elements
  H5Eclear2(H5E_DEFAULT);
  return {name, type, shape, offset == HADDR_UNDEF ? -1 : static_cast<int64_t>(offset)};
}

void Hdf5Writer::write(const Hdf5Dataset& dataset, std::span<const std::byte> bytes) {
  check(static_cast<int64_t>(bytes.size()) == dataset.bytes(),
        fmt::format("{} bytes for dataset /{} of {}", bytes.size(), dataset.name, dataset.bytes()));
  const Hdf5Id target = written(H5Dopen2(file_.get(), dataset.name.c_str(), H5P_DEFAULT), path_,
                                fmt::format("open dataset /{}", dataset.name));
  if (!bytes.empty() &&
      H5Dwrite(target.get(), stored_type(dataset.type), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
    no_write(path_, fmt::format("write dataset /{}", dataset.name));
}

}  // namespace memring
