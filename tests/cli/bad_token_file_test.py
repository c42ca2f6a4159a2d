"""Token files and fixtures that are damaged, of another kind, or reach outside themselves: refused by name, never followed.

Usage: see mistakes.py.
SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil
import sys
from pathlib import Path

import h5py
import mistakes
import numpy
from mistakes import GOLDEN, data

FIXTURE = GOLDEN / "rmt_full.h5"
ROPE = GOLDEN / "peers" / "rope.h5"


def replace(file, name, value, **how):
    del file[name]
    file.create_dataset(name, data=value, **how)


def change(file, name, at, value):
    numbers = file[name][()]
    numbers[at] = value
    replace(file, name, numbers)


def of_entry(name, value):
    return lambda file: file[ENTRY].attrs.__setitem__(name, value)


def soft(file):
    file.move("tokens", "hidden")
    file["tokens"] = h5py.SoftLink("/hidden")


def external_link(file):
    del file["tokens"]
    file["tokens"] = h5py.ExternalLink(os.path.abspath("tokens.h5"), "/tokens")


def link_to_secret(file):
    del file["tokens"]
    file["tokens"] = h5py.ExternalLink("/etc/hostname", "/tokens")


def external_storage(file):
    del file["tokens"]
    file.create_dataset("tokens", (18000,), dtype="u1", external=[("/etc/passwd", 0, 18000)])


def virtual(file):
    del file["tokens"]
    layout = h5py.VirtualLayout((18000,), "u1")
    layout[:] = h5py.VirtualSource(os.path.abspath("tokens.h5"), "tokens", (18000,))
    file.create_virtual_dataset("tokens", layout)


def group(file):
    del file["tokens"]
    file.create_group("tokens")


def attribute(name, value):
    return lambda file: file.attrs.modify(name, value) if isinstance(value, (int, float)) else file.attrs.create(name, value)


def without(name):
    return lambda file: file.attrs.pop(name) if name in file.attrs else file.pop(name)


def of_tokens(made, **how):
    return lambda file: replace(file, "tokens", made(file["tokens"][()]), **how)


SHAPE = "with one extent was expected"
RANGE = "is not one contiguous range within the file's"

# name: (how a good file is changed, what the messages of train and inspect must hold)
TOKEN_FILES = {
    "soft link": (soft, ["/tokens is a link to another place"]),
    "external link": (external_link, ["a link to another file"]),
    "external link to no HDF5": (link_to_secret, ["a link to another file"]),
    "external storage": (external_storage, ["dataset /tokens", RANGE]),
    "virtual dataset": (virtual, ["dataset /tokens", RANGE]),
    "compressed": (of_tokens(lambda t: t, compression="gzip"), ["dataset /tokens", RANGE]),
    "chunked": (of_tokens(lambda t: t, chunks=(1000,)), ["dataset /tokens", RANGE]),
    "checksummed": (of_tokens(lambda t: t, fletcher32=True), ["dataset /tokens", RANGE]),
    "big-endian tokens": (of_tokens(lambda t: t.astype(">u2")), ["dataset /tokens is another", SHAPE]),
    "big-endian borders": (lambda f: replace(f, "documents", f["documents"][()].astype(">i8")), ["/documents is another", SHAPE]),
    "wide tokens": (of_tokens(lambda t: t.astype("u4")), ["dataset /tokens is uint32", "uint8 with one extent"]),
    "signed tokens": (of_tokens(lambda t: t.astype("i4")), ["dataset /tokens is int32", SHAPE]),
    "tokens as floats": (of_tokens(lambda t: t.astype("f4")), ["dataset /tokens is float32", SHAPE]),
    "tokens as text": (of_tokens(lambda t: numpy.array(["a"] * 10, dtype="S1")), ["dataset /tokens is another", SHAPE]),
    "table of tokens": (of_tokens(lambda t: t.reshape(-1, 2)), ["dataset /tokens is uint8 [9000, 2]", SHAPE]),
    "scalar": (of_tokens(lambda t: t[0]), ["dataset /tokens is uint8", SHAPE]),
    "zero tokens": (of_tokens(lambda t: t[:0]), ["dataset /tokens is empty"]),
    "no space": (of_tokens(lambda t: h5py.Empty("u1")), ["/tokens is not a dataset that memring reads"]),
    "group": (group, ["/tokens is not a dataset that memring reads"]),
    "no tokens": (without("tokens"), ["dataset /tokens is missing"]),
    "no borders": (without("documents"), ["dataset /documents is missing"]),
    "no digests": (without("digests"), ["dataset /digests is missing"]),
    "fewer tokens": (of_tokens(lambda t: t[:100]), ["is damaged", "/tokens, bytes 0 to 100: digest"]),
    "digests too many": (lambda f: replace(f, "digests", numpy.zeros(2, "u8")), ["2 digests and 2 document borders do not fit"]),
    "no vocabulary": (without("vocab"), ["attribute 'vocab' of / is missing"]),
    "vocabulary as text": (attribute("vocab", "many"), ["attribute 'vocab' of / is not an integer"]),
    "vocabulary as a list": (attribute("vocab", [256, 256]), ["attribute 'vocab' of / is not an integer"]),
    "vocabulary 0": (attribute("vocab", 0), ["attribute 'vocab' is 0"]),
    "vocabulary negative": (attribute("vocab", -1), ["attribute 'vocab' is -1"]),
    "vocabulary beyond int32": (attribute("vocab", 1 << 40), ["attribute 'vocab' is 1099511627776"]),
    "no tokenizer": (without("tokenizer"), ["attribute 'tokenizer' of / is missing"]),
    "other digest block": (attribute("digest_block", 4096), ["its digests cover 4096 bytes each"]),
    "wrong digest": (lambda f: change(f, "digests", 0, 1), ["/tokens, bytes 0 to 18,000: digest", "expected 0000000000000001"]),
    "flipped bit": (lambda f: change(f, "tokens", 17000, 0), ["/tokens, bytes 0 to 18,000: digest"]),
    "newer format": (attribute("format", "memring-tokens-9"), ["its format is \"memring-tokens-9\"", "newer memring"]),
}
INSPECT_ONLY = {
    "wrong borders": (lambda f: change(f, "documents", 1, 5), ["/documents: digest", "borders run from 0 to 5"]),
    "no format": (without("format"), ["neither a token file nor a fixture"]),
    "foreign format": (attribute("format", "something"), ["neither a token file nor a fixture", "something"]),
}
ENTRY = "transformers/yarn_2"
ROPE_FILES = {
    "unknown rope_type": (of_entry("rope_scaling", '{"rope_type": "su"}'), [ENTRY, 'rope_type = "su" is unknown', "yarn"]),
    "rope_scaling without factor": (of_entry("rope_scaling", '{"type": "linear"}'), [ENTRY, "factor is missing"]),
    "rope_scaling that is no JSON": (of_entry("rope_scaling", '{"type"'), [ENTRY, "not a JSON object"]),
    "odd head": (of_entry("head_dim", 127), [ENTRY, "head_dim", "127, an odd number"]),
    "no window": (of_entry("max_position_embeddings", 0), [ENTRY, "max_position_embeddings", "is 0; 1 to"]),
    "no theta": (lambda f: f[ENTRY].attrs.__delitem__("rope_theta"), [f"attribute 'rope_theta' of {ENTRY} is missing"]),
    "negative theta": (of_entry("rope_theta", -1.0), ["rope_theta", ENTRY, "is -1; more than 0"]),
    "few frequencies": (lambda f: replace(f, f"{ENTRY}/inv_freq", [1.0]), [f"/{ENTRY}/inv_freq is [1]", "[64] was expected"]),
    "no frequencies": (lambda f: f.__delitem__(f"{ENTRY}/inv_freq"), [f"dataset /{ENTRY}/inv_freq is missing"]),
    "unknown origin": (lambda f: f.move("cream", "milk"), ["group milk is neither transformers nor cream"]),
    "unknown table": (lambda f: f.move("cream/ntk_f16_n4096", "cream/own_f16"), ["cream/own_f16 is no table"]),
    "no entries": (lambda f: (f.__delitem__("cream"), f.__delitem__("transformers")), ["holds no entry of transformers or cream"]),
}
CUTS = {"of 0 bytes": 0, "of 1 byte": 1, "of 8 bytes": 8, "of 100 bytes": 100, "cut at 2048": 2048, "cut at half": 0.5,
        "cut by 1": -1}

STATE = "done/checkpoints/step-000000002/state.h5"

FIXTURES = {
    "token beyond": (lambda f: change(f, "batch/tokens", (0, 0), 1000), ["token 1000", "vocab"]),
    "token negative": (lambda f: change(f, "batch/tokens", (0, 0), -5), ["token -5"]),
    "target beyond": (lambda f: change(f, "batch/targets", (0, 0), 1000), ["target 1000"]),
    "few logits": (lambda f: replace(f, "expect/logits", f["expect/logits"][()][:, :, :3]), ["/expect/logits has 3 numbers"]),
    "few states": (lambda f: replace(f, "expect/state/memory", f["expect/state/memory"][()].ravel()[:2]),
                   ["/expect/state has 1"]),
    "other model": (attribute("config", "[model]\nlayers = 3\n"), ["does not belong to the model of its config"]),
    "tokens as floats": (lambda f: replace(f, "batch/tokens", f["batch/tokens"][()].astype("f4")), ["/batch/tokens is float32"]),
    "linked parameters": (lambda f: (f.move("params", "p"), f.__setitem__("params", h5py.SoftLink("/p"))), ["/params is a link"]),
}


def file_of(kind, name):
    return f"{kind} {name}.h5"


def table():
    for name, (_, parts) in {**TOKEN_FILES, **INSPECT_ONLY}.items():
        path = file_of("tokens", name)
        yield data(f"inspect: {name}", ["inspect", path], path, *[part for part in parts if part != "newer memring"])
    for name, (_, parts) in TOKEN_FILES.items():
        path = file_of("tokens", name)
        # A digest is checked when its block is first read: the run has begun by then.
        changes = ["new$", "new/"] if any("digest" in part and "bytes" in part and "to" in part for part in parts) else []
        yield data(f"train: {name}", ["train", "base.ini", "--run.dir=new", "--data.batch=1", f"--data.path={path}"], path, *parts,
                   changes=changes)
    for name in CUTS:
        path = file_of("tokens", name)
        yield data(f"inspect: {name}", ["inspect", path], path)
        yield data(f"train: {name}", ["train", "base.ini", "--run.dir=new", f"--data.path={path}"], path)
        yield data(f"verify: {name}", ["verify", file_of("fixture", name)], file_of("fixture", name))
    for name, (_, parts) in FIXTURES.items():
        yield data(f"verify: {name}", ["verify", file_of("fixture", name)], "fixture", *parts)
    for name, (_, parts) in ROPE_FILES.items():
        yield data(f"verify: {name}", ["verify", file_of("rope", name)], file_of("rope", name), *parts)
    for path, kind in ((str(FIXTURE), "memring-fixture-1"), (STATE, "memring-checkpoint-1")):
        yield mistakes.train("other kind of file", f"--data.path={path}", 65, path, kind, "memring pack")
    yield mistakes.train("folder", "--data.path=done", 65, "done is a folder")
    yield mistakes.train("checkpoint folder", "--data.path=done/checkpoints/step-000000002", 65, "is a folder")
    yield mistakes.train("pipe", "--data.path=pipe.h5", 65, "pipe.h5 is a pipe or a device")
    yield mistakes.train("device", "--data.path=/dev/zero", 65, "/dev/zero is a pipe or a device")
    yield mistakes.train("text", "--data.path=text.txt", 65, "text.txt is not an HDF5 file", "memring pack")
    yield mistakes.train("missing", "--data.path=absent.h5", 65, "absent.h5 does not exist")
    yield mistakes.train("missing, on two ranks", "--data.path=absent.h5", 65, "absent.h5 does not exist", ranks=2)
    yield mistakes.train("no data.path", "--data.path=", 2, "data.path is not set")
    yield mistakes.train("ids beyond the model's", "--model.vocab=100", 65, "token ids up to 255", "model.vocab = 256")
    yield mistakes.train("sequence longer than the data", "--data.length=1M", 65, "18,000 tokens", "1,048,577",
                         "data.length to at most")
    yield mistakes.train("sequence as long as the data", "--data.length=18000", 65, "18,001")
    # The file promises ids below 16 and holds others, under digests that are right: found when the token is read.
    yield data("train: token beyond the file's word", ["train", "base.ini", "--run.dir=new", "--data.path=liar.h5",
                                                       "--model.vocab=16"],
               "outside the model's vocabulary (vocab = 16)", "liar.h5", changes=["new$", "new/"])
    yield data("verify: token file", ["verify", "tokens.h5"], "tokens.h5", "memring-tokens-1")
    yield data("verify: checkpoint", ["verify", STATE], STATE, "memring-checkpoint-1")
    yield data("inspect: checkpoint's file", ["inspect", STATE], STATE, "give its folder")
    yield data("verify: pipe", ["verify", "pipe.h5"], "pipe.h5 is a pipe")
    yield data("eval: token file of another kind", ["eval", "done", f"--data.path={FIXTURE}"], "memring-fixture-1")
    yield data("eval: damaged token file", ["eval", "done", "--data.path=tokens flipped bit.h5"], "digest")


def cut(source, target, where):
    """The first bytes of a file: a number of them, a share, or all but the last."""
    content = source.read_bytes()
    Path(target).write_bytes(content[:int(len(content) * where) if isinstance(where, float) else where])


def prepare():
    mistakes.trained("done")
    for kind, source, files in (("tokens", Path("tokens.h5"), {**TOKEN_FILES, **INSPECT_ONLY}), ("fixture", FIXTURE, FIXTURES),
                                ("rope", ROPE, ROPE_FILES)):
        for name, (change_it, _) in files.items():
            shutil.copy(source, file_of(kind, name))
            with h5py.File(file_of(kind, name), "r+") as file:
                change_it(file)
        for name, where in CUTS.items():
            cut(source, file_of(kind, name), where)
    shutil.copy("tokens.h5", "liar.h5")
    with h5py.File("liar.h5", "r+") as file:
        file.attrs["vocab"] = 16
    os.mkfifo("pipe.h5")


def check(report):
    prepare()
    report.mistakes(table())


if __name__ == "__main__":
    sys.exit(mistakes.main(check, "F2", "damaged, foreign and linked token files and fixtures, from the command line",
                           "one message with place and remedy, right exit code, nothing on disk changed"))
