#!/usr/bin/env python3
"""Checks the include walls between the folders, and what every source file must hold (its licence, clean headers).

Usage: layering.py ROOT [COMPILER] | layering.py --self-test
With a compiler, headers must also compile alone: most do by being the first include of some .cpp; the others are tried.
SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import fnmatch
import itertools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# Folder: what its files may include, besides the folder itself. A folder that is not here may not exist.
ALLOWED = {
    "src/base": [],
    "src/config": ["src/base"],
    "kernels": ["src/base"],
    "dist": ["src/base", "kernels"],
    "src/io": ["src/base"],
    "src/checkpoint": ["src/base", "src/io", "dist"],
    "src/data": ["src/base", "src/config", "src/io"],
    "src/runlog": ["src/base", "src/config"],
    "src/model": ["src/base", "kernels", "src/memory"],
    "src/memory": ["src/base", "kernels", "src/model"],
    "src/engine": ["src/base", "src/config", "kernels", "src/data", "src/model", "src/memory", "dist"],
    "src/train": ["src/base", "src/config", "kernels", "src/data", "src/model", "src/memory", "src/engine", "dist",
                  "src/io", "src/checkpoint", "src/runlog"],
    "src/eval": ["src/base", "src/config", "kernels", "src/data", "src/model", "src/memory", "src/engine", "dist",
                 "src/io", "src/checkpoint", "src/runlog", "src/train"],
    "src/bench": ["src/base", "src/config", "kernels", "src/data", "src/model", "src/memory", "src/engine", "dist",
                  "src/io", "src/checkpoint", "src/train"],
    "src/app": ["src/base", "src/config", "kernels", "src/data", "src/model", "src/memory", "src/engine", "dist",
                "src/io", "src/checkpoint", "src/runlog", "src/train", "src/eval", "src/bench"],
}

# Library header (a regular expression): the files that may include it. `memring doctor` tells the libraries' versions.
LIBRARIES = {
    r"mpi\.h": ["dist/*.cpp", "dist/mpi_*.h"],
    r"(hdf5|H5\w+)\.h(pp)?": ["src/io/*", "src/app/doctor.cpp"],
    r"(.*/)?dnnl\w*\.h(pp)?": ["kernels/*", "src/app/doctor.cpp"],
    r"nccl\w*\.h": ["dist/nccl*"],
    r"cuda\w*\.h(pp)?": ["kernels/cuda/*", "kernels/*/cuda.cu"],
    r"cublas\w*\.h(pp)?": ["kernels/cuda/gpu/cublaslt.h"],
    r"cudnn\w*(\.h|/.*)": ["kernels/cuda/*", "kernels/*/cuda.cu", "kernels/attention/cudnn.cpp"],
    r"boost/context/.*": ["kernels/cuda/*"],
}

# Header (a regular expression): the files that may include it. An operator's front, <op>/<op>.cpp, alone knows
# its backends, and alone checks its contract. {op}: the header's folder, {folder}: that of the file that includes it.
PRIVATE = {
    r"kernels/(?P<op>\w+)/cpu\.h": ["kernels/{op}/{op}.cpp", "kernels/{op}/cpu.cpp"],
    r"kernels/(?P<op>\w+)/ref\.h": ["kernels/{op}/{op}.cpp", "kernels/*/ref.cpp"],
    r"kernels/(?P<op>\w+)/cuda\.h": ["kernels/{op}/{op}.cpp", "kernels/{op}/cuda.c*", "kernels/cuda/*"],
    r"kernels/cuda/twin/\w+\.h": ["kernels/cuda/twin/*", "kernels/cuda/fiber/*"],
    r"kernels/common/checks\.h": ["kernels/{folder}/{folder}.cpp", "kernels/common/checks.cpp"],
    r"kernels/common/wide\.h": ["kernels/{folder}/{folder}.cpp", "kernels/common/wide.cpp"],
    r"kernels/common/map_views\.h": ["kernels/common/wide.h", "kernels/cuda/twin/late.h"],
}

# A header is private to the folder, or the files, that its first comment names: "Private to kernels/.".
# Every header of an operator but its contract, <op>/<op>.h, says it.
SAYS_PRIVATE = re.compile(r"Private to ([\w/*.]+\w|\w+/)")
OPERATORS_HEADER = re.compile(r"kernels/(?!common/|cuda/)(?P<op>\w+)/(?!(?P=op)\.h)\w+\.h")

# What the compilers of kernels for devices do not take: nothing that they see may include it.
NOT_FOR_DEVICES = re.compile(r"fmt/.*|base/error\.h")
FOR_DEVICES = re.compile(r"kernels/\w+/cuda\.h|.*\.cuh?")
# Values, which can be made where no rank is: they reach nothing that talks to ranks, itself or by way of a header.
VALUES = ("src/engine/execution_plan.*", "src/engine/cell_sizes.*", "src/engine/teacher_sizes.*",
          "src/engine/token_split.*", "src/engine/tbptt.*",
          "dist/mesh_arithmetic.*", "dist/ring_plan.*", "dist/schedule*", "dist/precedence.*", "dist/cell_order.*",
          "dist/rank_actions.*")
TALKS = re.compile(r"mpi\.h|dist/(communicator|transport|mpi_\w+)\.h")
# A header of dist that nobody else includes, itself or by way of another, is dist's own: in a namespace inside memring.
DIST_OWN = re.compile(r"namespace memring::\w+ \{")
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^">]+)[">]')
CONDITIONAL = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else)\b")
SOURCES = {".h", ".cpp", ".cu", ".cuh"}
SCRIPTS = {".py", ".sh"}
LICENCE = "SPDX-License-Identifier: Apache-2.0"
LICENCE_LINES = 20  # it ends a file's first comment


def folder_of(path):
    """The row of ALLOWED that a path relative to the root falls under."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "src" else parts[0]


