// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5.h"

#include <fmt/core.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <exception>
#include <type_traits>

#include "base/error.h"
#include "io/file.h"

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

constexpr const char* kDamaged = "The file is damaged or was made by another program: make or copy it again.";

[[noreturn]] void bad_data(const std::string& path, const std::string& finding) {
  throw Error(ExitCode::Data, fmt::format("{}: {}", path, finding), kDamaged);
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

Hdf5Type type_of(hid_t type) {
  for (Hdf5Type known : {Hdf5Type::F32, Hdf5Type::F64, Hdf5Type::I32, Hdf5Type::I64, Hdf5Type::U8, Hdf5Type::U16,
                         Hdf5Type::U32, Hdf5Type::U64})
    if (H5Tequal(type, stored_type(known)) > 0) return known;
  return Hdf5Type::Other;
}

/// Opening settings. No locks: a file that is read does not change, and one that is written is ours alone; and file
/// systems of clusters often refuse locks.
Hdf5Id access(int64_t alignment) {
  Hdf5Id list(H5Pcreate(H5P_FILE_ACCESS));
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
  }
  return Hdf5Type::Other;
}

Hdf5File Hdf5File::open(const std::string& path, const std::string& what, const std::string& remedy) {
  quiet();
  try {
    File::open_read(path);  // says better than HDF5 what the system refuses
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", what, error.what()), remedy.empty() ? error.hint() : remedy);
  }
  if (H5Fis_hdf5(path.c_str()) <= 0)
    throw Error(ExitCode::Data, fmt::format("{}: {} is not an HDF5 file", what, path),
                remedy.empty() ? kDamaged : remedy);
  const Hdf5Id settings = access(0);  // closed later: every call of the library empties its error stack
  Hdf5Id file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, settings.get()));
  if (!file) bad_data(path, fmt::format("this {} is HDF5 but cannot be opened: {}", what, reason()));
  return {path, std::move(file)};
}

