// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_structure.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "io/hdf5_fields.h"

namespace memring {
namespace {

constexpr uint64_t kNowhere = std::numeric_limits<uint64_t>::max();
constexpr int kMostDepth = 32;
// Damage may make the structure refer to itself, so that it never ends: more than this is not read.
constexpr uint64_t kMostBytes = uint64_t{16} << 20, kLeastCharge = 64;

[[noreturn]] void newer() {
  damaged(
      "its structure is of a newer kind than memring reads; h5py makes the older kind unless it is told "
      "libver='latest' or "
      "puts a link to another file into it");
}

uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

std::string_view until_nul(std::string_view text) { return text.substr(0, text.find('\0')); }

class Reader {
 public:
  explicit Reader(const File& file) : file_(file), size_(static_cast<uint64_t>(file.size())) {}

  std::map<std::string, Hdf5Object> read() {
    const std::vector<std::byte> superblock = at(0, 56 + 40);
    Fields fields{superblock};
    if (fields.text(kHdf5Signature.size()) != kHdf5Signature) damaged("it is not an HDF5 file");
    if (fields.number(1) != 0) newer();
    fields.skip(4);
    if (fields.number(1) != 8 || fields.number(1) != 8) damaged("its places are not numbers of 8 bytes");
    fields.skip(1 + 2 + 2 + 4);
    if (fields.number(8) != 0) damaged("it does not start at its first byte");
    fields.skip(8);
    const uint64_t end = fields.number(8);
    if (end > size_) damaged(fmt::format("it is truncated: it should have {} bytes and has {}", end, size_));
    fields.skip(8 + 8);
    read_object(fields.number(8), "/", 0);
    return std::move(objects_);
  }

 private:
  std::vector<std::byte> at(uint64_t place, uint64_t count) {
    if (place > size_ || count > size_ - place)
      damaged(fmt::format("bytes {} to {} belong to its structure, and the file has {}", place, place + count, size_));
    spend(count);
    std::vector<std::byte> bytes(static_cast<size_t>(count));
    file_.read_at(static_cast<int64_t>(place), bytes);
    return bytes;
  }

  void spend(uint64_t bytes) {
    spent_ += std::max(bytes, kLeastCharge);
    if (spent_ > kMostBytes) damaged("its structure is larger than memring reads, or refers to itself");
  }

  /// An object header: messages in one or several blocks.
  void read_object(uint64_t place, const std::string& name, int depth) {
    constexpr uint64_t kHead = 16, kMessageHead = 8;
    if (depth > kMostDepth) damaged("its groups are nested too deep");
    if (!objects_.emplace(name, Hdf5Object()).second) damaged(fmt::format("it names {} twice", name));
    Hdf5Object& object = objects_.at(name);
    Message parts;
    const std::vector<std::byte> head = at(place, kHead);
    Fields fields{head};
    if (const uint64_t version = fields.number(1); version == 'O')
      newer();
    else if (version != 1)
      damaged(fmt::format("{} is no object", name));
    fields.skip(1);
    uint64_t messages = fields.number(2);
    fields.skip(4);
    std::vector<std::pair<uint64_t, uint64_t>> blocks{{place + kHead, fields.number(4)}};
    for (size_t block = 0; block < blocks.size(); ++block)
      for (auto [next, left] = blocks[block]; left >= kMessageHead && messages > 0; --messages) {
        const std::vector<std::byte> message_head = at(next, kMessageHead);
        Fields message{message_head};
        const uint64_t type = message.number(2), bytes = message.number(2), flags = message.number(1);
        if (bytes > left - kMessageHead) damaged(fmt::format("a part of {} is longer than the whole", name));
        const std::vector<std::byte> content = at(next + kMessageHead, bytes);
        if (type == kContinuation) {
          Fields more{content};
          const uint64_t begin = more.number(8);
          blocks.emplace_back(begin, more.number(8));
        } else {
          read_message(type, flags & kShared, Fields(content), parts, object);
        }
        next += kMessageHead + bytes;
        left -= kMessageHead + bytes;
      }
    if (parts.group) {
      object.kind = Hdf5Object::Kind::Group;
      read_group(*parts.group, name == "/" ? "" : name + "/", depth);
    } else if (parts.layout && parts.shape) {
      object.kind = Hdf5Object::Kind::Dataset;
      object.dataset = dataset_of(parts, name);
    }
  }

