// NamedNumbers: what a run saves beside its tensors, number by number. What they mean is known to who saves them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace memring {

/// A list in the order in which its numbers were set first.
class NamedNumbers {
 public:
  using Value = std::variant<int64_t, double, bool>;  ///< a count, a quantity, a flag
  struct Entry {
    std::string name;
    Value value;
    bool operator==(const Entry&) const = default;
  };

  NamedNumbers() = default;
  NamedNumbers(std::initializer_list<Entry> entries) : entries_(entries) {}

  void set(std::string_view name, Value value);
  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// T is int64_t, double (a count is one too) or bool. Throws Error(Data) where there is no such number.
  template <class T>
  T get(std::string_view name) const;

  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  bool operator==(const NamedNumbers&) const = default;

 private:
  const Value* find(std::string_view name) const;
  std::vector<Entry> entries_;
};

}  // namespace memring
