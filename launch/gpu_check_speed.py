"""The speeds that launch/gpu_check.sh measures: memring and PyTorch are asked the same questions in turns (tests/speed).

SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import selectors
import shlex
import statistics
import subprocess
import sys

ROUNDS = 3


class Asked:
    """A program that answers questions, a line each, with seconds and by whom."""

    def __init__(self, name, command, log):
        self.name, self.command, self.log, self.process = name, command, log, None

    def ask(self, question, limit=30):
        """(seconds, by whom); (None, why there is no answer)."""
        if not self.process or self.process.poll() is not None:  # after an error it has ended
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                            bufsize=0)
        with contextlib.suppress(BrokenPipeError):  # it has ended, and perhaps said why
            self.process.stdin.write(question.encode() + b"\n")
        line = self.line(limit)
        if not line:
            self.end()
            line = f"none no answer within {limit} s, or it ended; logs/ has its words"
        value, _, said = line.partition(" ")
        try:
            return float(value), said
        except ValueError:  # none
            return None, said or line

    def line(self, limit):
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            return self.process.stdout.readline().decode().strip() if ready.select(limit) else ""

    def repeat(self, question):
        return f"echo {shlex.quote(question)} | {shlex.join(self.command)}"

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()


def sides_of(check):
    """memring and PyTorch, those that answer."""
    own = check.program("device_speed")
    torch = [sys.executable, str(check.home / "tests/speed/pytorch_speed.py"), "cpu" if check.dry else "cuda"]
    log = open(check.out / "logs" / f"{check.step}-speed.log", "a", encoding="utf-8")  # pylint: disable=consider-using-with
    sides = []
    for side in [Asked("memring", own, log)] * bool(own) + [Asked("PyTorch", torch, log)]:
        seconds, said = side.ask("copy 4096", 60)
        if seconds is None:
            check.row(side.name, "fail" if side.name == "memring" else "skipped", said, side.repeat("copy 4096"))
        else:
            sides.append(side)
    return sides


def in_turns(check, sides, what, question, amount, unit, least):
    """A row for each side, the median of some turns, and one for their ratio, which shall be `least` percent."""
    times, by = {side.name: [] for side in sides}, {}
    for _ in range(ROUNDS):
        for side in sides:
            if side.name not in times:
                continue
            seconds, by[side.name] = side.ask(question)
            if seconds is None:
                del times[side.name]
                result = "fail" if side.name == "memring" else "skipped"
                check.row(f"{what}, {side.name}", result, by[side.name], side.repeat(question))
            else:
                times[side.name].append(seconds)
    rates = {name: amount / statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in times.items():
        check.row(f"{what}, {name}", "figure",
                  f"{rates[name]:.4g} {unit} ({by[name]}; {amount / max(seconds):.4g} to {amount / min(seconds):.4g})")
    if len(rates) == 2:
        share = 100 * rates["memring"] / rates["PyTorch"]
        low = share < least and not check.dry
        check.row(f"{what}, memring beside PyTorch", "low" if low else "figure",
                  f"{share:.0f} % of {by['PyTorch']}" + (f", and {least} % is the least" if low else ""),
                  sides[0].repeat(question) if low else "")


def ceilings(check):
    sides = sides_of(check)
    bytes_, n = (1 << 16, 32) if check.dry else (1 << 31, 8192)
    in_turns(check, sides, f"copy of {bytes_ >> 10} KiB", f"copy {bytes_}", 2e-9 * bytes_, "GB/s", 80)
    in_turns(check, sides, f"product {n} x {n} x {n}, bf16", f"product {n}", 2e-12 * n**3, "TF/s", 80)
    end(sides)


def attention(check):
    """One sequence, causal; flops of the visible halves of two products forward and five backward."""
    sides = sides_of(check)
    heads, head_dim = (1, 64) if check.dry else (16, 128)
    for rows in [130] if check.dry else [4096, 8192, 16384, 32768, 65536]:
        for direction, products in (("forward", 2), ("backward", 5)):
            flops = products * 2 * heads * head_dim * rows * (rows + 1) // 2
            in_turns(check, sides, f"attention {direction}, {heads} heads of {head_dim}, {rows} rows, causal, bf16",
                     f"{direction} {heads} {head_dim} {rows}", 1e-12 * flops, "TF/s", 50)
    end(sides)


def end(sides):
    for side in sides:
        side.end()
