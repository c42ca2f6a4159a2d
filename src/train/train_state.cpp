// SPDX-License-Identifier: Apache-2.0
#include "train/train_state.h"

#include <type_traits>

namespace memring {

NamedNumbers numbers_of(const TrainState& state) {
  NamedNumbers numbers;
  const auto add = [&](const char* name, auto number) { numbers.set(name, number); };
  for_each_number(state, add, add);
  return numbers;
}

TrainState train_state(const NamedNumbers& numbers) {
  TrainState state;
  const auto take = [&](const char* name, auto& number) {
    number = numbers.get<std::remove_reference_t<decltype(number)>>(name);
  };
  for_each_number(state, take, [&](const char* name, auto& number) {
    if (numbers.has(name)) take(name, number);
  });
  return state;
}

}  // namespace memring
