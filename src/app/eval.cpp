// memring eval: loss and perplexity by position, or accuracy on a memory task by number of segments, each with memory
// and with the memory reset at every segment.
// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "app/command.h"
#include "app/result_file.h"
#include "app/same_start.h"
#include "app/with_session.h"
#include "eval/perplexity.h"
#include "eval/task_accuracy.h"
#include "train/run_directory.h"

namespace memring {
int run_eval(const CommandLine& line) {
  return with_session(line.argc, line.argv, [&](Session& session) {
    const std::string& target = line.arguments[0];
    const bool is_run = std::filesystem::is_directory(target);
    // A run is evaluated on whatever ranks there are, wherever its directory has been moved to; the command line
    // decides.
    std::vector<std::string> settings;
    if (is_run) settings = {"mesh.data=0", "mesh.segment=1", "mesh.token=1", "data.micro_batch=0", "run.dir=" + target};
    settings.insert(settings.end(), line.overrides.begin(), line.overrides.end());
    if (is_run && !std::filesystem::exists(config_file(target)))
      throw Error(ExitCode::Data, fmt::format("folder {} is not a run directory: it holds no config.ini", target),
                  "Give the run.dir of a run, or a configuration.");
    const Config config = is_run ? load_run_config(target, settings) : load_config(target, settings);
    session.watch(config.run.timeout);
    require_same_start(session, config);
    const std::string checkpoint = line.text("checkpoint");
    const bool speaks = session.rank() == 0;
    if (speaks) expect_writable(config.eval.json);
    std::string json;
    if (config.data.kind == "tokens") {
      const Evaluation result = evaluate(config, checkpoint, session);
      if (speaks) fmt::print("{}", to_table(result));
      json = to_json(result);
    } else {
      json = to_json(evaluate_task(config, checkpoint, session, [&](const TaskAccuracy& so_far) {
        if (!speaks) return;
        if (so_far.rows.size() == 1) fmt::print("{}", head_of(so_far));
        fmt::print("{}", newest_row(so_far));
        std::fflush(stdout);  // a row may take minutes
      }));
    }
    if (speaks) write_result(config.eval.json, json);
    return 0;
  });
}

}  // namespace memring
