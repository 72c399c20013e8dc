#!/usr/bin/env python3
"""Prints the figures of the house: `make house` builds what it runs.

  scripts/measure-house.py [BUILD]    without BUILD: what the sources alone say

- files: .c and .h of each room; median: lines of a .c.
- functions: lines from the first of the signature to the closing brace.
- shared static names: names of static functions in two files or more, without create and destroy.
- one-word statics: static functions of one word, without these two.
- headers of one includer: that a single .c or .h includes, its own .c not counted.
- a key passes through: files that name `stall_timeout_ms`.
- sources for an event, for a swap: .c files of the rooms with an instruction that valgrind's callgrind saw in the worker's
  thread; an event is that of tests/bench/perf_relay.c, from the upstream's bytes to its client's socket; a swap is that
  of tests/bench/swap_once.c, a POST that replaces a run, until its answer and the request to the upstream.
"""
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import c_source

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
KEY = "stall_timeout_ms"


def say(name, value):
    print(f"{name:<42} {value}")


def measure_files(paths):
    for room in c_source.ROOMS:
        own = [path for path in paths if path.startswith(room + "/")]
        if own:
            count = sum(path.endswith(".c") for path in own)
            say(f"files of {room}/: .c, .h", f"{count}, {len(own) - count}")
    sources = [path for path in paths if path.endswith(".c")]
    say("files: .c, .h", f"{len(sources)}, {len(paths) - len(sources)}")
    say("median lines of a .c", c_source.median([c_source.read(ROOT, path).count("\n") for path in sources]))


def measure_functions(functions):
    lengths = [function.length for function in functions]
    longest = max(functions, key=lambda function: function.length)
    say("functions", len(functions))
    say("lines of a function: median, 90 %", f"{c_source.median(lengths)}, {c_source.percentile(lengths, 90)}")
    say("longest function", f"{longest.length}: {longest.name}() in {longest.path}:{longest.line}")
    say("functions over 70 lines", sum(length > 70 for length in lengths))
    places = {}
    for function in functions:
        if function.is_static and function.name not in ("create", "destroy"):
            places.setdefault(function.name, set()).add(function.path)
    say("shared static names", sum(len(files) > 1 for files in places.values()))
    say("one-word statics", sum(len(files) for name, files in places.items() if "_" not in name))


def measure_passages(paths):
    includers = {}
    for path in paths:
        for header in re.findall(r'#include "([^"]+\.h)"', c_source.read(ROOT, path)):
            if os.path.splitext(header)[0] != os.path.splitext(path)[0]:
                includers.setdefault(header, set()).add(path)
    say("headers of one includer", sum(len(files) == 1 for files in includers.values()))
    say(f"files a key ({KEY}) passes through",
        sum(re.search(rf"\b{KEY}\b", c_source.read(ROOT, path)) is not None for path in paths))


def sources_run(program):
    """The .c files of the rooms that ran between the program's two marks."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out")
        subprocess.run(["valgrind", "--tool=callgrind", "--quiet", "--toggle-collect=run_thread",
                        f"--callgrind-out-file={out}", program], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       timeout=300)
        with open(out + ".1", encoding="utf-8") as file:
            lines = file.read().split("\n")
    names, ran, current, is_call = {}, set(), None, False
    for line in lines:
        named = re.match(r"(c?f[ile]|cfi|cfl)=\((\d+)\)(?: (.*))?$", line)
        if named:
            if named.group(3):
                names[named.group(2)] = named.group(3)
            if not named.group(1).startswith("c"):
                current = names[named.group(2)]
        elif line.startswith("calls="):
            is_call = True
        elif re.match(r"[0-9+*-]", line):
            if not is_call:
                ran.add(current)
            is_call = False
    rooms = "|".join(c_source.ROOMS)
    found = {re.search(rf"(?:^|/)((?:{rooms})/[\w/]+\.c)$", path or "") for path in ran}
    return sorted({match.group(1) for match in found if match})


def main():
    paths = c_source.sources(ROOT)
    measure_files(paths)
    measure_functions([function for path in paths for function in c_source.functions(ROOT, path)])
    measure_passages(paths)
    if len(sys.argv) > 1:
        for what, program in (("an event", "perf_relay"), ("a swap", "swap_once")):
            ran = sources_run(os.path.join(sys.argv[1], "tests/bench", program))
            beyond = [path for path in ran if not path.startswith("base/")]
            say(f"sources for {what}: all, beyond base/", f"{len(ran)}, {len(beyond)}")
            print("   ", " ".join(ran))


main()
