// memring doctor: what the hosts of this job offer, and what will hurt a run on them. Every rank looks at its own host;
// rank 0 gathers the findings and prints.
// SPDX-License-Identifier: Apache-2.0
#include <dnnl.h>
#include <fmt/format.h>
#include <hdf5.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <type_traits>

#include "app/command.h"
#include "app/host.h"
#include "app/with_session.h"
#include "base/error.h"
#include "base/machine.h"
#include "base/memory_limits.h"
#include "base/surroundings.h"
#include "base/threads.h"
#include "base/version.h"
#include "dist/separate_start.h"
#include "engine/engine.h"

namespace memring {
namespace {

/// What one rank found: plain bytes, so that it can be gathered.
struct Findings {
  char host[64], cpu[96], problem[128], idle[256], ignored[256];
  int32_t node_rank, cores, threads, openmp_threads, isa, amx;
  double quota, disk_seconds;
  int64_t memory_total, memory_available, disk_free;
  char memory_limit[128];  ///< who set it
  cpu_set_t allowed;
};
static_assert(std::is_trivially_copyable_v<Findings>);

template <size_t N>
void copy_text(char (&to)[N], const std::string& from) {
  std::memcpy(to, from.data(), std::min(from.size(), N - 1));
}

Findings look(const Session& session) {
  Findings f{};
  copy_text(f.host, session.host());
  copy_text(f.cpu, cpu_name());
  f.node_rank = session.node().rank;
  f.cores = machine_cores();
  const ThreadCount count = numerics(Config{}, session.node()).threads;
  f.threads = count.threads;
  copy_text(f.idle, idle_cores(count, session.node().ranks));
  copy_text(f.ignored, ignored_limits(count));
  f.openmp_threads = std::atoi(variable("OMP_NUM_THREADS").c_str());
  f.isa = static_cast<int32_t>(best_isa());
  f.amx = cpu_has_amx_bf16();
  f.quota = cpu_quota();
  f.allowed = allowed_cores();
  const MemoryLimit memory = tightest_memory_limit(session.node().ranks);
  f.memory_total = memory.total;
  f.memory_available = memory.available;  // to a rank: some limits are each process's own
  copy_text(f.memory_limit, memory.name);
  if (f.node_rank == 0) {
    const DiskCheck disk = check_disk(".");
    f.disk_free = disk.free;
    f.disk_seconds = disk.seconds;
    copy_text(f.problem, disk.problem);
  }
  return f;
}

std::vector<Findings> gather(Session& session) {
  const Findings mine = look(session);
  std::vector<Findings> all(static_cast<size_t>(session.size()));
  const auto bytes = static_cast<int64_t>(sizeof(Findings));
  session.world().all_gather(View<uint8_t>(reinterpret_cast<uint8_t*>(all.data()), {session.size(), bytes}),
                             ConstView<uint8_t>(reinterpret_cast<const uint8_t*>(&mine), {bytes}));
  return all;
}

/// The ranks of one host together.
struct Host {
  Findings first{};  ///< of its rank 0
  int ranks = 0, threads = 0, openmp_threads = 0;
  cpu_set_t allowed{};
  int usable() const { return std::max(1, CPU_COUNT(&allowed)); }
};

std::map<std::string, Host> by_host(const std::vector<Findings>& all) {
  std::map<std::string, Host> hosts;
  for (const Findings& f : all) {
    Host& host = hosts[f.host];
    if (f.node_rank == 0) host.first = f;
    ++host.ranks;
    host.threads += f.threads;
    host.openmp_threads += f.openmp_threads;
    CPU_OR(&host.allowed, &host.allowed, &f.allowed);
  }
  return hosts;
}

std::string gib(int64_t bytes) { return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30)); }

