#!/usr/bin/env python3
"""Holds the sources and the documents to the laws of the house.

  scripts/check-house.py [DIRECTORY]    prints each breach; the status is then 1
  scripts/check-house.py --self-test    proves that it finds what it should

- The first line of each function `..._locked` is lock_assert_held().
- A static function's name stands in one file only, and has two words at least, so that a backtrace says which one it is.
  `create` and `destroy` are free.
- docs/architecture.md has a table of locks, in which each file with a `struct lock` has a row, and no other file has one.
  A mutex of another kind stands in base/lock.[ch] alone.
- A name of one of the gateway's events stands in broadcaster/lifecycle.c alone, and once there: each event has one maker.
- A file that a document or a comment names exists.
"""
import os
import re
import sys
import tempfile

sys.dont_write_bytecode = True
import c_source

FREE_NAMES = {"create", "destroy"}
LOCK_TABLE = "docs/architecture.md"

EVENT_HOME = "broadcaster/lifecycle.c"
EVENT_NAME = re.compile(r'(?:"|event: )(run\.[a-z]+|session\.end|server\.drain|gap)(?:"|\\n)')

# Files of others that comments and documents name.
NOT_OURS = re.compile(r"sys/\w+\.h$"  # the C library
                      r"|src/unix/core\.c$"  # libuv
                      r"|lib/multi\.c$"  # libcurl
                      r"|CaseFolding\.txt$"  # Unicode
                      r"|build[\w-]*/"  # what is built
                      r"|(.*[/_])?(NAME|PLOT)(\.\w+)+$")  # they stand for any name


def locked_breaches(functions):
    for function in functions:
        if function.name.endswith("_locked") and not re.match(r"    lock_assert_held\(&.*\);$", (function.body + [""])[0]):
            yield function.path, function.line, f"{function.name}() does not begin with lock_assert_held()"


def name_breaches(functions):
    places = {}
    for function in functions:
        places.setdefault(function.name, []).append(function)
    for name, all_of_it in sorted(places.items()):
        for function in all_of_it:
            if not function.is_static or name in FREE_NAMES:
                continue
            others = sorted({other.path for other in all_of_it} - {function.path})
            if others:
                yield function.path, function.line, f"{name}() is the name of a function in {', '.join(others)}, too"
            if "_" not in name:
                yield function.path, function.line, f"{name}() has one word: which object is it of?"


def stem_of(path):
    """That of a source and of its headers."""
    return re.sub(r"(_internal)?\.[ch]$", "", os.path.basename(path))


def table_of_locks(root):
    """The files that the table's first column names."""
    if not os.path.exists(os.path.join(root, LOCK_TABLE)):
        return set()
    rows = [line.split("|")[1] for line in c_source.read(root, LOCK_TABLE).split("\n") if line.startswith("|")]
    return {name for row in rows if "lock" in row for name in re.findall(r"[\w/]+\.[ch]\b", row)}


def lock_breaches(root, paths):
    named = table_of_locks(root)
    stems = {stem_of(name) for name in named}
    holders = set()
    for path in paths:
        for number, line in enumerate(c_source.read(root, path).split("\n"), 1):
            if re.search(r"\bpthread_(mutex|rwlock|spinlock|spin)_", line) and not re.match(r"base/lock\.[ch]$", path):
                yield path, number, "a lock is a struct lock (base/lock.h)"
            if re.match(r"\s*(static )?struct lock \w+(\[\w+\])?( =.*)?;", line):
                holders.add(stem_of(path))
                if stem_of(path) not in stems:
                    yield path, number, f"this lock has no row in the table of {LOCK_TABLE}"
    for name in sorted(named):
        if stem_of(name) not in holders:
            yield LOCK_TABLE, 0, f"the table of locks names {name}, which has none"


SUFFIXES = "c|h|md|mjs|sh|py|yaml|yml|json|txt|html|svg|pml|supp|service"
FILE_NAME = re.compile(rf"(?<![\w/.<*@$~{{}}-])((?:\.\./)*\w[\w./-]*\.(?:{SUFFIXES}))(?![\w*/(<>-]|\.\w)")


def all_files(root):
    found = set()
    for directory, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in ("node_modules", ".git") and not f.startswith("build")]
        found |= {os.path.relpath(os.path.join(directory, name), root) for name in names}
    return found


def said_in(path, text):
    """The lines of a file that a person reads, each with its number: a document's, or a source's comments."""
    if path.endswith(".md"):
        yield from enumerate(text.split("\n"), 1)
        return
    in_comment = False
    for number, line in enumerate(text.split("\n"), 1):
        if path.endswith((".c", ".h", ".mjs")):
            said = line if in_comment else ""
            if not in_comment:
                match = re.search(r"/\*(.*)|(?:^|\s)//(.*)", line)
                said = (match.group(1) or match.group(2) or "") if match else ""
                in_comment = bool(match) and match.group(1) is not None
            if "*/" in line:
                in_comment = False
                said = said.split("*/")[0]
            yield number, said
        else:
            match = re.search(r"(?:^|\s)#\s(.*)", line)
            yield number, match.group(1) if match else ""


