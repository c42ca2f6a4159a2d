// What tests on several ranks share: the session of rank_main.cpp, and data of which every rank knows all ranks' parts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <type_traits>
#include <vector>

#include "dist/session.h"

namespace memring {

Session& session();  ///< started by rank_main.cpp
inline Communicator& world() { return session().world(); }

/// Rank `rank`'s element i: scattered numbers (splitmix64) in [-1, 1), or integers, whose sums depend on the order of
/// addition.
template <class T>
T value_of(int rank, int64_t i) {
  uint64_t x = (static_cast<uint64_t>(rank) << 40) + static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  x ^= x >> 31;
  if constexpr (std::is_floating_point_v<T>)
    return static_cast<T>(static_cast<double>(static_cast<int64_t>(x)) * 0x1p-63);
  else
    return static_cast<T>(x >> 32);
}

template <class T>
std::vector<T> values_of(int rank, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = value_of<T>(rank, i);
  return values;
}

template <class T>
View<> flat(std::vector<T>& values) {
  return View<T>(values.data(), {static_cast<int64_t>(values.size())});
}

/// The same bits in [begin, end); says where the first difference is.
template <class T>
void expect_same(const std::vector<T>& actual, const std::vector<T>& expected, int64_t begin, int64_t end,
                 const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
    if (actual[i] != expected[i]) {
      ADD_FAILURE() << what << ": element " << i << " of " << actual.size() << " is " << actual[i] << ", expected "
                    << expected[i] << " (the same bits)";
      return;
    }
}

}  // namespace memring
