#!/usr/bin/env python3
"""What launch/gpu_check.sh found, row by row: DIR/report.json, and DIR/report.md for people. Both are whole after each row.

Usage: gpu_check_report.py DIR STEP WHAT RESULT [DETAIL [COMMAND]]
RESULT is pass, fail, figure, low (a figure below its floor), skipped or later (not in the check yet); COMMAND repeats the row.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import sys

RESULTS = ("fail", "low", "pass", "figure", "skipped", "later")


class Report:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.json = self.folder / "report.json"
        self.rows = json.loads(self.json.read_text("utf-8"))["rows"] if self.json.exists() else []

    def add(self, step, what, result, detail="", command=""):
        assert result in RESULTS, result
        self.rows.append({"step": int(step), "what": what, "result": result, "detail": detail, "command": command})
        self.write(self.json, json.dumps({"schema": 1, "rows": self.rows}, indent=1) + "\n")
        self.write(self.folder / "report.md", self.markdown())
        try:
            print(f"{result:<8} {step} {what}" + (f": {detail}" if detail else ""), flush=True)
        except OSError:  # who reads along has left, and the report has it
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # pylint: disable=consider-using-with

    @staticmethod
    def write(path, text):
        """Whoever is ended here leaves the file as it was."""
        part = path.with_suffix(".part")
        try:
            part.write_text(text, "utf-8")
            os.replace(part, path)
        except OSError as error:
            sys.exit(f"launch: {path} stays as it was, since it cannot be written: {error.strerror}. Make room, or give --out a "
                     "folder elsewhere")

    def markdown(self):
        """First what is to be mended, with the commands that show it again."""
        counts = {result: sum(row["result"] == result for row in self.rows) for result in RESULTS}
        lines = ["# GPU check", "", ", ".join(f"{count} {result}" for result, count in counts.items() if count), ""]
        wrong = [row for row in self.rows if row["result"] in ("fail", "low")]
        if wrong:
            lines += ["## To mend", ""]
            for row in sorted(wrong, key=lambda row: RESULTS.index(row["result"])):
                lines.append(f"- **{row['result']}** {row['step']} {row['what']}: {row['detail']}")
                lines += ["", f"      {row['command']}", ""] if row["command"] else []
            lines.append("")
        lines += ["## All rows", "", "| step | what | result | |", "|---|---|---|---|"]
        lines += [f"| {row['step']} | {row['what']} | {row['result']} | {row['detail'].replace('|', '/')} |" for row in self.rows]
        return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if not 5 <= len(sys.argv) <= 7 or sys.argv[4] not in RESULTS:
        sys.exit(__doc__)
    Report(sys.argv[1]).add(*sys.argv[2:])