  enum : uint64_t {
    kSpace = 1,
    kLinkInfo = 2,
    kType = 3,
    kLink = 6,
    kExternal = 7,
    kLayout = 8,
    kAttribute = 12,
    kContinuation = 16,
    kSymbolTable = 17,
    kAttributeInfo = 21,
    kShared = 2
  };
  struct Group {
    uint64_t tree, names;
  };
  /// What the messages of one object said.
  struct Message {
    bool external = false;
    std::optional<Shape> shape;
    Hdf5Element element;
    std::optional<uint64_t> layout;  ///< place of contiguous bytes, or kNowhere
    std::optional<Group> group;
  };

  void read_message(uint64_t type, bool shared, Fields fields, Message& parts, Hdf5Object& object) {
    constexpr uint64_t kContiguous = 1;
    if (type == kSpace && !shared) {
      parts.shape = read_shape(fields);
    } else if (type == kType && !shared) {
      parts.element = read_element(fields);
    } else if (type == kExternal) {
      parts.external = true;
    } else if (type == kLayout) {
      const uint64_t version = fields.number(1), cls = fields.number(1);
      parts.layout = version == 3 && cls == kContiguous ? fields.number(8) : kNowhere;
    } else if (type == kAttribute && !shared) {
      read_attribute(fields, object);
    } else if (type == kSymbolTable) {
      const uint64_t tree = fields.number(8);
      parts.group = Group{tree, fields.number(8)};
    } else if (type == kLinkInfo || type == kLink || type == kAttributeInfo) {
      newer();
    }
  }

  Hdf5Dataset dataset_of(const Message& parts, const std::string& name) const {
    Hdf5Dataset dataset{name, parts.element.type, *parts.shape, -1};
    if (*parts.layout == kNowhere || parts.external || dataset.shape.elements() == 0) return dataset;
    if (*parts.layout > size_ || static_cast<uint64_t>(dataset.bytes()) > size_ - *parts.layout)
      damaged(fmt::format("dataset /{} {} does not lie within the file's {} bytes", name, dataset.shape.text(), size_));
    dataset.offset = static_cast<int64_t>(*parts.layout);
    return dataset;
  }

  void read_attribute(Fields fields, Hdf5Object& object) {
    const uint64_t version = fields.number(1), flags = fields.number(1);
    const uint64_t name_bytes = fields.number(2), type_bytes = fields.number(2), space_bytes = fields.number(2);
    if (version == 3) fields.skip(1);
    const auto part = [&](uint64_t bytes) { return fields.bytes(version == 1 ? padded(bytes) : bytes); };
    const std::span<const std::byte> name = part(name_bytes), type = part(type_bytes), space = part(space_bytes);
    Hdf5Attribute attribute;
    if (version > 1 && flags != 0) return;  // its type is kept elsewhere, which memring never does
    const Hdf5Element element = read_element(Fields(type));
    const std::optional<Shape> shape = read_shape(Fields(space));
    if (shape && shape->elements() == 1) read_value(fields, element, attribute);
    object.attributes[std::string(until_nul(Fields(name).text(name.size())))] = std::move(attribute);
  }

  void read_value(Fields fields, const Hdf5Element& element, Hdf5Attribute& attribute) {
    using Kind = Hdf5Attribute::Kind;
    if (element.text) {
      attribute.kind = Kind::Text;
      attribute.text = element.elsewhere ? heap_text(fields) : std::string(until_nul(fields.text(element.bytes)));
    } else if (element.type == Hdf5Type::F64) {
      attribute.kind = Kind::Number;
      std::memcpy(&attribute.number, fields.bytes(8).data(), 8);
    } else if (element.type == Hdf5Type::F32) {
      float number = 0;
      std::memcpy(&number, fields.bytes(4).data(), 4);
      attribute.kind = Kind::Number;
      attribute.number = number;
    } else if (element.type == Hdf5Type::I32) {
      attribute.kind = Kind::Integer;
      attribute.integer = static_cast<int32_t>(fields.number(4));
    } else if (element.type != Hdf5Type::Other) {
      attribute.integer = static_cast<int64_t>(fields.number(static_cast<size_t>(bytes_of(element.type))));
      if (element.type != Hdf5Type::U64 || attribute.integer >= 0) attribute.kind = Kind::Integer;
    }
  }