Hdf5File Hdf5File::create(const std::string& path, int64_t alignment) {
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

Hdf5File Hdf5File::append(const std::string& path, int64_t alignment) {
  quiet();
  return {path, written(H5Fopen(path.c_str(), H5F_ACC_RDWR, access(alignment).get()), path, "add objects")};
}

void Hdf5File::close() {
  // Flushed first: H5Fclose after a failed write may leave the library in a state that it cannot leave.
  if (file_ && H5Fflush(file_.get(), H5F_SCOPE_LOCAL) < 0) no_write(path_, "write the structure");
  if (file_ && H5Fclose(file_.release()) < 0) no_write(path_, "write the structure");
}

bool Hdf5File::has(const std::string& name) const {
  if (name == "/") return true;
  auto expect_hard = [&](const std::string& link) {
    H5L_info_t info{};
    if (H5Lget_info(file_.get(), link.c_str(), &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
      bad_data(path_, fmt::format("/{} is a link to another place or file, which memring does not follow", link));
  };
  // H5Lexists looks at the last link only and fails when one before it is missing.
  for (size_t slash = name.find('/', 1);; slash = name.find('/', slash + 1)) {
    const std::string link = name.substr(0, slash);
    if (H5Lexists(file_.get(), link.c_str(), H5P_DEFAULT) <= 0) return H5Eclear2(H5E_DEFAULT), false;
    expect_hard(link);
    if (slash == std::string::npos) return true;
  }
}

Hdf5Id Hdf5File::open_object(const std::string& name) const {
  Hdf5Id object(has(name) ? H5Oopen(file_.get(), name.c_str(), H5P_DEFAULT) : -1);
  if (!object) bad_data(path_, fmt::format("object {} is missing or unreadable ({})", name, reason()));
  return object;
}

Hdf5Id Hdf5File::open_dataset(const std::string& name) const {
  if (!has(name)) bad_data(path_, fmt::format("dataset /{} is missing", name));
  Hdf5Id dataset(H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT));
  if (!dataset) bad_data(path_, fmt::format("/{} is not a readable dataset ({})", name, reason()));
  return dataset;
}

Hdf5Dataset Hdf5File::dataset(const std::string& name) const {
  const Hdf5Id dataset = open_dataset(name), space(H5Dget_space(dataset.get())), type(H5Dget_type(dataset.get()));
  const Hdf5Id layout(H5Dget_create_plist(dataset.get()));
  const int rank = space ? H5Sget_simple_extent_ndims(space.get()) : -1;
  if (rank < 0 || rank > Shape::kMaxRank || !type || !layout)
    bad_data(path_, fmt::format("dataset /{} has no shape that memring can read ({} extents)", name, rank));
  std::array<hsize_t, Shape::kMaxRank> extents{};
  H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  std::array<int64_t, Shape::kMaxRank> shape{};
  std::copy(extents.begin(), extents.end(), shape.begin());
  if (H5Sget_simple_extent_type(space.get()) == H5S_NULL) bad_data(path_, fmt::format("dataset /{} is empty", name));

  Hdf5Dataset result{name, type_of(type.get()),
                     Shape(std::span<const int64_t>(shape.data(), static_cast<size_t>(rank))), -1};
  if (H5Pget_layout(layout.get()) == H5D_CONTIGUOUS && H5Pget_external_count(layout.get()) == 0) {
    const haddr_t offset = H5Dget_offset(dataset.get());
    if (offset != HADDR_UNDEF) result.offset = static_cast<int64_t>(offset);
  }
  H5Eclear2(H5E_DEFAULT);
  return result;
}

std::vector<Hdf5Dataset> Hdf5File::list(const std::string& group) const {
  struct Visit {
    std::vector<std::string> names;
    std::exception_ptr exception;
  } visit;
  auto collect = [](hid_t, const char* name, const H5O_info_t* info, void* out) -> herr_t {
    auto& result = *static_cast<Visit*>(out);
    try {
      if (info->type == H5O_TYPE_DATASET) result.names.emplace_back(name);
    } catch (...) {
      result.exception = std::current_exception();
      return -1;
    }
    return 0;
  };
  const Hdf5Id object = open_object(group);
  const herr_t status = H5Ovisit2(object.get(), H5_INDEX_NAME, H5_ITER_INC, collect, &visit, H5O_INFO_BASIC);
  if (visit.exception) std::rethrow_exception(visit.exception);
  if (status < 0) bad_data(path_, fmt::format("group {} cannot be listed ({})", group, reason()));

  const size_t first = group.find_first_not_of('/');
  const std::string prefix = first == std::string::npos ? "" : group.substr(first) + "/";
  std::sort(visit.names.begin(), visit.names.end());
  std::vector<Hdf5Dataset> result;
  for (const std::string& name : visit.names) result.push_back(dataset(prefix + name));
  return result;
}

template <class T>
std::vector<T> Hdf5File::read(const std::string& name) const {
  const Hdf5Dataset found = dataset(name);
  bool fits = false;
  hid_t memory = -1;
  std::string expected;
  if constexpr (std::is_same_v<T, double>) {
    fits = found.type == Hdf5Type::F64 || found.type == Hdf5Type::F32;
    memory = H5T_NATIVE_DOUBLE, expected = "float64";
  } else {
    const bool small = found.type == Hdf5Type::I32 || found.type == Hdf5Type::U8 || found.type == Hdf5Type::U16;
    const bool wide = sizeof(T) == 8;
    fits = small || (wide && (found.type == Hdf5Type::I64 || found.type == Hdf5Type::U32));
    memory = wide ? H5T_NATIVE_INT64 : H5T_NATIVE_INT32, expected = wide ? "int64" : "int32";
  }
  if (!fits)
    bad_data(path_, fmt::format("dataset /{} is {} {}; {} was expected", name, name_of(found.type), found.shape.text(),
                                expected));
  // A damaged shape must not become a gigantic allocation: the bytes have to be in the file.
  const int64_t elements = found.shape.elements(), size = File::open_read(path_).size();
  if (elements > 0 && (elements > size || found.offset < 0 || found.offset + found.bytes() > size))
    bad_data(path_, fmt::format("dataset /{} {} is not contiguous within the file's {} bytes", name, found.shape.text(),
                                size));
  std::vector<T> values(static_cast<size_t>(elements));
  const Hdf5Id dataset = open_dataset(name);
  if (elements > 0 && H5Dread(dataset.get(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0)
    bad_data(path_, fmt::format("dataset /{} cannot be read ({})", name, reason()));
  return values;
}
template std::vector<double> Hdf5File::read(const std::string&) const;
template std::vector<int32_t> Hdf5File::read(const std::string&) const;
template std::vector<int64_t> Hdf5File::read(const std::string&) const;

bool Hdf5File::has_attribute(const std::string& name, const std::string& object) const {
  const bool found = H5Aexists_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT) > 0;
  H5Eclear2(H5E_DEFAULT);
  return found;
}

Hdf5Id Hdf5File::open_attribute(const std::string& name, const std::string& object) const {
  if (!has_attribute(name, object)) bad_data(path_, fmt::format("attribute '{}' of {} is missing", name, object));
  Hdf5Id attribute(H5Aopen_by_name(file_.get(), object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT));
  const Hdf5Id space(attribute ? H5Aget_space(attribute.get()) : -1);
  if (!space || H5Sget_simple_extent_npoints(space.get()) != 1)
    bad_data(path_, fmt::format("attribute '{}' of {} is not a single value ({})", name, object, reason()));
  return attribute;
}

std::string Hdf5File::text_attribute(const std::string& name, const std::string& object) const {
  const Hdf5Id attribute = open_attribute(name, object), type(H5Aget_type(attribute.get()));
  if (H5Tget_class(type.get()) != H5T_STRING)
    bad_data(path_, fmt::format("attribute '{}' of {} is not a text", name, object));
  const Hdf5Id memory(H5Tcopy(H5T_C_S1));
  H5Tset_cset(memory.get(), H5Tget_cset(type.get()));
  std::string result;
  herr_t status = -1;
  if (H5Tis_variable_str(type.get()) > 0) {
    H5Tset_size(memory.get(), H5T_VARIABLE);
    char* text = nullptr;
    status = H5Aread(attribute.get(), memory.get(), &text);
    if (status >= 0 && text) result = text;
    H5free_memory(text);
  } else {
    std::string text(H5Tget_size(type.get()) + 1, '\0');
    H5Tset_size(memory.get(), text.size());
    status = H5Aread(attribute.get(), memory.get(), text.data());
    result = text.c_str();
  }
  if (status < 0) bad_data(path_, fmt::format("attribute '{}' of {} cannot be read", name, object));
  return result;
}

int64_t Hdf5File::integer_attribute(const std::string& name, const std::string& object) const {
  const Hdf5Id attribute = open_attribute(name, object), type(H5Aget_type(attribute.get()));
  int64_t value = 0;
  if (H5Tget_class(type.get()) != H5T_INTEGER || H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) < 0)
    bad_data(path_, fmt::format("attribute '{}' of {} is not an integer", name, object));
  return value;
}

double Hdf5File::number_attribute(const std::string& name, const std::string& object) const {
  const Hdf5Id attribute = open_attribute(name, object), type(H5Aget_type(attribute.get()));
  double value = 0;
  if (H5Tget_class(type.get()) != H5T_FLOAT || H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, &value) < 0)
    bad_data(path_, fmt::format("attribute '{}' of {} is not a floating-point number", name, object));
  return value;
}

void Hdf5File::put_attribute(const std::string& name, const std::string& object, int64_t stored, int64_t memory,
                             const void* value) {
  const std::string action = fmt::format("write attribute '{}' of {}", name, object);
  const Hdf5Id scalar(H5Screate(H5S_SCALAR));
  const Hdf5Id attribute = written(H5Acreate_by_name(file_.get(), object.c_str(), name.c_str(), stored, scalar.get(),
                                                     H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                   path_, action);
  if (H5Awrite(attribute.get(), memory, value) < 0) no_write(path_, action);
}

void Hdf5File::write_attribute(const std::string& name, const std::string& text, const std::string& object) {
  const Hdf5Id type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const char* data = text.c_str();
  put_attribute(name, object, type.get(), type.get(), &data);
}

void Hdf5File::write_attribute(const std::string& name, int64_t value, const std::string& object) {
  put_attribute(name, object, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void Hdf5File::write_attribute(const std::string& name, double value, const std::string& object) {
  put_attribute(name, object, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

void Hdf5File::create_group(const std::string& name) {
  const Hdf5Id group =
      written(H5Gcreate2(file_.get(), name.c_str(), with_groups().get(), timeless(H5P_GROUP_CREATE).get(), H5P_DEFAULT),
              path_, fmt::format("create group {}", name));
}

Hdf5Dataset Hdf5File::create_dataset(const std::string& name, Hdf5Type type, const Shape& shape) {
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
  return dataset(name);
}

void Hdf5File::write(const Hdf5Dataset& dataset, std::span<const std::byte> bytes) {
  check(static_cast<int64_t>(bytes.size()) == dataset.bytes(),
        fmt::format("{} bytes for dataset /{} of {}", bytes.size(), dataset.name, dataset.bytes()));
  const Hdf5Id target = open_dataset(dataset.name);
  if (!bytes.empty() &&
      H5Dwrite(target.get(), stored_type(dataset.type), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
    no_write(path_, fmt::format("write dataset /{}", dataset.name));
}

}  // namespace memring
