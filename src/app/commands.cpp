// SPDX-License-Identifier: Apache-2.0
#include "app/commands.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "config/nearest.h"

namespace memring {
namespace {

std::vector<Command> table() {
  constexpr OptionKind kText = OptionKind::Text, kPath = OptionKind::Path, kNumber = OptionKind::Number,
                       kChoice = OptionKind::Choice, kFlag = OptionKind::Flag;
  constexpr std::string_view kTolerance = "0 or more; 0 = by data type";
  return {
      {"train",
       "trains; run again, it resumes from the newest good checkpoint of its run directory",
       "CONFIG.ini [--section.key=value ...]",
       "CONFIG.ini: the configuration; the keys below may be set in it or behind it. A key behind it that has no\n"
       "effect is an error. A run's own config.ini stands for the run in whose directory it lies.",
       "mpirun -n 2 memring train configs/quickstart.ini --run.dir=runs/books --data.path=data/books.h5",
       1,
       1,
       run_train,
       {},
       {"run", "mesh", "device", "model", "rope", "lora", "memory", "segment", "tbptt", "data", "positions", "task",
        "curriculum", "objective", "optimizer", "checkpoint", "log"}},
      {"eval",
       "loss by position, or a memory task's accuracy by number of segments, with memory and with memory reset",
       "CONFIG.ini|RUN|CHECKPOINT [--json FILE] [--checkpoint NAME] [--section.key=value ...]",
       "CONFIG.ini or RUN: a configuration, or a run directory (its configuration is used); or one checkpoint of it\n"
       "(RUN/checkpoints/step-000000500), or a copy of one.",
       "memring eval runs/books --data.path=data/held_out.h5 --json eval.json",
       1,
       1,
       run_eval,
       {{"json", "FILE", kPath, "", "text", "Also write the result to this JSON file; short for --eval.json.",
         "eval.json", false, "eval.json"},
        {"checkpoint", "NAME", kText, "", "text",
         "Checkpoint of the run directory to evaluate; without it the newest good one.", "step-000000500"}},
       {"run", "mesh", "device", "model", "rope", "lora", "memory", "segment", "data", "task", "curriculum",
        "objective", "eval"}},
      {"pack",
       "text files or folders to a token file",
       "INPUT... --out FILE.h5 [--tokenizer bytes]",
       "INPUT: text files, folders (all their files, sorted by name), or - for standard input. In folders, HDF5 and\n"
       "compressed files, .git and editors' backups are skipped, with a line; given by name they are refused.",
       "memring pack books/ notes.txt --out data/books.h5",
       1,
       -1,
       run_pack,
       {{"out", "FILE.h5", kPath, "", "text", "Token file to write.", "data/books.h5", true},
        {"tokenizer", "NAME", kChoice, "bytes", "bytes",
         "How text becomes token ids; bytes: one id (0-255) for each byte.", "bytes"}},
       {}},
      {"inspect",
       "says what a checkpoint, token file or fixture holds and checks its digests",
       "PATH | CONFIG.ini --positions [--section.key=value ...]",
       "PATH: a token file, a fixture, a checkpoint or a run directory.",
       "memring inspect runs/books",
       1,
       1,
       run_inspect,
       {{"positions", "", kFlag, "", "",
         "Of a configuration: the position ids of the first training samples, and the "
         "distances that many cover.",
         "positions"}},
       {"run", "memory", "segment", "data", "positions", "task", "curriculum"}},
      {"convert",
       "folds trained low-rank updates (LoRA) into full weights, or writes them as PEFT reads them",
       "RUN|CHECKPOINT (--merge --out DIR | --to-peft DIR) [--base PATH]",
       "RUN: a run directory, of which the newest checkpoint is taken; or one of its checkpoints.",
       "memring convert runs/adapter --merge --out runs/merged",
       1,
       1,
       run_convert,
       {{"merge", "", kFlag, "", "",
         "W + alpha / rank B A for each layer, in the data type of the checkpoint, rounded once.", "merge"},
        {"out", "DIR", kPath, "", "a new folder",
         "With --merge: the run directory to write, which eval and model.from take.", "runs/merged"},
        {"to-peft", "DIR", kPath, "", "a new folder",
         "Write adapter_config.json and adapter_model.safetensors (Hugging Face PEFT).", "peft/books"},
        {"base", "PATH", kPath, "", "a checkpoint or a run",
         "Where the frozen weights lie that it was trained on, if they are not kept in the run nor where they were.",
         "runs/books"}},
       {}},
      {"verify",
       "computes a fixture's loss, gradients and memory states here and compares",
       "FIXTURE.h5... [--loss-tolerance X] [--state-tolerance X] [--gradient-tolerance X] [--section.key=value ...]",
       "FIXTURE.h5: files with a small model, a batch and what must come out, or with what the original program of a\n"
       "method computed (tests/golden/peers).",
       "mpirun -n 2 memring verify tests/golden/rmt_full.h5 --mesh.segment=2 --device.dtype=fp64",
       1,
       -1,
       run_verify,
       {{"loss-tolerance", "X", kNumber, "0", kTolerance,
         "Largest relative error of the loss (fp64: 1e-9, fp32: 2e-5).", "1e-6"},
        {"state-tolerance", "X", kNumber, "0", kTolerance,
         "Largest relative error of logits and memory states (fp64: 1e-9, fp32: 1e-4).", "1e-5"},
        {"gradient-tolerance", "X", kNumber, "0", kTolerance,
         "Largest relative error of all gradients as one vector (fp64: 1e-9, fp32: 1e-4).", "1e-5"}},
       {"run", "mesh", "device", "tbptt", "data"}},
      {"bench",
       "measures a part of memring beside its yardstick, in interleaved pairs; exits 1 where a budget is missed",
       "[NAME] [--json FILE] [--pairs N] [--profile] [--section.key=value ...]",
       "NAME: a benchmark; without one, they are listed. Each has a model of its own, which the keys below change.\n"
       "checkpoint writes up to four states below run.dir and removes them.",
       "memring bench gemm --pairs 9 --json gemm.json",
       0,
       1,
       run_bench,
       {{"json", "FILE", kPath, "", "text", "Also write the result to this JSON file.", "bench.json"},
        {"pairs", "N", kNumber, "9", "1 or more", "Pairs to measure; 9 or more make a figure to rely on.", "15"},
        {"profile", "", kFlag, "", "", "Also tell which operators the time of a step goes to.", "profile"}},
       {"run", "mesh", "device", "model", "rope", "lora", "memory", "segment", "tbptt", "data", "optimizer"}},
      {"doctor",
       "what this machine offers, and what will hurt",
       "",
       "",
       "mpirun -n 2 memring doctor",
       0,
       0,
       run_doctor,
       {},
       {}},
  };
}

}  // namespace

std::span<const Command> commands() {
  static const std::vector<Command> all = table();
  return all;
}

const Command& find_command(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Command& command : commands()) {
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  throw Error(ExitCode::Usage,
              fmt::format("unknown command '{}'; expected one of {}", shown(name), fmt::join(names, ", ")),
              fmt::format("Did you mean '{}'? Run `memring --help` for what each does.", nearest(name, names)));
}

std::string general_help() {
  std::string text =
      "Usage: memring COMMAND [...]\n"
      "       mpirun -n RANKS memring COMMAND [...]\n"
      "\n"
      "Trains recurrent-memory language models on very long sequences, on one core or many ranks.\n"
      "\nCommands\n";
  for (const Command& command : commands()) text += fmt::format("  {:9}{}\n", command.name, command.summary);
  return text +
         "\nOptions\n"
         "  --help     this text; `memring COMMAND --help` documents every option of a command\n"
         "  --version  the version, and a digest of the sources it was built from\n"
         "\nExit codes\n"
         "  0 done, 1 a comparison failed, 2 usage or configuration, 65 unusable data or checkpoint,\n"
         "  70 numeric failure, 71 internal error or lost rank, 74 the system refused (a file, memory, a thread),\n"
         "  75 saved and stopped early (start the same command again), 130 interrupted twice\n";
}

std::string command_help(const Command& command) {
  const std::string_view space = command.usage.empty() ? "" : " ";
  std::string text = fmt::format("Usage: memring {}{}{}\n\nmemring {}: {}.\n", command.name, space, command.usage,
                                 command.name, command.summary);
  if (!command.argument_help.empty()) text += fmt::format("{}\n", command.argument_help);
  text += "\nOptions\n  --help\n      This text.\n      flag; default off; example --help\n";
  for (const CommandOption& option : command.options) {
    if (option.kind == OptionKind::Flag) {
      text += fmt::format("  --{}\n      {}\n      flag; default off; example --{}\n", option.name, option.help,
                          option.name);
      continue;
    }
    const std::string_view type = option.kind == OptionKind::Number   ? "number, "
                                  : option.kind == OptionKind::Choice ? "one of: "
                                                                      : "";
    const std::string_view preset = option.required         ? "none (must be given)"
                                    : option.preset.empty() ? "none"
                                                            : option.preset;
    text += fmt::format("  --{}={}\n      {}\n      {}{}; default {}; example --{}={}\n", option.name, option.value,
                        option.help, type, option.allowed, preset, option.name, option.example);
  }
  if (!command.sections.empty())
    text +=
        "\nConfiguration keys: `key = value` under [section] in the file, or --section.key=value here, which "
        "wins.\n\n" +
        config_help(command.sections);
  return text + fmt::format("\nExample\n  {}\n", command.example);
}

}  // namespace memring
