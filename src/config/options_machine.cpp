// Keys of a start and of where it runs.
// SPDX-License-Identifier: Apache-2.0
#include "config/option_declarations.h"

namespace memring::declare {
namespace {

template <auto Key>
constexpr Getter run = field_of<&Config::run, Key>;
template <auto Key>
constexpr Getter mesh = field_of<&Config::mesh, Key>;
template <auto Key>
constexpr Getter device = field_of<&Config::device, Key>;

}  // namespace

std::vector<Option> machine_options() {
  return {
      path("run.dir", run<&RunConfig::dir>, "Run directory: checkpoints, log and configuration.", "runs/books"),
      integer(
          "run.steps", run<&RunConfig::steps>, at_least(0),
          "Optimizer steps; 0 = no limit, as where run.tokens alone is set. A schedule ends with the nearer of both.",
          "5000"),
      size("run.tokens", run<&RunConfig::tokens>, at_least(0), "Stop after this many training tokens; 0 = no limit.",
           "100M"),
      duration("run.time", run<&RunConfig::time>,
               "Stop after this much training time in one start of the program; 0 = no limit.", "11:30:00"),
      real("run.target_loss", run<&RunConfig::target_loss>, at_least(0),
           "Stop once a logged training loss (nats per token) is at most this; 0 = off.", "1.5"),
      integer("run.seed", run<&RunConfig::seed>, at_least(0), "Seed of all random numbers.", "42", kNumbers),
      choice("run.deterministic", run<&RunConfig::deterministic>,
             "What gives the same bits: mesh = the same mesh, threads and instruction set; strict = the same "
             "instruction set alone, on any number of ranks (slower, more memory).",
             "strict"),
      integer(
          "run.block", run<&RunConfig::block>, {1, 512},
          "Rows of a segment that strict computes together, a power of two: less work at more, finer shares at less.",
          "128", Decides::StrictNumbers)
          .when({kStrict}),
      duration("run.timeout", run<&RunConfig::timeout>,
               "End the job when a rank makes no progress for this long; 0 = never.", "00:30:00"),
      duration(
          "run.wait", run<&RunConfig::wait>,
          "Wait at the start for so long, at most, until another host gives up the run directory, or sees the same "
          "files there.",
          "00:05:00"),
      choice("run.on_usr1", run<&RunConfig::on_usr1>, "On SIGUSR1: save and exit with code 75, or save and go on.",
             "continue"),
      integer("run.max_skipped", run<&RunConfig::max_skipped>, at_least(1),
              "Exit with code 70 after more than this many steps in a row whose gradient is not finite.", "20"),

      integer("mesh.data", mesh<&MeshConfig::data>, count_from(0),
              "Groups of ranks with different sequences; 0 = what is left of the world.", "2"),
      integer("mesh.segment", mesh<&MeshConfig::segment>, count_from(0),
              "Ranks that share the segments of a sequence; 0 = what is left of the world.", "2"),
      integer("mesh.token", mesh<&MeshConfig::token>, count_from(0),
              "Ranks that share the tokens of a segment (ring attention); 0 = what is left of the world.", "2"),

      choice("device.kind", device<&DeviceConfig::kind>, "Where the arithmetic runs; auto = cpu.", "cpu"),
      choice(
          "device.dtype", device<&DeviceConfig::dtype>,
          "Operands of matrix products; auto = bf16 where the CPU has AMX, else fp32; fp64 runs the reference kernels.",
          "fp32", kNumbers),
      integer(
          "device.threads", device<&DeviceConfig::threads>, {0, 4096},
          "Threads per rank, whatever OMP_* variables say; 0 = OMP_NUM_THREADS, else SLURM_CPUS_PER_TASK, else cores "
          "/ ranks of this host; then at most the cores this rank may use, and OMP_THREAD_LIMIT.",
          "2"),
      size("device.memory", device<&DeviceConfig::memory>, at_least(0),
           "Bytes a rank may plan for; 0 = its share of what host, control groups, ulimit and Slurm leave.", "4G"),
      choice("device.isa", device<&DeviceConfig::isa>,
             "Instruction set of memring's own loops; auto = the best this CPU has.", "avx2")
          .when({kCpu}),
  };
}

}  // namespace memring::declare
