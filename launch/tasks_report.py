#!/usr/bin/env python3
"""Table and picture of memory task runs: accuracy by number of segments, from the JSON that `memring eval` writes. What a
recipe is worth is its worst seed: the picture's line.

Usage: tasks_report.py FOLDER...: each holds runs (TASK-SEED) with accuracy*.json and metrics.jsonl. Writes tasks.md and
tasks.svg into the first FOLDER.
SPDX-License-Identifier: Apache-2.0
"""
import configparser
import json
import pathlib
import statistics
import sys

import reports


class Run:
    def __init__(self, folder):
        self.task, _, self.seed = folder.name.rpartition("-")
        results = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("accuracy*.json"))]
        self.rows = {row["segments"]: row for result in results for row in result["rows"]}
        self.unfinished = any("unfinished" in result for result in results)
        self.chance = chance(folder / "config.ini")
        end = reports.metrics(folder, "run_end")[-1]
        self.steps, self.minutes = end["step"], end["seconds"] / 60


def chance(path):
    """Accuracy of who guesses among the possible answers."""
    config = configparser.ConfigParser(inline_comment_prefixes=("#",))
    config.read(path, "utf-8")
    task, kind = config["task"], config["data"]["kind"]
    return 1 / {"associative": int(task["values"]), "copy": int(task["symbols"])}.get(kind, 6)  # six places


def percent(row):
    return f"{100 * row['accuracy']:.1f} ({100 * row['low']:.0f}-{100 * row['high']:.0f})" if row else ""


def table(runs):
    """A markdown table for each task: a line for each seed, a column for each number of segments."""
    lines = []
    for task in sorted({run.task for run in runs}):
        chosen = [run for run in runs if run.task == task]
        lengths = sorted({segments for run in chosen for segments in run.rows})
        text = next(iter(chosen[0].rows.values()))["segment_tokens"]
        rows = [[f"{run.seed}{' (curriculum not finished)' if run.unfinished else ''}", f"{run.steps}",
                 f"{run.minutes:.1f} min"] + [percent(run.rows.get(n)) for n in lengths]
                for run in sorted(chosen, key=lambda run: int(run.seed))]
        for name, choose in (("**worst**", min), ("median", statistics.median)):
            figures = [[100 * run.rows[n]["accuracy"] for run in chosen if n in run.rows] for n in lengths]
            rows.append([name, "", ""] + [f"{choose(of_length):.1f}" for of_length in figures])
        lines += [f"\n{task}, segments of {text} tokens\n"]
        lines += reports.table(["seed", "steps", "training"] + [f"{n:,}" for n in lengths], rows)
        resets = [f"{100 * run.rows[lengths[0]]['reset']['accuracy']:.0f}" for run in chosen if "reset" in run.rows[lengths[0]]]
        lines.append(f"\nMemory reset at each segment, {lengths[0]} segments: {', '.join(resets)} %")
    return "\n".join(lines) + "\n"


def picture(runs, pyplot):
    figure, axes = pyplot.subplots(figsize=(7, 4))
    colours = {task: f"C{i}" for i, task in enumerate(sorted({run.task for run in runs}))}
    for task, colour in colours.items():
        chosen = [run for run in runs if run.task == task]
        lengths = sorted({n for run in chosen for n in run.rows})
        seeds = [[100 * run.rows[n]["accuracy"] for run in chosen if n in run.rows] for n in lengths]
        worst = [min(accuracies) for accuracies in seeds]
        axes.plot(lengths, worst, marker="o", markersize=3, color=colour, label=f"{task} ({len(chosen)} seeds)")
        axes.fill_between(lengths, worst, [max(accuracies) for accuracies in seeds], color=colour, alpha=0.15, linewidth=0)
        axes.plot(lengths, [100 * chosen[0].chance] * len(lengths), color=colour, linewidth=0.8, linestyle="--")
    axes.set_xscale("log", base=2)
    ticks = sorted({segments for run in runs for segments in run.rows})
    axes.set_xticks(ticks, [f"{segments:,}" for segments in ticks])
    axes.set(xlabel="segments", ylabel="accuracy, % (worst seed; shaded: to the best; dashed: chance)", ylim=(0, 102))
    axes.legend(loc="lower left")
    return figure


def main():
    folders = [pathlib.Path(argument) for argument in sys.argv[1:]]
    if not folders:
        sys.exit(__doc__)
    runs = [Run(path.parent) for folder in folders for path in sorted(folder.glob("*/accuracy.json"))]
    if not runs:
        sys.exit(f"no */accuracy.json in {folders[0]}: memring eval RUN --json RUN/accuracy.json writes one")
    reports.leave(folders[0], "tasks", table(runs), lambda pyplot: picture(runs, pyplot))


if __name__ == "__main__":
    main()
