// Option: what is known about one config key. options.cpp holds the table; parsing, help and printing walk it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "config/config.h"

namespace memring {

/// A field of an enum, by its words.
class WordField {
 public:
  template <class E>
  explicit WordField(E* field)
      : field_(field),
        read_([](const void* from) { return word_of(*static_cast<const E*>(from)); }),
        write_([](void* to, std::string_view name) {
          for (const Word<E>& word : words(E{}))
            if (word.name == name) *static_cast<E*>(to) = word.value;
        }) {
    for (const Word<E>& word : words(E{})) names_.push_back(word.name);
  }
  std::string_view word() const { return read_(field_); }
  void set(std::string_view name) const { write_(field_, name); }  ///< one of names()
  const std::vector<std::string_view>& names() const { return names_; }

 private:
  void* field_;
  std::string_view (*read_)(const void*);
  void (*write_)(void*, std::string_view);
  std::vector<std::string_view> names_;
};

/// The field of a Config that a key sets.
using Field = std::variant<bool*, int*, int64_t*, uint64_t*, double*, std::string*, ResumeFrom*, WordField>;

/// How a value is written: Size is an integer that may end in k, M or G (1024) or KiB, MiB, GiB; Duration is seconds or
/// hh:mm:ss; a leading ~ of a Path is the user's home; a Checkpoint is a word or the number of a step.
enum class ValueKind : uint8_t { Boolean, Integer, Size, Real, Duration, Choice, Text, Path, Checkpoint };

struct ValueRange {
  double low = 0, high = 0;
  bool without_low = false, without_high = false;  ///< the limit itself is not allowed
};

/// Whether a run may be continued only with the same value: such a key belongs to config_identity. StrictNumbers:
/// under run.deterministic = strict alone.
enum class Decides : uint8_t { Nothing, Numbers, StrictNumbers };

/// What a key needs to have an effect on a run.
struct Condition {
  bool (*holds)(const Config&);  ///< of a configuration that is valid
  std::string_view words;
};

struct Option {
  std::string_view key;  ///< section.key
  Field (*field)(Config&);
  ValueKind kind;
  Decides decides;
  std::string_view help;     ///< one sentence
  std::string_view example;  ///< a value that parses
  ValueRange range{};
  std::vector<std::string_view> choices{};
  std::vector<std::string_view> later{};  ///< names that the design knows and this build does not have
  std::string_view later_hint{};          ///< what to do instead
  std::vector<Condition> counts{};        ///< the key has an effect where all hold
  bool of_one_start = false;              ///< on the command line alone: refused in a file, printed into none

  Option when(std::vector<Condition> conditions) && {
    counts = std::move(conditions);
    return std::move(*this);
  }
  std::string_view section() const { return key.substr(0, key.find('.')); }
  std::string_view name() const { return key.substr(key.find('.') + 1); }
};

/// All keys, section by section, in the order of help and of printed configurations.
std::span<const Option> options();

/// The option of a full key, or nullptr.
const Option* find_option(std::string_view key);

/// The option's conditions, or those that do not hold in `config`, in words: "memory.kind = rmt and tbptt.mode =
/// window".
std::string conditions_text(const Option&);
std::string unmet_conditions(const Option&, const Config&);

/// The valid key that `key` probably means: nearest in spelling, or of the same name in another section.
std::string_view nearest_key(std::string_view key);

}  // namespace memring
