// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/part.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>

#include "checkpoint/files.h"
#include "io/hdf5.h"

namespace memring {
namespace {

constexpr const char* kMemory = "/dev/shm";
/// Handed to the disk and not yet waited for: 64 MiB keep it busy.
constexpr size_t kBlocksInFlight = 16;

/// One for each folder of checkpoints, of which this process holds the lock: what a killed one left is found again.
std::string memory_name(const std::string& checkpoints) {
  const auto [device, inode] = folder_id(checkpoints);
  return fmt::format("{}/memring-checkpoint-{}-{}-{}", kMemory, ::getuid(), device, inode);
}

/// A file that goes away when it is closed, whatever becomes of this process.
Hdf5Writer create_nameless(const std::string& name) {
  struct Unlink {
    const std::string& name;
    ~Unlink() { ::unlink(name.c_str()); }
  };
  const Unlink after{name};
  return Hdf5Writer::create(name);
}

/// Copies the runs of bytes that were ever written; the file's size and its holes stay the same.
void copy_sparse(int from, int64_t size, const std::string& path) {
  File file = File::create(path);
  if (::ftruncate(file.descriptor(), size) != 0) {
    const int reason = errno;
    throw Error(ExitCode::Io, fmt::format("cannot give {} its {} bytes: {}", path, size, std::strerror(reason)),
                "Free space there, or choose another place.");
  }
  std::vector<std::byte> run;
  for (off_t end = 0;;) {
    const off_t begin = ::lseek(from, end, SEEK_DATA);
    if (begin < 0) break;
    end = ::lseek(from, begin, SEEK_HOLE);
    run.resize(static_cast<size_t>(end - begin));
    if (::pread(from, run.data(), run.size(), begin) != end - begin)
      throw Error(ExitCode::Io, "cannot read back the layout of a checkpoint from memory");
    file.write_at(begin, run);
  }
  file.close();
}

/// The bytes of one tensor piece that lie in one block.
struct Overlap {
  int64_t begin, end;
  const std::byte* bytes;  ///< in the private copy; null when it is not needed
};

/// Cuts a piece at the borders of blocks.
template <class F>
void for_each_block(const Piece& piece, const std::byte* copy, F&& f) {
  for (int64_t block = piece.file / kBlockBytes; block * kBlockBytes < piece.file + piece.bytes; ++block) {
    const int64_t begin = std::max(piece.file, block * kBlockBytes);
    const int64_t end = std::min(piece.file + piece.bytes, (block + 1) * kBlockBytes);
    f(block, Overlap{begin, end, copy ? copy + piece.memory + (begin - piece.file) : nullptr});
  }
}

}  // namespace

int64_t file_estimate(const FlatBuffer& layout, DType dtype) {
  const auto groups = static_cast<int64_t>(kGroups.size()), tensors = static_cast<int64_t>(layout.entries.size());
  constexpr int64_t kPerTensor = 8192;  // an object header, a link, and padding to a page
  return groups * (layout.size * bytes_of(dtype) + tensors * kPerTensor) + (1 << 20);
}

void lay_out(Manifest& manifest, const std::string& path) {
  // A failed write inside HDF5 leaves ids that cannot be closed, and the library then crashes at exit: it gets a file
  // in memory with room for all it writes (the tensors are holes there).
  const int64_t metadata = file_estimate({manifest.layout.entries, 0}, manifest.stored);
  require_space(kMemory, metadata);
  const std::string name = memory_name(folder_of(folder_of(path)));
  ::unlink(name.c_str());
  const Handle<DescriptorTraits> memory(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!memory) {
    const int reason = errno;
    throw Error(ExitCode::Io, fmt::format("cannot create {}: {}", name, std::strerror(reason)),
                fmt::format("Checkpoints are laid out in {}: make it writable.", kMemory));
  }
  Hdf5Writer file = create_nameless(name);
  file.write_attribute("format", std::string("memring-checkpoint-1"));
  file.create_group("state");
  for (const NamedNumbers::Entry& entry : manifest.state)
    std::visit(
        [&](auto number) {
          using Stored = std::conditional_t<std::is_same_v<decltype(number), double>, double, int64_t>;
          file.write_attribute(entry.name, Stored{number}, "state");
        },
        entry.value);
  // Group by group: in the file too a shard is then a few long runs of bytes.
  for (size_t group = 0; group < kGroups.size(); ++group)
    for (size_t i = 0; i < manifest.places.size(); ++i) {
      const FlatEntry& entry = manifest.layout.entries[i];
      const std::string dataset = fmt::format("{}/{}", kGroups[group], entry.name);
      manifest.places[i][group] = file.create_dataset(dataset, hdf5_type(manifest.stored), entry.shape).offset;
    }
  file.close();
  manifest.file_bytes = ::lseek(memory.get(), 0, SEEK_END);
  copy_sparse(memory.get(), manifest.file_bytes, path);
}

std::string write_part(const Manifest& manifest, const std::string& path, Range shard,
                       const std::array<View<>, 3>& copies, Progress* progress) {
  const int64_t element = bytes_of(manifest.stored);
  std::map<int64_t, std::vector<Overlap>> mine;     // by block
  std::map<int64_t, int64_t> own_bytes, all_bytes;  // of tensors, by block
  for (size_t group = 0; group < kGroups.size(); ++group) {
    const std::byte* const copy = copies[group].host_bytes().data();
    for (const Piece& piece : pieces_of(manifest.layout, manifest.places, static_cast<int>(group), shard, element))
      for_each_block(piece, copy, [&](int64_t block, const Overlap& overlap) {
        mine[block].push_back(overlap);
        own_bytes[block] += overlap.end - overlap.begin;
      });
    const Range whole{0, manifest.layout.size};
    for (const Piece& piece : pieces_of(manifest.layout, manifest.places, static_cast<int>(group), whole, element))
      for_each_block(piece, nullptr,
                     [&](int64_t block, const Overlap& overlap) { all_bytes[block] += overlap.end - overlap.begin; });
  }

  // Block by block: what is read back is still in the processor's cache, the disk is busy from the first block on, and
  // the system's memory for the blocks behind serves those ahead instead of growing to the size of the file.
  File file = File::open_write(path);
  nlohmann::json record = nlohmann::json::array();
  std::vector<std::byte> buffer(static_cast<size_t>(kBlockBytes));
  std::deque<int64_t> in_flight;
  for (const auto& [block, overlaps] : mine) {
    for (const Overlap& part : overlaps) {
      file.write_at(part.begin, {part.bytes, static_cast<size_t>(part.end - part.begin)});
      advance(progress);
    }
    std::string digest = read_block_digest(file, manifest.file_bytes, block, buffer);
    for (const Overlap& part : overlaps)
      if (std::memcmp(buffer.data() + (part.begin - block * kBlockBytes), part.bytes,
                      static_cast<size_t>(part.end - part.begin)) != 0)
        throw Error(
            ExitCode::Io,
            fmt::format("{} gives back other bytes than were written, between {} and {}", path, part.begin, part.end),
            "Check the disk, its file system and this machine's memory.");
    if (own_bytes[block] == all_bytes[block]) record.push_back({block, std::move(digest)});
    file.start_write_back(block * kBlockBytes, kBlockBytes);
    in_flight.push_back(block);
    if (in_flight.size() > kBlocksInFlight) {
      file.end_write_back(in_flight.front() * kBlockBytes, kBlockBytes);
      in_flight.pop_front();
    }
  }
  file.sync();
  file.close();
  return record.dump();
}

void add_digests(Manifest& manifest, const std::string& record) {
  for (const auto& entry : nlohmann::json::parse(record))
    manifest.digests.at(entry.at(0).get<size_t>()) = entry.at(1).get<std::string>();
}

void complete_digests(Manifest& manifest, const std::string& path, Progress* progress) {
  const File file = File::open_read(path);
  std::vector<std::byte> buffer(static_cast<size_t>(kBlockBytes));
  for (int64_t block = 0; block < manifest.blocks(); ++block) {
    std::string& digest = manifest.digests[static_cast<size_t>(block)];
    if (!digest.empty()) continue;
    digest = read_block_digest(file, manifest.file_bytes, block, buffer);
    advance(progress);
  }
}

}  // namespace memring
