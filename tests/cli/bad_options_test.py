"""Options that cannot be meant: every key with a value outside its kind or range, every rule that joins keys, and what a command
line can get wrong besides.

Usage: see mistakes.py. Every key against every kind of wrong value: tests/unit/config_mutation_test.cpp.
SPDX-License-Identifier: Apache-2.0
"""
import re
import sys
from pathlib import Path

import mistakes
from mistakes import GOLDEN, NO_GPU, train, usage

FIXTURE = str(GOLDEN / "llama_mha.h5")
KEY = re.compile(r"  --([a-z0-9_]+\.[a-z0-9_]+)=VALUE\n.*\n      (.*); default ")


def of_help(command):
    """A wrong value for each key that the help lists: below its range where it has one, else none of its kind."""
    for key, values in KEY.findall(mistakes.run([command, "--help"]).stdout):
        low = re.search(r", (at least |more than )?(-?\d\S*)", values)
        if values in ("text", "path"):
            wrong, says = "a\tb", "is a control character (0x09)"
        elif low and low[1] == "more than ":
            wrong, says = low[2], "is out of range"
        elif low:
            wrong, says = str(int(float(low[2])) - 1), "is out of range"
        else:
            wrong, says = "perhaps", "expected " + ("true or false" if values == "true | false" else values.replace(" | ", ", "))
        yield usage(f"{command}: {key}", [command, "base.ini", f"--{key}={wrong}"], f"--{key}", says)


COMMAND_LINE = [
    usage("command in capitals", ["Train", "base.ini"], "unknown command 'Train'", "Did you mean 'train'?"),
    usage("command with escapes", ["\x1b[31mtrain\n"], "unknown command '\\x1b[31mtrain\\x0a'"),
    usage("command of 100,000 letters", ["x" * 100_000], "... (100,000 bytes)"),
    usage("help after a wrong command", ["trian", "--help"], "unknown command 'trian'"),
    usage("empty command", [""], "no command given"),
    usage("two configurations", ["train", "base.ini", "base.ini"], "takes one argument, found 2"),
    usage("configuration as an option", ["train", "--config=base.ini"], "memring train has no option --config"),
    usage("single dash", ["train", "base.ini", "-model.dim=3"], "has no option --model.dim=3", "'--model.dim'"),
    usage("lone equals", ["train", "base.ini", "--=3"], "memring train"),
    usage("lone dot", ["train", "base.ini", "--.=3"], "unknown section [] of key '.'", "Did you mean"),
    usage("key without a name", ["train", "base.ini", "--model.=3"], "unknown key 'model.'", "rope_theta"),
    usage("key with three parts", ["train", "base.ini", "--model.dim.x=3"], "unknown key 'model.dim.x'", "'model.dim'"),
    usage("key with a space", ["train", "base.ini", "--model.dim =3"], "unknown key 'model.dim '", "'model.dim'"),
    usage("key in capitals", ["train", "base.ini", "--Model.Dim=3"], "unknown section [Model]", "'model.dim'"),
    usage("key of 100,000 letters", ["train", "base.ini", "--model." + "x" * 100_000 + "=3"], "... (100,006 bytes)"),
    usage("value of 100,000 digits", ["train", "base.ini", "--model.dim=" + "1" * 100_000], "is out of range",
          "... (100,000 bytes)"),
    usage("value with a line end", ["train", "base.ini", "--model.dim=3\n4"], "model.dim = '3\\x0a4' is not an integer"),
    usage("key without a value, at the end", ["train", "base.ini", "--model.dim"], "--model.dim has no value",
          "--model.dim=VALUE"),
    usage("option of eval to train", ["train", "base.ini", "--json=x"], "memring train has no option --json"),
    usage("keys to inspect", ["inspect", "tokens.h5", "--model.dim=3"], "memring inspect does not read model.dim"),
    usage("keys to inspect a file", ["inspect", "tokens.h5", "--data.length=3"], "--data.length=3 has no effect without --positions"),
    usage("positions of a file", ["inspect", "tokens.h5", "--positions"], "tokens.h5 is an HDF5 file"),
    usage("empty option value", ["eval", "base.ini", "--json="], "--json"),
    usage("empty argument", ["verify", FIXTURE, ""], "argument 2 of 2 is empty"),
    usage("file like an option", ["pack", "-dash.txt", "--out=x.h5"], "no option -dash.txt", "write ./-dash.txt"),
    usage("tolerance that is no number", ["verify", FIXTURE, "--loss-tolerance=nan"], "expected a number, 0 or more"),
    usage("tolerance without end", ["verify", FIXTURE, "--loss-tolerance=inf"], "expected a number"),
    usage("tolerance in hex", ["verify", FIXTURE, "--loss-tolerance=0x1"], "expected a number"),
]

