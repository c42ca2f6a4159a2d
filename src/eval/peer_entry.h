// PeerEntry: a group of a file with what the programs of others computed, read with its contract: what is missing, of
// another shape or out of range is Error(Data) that names the file and the place.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/hdf5.h"

namespace memring {

class PeerEntry {
 public:
  /// `remedy`: what to do where it cannot be used; static. The file must stay.
  PeerEntry(const Hdf5File& file, std::string name, const char* remedy)
      : file_(file), name_(std::move(name)), remedy_(remedy) {}

  const std::string& name() const { return name_; }
  bool has(const std::string& object) const { return file_.has(path(object)); }
  bool has_attribute(const char* attribute) const { return file_.has_attribute(attribute, name_); }

  Shape shape(const std::string& dataset) const { return file_.dataset(path(dataset)).shape; }
  /// Of a list, of one element at least.
  int64_t length(const std::string& dataset) const {
    const Shape found = shape(dataset);
    expect(found.rank() == 1 && found[0] > 0,
           fmt::format("/{} is {}; one extent, of 1 or more, was expected", path(dataset), found.text()));
    return found[0];
  }
  template <class T>
  std::vector<T> read(const std::string& dataset, const Shape& expected) const {
    const Shape found = shape(dataset);
    expect(found == expected, fmt::format("/{} is {}; {} was expected", path(dataset), found.text(), expected.text()));
    return file_.read<T>(path(dataset));
  }

  std::string text(const char* attribute) const { return file_.text_attribute(attribute, name_); }
  double number(const char* attribute) const { return file_.number_attribute(attribute, name_); }
  double positive(const char* attribute) const {
    const double value = number(attribute);
    expect(value > 0, fmt::format("{} of /{} is {}; more than 0 was expected", attribute, name_, value));
    return value;
  }
  int64_t integer(const char* attribute, int64_t low, int64_t high) const {
    return within(attribute, file_.integer_attribute(attribute, name_), low, high);
  }

  int64_t within(const std::string& what, int64_t value, int64_t low, int64_t high) const {
    expect(value >= low && value <= high,
           fmt::format("{} of /{} is {}; {} to {} was expected", what, name_, value, low, high));
    return value;
  }
  void expect(bool holds, const std::string& finding) const {
    if (!holds) throw Error(ExitCode::Data, fmt::format("{}: {}", file_.path(), finding), remedy_);
  }

 private:
  std::string path(const std::string& object) const { return name_ + '/' + object; }

  const Hdf5File& file_;
  std::string name_;
  const char* remedy_;
};

}  // namespace memring