def included_folder(include):
    """The folder that an include written from the root ("base/view.h", "kernels/linear/linear.h") leads to."""
    first, slash, _ = include.partition("/")
    if slash and first in ALLOWED:
        return first
    return f"src/{first}" if slash and f"src/{first}" in ALLOWED else None


def private_places(path, include):
    """The files that may include this header when it is one of PRIVATE, as `path` would; else None."""
    for pattern, places in PRIVATE.items():
        header = re.fullmatch(pattern, include)
        if header:
            return [place.format(folder=path.split("/")[1], **header.groupdict()) for place in places]
    return None


def check_include(path, quote, include):
    folder = folder_of(path)
    if quote == "<":
        for pattern, places in LIBRARIES.items():
            if re.fullmatch(pattern, include) and not any(fnmatch.fnmatch(path, place) for place in places):
                return f"includes <{include}>, which only {' and '.join(places)} may"
        return None
    places = private_places(path, include)
    if places and not any(fnmatch.fnmatch(path, place) for place in places):
        return f'includes "{include}", which only {" and ".join(places)} may'
    target = included_folder(include)
    if target is None:
        return f'includes "{include}"; an include is written from the root and starts with the name of a folder'
    if target == folder or target in ALLOWED[folder]:
        return None
    return f'includes "{include}"; {folder} may include {", ".join(ALLOWED[folder]) or "nothing of ours"}'


def check_file(path, text):
    """Yields (line, complaint) for one file; `path` is relative to the root."""
    lines = text.splitlines()
    if LICENCE not in "\n".join(lines[:LICENCE_LINES]):
        yield 1, f'has no "{LICENCE}" in its first {LICENCE_LINES} lines'
    suffix = pathlib.PurePath(path).suffix
    if suffix not in SOURCES:
        return
    walled = not path.startswith("tests/")
    if walled and folder_of(path) not in ALLOWED:
        yield 1, f"{folder_of(path)} has no row in the table of tests/layering.py"
        return
    header = suffix in {".h", ".cuh"}
    if header and "#pragma once" not in lines:
        yield 1, "is a header without #pragma once"
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        complaint = check_include(path, *include.groups()) if include and walled else None
        if complaint:
            yield number, complaint
        if header and CONDITIONAL.match(line):
            yield number, f"has {line.strip()} in a header; what a build lacks is a file of its own"


def check_dist_headers(texts):
    """Complaints about the namespaces of dist's headers; `texts`: by path, all files."""
    includes = {path: {i.group(2) for i in filter(None, map(INCLUDE.match, text.splitlines()))}
                for path, text in texts.items()}
    headers = {path for path in texts if path.startswith("dist/") and path.endswith(".h")}
    others = [path for path in texts if folder_of(path) not in ("dist", "tests")]
    shared, found = set(), {header for path in others for header in includes[path]}
    while found := found & headers - shared:
        shared |= found
        found = {h for path in found for h in includes[path]}
    for path in sorted(headers):
        own = any(map(DIST_OWN.match, texts[path].splitlines()))
        if own and path in shared:
            yield f"{path}:1: is in a namespace of dist's own, and others include it"
        if not own and path not in shared:
            yield f"{path}:1: is dist's own, for nobody else includes it, and in no namespace inside memring"


