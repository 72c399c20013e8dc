"""The functions of C sources that clang-format has laid out, for scripts/check-house.py and scripts/measure-house.py.

A function's signature begins in column 0, its last line is a `}` in column 0. It is as long as the lines from the first
of the signature to that brace.
"""
import os
import re
import statistics
from collections import namedtuple

ROOMS = ("base", "upstream", "broadcaster", "relay", "routes", "http", "config", "server")

# `body` is the list of the lines between the braces, `text` the whole function.
Function = namedtuple("Function", "path line name is_static length body text")


def sources(root, suffixes=(".c", ".h")):
    """The files of the rooms that end so, written from the root, in order."""
    found = []
    for room in ROOMS:
        for directory, folders, names in os.walk(os.path.join(root, room)):
            folders.sort()
            found += [os.path.join(directory, name) for name in names if name.endswith(suffixes)]
    return sorted(os.path.relpath(path, root) for path in found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def name_of(signature):
    """The name before the parameters, past attributes and macros such as MUST_CHECK."""
    plain = re.sub(r"__attribute__\(\(.*?\)\)(?!\))|\b[A-Z][A-Z_0-9]+\([^()]*\)", " ", signature)
    match = re.search(r"(\w+)\s*\(", plain)
    return match.group(1) if match else None


def functions(root, path):
    """The functions that a file defines, in its order."""
    lines = read(root, path).split("\n")
    found = []
    at = 0
    while at < len(lines):
        start, line = at, lines[at]
        at += 1
        if line.startswith("#"):
            while lines[at - 1].endswith("\\"):
                at += 1
            continue
        if not re.match(r"\w", line):
            continue
        signature = line
        while not re.search(r"[;{}]$|\*/$", lines[at - 1]) and at < len(lines):
            signature += " " + lines[at].strip()
            at += 1
        if not signature.endswith("{") or "(" not in signature or "=" in signature:
            continue
        name = name_of(signature)
        if name is None:
            continue
        first = at
        while lines[at] != "}":
            at += 1
        at += 1
        found.append(Function(path, start + 1, name, bool(re.search(r"\bstatic\b", signature)), at - start,
                              lines[first:at - 1], "\n".join(lines[start:at])))
    return found


def percentile(values, percent):
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def median(values):
    return statistics.median_low(values)
