// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_names.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace memring {
namespace {

/// "model.layers.*.up.weight" of "model.layers.12.up.weight": without the layer's number.
std::string without_number(const std::string& name) {
  constexpr std::string_view kDigits = "0123456789";
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    const size_t end = name.find_first_not_of(kDigits, dot + 1);
    if (end != std::string::npos && end > dot + 1 && name[end] == '.')
      return name.substr(0, dot + 1) + "*" + name.substr(end);
  }
  return name;
}

constexpr const char* kLora = "model.*.lora_*";

std::string pattern_of(const std::string& word) {
  return word == "all" ? "*" : word == "memory" ? "memory.*" : word == "lora" ? kLora : word;
}

bool matches(const std::string& pattern, const std::string& name) {
  return ::fnmatch(pattern.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

}  // namespace

bool is_lora(const std::string& name) { return matches(kLora, name); }

std::string names_of(const std::vector<FlatEntry>& tensors, size_t most) {
  std::vector<std::pair<std::string, int>> groups;
  for (const FlatEntry& tensor : tensors) {
    const std::string pattern = without_number(tensor.name);
    const auto known = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == pattern; });
    if (known == groups.end())
      groups.emplace_back(pattern, 1);
    else
      ++known->second;
  }
  std::string text;
  for (size_t i = 0; i < std::min(groups.size(), most); ++i)
    text += fmt::format("{}{}{}", i == 0 ? "" : ", ", groups[i].first,
                        groups[i].second > 1 ? fmt::format(" ({})", groups[i].second) : "");
  return groups.size() > most ? text + ", ..." : text;
}

void train_named(Params& params, const std::string& list) {
  const std::vector<FlatEntry>& tensors = params.layout().entries;
  std::vector<std::string> patterns;
  for (size_t begin = 0, end = 0; begin <= list.size(); begin = end + 1) {
    end = std::min(list.find(',', begin), list.size());
    const std::string word = trimmed(list.substr(begin, end - begin));
    patterns.push_back(pattern_of(word));
    if (std::none_of(tensors.begin(), tensors.end(),
                     [&](const FlatEntry& tensor) { return matches(patterns.back(), tensor.name); }))
      throw Error(ExitCode::Usage,
                  fmt::format("model.train = {}: \"{}\" names no tensor of this model, which has {}", list, word,
                              names_of(tensors, tensors.size())),
                  word == "lora"     ? "Set lora.rank above 0."
                  : word == "memory" ? "Set memory.kind: this run has none that learns."
                                     : "Give all, memory, lora, or names of tensors in which * stands for any text.");
  }
  params.train([&](const std::string& name) {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](const std::string& pattern) { return matches(pattern, name); });
  });
}

void expect_frozen_decoder(const Params& params, const std::string& list) {
  std::vector<FlatEntry> learning = params.trained_layout().entries;
  std::erase_if(learning, [](const FlatEntry& tensor) {
    return is_lora(tensor.name) || matches(pattern_of("memory"), tensor.name);
  });
  if (learning.empty()) return;
  throw Error(
      ExitCode::Usage,
      fmt::format("objective.kind = distil with model.train = {}: the base, which teaches, would itself learn: {}",
                  list, names_of(learning, 4)),
      "Set model.train = memory or lora, and model.from to the base.");
}

}  // namespace memring
