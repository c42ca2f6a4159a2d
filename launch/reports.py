"""What tasks_report.py, extend_report.py and remote_fact_report.py share: reading a run's metrics, tables, pictures.

SPDX-License-Identifier: Apache-2.0
"""
import json
import statistics


def metrics(run, kind):
    """The records of one kind in a run's metrics.jsonl, in order."""
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def figure(values, digits=0):
    """The mean of several seeds, with the least and the most of them where they differ."""
    if not values:
        return ""
    mean, least, most = (f"{value:.{digits}f}" for value in (statistics.mean(values), min(values), max(values)))
    return mean if least == most else f"{mean} ({least}-{most})"


def table(columns, rows):
    """Lines of a markdown table; columns and rows are lists of texts."""
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"] + [f"| {' | '.join(row)} |" for row in rows]


def leave(folder, name, text, draw):
    """Writes NAME.md and prints it, and NAME.svg, the figure that draw(pyplot) makes, where there is matplotlib."""
    (folder / f"{name}.md").write_text(text, "utf-8")
    print(text)
    try:
        import matplotlib  # only the picture needs it
    except ImportError:
        print("no picture: matplotlib is not installed (Debian: python3-matplotlib)")
        return
    matplotlib.use("svg")
    matplotlib.rcParams["path.simplify_threshold"] = 1  # of a pixel: a curve of a thousand steps is not a thousand points
    from matplotlib import pyplot

    drawn = draw(pyplot)
    drawn.tight_layout()
    drawn.savefig(folder / f"{name}.svg", metadata={"Date": None})