def includes_of(path, texts):
    """(line, header) of each include of this file."""
    for number, line in enumerate(texts[path].splitlines(), 1):
        include = INCLUDE.match(line)
        if include:
            yield number, include.group(2)


def reached_from(paths, texts, wall):
    """(file, line, header) of each include that is `wall`, in these files and all headers that they include."""
    reached = list(paths)
    for path in reached:  # which grows on the way
        for number, header in includes_of(path, texts):
            if wall.fullmatch(header):
                yield path, number, header
                continue
            reached += [found for found in (header, f"src/{header}") if found in texts and found not in reached]


def check_reach(texts):
    """Complaints about what kernels for devices and plain values include, themselves or by way of a header."""
    for path, number, header in reached_from([path for path in sorted(texts) if FOR_DEVICES.fullmatch(path)], texts,
                                             NOT_FOR_DEVICES):
        yield f"{path}:{number}: includes {header}, and kernels/*/cuda.h or a .cu file include this header"
    for value in sorted(texts):
        if any(fnmatch.fnmatch(value, pattern) for pattern in VALUES):
            for path, number, header in reached_from([value], texts, TALKS):
                way = "" if path == value else f", and {value}"
                yield f"{path}:{number}: includes {header}{way} is a value that knows no ranks"


def check_private(texts):
    """Complaints about headers that say to whom they are private."""
    private = {}
    for path, text in texts.items():
        comment = " ".join(line[2:].strip() for line in
                           itertools.takewhile(lambda line: line.startswith("//"), text.splitlines()))
        said = SAYS_PRIVATE.search(comment) if path.endswith(".h") else None
        if said:
            place = said.group(1)
            private[path.removeprefix("src/")] = place if "*" in place else f"{place.rstrip('/')}/*"
        elif OPERATORS_HEADER.fullmatch(path):
            yield f'{path}:1: says to nobody that it is "Private to" a folder, and is no contract of an operator'
    for path in texts:
        if path.startswith("tests/"):
            continue
        for number, header in includes_of(path, texts):
            if header in private and not fnmatch.fnmatch(path, private[header]):
                yield f'{path}:{number}: includes "{header}", which is private to {private[header]}'