/// What will hurt a run on this host, each with what to do about it.
std::vector<std::string> warnings_of(const std::string& name, const Host& host) {
  constexpr int64_t kGib = int64_t{1} << 30;
  const Findings& f = host.first;
  const int usable = host.usable();
  std::vector<std::string> warnings;
  auto warn = [&](const std::string& finding, const std::string& remedy) {
    warnings.push_back(fmt::format("{}: {}. {}", name, finding, remedy));
  };
  if (usable < f.cores)
    warn(fmt::format("the {} rank(s) may run on {} of {} cores only", host.ranks, usable, f.cores),
         "Start mpirun with --bind-to none, or ask the scheduler for more cores (srun --cpus-per-task).");
  if (f.quota > 0 && f.quota + 0.01 < usable)
    warn(fmt::format("the container may use {:.1f} of {} cores' time", f.quota, usable),
         fmt::format("Raise its CPU limit, or set device.threads so that ranks x threads is at most {:.0f}.",
                     std::max(1.0, std::floor(f.quota))));
  if (host.ranks > usable)
    warn(fmt::format("{} ranks share {} core(s)", host.ranks, usable),
         fmt::format("Start at most {} rank(s) here.", usable));
  else if (host.threads > usable)
    warn(fmt::format("{} ranks would start {} threads on {} core(s)", host.ranks, host.threads, usable),
         fmt::format("Set device.threads = {}, or start mpirun with --bind-to none.", usable / host.ranks));
  else if (host.openmp_threads > usable)
    warn(fmt::format("OMP_NUM_THREADS asks for {} threads on {} core(s)", host.openmp_threads, usable),
         fmt::format("Set OMP_NUM_THREADS={}, or leave it unset: memring shares the cores out itself.",
                     usable / host.ranks));
  if (f.idle[0]) warnings.push_back(fmt::format("{}: {}.", name, f.idle));
  if (f.ignored[0]) warnings.push_back(fmt::format("{}: {}.", name, f.ignored));
  if (static_cast<Isa>(f.isa) == Isa::Baseline)
    warn("the CPU has no AVX2 with FMA; training will be several times slower", "Use a newer machine.");
  if (f.memory_available < kGib)
    warn(fmt::format("only {} of memory are available to a rank ({})", gib(f.memory_available), f.memory_limit),
         "Raise that limit, end other programs, or set device.memory.");
  if (f.problem[0])
    warn(fmt::format("the current directory cannot hold checkpoints ({})", f.problem),
         "Set run.dir to a directory that can.");
  else if (f.disk_free < kGib)
    warn(fmt::format("only {} are free in the current directory", gib(f.disk_free)),
         "Make room for checkpoints, or set run.dir elsewhere.");
  else if (f.disk_seconds > 1)
    warn(fmt::format("write, fsync and rename took {:.1f} s in the current directory", f.disk_seconds),
         "Set run.dir to a faster file system, or save less often (checkpoint.every_minutes).");
  return warnings;
}

std::string library_versions() {
  unsigned major = 0, minor = 0, patch = 0;
  H5get_libversion(&major, &minor, &patch);
  const dnnl_version_t* dnnl = dnnl_version();
  return fmt::format("HDF5 {}.{}.{}, oneDNN {}.{}.{}", major, minor, patch, dnnl->major, dnnl->minor, dnnl->patch);
}

/// Of rank 0's host.
std::string devices() {
  if (!has_device_backend()) return "CUDA and NCCL: not in this build";
  if (const int count = device_count(); count > 0) return fmt::format("{} devices for kind = cuda", count);
  try {
    open_device(0);
  } catch (const Error& none) {
    return none.what();
  }
  return {};
}

std::string host_line(const std::string& name, const Host& host) {
  const Findings& f = host.first;
  const std::string disk =
      f.problem[0] ? std::string(f.problem) : fmt::format("fsync and rename work, {:.0f} ms", f.disk_seconds * 1e3);
  return fmt::format(
      "host       {}: {}, {} of {} cores, {} rank(s) with {} thread(s) in all, {}, {}, memory {} (a rank has {} "
      "available: {}), "
      "disk {} free ({})\n",
      name, f.cpu, host.usable(), f.cores, host.ranks, host.threads, name_of(static_cast<Isa>(f.isa)),
      f.amx ? "AMX" : "no AMX", gib(f.memory_total), gib(f.memory_available), f.memory_limit, gib(f.disk_free), disk);
}

void print(const std::map<std::string, Host>& hosts, int ranks, const std::string& mpi) {
  std::vector<std::string> warnings;
  std::set<int32_t> isas, amx;
  std::string text = fmt::format("memring    {}\n", build());
  text += fmt::format("ranks      {} on {} host(s)\n", ranks, hosts.size());
  text += fmt::format("MPI        {}\n", mpi);
  for (const auto& [name, host] : hosts) {
    isas.insert(host.first.isa);
    amx.insert(host.first.amx);
    text += host_line(name, host);
    for (std::string& warning : warnings_of(name, host)) warnings.push_back(std::move(warning));
  }
  std::error_code unknown;
  const std::string directory = std::filesystem::current_path(unknown).string();
  const char* lowest = name_of(static_cast<Isa>(*isas.begin()));
  text += fmt::format("device     kind = auto: cpu ({}); isa = auto: {}; dtype = auto: {}\n", devices(), lowest,
                      *amx.begin() ? "bf16 (the CPU has AMX)" : "fp32 (bf16 is chosen where the CPU has AMX)");
  text += fmt::format("directory  {}\n", unknown ? unknown.message() : directory);
  text += fmt::format("libraries  {}\n\n", library_versions());
  if (isas.size() > 1)
    warnings.push_back(fmt::format(
        "the hosts differ in their instruction sets. Set device.isa = {}, or use hosts of one kind.", lowest));
  if (amx.size() > 1)
    warnings.push_back("some hosts have AMX and some have not. Set device.dtype = fp32, or use hosts of one kind.");
  if (const auto separate = separate_start(ranks)) warnings.push_back(separate->text() + ". " + separate->hint());
  for (size_t i = 0; i < warnings.size(); ++i) text += fmt::format("warning {}: {}\n", i + 1, warnings[i]);
  if (warnings.empty()) text += "ready\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

int run_doctor(const CommandLine& line) {
  return with_session(line.argc, line.argv, [](Session& session) {
    const std::vector<Findings> all = gather(session);
    if (session.rank() == 0) print(by_host(all), session.size(), session.library());
    return 0;
  });
}

}  // namespace memring
