// Views: borrowed, dense, row-major memory with a data type and a shape. Everything that kernels, models and
// communicators exchange is a view; who owns the bytes is the arena's business. (Files of kernels for devices include
// this one, and their compiler does not take fmt: so nothing here does.)
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "base/bf16.h"
#include "base/exact.h"

namespace memring {

enum class DType : uint8_t { F32, F64, I32, I64, U8, Exact, BF16 };

/// Where bytes lie. Pinned memory is host memory that a device copies to and from by itself.
enum class Space : uint8_t { Host, Pinned, Device };

[[noreturn]] void refuse_view(const std::string& message);  ///< throws ShapeError

int64_t bytes_of(DType);
const char* name_of(DType);

template <class T>
constexpr DType dtype_of() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, float>)
    return DType::F32;
  else if constexpr (std::is_same_v<U, double>)
    return DType::F64;
  else if constexpr (std::is_same_v<U, int32_t>)
    return DType::I32;
  else if constexpr (std::is_same_v<U, int64_t>)
    return DType::I64;
  else if constexpr (std::is_same_v<U, Exact>)
    return DType::Exact;
  else if constexpr (std::is_same_v<U, Bf16>)
    return DType::BF16;
  else {
    static_assert(std::is_same_v<U, uint8_t>, "no DType for this type");
    return DType::U8;
  }
}

/// Up to five extents, slowest first. A view is dense, so the shape fixes the strides.
class Shape {
 public:
  static constexpr int kMaxRank = 5;
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);
  explicit Shape(std::span<const int64_t> extents);
  int rank() const { return rank_; }
  int64_t operator[](int i) const { return extents_[static_cast<size_t>(i)]; }
  int64_t elements() const;  ///< 1 for rank 0
  std::span<const int64_t> extents() const { return {extents_.data(), static_cast<size_t>(rank_)}; }
  bool operator==(const Shape&) const = default;
  std::string text() const;  ///< "[2, 64]"

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// View<float> is typed, View<> carries its type at run time; ConstView is the read-only one. Copies are cheap.
/// A default view is empty (`!view`): optional buffers are passed that way. The host reads and writes a view on a
/// device through nothing but operators and copies (base/device.h).
template <class T = void>
class View {
 public:
  static constexpr bool kErased = std::is_void_v<T>;
  using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;

  View() = default;
  View(T* data, Shape shape, Space space = Space::Host) requires(!kErased)
      : data_(data), dtype_(dtype_of<T>()), space_(space), shape_(shape) {}
  View(T* data, DType dtype, Shape shape, Space space = Space::Host) requires(kErased)
      : data_(data), dtype_(dtype), space_(space), shape_(shape) {}
  /// float* to const float*, typed to erased: what the pointers allow.
  template <class U>
  requires(std::is_convertible_v<U*, T*> && !std::is_same_v<U, T> && (kErased || !std::is_void_v<U>))
      View(const View<U>& other)
      : data_(other.data_), dtype_(other.dtype_), space_(other.space_), shape_(other.shape_) {}

  /// The address: to compare, print and hand on. Who reads or writes there on the host asks `as` or `host_bytes`.
  T* data() const { return data_; }
  DType dtype() const { return dtype_; }
  Space space() const { return space_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t size() const { return data_ || shape_.rank() ? shape_.elements() : 0; }
  int64_t bytes() const { return size() * bytes_of(dtype_); }
  explicit operator bool() const { return data_ != nullptr; }

  /// The elements as U, for the host; throws ShapeError when the run-time type is another one, or on a device.
  template <class U>
  auto as() const {
    using R = std::conditional_t<std::is_const_v<T>, const U, U>;
    expect_host();
    if (dtype_ != dtype_of<U>())
      refuse_view(std::string("a buffer of ") + name_of(dtype_) + " was used as " + name_of(dtype_of<U>()));
    return static_cast<R*>(data_);
  }
  /// All bytes, for the host; throws ShapeError on a device, but for an empty view, which has nothing to read.
  std::span<Byte> host_bytes() const {
    if (bytes() > 0) expect_host();
    return {reinterpret_cast<Byte*>(data_), static_cast<size_t>(bytes())};
  }

  /// Rows [begin, begin + count) of the slowest extent.
  View rows(int64_t begin, int64_t count) const {
    if (shape_.rank() == 0 || begin < 0 || count < 0 || begin + count > shape_[0])
      refuse_view("rows " + std::to_string(begin) + ".." + std::to_string(begin + count) + " of a buffer of shape " +
                  shape_.text());
    std::array<int64_t, Shape::kMaxRank> extents{};
    int64_t stride = 1;
    for (int i = 0; i < shape_.rank(); ++i) {
      extents[static_cast<size_t>(i)] = i == 0 ? count : shape_[i];
      if (i > 0) stride *= shape_[i];
    }
    View result = *this;
    result.shape_ = Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(shape_.rank())));
    result.data_ = reinterpret_cast<T*>(reinterpret_cast<Byte*>(data_) + begin * stride * bytes_of(dtype_));
    return result;
  }
  /// The `index`-th slice of the slowest extent, one rank lower.
  View at(int64_t index) const {
    View slice = rows(index, 1);
    slice.shape_ = Shape(shape_.extents().subspan(1));
    return slice;
  }
  /// The first elements, in another shape.
  View first(Shape shape) const {
    if (shape.elements() > size()) refuse_view("shape " + shape.text() + " within " + shape_.text());
    View result = *this;
    result.shape_ = shape;
    return result;
  }
  /// The same elements in another shape.
  View reshaped(Shape shape) const {
    if (shape.elements() != size()) refuse_view("shape " + shape_.text() + " seen as " + shape.text());
    View result = *this;
    result.shape_ = shape;
    return result;
  }
  /// The bytes from the first on as another type, erased.
  auto reinterpreted(DType dtype, Shape shape) const {
    using Erased = View<std::conditional_t<std::is_const_v<T>, const void, void>>;
    if (shape.elements() * bytes_of(dtype) > bytes()) refuse_view(name_of(dtype) + shape.text() + " within " + text());
    return Erased(data_, dtype, shape, space_);
  }
  /// "fp32[2, 64]", "fp32[2, 64] on the device"
  std::string text() const {
    return name_of(dtype_) + shape_.text() + (space_ == Space::Device ? " on the device" : "");
  }

 private:
  template <class U>
  friend class View;
  void expect_host() const {
    if (space_ == Space::Device) refuse_view(text() + " was read by the host");
  }
  T* data_ = nullptr;
  DType dtype_ = DType::F32;
  Space space_ = Space::Host;
  Shape shape_;
};

template <class T = void>
using ConstView = View<const T>;

/// Throws ShapeError naming `what` unless the view has this shape.
void expect_shape(ConstView<> view, Shape shape, const char* what);
/// Throws ShapeError naming `what` unless the view has this type and shape.
void expect(ConstView<> view, DType dtype, Shape shape, const char* what);

/// Calls f.template operator()<T>() with float or double.
template <class F>
decltype(auto) by_float_type(DType dtype, F&& f) {
  if (dtype == DType::F32) return f.template operator()<float>();
  if (dtype == DType::F64) return f.template operator()<double>();
  refuse_view(std::string("fp32 or fp64 was expected, found ") + name_of(dtype));
}

}  // namespace memring