def check_tree(root):
    """All complaints as "file:line: ..." texts, and how many files were read."""
    complaints, files, texts = [], 0, {}
    for top in ("src", "kernels", "dist", "tests", "launch"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in SOURCES | SCRIPTS or not file.is_file():
                continue
            files += 1
            path = file.relative_to(root).as_posix()
            texts[path] = file.read_text("utf-8")
            complaints += [f"{path}:{line}: {text}" for line, text in check_file(path, texts[path])]
    return [*complaints, *check_dist_headers(texts), *check_reach(texts), *check_private(texts)], files


def compile_alone(root, header, compiler):
    """The first error of a translation unit that holds nothing but this header, or None."""
    unit = f'#include "{header.relative_to(root).as_posix()}"\n'
    command = [compiler, "-std=c++20", "-fsyntax-only", "-fopenmp", f"-I{root}", f"-I{root / 'src'}",
               f"-I{root / 'kernels/cuda/fiber'}", "-x", "c++", "-"]
    result = subprocess.run(command, input=unit, capture_output=True, text=True)
    if result.returncode == 0:
        return None
    errors = [line for line in result.stderr.splitlines() if "error:" in line] or result.stderr.splitlines()
    return f"{header.relative_to(root).as_posix()}:1: does not compile alone: {errors[0] if errors else 'no message'}"


def check_headers(root, compiler):
    """Complaints about headers that do not compile alone, and how many had to be tried.

    Those of nvcc alone it compiles itself (tests/ops/nvcc_test.py).
    """
    firsts = set()
    for top in ("src", "kernels", "dist", "tests"):
        for source in (root / top).rglob("*.cpp"):
            first = next(filter(None, map(INCLUDE.match, source.read_text("utf-8").splitlines())), None)
            if first:
                firsts.add(first.group(2))
    headers = [h for top in ("src", "kernels", "dist") for h in sorted((root / top).rglob("*.h"))
               if h.relative_to(root).as_posix().removeprefix("src/") not in firsts and h.parent.name != "nvcc"]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(filter(None, pool.map(lambda h: compile_alone(root, h, compiler), headers))), len(headers)


def self_test():
    """Plants each kind of crossing in a tree of its own; every one must be found, at its line, and nothing else."""
    licence, private = f"// {LICENCE}\n", "// Private to kernels/.\n"
    tree = {
        "src/base/good.h": licence + "#pragma once\n#include <vector>\n",
        "src/engine/good.cpp": licence + '#include "dist/mesh.h"\n#include "memory/memory.h"\n'
                                         '#include "engine/own.h"\n',
        "dist/good.cpp": licence + '#include <mpi.h>\n// #include "train/loop.h"\n#if 1\n#endif\n',
        "tests/unit/good.cpp": licence + '#include "app/command.h"\n#include <hdf5.h>\n',
        "kernels/norm/norm.cpp": licence + '#include "kernels/norm/cpu.h"\n#include "kernels/norm/ref.h"\n'
                                           '#include "kernels/common/checks.h"\n',
        "kernels/norm/ref.cpp": licence + '#include "kernels/norm/ref.h"\n#include "kernels/linear/ref.h"\n',
        "launch/good.sh": "#!/bin/sh\n# " + LICENCE + "\n",
        "kernels/norm/cuda.h": private + licence + '#pragma once\n#include "kernels/norm/plain.h"\n'
                                         '#include "base/with_fmt.h"\n',
        "kernels/norm/plain.h": private + licence + '#pragma once\n#include <vector>\n'
                                          '#include "kernels/norm/by_way.h"\n',
        "kernels/cuda/none.cpp": licence + '#include "kernels/norm/cuda.h"\n',
        "kernels/cuda/twin/device.h": licence + "#pragma once\n#include <fmt/format.h>\n",
        "kernels/cuda/twin/late.h": licence + '#pragma once\n#include "kernels/cuda/twin/device.h"\n'
                                              '#include "kernels/common/map_views.h"\n',
        "kernels/common/wide.h": licence + '#pragma once\n#include "kernels/common/map_views.h"\n',
        "kernels/linear/linear.cpp": licence + '#include "kernels/common/wide.h"\n#include "kernels/norm/cuda.h"\n'
                                               '#include "kernels/cuda/twin/device.h"\n',
        "kernels/linear/ref.cpp": licence + '#include "kernels/common/wide.h"\n'
                                            '#include "kernels/common/map_views.h"\n',
        "kernels/norm/by_way.h": private + licence + "#pragma once\n#include <fmt/format.h>\n",
        "src/base/with_fmt.h": licence + "#pragma once\n\n#include <fmt/ranges.h>\n",
        "src/base/upward.h": licence + '#pragma once\n\n#include "kernels/linear/linear.h"\n',
        "src/model/rank.cpp": licence + '  #  include "dist/mesh.h"\n',
        "src/train/app.cpp": licence + '#include "app/command.h"\n',
        "kernels/linear/mpi.cpp": licence + "#include <mpi.h>\n",
        "kernels/norm/cpu.cpp": licence + '#include "kernels/norm/cpu.h"\n#include "kernels/norm/ref.h"\n'
                                          '#include "kernels/linear/cpu.h"\n#include "kernels/common/checks.h"\n',
        "src/model/backend.cpp": licence + '#include "kernels/linear/linear.h"\n#include "kernels/linear/cpu.h"\n',
        "src/model/private.cpp": licence + '#include "kernels/common/product.h"\n#include "kernels/norm/loops.h"\n',
        "kernels/common/product.h": "// A product, shared. Private to\n// kernels/.\n" + licence + "#pragma once\n",
        "kernels/norm/loops.h": "// Private to kernels/norm.\n" + licence + "#pragma once\n",
        "kernels/norm/loops.cpp": licence + '#include "kernels/common/product.h"\n#include "kernels/norm/loops.h"\n',
        "kernels/norm/operands.h": licence + "#pragma once\n",
        "kernels/norm/cuda.cu": licence + '#include "kernels/norm/cuda.h"\n#include <cuda_runtime.h>\n'
                                          '#include "base/error.h"\n#include <fmt/format.h>\n#include <nccl.h>\n',
        "src/base/error.h": licence + "#pragma once\n#include <fmt/format.h>\n",
        "kernels/cuda/fiber/runtime.cpp": licence + "#include <boost/context/fiber.hpp>\n#include <cublasLt.h>\n",
        "kernels/cuda/gpu/cublaslt.h": licence + "#pragma once\n#include <cublasLt.h>\n",
        "dist/nccl_transport.cpp": licence + "#include <nccl.h>\n",
        "src/app/libraries.cpp": licence + "#include <nccl.h>\n#include <cuda_runtime.h>\n#include <cublasLt.h>\n"
                                           "#include <cudnn_frontend/cudnn.h>\n#include <boost/context/fiber.hpp>\n",
        "src/engine/execution_plan.cpp": licence + '#include "dist/communicator.h"\n#include "engine/by_way.h"\n',
        "src/engine/by_way.h": licence + '#pragma once\n#include "dist/ranks.h"\n',
        "dist/ranks.h": licence + '#pragma once\n#include "dist/transport.h"\nnamespace memring {\n',
        "dist/mesh_arithmetic.h": licence + '#pragma once\n#include "dist/communicator.h"\n'
                                            "namespace memring::own {\n",
        "dist/mpi.h": licence + "#pragma once\n#include <mpi.h>\nnamespace memring::mpi {\n",
        "dist/mpi_own.h": licence + "#pragma once\n#include <mpi.h>\nnamespace memring::mpi {\n",
        "dist/mesh.h": licence + '#pragma once\n#include "dist/shape.h"\n#include "dist/lent.h"\nnamespace memring {\n',
        "dist/shape.h": licence + "#pragma once\nnamespace memring {\n",
        "dist/lent.h": licence + "#pragma once\nnamespace memring::lent {\n",
        "dist/unused.h": licence + "#pragma once\nnamespace memring {\n",
        "src/data/hdf5.cpp": licence + "#include <H5public.h>\n",
        "src/engine/dnnl.cpp": licence + "#include <oneapi/dnnl/dnnl.hpp>\n",
        "kernels/relative.cpp": licence + '#include "../src/base/view.h"\n',
        "src/checkpoint/good.cpp": licence + '#include "dist/communicator.h"\n#include "io/file.h"\n',
        "src/io/rank.cpp": licence + '#include "dist/communicator.h"\n',
        "src/helpers/new.cpp": licence,
        "src/io/switch.h": licence + "#pragma once\n#ifdef USE_NCCL\n#endif\n",
        "src/io/twice.h": licence,
        "tests/e2e/licence.py": "print()\n",
    }
    expected = {"src/model/private.cpp:2", "src/model/private.cpp:3", "kernels/norm/operands.h:1",
                "kernels/norm/cuda.cu:4", "kernels/norm/cuda.cu:5", "kernels/norm/cuda.cu:6", "src/app/libraries.cpp:2",
                "src/app/libraries.cpp:3", "src/app/libraries.cpp:4", "src/app/libraries.cpp:5",
                "src/app/libraries.cpp:6", "kernels/cuda/fiber/runtime.cpp:3",
                "src/engine/execution_plan.cpp:2", "dist/ranks.h:3",
                "dist/mesh_arithmetic.h:3", "kernels/linear/linear.cpp:3", "kernels/linear/linear.cpp:4",
                "kernels/linear/ref.cpp:2", "kernels/linear/ref.cpp:3", "kernels/norm/by_way.h:4",
                "src/base/with_fmt.h:4",
                "src/base/upward.h:4", "src/model/rank.cpp:2", "src/train/app.cpp:2", "kernels/linear/mpi.cpp:2",
                "kernels/norm/cpu.cpp:3", "kernels/norm/cpu.cpp:4", "kernels/norm/cpu.cpp:5", "src/model/backend.cpp:3",
                "dist/mpi.h:3", "dist/lent.h:1", "dist/unused.h:1", "src/data/hdf5.cpp:2", "src/engine/dnnl.cpp:2",
                "kernels/relative.cpp:2", "src/io/rank.cpp:2", "src/helpers/new.cpp:1", "src/io/switch.h:3",
                "src/io/twice.h:1", "tests/e2e/licence.py:1"}
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for path, text in tree.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        complaints, files = check_tree(root)
    found = {":".join(complaint.split(":")[:2]) for complaint in complaints}
    faults = [f"not found: {place}" for place in sorted(expected - found)]
    faults += [f"false alarm: {c}" for c in complaints if ":".join(c.split(":")[:2]) not in expected]
    if files != len(tree):
        faults.append(f"read {files} of {len(tree)} files")
    return faults


def main(arguments):
    if arguments == ["--self-test"]:
        faults, good = self_test(), "every planted crossing was found"
    elif len(arguments) not in (1, 2):
        print("usage: layering.py ROOT [COMPILER] | layering.py --self-test", file=sys.stderr)
        return 2
    else:
        root = pathlib.Path(arguments[0]).resolve()
        faults, files = check_tree(root)
        good = f"{files} files, no crossing"
        if len(arguments) == 2:
            more, tried = check_headers(root, arguments[1])
            faults += more
            good += f"; {tried} headers that no file includes first compile alone"
        if files == 0:
            faults = [f"{arguments[0]} holds no source file: is it the root of the repository?"]
    print("\n".join(faults) if faults else good)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
