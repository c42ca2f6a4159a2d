#!/usr/bin/env python3
"""Tables and picture of launch/remote_fact.sh: what each memory and each kind of gradient learns of a remote fact. A
figure is the mean over seeds, with the least and the most of them where they differ.

Usage: remote_fact_report.py FOLDER: it holds runs (METHOD-SEED) with accuracy.json, config.ini and metrics.jsonl.
Writes remote_fact.md and remote_fact.svg into it.
SPDX-License-Identifier: Apache-2.0
"""
import configparser
import json
import pathlib
import statistics
import sys

from reports import figure, leave, metrics, table

FLOAT = 4  # bytes of a number that a memory carries
SMOOTH = 10  # steps that a running loss is the mean of
LEARNED = 0.05  # running loss, nats: some 99 % of the answers are right
GRADIENTS = {
    "untrained": "none: untrained",
    "uio_full": "full",
    "uio_unbiased_4": "unbiased, 4 memories",
    "uio_unbiased_2": "unbiased, 2 memories",
    "uio_unbiased_1": "unbiased, 1 memory",
    "uio_window_2": "window, the nearest 2",
    "uio_both": "full, encoder and transfer head",
}
MEMORIES = {
    "uio_full": "uio, base frozen, encoder learns",
    "uio_both": "uio, base frozen",
    "rmt_frozen": "rmt, base frozen",
    "rmt_all": "rmt, all weights",
    "armt_frozen": "armt, base frozen",
    "armt_all": "armt, all weights",
}
CHAINS = {
    "chain_full": "full",
    "chain_cut_0.1": "unbiased, cut 0.1",
    "chain_cut_0.25": "unbiased, cut 0.25",
    "chain_cut_0.5": "unbiased, cut 0.5",
    "chain_window_3": "window of 3",
    "chain_window_1": "window of 1",
}


class Run:
    def __init__(self, folder):
        self.method, _, self.seed = folder.name.rpartition("-")
        rows = json.loads((folder / "accuracy.json").read_text("utf-8"))["rows"]
        self.accuracy = {row["segments"]: 100 * row["accuracy"] for row in rows}
        steps = metrics(folder, "step")
        losses = [step["loss"] for step in steps]
        self.losses = [statistics.mean(losses[max(0, end - SMOOTH):end]) for end in range(1, len(losses) + 1)]
        self.rates = [step["tokens_per_s"] for step in steps]
        config = configparser.ConfigParser(inline_comment_prefixes=("#",))
        config.read(folder / "config.ini", "utf-8")
        self.config = config

    def trained(self):
        """A run of a few steps only makes what others start from."""
        return len(self.losses) >= SMOOTH

    def learned(self):
        """The step at which the running loss was first low, or None."""
        return next((step for step, loss in enumerate(self.losses, 1) if step >= SMOOTH and loss < LEARNED), None)

    def carried(self, segments):
        """Bytes of memory that reach the last of so many segments (README's table of memories)."""
        model, memory = self.config["model"], self.config["memory"]
        layers, dim, heads, tokens = (int(section[key]) for section, key in
                                      ((model, "layers"), (model, "dim"), (model, "heads"), (memory, "tokens")))
        key_values = 2 * (int(model["kv_heads"]) or heads) * (int(model["head_dim"]) or dim // heads)
        return FLOAT * {
            "uio": lambda: layers * key_values * tokens * (segments - 1),
            "rmt": lambda: tokens * dim,
            "armt": lambda: layers * 2 * int(memory["nu"]) * int(memory["key_dim"]) * (dim + 1),
        }[memory["kind"]]()

    def carried_a_token(self, segments):
        """The same for each token of text that stands before the last segment."""
        return self.carried(segments) / ((segments - 1) * int(self.config["segment"]["length"]))


def accuracies(runs):
    return [figure([run.accuracy[n] for run in runs], 1) for n in sorted(runs[0].accuracy)]


def when_learned(runs):
    if not all(run.trained() for run in runs):
        return ""
    steps = [run.learned() for run in runs]
    known = [step for step in steps if step]
    never = f"{len(steps) - len(known)} of {len(steps)} not in {max(len(run.losses) for run in runs):,}"
    return figure(known) + ("" if len(known) == len(steps) else f"{', ' if known else ''}{never}")


def by_name(names, first, more, runs, cells):
    """A table with a line for each name that has runs: when it was learned, accuracies, and what `cells` tells."""
    chosen = {name: runs[name] for name in names if name in runs}
    if not chosen:
        return []
    lengths = sorted(next(iter(chosen.values()))[0].accuracy)
    return table([first, "steps"] + [f"{n}" for n in lengths] + more,
                 [[names[name], when_learned(some)] + accuracies(some) + cells(some) for name, some in chosen.items()])


def rate(runs):
    """Of the step that only a tenth of all were faster than: what else the machine does slows the others."""
    rates = sorted(rate for run in runs if run.trained() for rate in run.rates)
    return f"{rates[len(rates) * 9 // 10]:,.0f}" if rates else ""


def report(runs):
    title = f"Accuracy in percent by number of segments; steps until the running loss was below {LEARNED}"
    tables = {
        "UIO on a frozen base, trained at 6 segments, by gradient":
            by_name(GRADIENTS, "gradient of the encoder", ["tokens/s"], runs, lambda some: [rate(some)]),
        "Memories from the same base, trained at 6 segments":
            by_name(MEMORIES, "memory", ["bytes a token at 6", "at 10", "tokens/s"], runs,
                    lambda some: [f"{some[0].carried_a_token(n):,.0f}" for n in (6, 10)] + [rate(some)]),
        "A chain (RMT from scratch, 5 segments), by gradient":
            by_name(CHAINS, "gradient", ["tokens/s"], runs, lambda some: [rate(some)]),
    }
    lines = [f"{title}."]
    for name, rows in tables.items():
        if rows:
            lines += [f"\n{name}\n"] + rows
    return "\n".join(lines) + "\n"


def picture(runs, pyplot):
    drawn, axes = pyplot.subplots(1, 2, figsize=(9, 5), sharey=True)
    for axis, names, title in ((axes[0], GRADIENTS, "UIO's encoder, 6 segments"),
                               (axes[1], CHAINS, "RMT from scratch, 5 segments")):
        for number, name in enumerate(name for name in names if name in runs and runs[name][0].trained()):
            for run in runs[name]:
                axis.plot(range(1, len(run.losses) + 1), run.losses, color=f"C{number}", linewidth=0.8,
                          label=names[name] if run is runs[name][0] else None)
        axis.set(xlabel="step", title=title, yscale="log", ylim=(1e-3, 10))
        if axis.lines:
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=2, fontsize="small")
    axes[0].set(ylabel=f"loss of the answer, mean of {SMOOTH} steps", xscale="log")
    return drawn


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    runs = {}
    for path in sorted(folder.glob("*-*/accuracy.json")):
        run = Run(path.parent)
        runs.setdefault(run.method, []).append(run)
    if not runs:
        sys.exit(f"no METHOD-SEED/accuracy.json in {folder}: launch/remote_fact.sh leaves them there")
    leave(folder, "remote_fact", report(runs), lambda pyplot: picture(runs, pyplot))


if __name__ == "__main__":
    main()