  /// A text in a global heap, by its length, the heap's place and its number there.
  std::string heap_text(Fields reference) {
    constexpr uint64_t kHead = 16;
    const uint64_t length = reference.number(4), heap = reference.number(8), wanted = reference.number(4);
    if (length == 0) return {};
    const std::vector<std::byte> head = at(heap, kHead);
    Fields fields{head};
    fields.expect("GCOL", 1);
    fields.skip(3);
    const uint64_t size = fields.number(8);
    if (size > size_ - heap) damaged("a heap of its structure is longer than the file");
    for (uint64_t place = heap + kHead; place + kHead <= heap + size;) {
      const std::vector<std::byte> object_head = at(place, kHead);
      Fields object{object_head};
      const uint64_t index = object.number(2);
      object.skip(6);
      const uint64_t bytes = object.number(8);
      if (index == 0 || bytes > heap + size - place) break;
      if (index == wanted && length <= bytes) {
        const std::vector<std::byte> content = at(place + kHead, length);
        return std::string(until_nul(Fields(content).text(length)));
      }
      place += kHead + padded(bytes);
    }
    damaged("a text of its structure is missing");
  }

  void read_group(const Group& group, const std::string& prefix, int depth) {
    const std::vector<std::byte> head = at(group.names, 32);
    Fields fields{head};
    fields.expect("HEAP", 0);
    fields.skip(3);
    const uint64_t bytes = fields.number(8);
    fields.skip(8);
    const std::vector<std::byte> names = at(fields.number(8), bytes);
    read_tree(group.tree, std::nullopt, Fields(names).text(bytes), prefix, depth);
  }

  void read_tree(uint64_t place, std::optional<uint64_t> level, std::string_view names, const std::string& prefix,
                 int depth) {
    constexpr uint64_t kHead = 24, kOfGroups = 0;
    const std::vector<std::byte> head = at(place, kHead);
    Fields fields{head};
    fields.expect("TREE", kOfGroups);
    const uint64_t own_level = fields.number(1), used = fields.number(2);
    if (level && own_level != *level) damaged("a tree of its structure is not one");
    const std::vector<std::byte> content = at(place + kHead, used * 16 + 8);
    Fields entries{content};
    for (uint64_t i = 0; i < used; ++i) {
      entries.skip(8);
      const uint64_t child = entries.number(8);
      if (own_level == 0)
        read_leaf(child, names, prefix, depth);
      else
        read_tree(child, own_level - 1, names, prefix, depth);
    }
  }

  void read_leaf(uint64_t place, std::string_view names, const std::string& prefix, int depth) {
    constexpr uint64_t kHead = 8, kEntry = 40, kSoftLink = 2;
    const std::vector<std::byte> head = at(place, kHead);
    Fields fields{head};
    fields.expect("SNOD", 1);
    fields.skip(1);
    const uint64_t count = fields.number(2);
    const std::vector<std::byte> content = at(place + kHead, count * kEntry);
    Fields entries{content};
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t name_at = entries.number(8), object = entries.number(8), kind = entries.number(4);
      entries.skip(4 + 16);
      if (name_at >= names.size()) damaged("a name of its structure is missing");
      const std::string name = prefix + std::string(until_nul(names.substr(static_cast<size_t>(name_at))));
      spend(name.size());
      if (kind == kSoftLink)
        objects_[name].kind = Hdf5Object::Kind::Link;
      else
        read_object(object, name, depth + 1);
    }
  }

  const File& file_;
  uint64_t size_, spent_ = 0;
  std::map<std::string, Hdf5Object> objects_;
};

}  // namespace

std::map<std::string, Hdf5Object> read_structure(const File& file) { return Reader(file).read(); }

}  // namespace memring