def file_breaches(root):
    files = all_files(root)
    basenames = {os.path.basename(path) for path in files}
    for path in sorted(files):
        is_read = path.endswith((".md", ".c", ".h", ".mjs", ".sh", ".py")) or os.path.basename(path) == "Makefile"
        if not is_read or path == "CHANGELOG.md":
            continue
        for number, line in said_in(path, c_source.read(root, path)):
            line = re.sub(r"\w+://\S+|<[^<>]*>", " ", line)
            for name in FILE_NAME.findall(line):
                beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
                if name in files or beside in files or ("/" not in name and name in basenames) or NOT_OURS.match(name):
                    continue
                yield path, number, f"there is no file {name}"


def event_breaches(root, paths):
    seen = set()
    for path in paths:
        for number, line in enumerate(c_source.read(root, path).split("\n"), 1):
            for name in EVENT_NAME.findall(line):
                if path != EVENT_HOME:
                    yield path, number, f"the event {name} is made in {EVENT_HOME}, by the maker for it"
                elif name in seen:
                    yield path, number, f"the name of the event {name} stands here twice"
                seen.add(name)


def find_breaches(root):
    paths = c_source.sources(root)
    functions = [function for path in paths for function in c_source.functions(root, path)]
    yield from locked_breaches(functions)
    yield from name_breaches(functions)
    yield from lock_breaches(root, paths)
    yield from event_breaches(root, paths)
    yield from file_breaches(root)


SELF_TEST = (
    # what is in the files, and a part of each breach that is to be found
    ({"base/a.c": "void a_b_locked(struct a *a) {\n    lock_assert_held(&a->lock);\n}\n"}, []),
    ({"base/a.c": "void a_b_locked(struct a *a) {\n    a->n = 1;\n    lock_assert_held(&a->lock);\n}\n"},
     ["a_b_locked() does not begin"]),
    ({"base/a.h": "static inline int a_b_locked(const struct a *a) {\n    return a->n;\n}\n"},
     ["a_b_locked() does not begin"]),
    ({"base/a.c": "MUST_CHECK static bool\na_b_locked(int a,\n           int b) {\n    return a == b;\n}\n"},
     ["a_b_locked() does not begin"]),
    ({"base/a.c": "int a_b_locked(struct a *a);\n#define A(x) \\\nb_locked(x) {\n\nint a_c(void) {\n}\n"}, []),
    ({"base/a.c": "static void on_end(void) {\n}\n", "routes/b.c": "static void on_end(int a) {\n}\n"},
     ["on_end() is the name of a function in routes/b.c", "on_end() is the name of a function in base/a.c"]),
    ({"base/a.c": "static void a_end(void) {\n}\n", "routes/b.c": "void a_end(int a) {\n}\n"},
     ["a_end() is the name of a function in routes/b.c"]),
    ({"base/a.c": "static void a_end(void) {\n}\n", "routes/b.c": "void b_end(int a) {\n}\n"}, []),
    ({"base/a.c": "static void destroy(void) {\n}\n", "routes/b.c": "static void destroy(void) {\n}\n"}, []),
    ({"base/a.c": "__attribute__((format(printf, 2, 3))) static void add(int a, const char *f, ...) {\n}\n"},
     ["add() has one word"]),
    ({"base/a.c": "struct a {\n    struct lock lock;\n};\n"}, ["this lock has no row"]),
    ({"base/a.c": "static struct lock a_lock = {0};\n"}, ["this lock has no row"]),
    ({"base/a_internal.h": "struct a {\n    struct lock lock; /* all */\n};\n",
      "docs/architecture.md": "| lock | |\n|---|---|\n| the lock of a (a.c) | all |\n", "base/a.c": ""}, []),
    ({"base/a.c": "", "docs/architecture.md": "| the lock of a (a.c) | all |\n"}, ["names a.c, which has none"]),
    ({"base/a.c": "    pthread_mutex_lock(&a->mutex);\n"}, ["a lock is a struct lock"]),
    ({"base/lock.c": "    pthread_mutex_lock(&lock->mutex);\n"}, []),
    ({"relay/a.c": "    make(\"run.retry\");\n", EVENT_HOME: "#define GAP \"gap\"\n"}, ["the event run.retry is made in"]),
    ({"broadcaster/a.c": "    say(\"event: server.drain\\n\");\n"}, ["the event server.drain is made in"]),
    ({EVENT_HOME: "#define GAP \"gap\"\n    make(\"gap\");\n"}, ["the event gap stands here twice"]),
    ({"base/a.c": "/* See b.h. */\n"}, ["there is no file b.h"]),
    ({"base/a.c": "/* See\n * base/b.h. */\nint c; /* docs/d.md */\n", "base/b.h": ""}, ["there is no file docs/d.md"]),
    ({"base/a.c": "/* See a.c, base/a.c and <b.h>. */\n#include <c.h>\nconst char *d = \"d.c\";\n"}, []),
    ({"docs/a.md": "[b](b.md), `../c.sh`, NAME.c, fuzz_NAME.c, https://x.org/d.md\n", "docs/b.md": ""},
     ["there is no file ../c.sh"]),
    ({"scripts/a.sh": "# See b.sh\nb.mjs\n", "Makefile": "# c.py\n"},
     ["there is no file b.sh", "there is no file c.py"]),
)


def self_test():
    for files, expected in SELF_TEST:
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            found = [why for _, _, why in find_breaches(root)]
        if len(found) != len(expected) or not all(part in why for part, why in zip(sorted(expected), sorted(found))):
            sys.exit(f"check-house: self-test: {files}: found {found}, expected {expected}")
    return 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    root = arguments[0] if arguments else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    breaches = list(find_breaches(root))
    for path, line, why in breaches:
        print(f"{path}:{line}: {why}")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
