#!/usr/bin/env python3
"""Checks that one name stands for one thing: in C++ files that meet in one program, no type, template, inline function or
inline variable may be defined twice under the same qualified name.

Such a double is undefined behaviour that nothing else here sees: the linker keeps one definition of what is inline and says
nothing, AddressSanitizer looks at variables alone, gold's --detect-odr-violations at functions that were not inlined, and
GCC's -Wodr at types that differ and only when everything is compiled again for link-time optimization (minutes). Reading
the sources takes a second and also finds doubles that happen to be equal today.

A program holds src, kernels and dist, or those and one folder of tests.

Usage: one_definition.py ROOT | one_definition.py --self-test
SPDX-License-Identifier: Apache-2.0
"""
import pathlib
import re
import sys
import tempfile

PROGRAM = ["src", "kernels", "dist"]
SUFFIXES = {".h", ".cpp"}
TYPES = {"class", "struct", "union", "enum"}

TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<directive>\#(?:\\\n|/\*.*?\*/|[^\n])*)
      | (?P<raw>(?:u8|[uUL])?R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)")
      | (?P<text>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*")
      | (?P<word>\w(?:\w|'(?=\w)|(?<=[eE])[+-](?=\d))*|'(?:\\.|[^'\\\n])+')
      | (?P<sign>::|.)""",
    re.VERBOSE | re.DOTALL)


def tokens(text):
    """(token, line) without comments and preprocessor lines; every text literal is \"\"."""
    line = 1
    for match in TOKEN.finditer(text):
        if match.lastgroup not in ("space", "directive"):
            yield '""' if match.lastgroup in ("raw", "text") else match.group(), line
        line += match.group().count("\n")


def without_brackets(head, opening, closing):
    """The tokens outside of all pairs of brackets."""
    depth, outside = 0, []
    for token in head:
        depth += token == opening
        if depth == 0:
            outside.append(token)
        depth -= token == closing and depth > 0
    return outside


def without_template(head):
    """(the head behind its template parameters, whether it had any)"""
    template = False
    while head and head[0] == "template":
        template = True
        depth = 0
        for i, token in enumerate(head[1:], 1):
            depth += (token == "<") - (token == ">")
            if depth == 0:
                break
        head = head[i + 1:]
    return head, template


def defined_type(head):
    """The name of the type whose body follows this head, or None."""
    plain = without_brackets(without_brackets(head, "[", "]"), "(", ")")
    if not plain or plain[0] in ("using", "namespace") or "=" in plain:
        return None
    keyword = next((i for i, token in enumerate(plain) if token in TYPES), None)
    if keyword is None or ("(" in head and "alignas" not in plain and "decltype" not in plain):
        return None
    name = []
    for token in plain[keyword + 1:]:
        if token in (":", "final"):
            break
        if token not in TYPES and token != "alignas":
            name.append(token)
    return "".join(name) or None


def merged_function(head, template):
    """Name and parameters of a function that the linker merges with its double, or None."""
    plain = without_brackets(head, "[", "]")
    if plain[:3] == ["decltype", "(", "auto"]:
        plain = ["auto", *plain[4:]]
    if "(" not in plain or not (template or {"inline", "constexpr", "consteval"} & set(plain)) or "static" in plain:
        return None
    opening = plain.index("(")
    if opening and plain[opening - 1] == "operator":  # operator()(...)
        opening = plain.index("(", opening + 1)
    if "=" in plain[:opening] and "operator" not in plain[:opening]:
        return None
    start = opening - 1
    while start > 0 and (plain[start - 1] in ("::", "operator") or plain[start] == "::"):
        start -= 1
    depth = 0
    for end in range(opening, len(plain)):
        depth += (plain[end] == "(") - (plain[end] == ")")
        if depth == 0:
            break
    # A specialization of a template has its arguments behind its name, and is no double of another one.
    return "".join(plain[start:opening]) + " ".join(plain[opening:end + 1]) + " -> " + " ".join(plain[:start]) * template


def inline_variable(head):
    """The name of an inline variable, or None."""
    plain = without_brackets(head, "[", "]")
    if "inline" not in plain or "namespace" in plain:
        return None
    end = plain.index("=") if "=" in plain else len(plain)
    if "(" in plain[:end]:
        return None
    return plain[end - 1]


def definitions(text):
    """(qualified name, line) of each definition at namespace scope that another file could double."""
    scopes = []  # a name for a namespace, "" for one that is transparent, None for a body or an unnamed namespace
    head, line, depth = [], 1, 0
    for token, here in tokens(text):
        if not head:
            line = here
        if token == "{" and depth == 0:
            rest, template = without_template(head)
            if None in scopes:
                scopes.append(None)
            elif rest and (rest[0] == "namespace" or rest[:2] == ["inline", "namespace"]):
                scopes.append("".join(rest[rest.index("namespace") + 1:]) or None)
            elif rest == ["extern", '""']:
                scopes.append("")
            else:
                name = defined_type(rest) or merged_function(rest, template) or inline_variable(rest)
                if name:
                    yield "::".join([scope for scope in scopes if scope] + [name]), line
                scopes.append(None)
            head = []
        elif token == "}" and depth == 0:
            if scopes:
                scopes.pop()
            head = []
        elif token == ";" and depth == 0:
            if None not in scopes and "=" in head and "using" not in head:
                name = inline_variable(without_template(head)[0])
                if name:
                    yield "::".join([scope for scope in scopes if scope] + [name]), line
            head = []
        else:
            depth += (token in "([") - (token in ")]")  # a lambda in an argument is no scope of ours
            head.append(token)


def check(root):
    """Messages about each name that is defined twice in a program."""
    found = {}  # name -> folder of the program or of tests -> places
    files = [(path, folder) for folder in PROGRAM for path in sorted((root / folder).rglob("*"))]
    files += [(path, path.relative_to(root / "tests").parts[0]) for path in sorted((root / "tests").rglob("*"))]
    for path, folder in files:
        # What nvcc compiles takes the place of the fibers' headers of the same names: no program has both.
        if path.suffix in SUFFIXES and path.parent.name != "nvcc":
            group = "" if folder in PROGRAM else folder
            for name, line in definitions(path.read_text("utf-8")):
                places = found.setdefault(name, {}).setdefault(group, [])
                places.append(f"{path.relative_to(root)}:{line}")
    problems = []
    for name, groups in found.items():
        shared = groups.pop("", [])
        doubles = [shared] if len(shared) > 1 else []
        doubles += [shared + places for places in groups.values() if len(shared + places) > 1]
        problems += [f"{places[0]}: {name} is defined again in {', '.join(places[1:])}: "
                     "give one another name, or put it into an unnamed namespace" for places in doubles]
    return problems


def self_test():
    task = "namespace memring {\n// class Task {\nclass Task {\n  int x = f({1, 2});\n};\n}  // namespace memring\n"
    cases = [  # files, what is found
        ({"src/a.h": task, "dist/b.cpp": task.replace("class", "struct")}, ["memring::Task"]),
        ({"src/a.h": task, "tests/unit/b.cpp": task}, ["memring::Task"]),
        ({"tests/ops/a.cpp": task, "tests/unit/b.cpp": task}, []),
        ({"src/a.h": task, "dist/b.cpp": task.replace("memring {", "memring {\nnamespace {\n") + "}"}, []),
        ({"src/a.h": task, "dist/b.cpp": task.replace("memring {", "memring::other {")}, []),
        ({"src/a.h": task, "dist/b.cpp": 'const char* text = R"x(' + task + ')x";'}, []),
        ({"src/a.h": task, "dist/b.cpp": "namespace memring { class Task; void run(const Task&) { struct Task { int y; }; } }"}, []),
        ({"src/a.h": "enum class E : int { A };", "src/b.cpp": "template <class T>\nstruct [[nodiscard]] E final : B<T> { T x; };"},
         ["E"]),
        ({"src/a.h": "template <class T> struct V { T x; };", "src/b.cpp": "template <> struct V<int> { int x; };"}, []),
        ({"src/a.h": "inline int f(int x) { return x; }", "src/b.cpp": "constexpr int f(int x) { return 1'000; }"}, ["f( int x )"]),
        ({"src/a.h": "int g() { return a[b[1]]; }\n" + task, "src/b.cpp": task}, ["memring::Task"]),
        ({"src/a.h": "inline int f(int x) { return x; }", "src/b.cpp": "inline int f(long x) { return '{'; }"}, []),
        ({"src/a.h": "inline int f(int x) { return x; }", "src/b.cpp": "static inline int f(int x) { return x; }"}, []),
        ({"src/a.h": "inline constexpr int k = 3;", "src/b.h": "namespace n {} inline constexpr int k{4};"}, ["k"]),
        ({"src/a.h": "constexpr int k = 3;", "src/b.h": "constexpr int k = 3;"}, []),
        ({"src/a.h": 'extern "C" { struct S { int x; }; }', "src/b.h": "#define X {\nstruct S { int y; };"}, ["S"]),
    ]
    for number, (files, expected) in enumerate(cases):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
            pathlib.Path(folder, "tests").mkdir(exist_ok=True)
            names = [re.search(r": (.*) is defined again", problem)[1] for problem in check(pathlib.Path(folder))]
            assert [name.split(" -> ")[0] for name in names] == expected, (number, names)


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    if len(arguments) != 1:
        print("Usage: one_definition.py ROOT | one_definition.py --self-test", file=sys.stderr)
        return 2
    problems = check(pathlib.Path(arguments[0]))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
