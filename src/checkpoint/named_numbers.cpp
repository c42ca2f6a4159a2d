// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/named_numbers.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"

namespace memring {

const NamedNumbers::Value* NamedNumbers::find(std::string_view name) const {
  const auto found = std::find_if(begin(), end(), [&](const Entry& entry) { return entry.name == name; });
  return found == end() ? nullptr : &found->value;
}

void NamedNumbers::set(std::string_view name, Value value) {
  for (Entry& entry : entries_)
    if (entry.name == name) {
      entry.value = value;
      return;
    }
  entries_.push_back({std::string(name), value});
}

template <class T>
T NamedNumbers::get(std::string_view name) const {
  const Value* value = find(name);
  if (!value) throw Error(ExitCode::Data, fmt::format("the saved state has no \"{}\"", name));
  if (const T* number = std::get_if<T>(value)) return *number;
  if constexpr (std::is_same_v<T, double>)
    if (const int64_t* count = std::get_if<int64_t>(value)) return static_cast<double>(*count);
  throw Error(ExitCode::Data, fmt::format("\"{}\" of the saved state is of another kind than was expected", name));
}

template int64_t NamedNumbers::get(std::string_view) const;
template double NamedNumbers::get(std::string_view) const;
template bool NamedNumbers::get(std::string_view) const;

}  // namespace memring
