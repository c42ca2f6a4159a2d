#!/usr/bin/env python3
"""Table and picture of launch/extend.sh: how far each way of stretching a window of 128 tokens carries, from the JSON that
`memring eval` writes. A figure is the mean over seeds, with the least and the most of them where they differ.

Usage: extend_report.py FOLDER: it holds runs (TASK-METHOD-SEED) with eval.json. Writes extend.md and extend.svg into it.
SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import statistics
import sys

from reports import figure, leave, table

METHODS = ["plain", "none", "linear", "ntk", "yarn", "pose", "cream"]
THIRDS = {"first third": (0, 1 / 3), "middle third": (1 / 3, 2 / 3), "last third": (2 / 3, 1.001)}


def load(folder):
    """Results by task, then method: one for each seed."""
    results = {}
    for path in sorted(folder.glob("*-*-*/eval.json")):
        task, method, _ = path.parent.name.split("-")
        results.setdefault(task, {}).setdefault(method, []).append(json.loads(path.read_text("utf-8")))
    return results


def exact(result, tokens, low=0.0, high=1.001):
    """Percent of the keys of a length that are all right, over depths in [low, high)."""
    chosen = [row["exact_match"] for row in result["rows"] if row["tokens"] == tokens and low <= row["depth"] < high]
    return 100 * statistics.mean(chosen)


def by_method(title, columns, rows):
    return [f"\n{title}\n"] + table(["method"] + columns, [[name] + cells for name, cells in rows])


def passkey_tables(results):
    some = next(iter(results.values()))[0]
    lengths = sorted({row["tokens"] for row in some["rows"]})
    depths = sorted({row["depth"] for row in some["rows"]})
    methods = [method for method in METHODS if method in results]
    yield from by_method("Keys found, percent, by tokens of the sample (mean over depths)", [f"{n:,}" for n in lengths],
                         [(m, [figure([exact(r, n) for r in results[m]]) for n in lengths]) for m in methods])
    yield from by_method(f"Keys found at {lengths[-1]:,} tokens, percent, by depth",
                         [f"{depth:g}" for depth in depths] + list(THIRDS),
                         [(m, [figure([exact(r, lengths[-1], d, d + 1e-9) for r in results[m]]) for d in depths] +
                           [figure([exact(r, lengths[-1], *third) for r in results[m]]) for third in THIRDS.values()])
                          for m in methods])


def text_table(results):
    some = next(iter(results.values()))[0]
    buckets = some["buckets"]
    rows = []
    for method in METHODS:
        if method in results:
            rows.append((method, [figure([r["buckets"][i]["loss"] for r in results[method]], 2)
                                  for i in range(len(buckets))]))
    yield from by_method("Loss of held-out text, nats a byte, by position",
                         [f"{b['from']}-{b['to'] - 1}" for b in buckets], rows)


def picture(results, pyplot):
    drawn, axes = pyplot.subplots(1, 2, figsize=(9, 3.6))
    for number, method in enumerate(METHODS):
        if method in results.get("passkey", {}):
            runs = results["passkey"][method]
            longest = max(row["tokens"] for row in runs[0]["rows"])
            depths = sorted({row["depth"] for row in runs[0]["rows"]})
            axes[0].plot(depths, [statistics.mean(exact(r, longest, d, d + 1e-9) for r in runs) for d in depths],
                         marker="o", markersize=3, color=f"C{number}", label=method)
            axes[0].set(xlabel=f"depth of the key in {longest:,} tokens", ylabel="keys found, %", ylim=(-2, 102))
        if method in results.get("text", {}):
            runs = results["text"][method]
            axes[1].plot([b["from"] for b in runs[0]["buckets"]],
                         [statistics.mean(r["buckets"][i]["loss"] for r in runs) for i in range(len(runs[0]["buckets"]))],
                         marker="o", markersize=3, color=f"C{number}", label=method)
            axes[1].set(xlabel="position in the text, from", ylabel="loss, nats a byte")
    axes[0].legend(loc="center left", fontsize="small")
    return drawn


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    results = load(folder)
    if not results:
        sys.exit(f"no TASK-METHOD-SEED/eval.json in {folder}: launch/extend.sh leaves them there")
    lines = list(passkey_tables(results["passkey"])) if "passkey" in results else []
    lines += text_table(results["text"]) if "text" in results else []
    leave(folder, "extend", "\n".join(lines) + "\n", lambda pyplot: picture(results, pyplot))


if __name__ == "__main__":
    main()