# (key, what the message says of these values, the values)
WRONG_VALUES = [
    ("model.dim", "is not an integer", ["1.5", "0x10", "1_000", "1,000", "--16", "+-16", "nan", "１６", "", "16 px"]),
    ("model.dim", "is out of range; expected an integer, 1 to 1048576", ["0", "-16", "1048577", "1e400", "9223372036854775808"]),
    ("model.layers", "1 to 32765", ["32766"]),
    ("model.vocab", "1 to 2147483647", ["2147483648"]),
    ("run.seed", "is out of range", ["18446744073709551616", "-1"]),
    ("data.batch", "is out of range", ["4294967296"]),
    ("data.length", "is out of range", ["-64", "9223372036854775807k"]),
    ("data.length", "is not an integer", ["8E", "64kk", "k"]),
    ("device.memory", "is not an integer", ["1.5G", "1T"]),
    ("optimizer.lr", "is not a number", ["nan", "-nan", "inf", "1,5", "0x1p-3", "3e-"]),
    ("optimizer.lr", "is out of range", ["1e999", "-1e-9"]),
    ("optimizer.beta1", "at least 0 and less than 1", ["1"]),
    ("optimizer.beta2", "at least 0 and less than 1", ["1.0000001"]),
    ("optimizer.eps", "more than 0", ["0"]),
    ("optimizer.decay", "0 to 1", ["1.1"]),
    ("model.norm_eps", "more than 0 and at most 1", ["2"]),
    ("model.tied", "is not true or false", ["yes", "2"]),
    ("run.time", "expected seconds or hh:mm:ss", ["1h", "1:2", "00:60:00", "-1", "1:00:-1"]),
    ("memory.kind", "expected none, rmt, armt", ["RMT", "", "none,rmt"]),
]
VALUES = [usage(f"{key} = {value}", ["train", "base.ini", f"--{key}={value}"], f"--{key}: {key} = '{value}'", says)
          for key, says, values in WRONG_VALUES for value in values]

