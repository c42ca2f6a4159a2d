"""Configuration files that cannot be meant: of another kind, damaged, ambiguous, or one character away from a real one.

Usage: see mistakes.py. The semantics of mutated files are tested in tests/unit/config_mutation_test.cpp, many times as often.
SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import re
import sys
from pathlib import Path

import mistakes
from mistakes import usage

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# name: (content, what the message must hold); the arguments are `train NAME`
FILES = {
    "binary.ini": (b"[a\0]\n", ["binary.ini:1: byte 2 is 0x00", "plain text"]),
    "nul.ini": (b"[model]\nlayers = 3\0\n", ["nul.ini:2: byte 18 is 0x00"]),
    "utf16.ini": ("[model]\nlayers = 3\n".encode("utf-16"), ["utf16.ini:1: byte", "save this one as UTF-8"]),
    "escape.ini": (b"[model]\nlayers = \x1b[31m3\n", ["escape.ini:2: byte", "0x1b"]),
    "hdf5.ini": (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, ["hdf5.ini is an HDF5 file", "memring inspect"]),
    "image.ini": (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, ["image.ini:2: byte"]),
    "macintosh.ini": (b"[model]\rlayers = 3\r", ["macintosh.ini:1: '[model]\\x0dlayers = 3' is not a section"]),
    "json.ini": (b'{"model": {"layers": 3}}\n', ["json.ini:1:", "is neither [section] nor key = value"]),
    "yaml.ini": (b"model:\n  layers: 3\n", ["yaml.ini:1: 'model:' is neither"]),
    "toml.ini": (b'[model]\nlayers = 3\n[[data]]\n', ["toml.ini:3: '[[data]]' is not a section"]),
    "bom.ini": (b"\xef\xbb\xbf[model]\r\nlayer = 3\r\n", ["bom.ini:2: unknown key 'model.layer'", "'model.layers'"]),
    "long_line.ini": (b"[model]\n" + b"x" * 500_000 + b"\n", ["long_line.ini:2: 'xxx", "... (500,000 bytes)"]),
    "long_key.ini": (b"[model]\n" + b"x" * 500_000 + b" = 3\n", ["long_key.ini:2: unknown key 'model.xxx", "bytes)"]),
    "long_value.ini": (b"[model]\ndim = " + b"1" * 500_000 + b"\n", ["long_value.ini:2: model.dim = '111", "is out of range"]),
    "long_section.ini": (b"[" + b"x" * 500_000 + b"]\ndim = 1\n", ["long_section.ini:2: unknown section [xxx"]),
    "huge.ini": (b"[model]\n" + b"# a comment\n" * 8_400_000, ["huge.ini has more than 1 MiB", "data.path"]),
    "twice.ini": (b"[model]\ndim = 16\ndim = 16\n", ["twice.ini:3: 'model.dim' is set twice (first in twice.ini:2)"]),
    "twice_apart.ini": (b"[model]\ndim = 16\n[log]\nevery = 1\n[model]\ndim = 16\n",
                        ["twice_apart.ini:6: 'model.dim' is set twice"]),
    "no_section.ini": (b"# layers\nlayers = 3\n[model]\n", ["no_section.ini:2: 'layers' stands before the first section"]),
    "no_equals.ini": (b"[model]\ndim 3\n", ["no_equals.ini:2: 'dim 3' is neither"]),
    "colon.ini": (b"[model]\ndim: 3\n", ["colon.ini:2: 'dim: 3' is neither"]),
    "no_key.ini": (b"[model]\n = 3\n", ["no_key.ini:2: '= 3' is neither"]),
    "no_value.ini": (b"[model]\ndim =\n", ["no_value.ini:2: model.dim = '' is not an integer"]),
    "open_section.ini": (b"[model\ndim = 3\n", ["open_section.ini:1: '[model' is not a section"]),
    "empty_section.ini": (b"[]\ndim = 3\n", ["empty_section.ini:1: '[]' is not a section"]),
    "spaced_section.ini": (b"[my model]\ndim = 3\n", ["spaced_section.ini:1: '[my model]' is not a section"]),
    "open_quotes.ini": (b'[data]\npath = "books.h5\n', ["open_quotes.ini:2: the quotes of 'path' do not close"]),
    "after_quotes.ini": (b'[data]\npath = "books".h5\n', ["after_quotes.ini:2: the quotes of 'path'"]),
    "late_comment.ini": (b"[model]\ndim = # 16\n", ["late_comment.ini:2: model.dim = '' is not an integer"]),
    "tight_comment.ini": (b"[model]\ndim = 16# wide\n", ["tight_comment.ini:2: model.dim = '16# wide'"]),
    "slashes.ini": (b"[model]\ndim = 16 // wide\n", ["slashes.ini:2: model.dim = '16 // wide'"]),
    # Its key would silently become checkpoint.every.
    "hidden_section.ini": (b"[checkpoint]\nkeep = 3\n#[log]\nevery = 1\n",
                           ["hidden_section.ini:4: 'every' stands under the section header that line 3 comments out"]),
    "bitten_section.ini": (b"[checkpoint]\nkeep = 3\n;log]\nevery = 1\n", ["bitten_section.ini:4: 'every' stands under"]),
    "section.ini": (b"[optimiser]\nlr = 3\n", ["section.ini:2: unknown section [optimiser]", "'optimizer.lr'", "[optimizer]"]),
    "key.ini": (b"[model]\n# wide\nlayer = 3\n", ["key.ini:3: unknown key 'model.layer'", "'model.layers'", "rope_theta"]),
    "capital.ini": (b"[Model]\nDim = 3\n", ["capital.ini:2: unknown section [Model]", "'model.dim'"]),
    "full_key.ini": (b"[model]\nmodel.dim = 3\n", ["full_key.ini:2: unknown key 'model.model.dim'", "'model.dim'"]),
    "wrong_section.ini": (b"[model]\nlr = 3\n", ["wrong_section.ini:2: unknown key 'model.lr'", "'optimizer.lr'"]),
    "latin1.ini": (b"[data]\npath = b\xfccher.h5\n", ["latin1.ini:2: byte 1 of data.path is not UTF-8 (0xfc)",
                                                      "rename the file"]),
    "cut_utf8.ini": (b"[data]\npath = b\xc3\n", ["cut_utf8.ini:2: byte 1 of data.path is not UTF-8 (0xc3)"]),
    "value.ini": (b"[model]\ndim = wide\n", ["value.ini:2: model.dim = 'wide' is not an integer", "1 to 1048576",
                                             "model.dim = 768"]),
    "empty.ini": (b"", ["data.path is not set", "memring pack"]),
    "comments.ini": (b"# nothing\n; at all\n", ["data.path is not set"]),
}

TABLE = [usage(name, ["train", name], *parts) for name, (_, parts) in FILES.items()] + [
    usage("missing", ["train", "absent.ini"], "cannot read the configuration absent.ini", "No such file"),
    usage("folder", ["train", "."], "cannot read the configuration .", "Is a directory"),
    usage("below a file", ["train", "text.txt/a.ini"], "text.txt/a.ini", "Not a directory"),
    usage("name too long", ["train", "a" * 300], "File name too long"),
    usage("links in a circle", ["train", "circle.ini"], "circle.ini", "symbolic links"),
    usage("link to nothing", ["train", "dangling.ini"], "dangling.ini", "No such file"),
    usage("pipe without a writer", ["train", "pipe.ini"], "pipe.ini is not a regular file"),
    usage("device", ["train", "/dev/zero"], "/dev/zero is not a regular file"),
    usage("token file", ["train", "tokens.h5"], "tokens.h5 is an HDF5 file"),
    usage("text", ["train", "text.txt"], "text.txt:1:", "is neither"),
    usage("empty name", ["train", ""], "argument 1 of 1 is empty", "variable"),
    mistakes.io("unreadable", ["train", "secret.ini"], "cannot read the configuration secret.ini", "Permission denied",
                nobody=True),
    usage("mistake on two ranks", ["train", "key.ini"], "rank 0 of 2", "unknown key 'model.layer'", ranks=2),
]


def prepare():
    for name, (content, _) in FILES.items():
        Path(name).write_bytes(content)
    os.symlink("circle.ini", "circle.ini")
    os.symlink("nowhere.ini", "dangling.ini")
    os.mkfifo("pipe.ini")
    Path("secret.ini").write_text("[model]\n", encoding="utf-8")
    os.chmod("secret.ini", 0)


def mutated(text, source):
    """The text with one character replaced, inserted or taken out, and the number of the line it is in."""
    at = source.randrange(len(text))
    letter = source.choice("abcdefghijklmnopqrstuvwxyz0123456789=[]#;. _-\n")
    changed = source.choice([text[:at] + letter + text[at + 1:], text[:at] + letter + text[at:], text[:at] + text[at + 1:]])
    return changed, text.count("\n", 0, at) + 1


def mutation_faults(name, changed, line):
    """Either the run gets as far as its missing data, or the message names the file and a line at or below the change."""
    Path("mutated.ini").write_text(changed, encoding="utf-8")
    result = mistakes.run(["train", "mutated.ini", "--run.dir=new", "--data.path=absent.h5", "--mesh.data=0", "--mesh.segment=1"])
    message = result.stderr
    if mistakes.ACCIDENT.search(message) or message.count("memring: ") != 1:
        yield f"{name}, line {line}: {message}"
    if result.returncode == 65:
        if "absent.h5" not in message:
            yield f"{name}, line {line}: {message}"
        return
    place = re.search(r"mutated\.ini:(\d+):", message)
    if result.returncode != 2 or not place:
        yield f"{name}, line {line}: exit code {result.returncode}: {message}"
    if "unknown key" in message and "Did you mean" not in message:
        yield f"{name}, line {line}: no nearest key: {message}"
    if os.path.exists("new"):
        yield f"{name}, line {line}: a run directory was made"


def check(report):
    prepare()
    report.mistakes(TABLE)
    source = random.Random(20)
    for name in ("quickstart.ini", "long.ini"):
        text = (CONFIGS / name).read_text(encoding="utf-8")
        for i in range(20):
            changed, line = mutated(text, source)
            report.case(f"mutation {i} of {name}", mutation_faults(name, changed, line))


if __name__ == "__main__":
    sys.exit(mistakes.main(check, "F4", "unusable and mutated configuration files, from the command line",
                           "refused with file, line and nearest key, or a legal other value; exit 2, no run directory"))
