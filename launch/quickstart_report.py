#!/usr/bin/env python3
"""Prints the quick start's table from a run directory: metrics.jsonl (training) and eval.json (held-out text).

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import pathlib
import statistics


def read_metrics(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rows_of_loss(evaluation):
    """(positions, with memory, memory reset) for every bucket, and for all of them together."""
    reset = evaluation["reset"]
    for kept, control in zip(evaluation["buckets"], reset["buckets"], strict=True):
        yield f"{kept['from']} .. {kept['to'] - 1}", kept["loss"], control["loss"]
    yield "all", evaluation["loss"], reset["loss"]


def minutes(seconds):
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--total", type=int, required=True, help="seconds that the quick start took")
    parser.add_argument("--build", type=int, required=True, help="seconds of these for installing and building")
    arguments = parser.parse_args()

    metrics = read_metrics(arguments.run / "metrics.jsonl")
    evaluation = json.loads((arguments.run / "eval.json").read_text("utf-8"))
    steps = [record for record in metrics if record["kind"] == "step"]
    resumes = [record["step"] for record in metrics if record["kind"] == "resume"]
    end = [record for record in metrics if record["kind"] == "run_end"][-1]

    print(f"\nHeld-out text: {evaluation['sequences']} sequences of {evaluation['length']} bytes, loss in nats per byte\n")
    print(f"{'position':>14} {'with memory':>12} {'memory reset':>13} {'gain':>8}")
    for name, kept, control in rows_of_loss(evaluation):
        print(f"{name:>14} {kept:12.4f} {control:13.4f} {control - kept:8.4f}")

    resumed = ", ".join(str(step) for step in resumes)
    print(f"\nTraining        {end['step']} steps, {end['tokens'] / 1e6:.2f} million bytes in {minutes(end['seconds'])}"
          f"; stopped and resumed at step {resumed}")
    print(f"Loss            {steps[0]['loss']:.3f} at step {steps[0]['step']}, {steps[-1]['loss']:.3f} at step {steps[-1]['step']}")
    print(f"Speed           {statistics.median(s['tokens_per_s'] for s in steps):,.0f} bytes/s training (median), "
          f"{evaluation['tokens_per_s']:,.0f} bytes/s evaluating")
    print(f"Peak memory     {max(s['memory_mib'] for s in steps):,.0f} MiB training, "
          f"{evaluation['peak_memory_mib']:,.0f} MiB evaluating (the largest rank)")
    print(f"Wall time       {minutes(arguments.total)}, of which {minutes(arguments.build)} installing and building")
    if evaluation["loss"] >= evaluation["reset"]["loss"]:
        print("\nThe memory did not lower the held-out loss: this text, or so short a training, gave it nothing to carry.")


if __name__ == "__main__":
    main()
