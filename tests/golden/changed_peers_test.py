"""memring verify on values of the original programs: a file with one changed number fails with exit 1 and names the entry.

Usage: changed_peers_test.py MEMRING FOLDER
SPDX-License-Identifier: Apache-2.0
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py

MEMRING, FOLDER = sys.argv[1], Path(sys.argv[2])


def scaled(name, at, by):
    def change(file):
        file[name][at] *= by
    return change


def attribute(entry, name, value):
    def change(file):
        file[entry].attrs[name] = value
    return change


# File: what is changed in it, and what the report must name.
CHANGED = {
    "rope.h5": [
        (scaled("transformers/yarn_2/inv_freq", 20, 1 + 3e-12), "transformers/yarn_2 inv_freq"),
        (scaled("transformers/yarn_2/inv_freq_single", 20, 1 + 3e-5), "transformers/yarn_2 inv_freq_single"),
        (scaled("cream/revised_yarn_f16_n4096/inv_freq", 3, float("nan")), "cream/revised_yarn_f16_n4096 inv_freq"),
        (attribute("transformers/yarn_attention_factor", "attention_factor", 1.2),
         "transformers/yarn_attention_factor attention_factor"),
        (attribute("transformers/llama3_16", "rope_scaling", '{"rope_type": "default"}'), "transformers/llama3_16 inv_freq"),
        (attribute("transformers/dynamic_4_length6000", "sequence_length", 5999), "transformers/dynamic_4_length6000 inv_freq"),
    ],
}


def verify(path):
    return subprocess.run([MEMRING, "verify", path], capture_output=True, text=True, check=False)


with tempfile.TemporaryDirectory() as folder:
    for name, changes in CHANGED.items():
        for change, entry in changes:
            copy = shutil.copy(FOLDER / name, folder)
            with h5py.File(copy, "r+") as file:
                change(file)
            result = verify(copy)
            wrong = [line.split("largest")[0].strip() for line in result.stdout.splitlines() if line.endswith("too large")]
            if result.returncode != 1 or wrong not in ([entry], [entry, f"{entry}_single"]) or not result.stdout.startswith("FAIL"):
                sys.exit(f"{entry}: exit code {result.returncode}, wrong {wrong}\n{result.stdout}{result.stderr}")