TOGETHER = [
    train("kv_heads above heads", "--model.kv_heads=4", 2, "model.heads = 2 is not a multiple of model.kv_heads = 4"),
    train("heads that do not divide dim", "--model.heads=3", 2, "model.dim = 16 is not a multiple of model.heads = 3"),
    train("heads beyond dim", "--model.heads=32", 2, "model.dim = 16 is not a multiple of model.heads = 32"),
    train("odd head_dim", "--model.head_dim=7", 2, "model.head_dim = 7 is odd"),
    train("odd quotient", "--model.dim=6 --model.heads=2", 2, "model.head_dim = 3 is odd"),
    train("rmt without segments", "--memory.kind=rmt", 2, "needs segments, but segment.length = 0"),
    train("rmt without tokens", "--memory.kind=rmt --memory.tokens=0 --segment.length=8", 2, "needs memory tokens"),
    train("block mask of armt", "--memory.kind=armt --segment.length=8 --memory.mask=block", 2, "armt's rows are causal"),
    train("halo without segments", "--memory.kind=halo", 2, "needs segments, but segment.length = 0"),
    train("more sinks than a segment", "--memory.kind=halo --segment.length=8 --memory.sinks=9", 2, "sinks are in the first segment"),
    train("halo with segments of two lengths", "--memory.kind=halo --segment.length=8 --curriculum.stages=2x4,2x8 "
          "--curriculum.max_steps=9", 2, "halo's positions go on by segments of one length"),
    train("halo with positions of its own", "--memory.kind=halo --segment.length=8 --positions.kind=pose --positions.target=16", 2,
          "halo's go on over segments"),
    train("window without halo", "--memory.kind=rmt --segment.length=8 --memory.window=9", 2, "memory.window has no effect"),
    train("scaling without factor", "--rope.scaling=yarn", 2, "rope.scaling = yarn needs rope.factor"),
    train("factor below 1", "--rope.scaling=linear --rope.factor=0.5", 2, "rope.factor = 0.5 would make the window shorter"),
    train("key of another scaling", "--rope.scaling=ntk --rope.factor=2 --rope.beta_fast=8", 2, "rope.beta_fast has no effect"),
    train("window of one", "--rope.scaling=yarn --rope.factor=2 --rope.original_length=1", 2, "a window has 2 positions or more"),
    train("one frequency", "--rope.scaling=ntk --rope.factor=2 --model.head_dim=2", 2, "rope.scaling = ntk with model.head_dim = 2"),
    train("betas the wrong way", "--rope.scaling=yarn --rope.factor=2 --rope.beta_slow=64", 2, "is more than rope.beta_fast = 32"),
    train("blend of no fall", "--rope.scaling=parts --rope.factor=2 --model.rope_theta=1", 2, "model.rope_theta = 1"),
    train("bands the wrong way", "--rope.scaling=llama3 --rope.factor=2 --rope.low_freq_factor=8", 2,
          "rope.low_freq_factor = 8 is not less than rope.high_freq_factor = 4"),
    train("longrope without lists", "--rope.scaling=longrope --rope.factor=2", 2, "rope.short_factor has 0 numbers", "= 4"),
    train("list of words", "--rope.scaling=longrope --rope.factor=2 --rope.short_factor=a,b", 2, "is no list of numbers above 0"),
    train("short target", "--positions.kind=pose --positions.target=1", 2, "positions.target = 1 is shorter than the window of"),
    train("two open axes", "--mesh.segment=0", 2, "mesh.data = 0, mesh.segment = 0, mesh.token = 1"),
    train("token axis open, too", "--mesh.token=0", 2, "only one axis can take what is left"),
    train("token axis beyond the world", "--mesh.token=2 --mesh.data=1", 2, "does not fit 1 rank"),
    train("run without an end", "--run.steps=0", 2, "would never end"),
    usage("run without a directory", ["train", "base.ini", "--run.dir="], "run.dir is empty", "runs/first"),
    train("micro batch above batch", "--data.micro_batch=3", 2, "data.micro_batch = 3 is more than data.batch = 2"),
    train("min_lr above lr", "--optimizer.min_lr=1", 2, "optimizer.min_lr = 1 is more than optimizer.lr"),
    train("passkey at no depth", "--data.kind=passkey --task.depth=-0.5", 2, "task.depth = -0.5 is neither a share of the noise"),
    usage("depths beyond the end", ["eval", "base.ini", "--eval.depths=0,2"], "eval.depths: '2' is not a share of the noise"),
    usage("depths of another task", ["eval", "base.ini", "--eval.depths=0,1"], "eval.depths is for data.kind = passkey"),
    usage("lengths of a text", ["eval", "base.ini", "--eval.lengths=64"], "eval.lengths is for a memory task as data.kind"),
    usage("segments of a text", ["eval", "base.ini", "--eval.segments=2x64"], "eval.segments is for a memory task as data.kind"),
    usage("weights of another run to eval", ["eval", "base.ini", "--model.from=absent"],
          "model.from has no effect in an evaluation"),
    usage("lengths that are none", ["eval", "base.ini", "--eval.lengths=128,1k"], "eval.lengths: '1k' is not a number of tokens"),
    train("mesh beyond the world", "--mesh.segment=2", 2, "does not fit 1 rank"),
    train("mesh of 4 x 10^18", "--mesh.segment=2147483647 --mesh.data=2147483647", 2, "does not fit 1 rank"),
    train("mesh of 10^28", "--mesh.segment=2147483647 --mesh.data=2147483647 --mesh.token=2147483647", 2, "does not fit 1 rank"),
    train("segment of 2^31 tokens", "--segment.length=2G", 2, "segment.length = '2G' is out of range", "0 to 2147483647"),
    train("mesh that does not fit 2 ranks", "--mesh.segment=3", 2, "mesh", "3", ranks=2),
    train("mesh that leaves a rank", "--mesh.data=1", 2, "mesh", "2 ranks", ranks=2),
    train("instruction set and kind", "--device.kind=cuda", 2, NO_GPU),
    train("planned memory beyond device.memory", "--device.memory=1k", 2, "this run needs", "device.memory allows 0.0 MiB",
          "saved activations"),
    train("planned memory beyond the machine", "--model.dim=65536 --model.layers=100", 2, "this run needs",
          "parameters and gradients",
          "working space", "a smaller model"),
    train("planned memory beyond an address",
          "--model.layers=32765 --model.dim=1048576 --model.heads=65536 --model.head_dim=65536"
          " --model.ffn=16777216 --model.vocab=2147483647", 2, "this run needs", "a smaller model"),
    train("planned memory without recomputing", "--device.memory=1k --tbptt.recompute=never", 2, "tbptt.recompute = auto"),
    train("planned memory of a micro batch", "--device.memory=1k --data.micro_batch=2", 2, "Lower data.micro_batch"),
]


def check(report):
    Path("-dash.txt").write_text("text", encoding="utf-8")
    keys = list(of_help("train")) + [case for case in of_help("eval") if case.name.startswith("eval: eval.")]
    if len(keys) < 60:
        report.case("the help lists the keys", [f"{len(keys)} found"])
    for table in (COMMAND_LINE, keys, VALUES, TOGETHER):
        report.mistakes(table)


if __name__ == "__main__":
    sys.exit(mistakes.main(check, "F4", "wrong options: each key, each rule that joins keys, the command line itself",
                           "refused before anything is made, with the key, its range and an example; exit 2"))
