#!/usr/bin/env python3
"""Holds the pages of documentation to the sources and to each other.

    scripts/check-pages.py [DIRECTORY]    prints each difference; the status is then 1
    scripts/check-pages.py --self-test    proves that it finds what it should

docs/api.md must name every route, query parameter, gateway option, error code, answer header, event and member of a JSON
answer that the sources name, and no route and no error code that they do not name. The keys of configuration.md, which
/stats shows, need not stand in it again. Every relative link of every page must lead to a file, and its fragment to a
heading there. Every `function()`, `struct name` and `enum name` in the pages about the program must stand in its sources, and
so must each block of C in these pages, character for character. The beginning of each message in an answer must stand in
the sources. docs/operations.md must name every event that the program logs.
"""
import os
import re
import sys
import tempfile

API = 'docs/api.md'
KEYS = 'docs/configuration.md'
LOG = 'docs/operations.md'
ROOMS = ('base', 'upstream', 'broadcaster', 'relay', 'routes', 'http', 'config', 'server')
# The root of ADK's web UI answers as /dev-ui does.
UNLISTED = {('GET', '/')}
# Arguments of a reply function that are no literal: the code comes from the variable's own assignment or from a forwarder.
FORWARDED = {'code', 'error.code', 'chunks', 'head'}
# Codes that are made by a format.
MADE = {'invalid_%s': ['invalid_app', 'invalid_user', 'invalid_session']}
CODE = re.compile(r'[a-z]+(?:_[a-z]+)*(?:_%s)?')
EVENT = re.compile(r'"((?:run|session|server|auth)\.[a-z_]+|gap|ping)"|event: ([a-z.]+)\\n')


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def sources(*rooms):
    for room in rooms:
        for directory, _, names in os.walk(room):
            for name in sorted(names):
                if name.endswith(('.c', '.h')):
                    yield os.path.join(directory, name)


def without_comments(text):
    return re.sub(r'("(?:\\.|[^"\\\n])*")|/\*.*?\*/|//[^\n]*', lambda m: m.group(1) or ' ', text, flags=re.S)


def arguments(text, start):
    """The arguments of the call whose opening parenthesis stands before `start`."""
    found, depth, begin, i = [], 0, start, start
    while i < len(text):
        char = text[i]
        if char == '"':
            i += 1
            while text[i] != '"':
                i += 2 if text[i] == '\\' else 1
        elif char in '([{':
            depth += 1
        elif char in ')]}':
            if depth == 0:
                return found + [text[begin:i].strip()]
            depth -= 1
        elif char == ',' and depth == 0:
            found.append(text[begin:i].strip())
            begin = i + 1
        i += 1
    return found


def literals(text):
    return [word for word in re.findall(r'"((?:\\.|[^"\\])*)"', text) if CODE.fullmatch(word)]


def error_codes(problems):
    codes = set()
    for path in sources('routes', 'http', 'relay'):
        text = without_comments(read(path))
        for call in re.finditer(r'\b(reply_error|reply_error_about|reply_limit)\(', text):
            values = arguments(text, call.end())
            if values[0] == 'struct request *request':
                continue
            words = literals(values[2])
            codes.update(words)
            if not words and values[2] not in FORWARDED:
                problems.append(f'{path}: the error code {values[2]} cannot be read: write it as a literal')
        for call in re.finditer(r'\b(?!refuse_query\()\w*refuse\w*\(', text):
            for value in arguments(text, call.end()):
                if value.startswith('"') and literals(value) and value == f'"{literals(value)[0]}"':
                    codes.add(literals(value)[0])
                    break
        for assigned in re.finditer(r'(?:\b|->|\.|\*)(code|chunks|head)(?:\[\])?\s*=\s*([^=;][^;]*);', text):
            codes.update(literals(assigned.group(2)))
        for assigned in re.finditer(r'snprintf\(code, sizeof\(code\), "([^"]*)"', text):
            codes.add(assigned.group(1))
        for body in re.finditer(r'\bjson_write_error\([^,;]*,[^,;]*, "([a-z_]+)"', text):
            codes.add(body.group(1))
    for made, codes_made in MADE.items():
        if made in codes:
            codes.remove(made)
            codes.update(codes_made)
    left = [code for code in codes if '%' in code]
    problems.extend(f'the error code "{code}" is made by a format that this script does not know' for code in left)
    return codes - set(left) - parameters()  # a function that refuses a parameter is given its name


def routes():
    text = without_comments(read('routes/router.c'))
    defined = dict(re.findall(r'#define (\w+) ((?:\w+ )?"[^"\n]*")', text))

    def joined(value):
        for _ in range(4):
            value = re.sub(r'\b[A-Z]+\b(?=[^"]*(?:"[^"]*"[^"]*)*$)', lambda m: defined.get(m.group(0), m.group(0)), value)
        return ''.join(re.findall(r'"([^"]*)"', value))

    table = text.split('static const struct route routes[]', 1)[1].split('};', 1)[0]
    return {(method, joined(pattern)) for method, pattern in re.findall(r'\{METHOD_(\w+),\s*([^,]*),', table)}


def parameters():
    text = without_comments(read('routes/router.c'))
    lists = re.findall(r'static const char \*const \w*query\[\] = \{([^}]*)\}', text)
    return {word for words in lists for word in re.findall(r'"(\w+)"', words)}


def options():
    text = without_comments(read('routes/run_request.c'))
    return set(re.findall(r'\{"(\w+)", read_\w+', text))


def events():
    found = set()
    for path in sources('broadcaster', 'relay', 'routes', 'http'):
        for named in EVENT.finditer(without_comments(read(path))):
            found.add(named.group(1) or named.group(2))
    return found


def headers():
    found = set()
    for path in sources('routes', 'http'):
        found.update(re.findall(r'\breply_header\(\w+,\s*"([A-Za-z-]+)"', without_comments(read(path))))
    return found


def members():
    found = set()
    for path in sources('routes', 'relay', 'broadcaster'):
        text = without_comments(read(path))
        found.update(re.findall(r'\bjson_(?:add|open|begin)\w*\([^,()]+(?:\([^()]*\))?,\s*"(\w+)"', text))
    return found


def logged_events():
    found = set()
    for path in sources(*ROOMS):
        text = without_comments(read(path))
        found.update(re.findall(r'\blog_(?:info|warn|error|debug|always)\(\s*"([a-z_]+)"', text))
        found.update(re.findall(r'\b(?:refusal_log|refusal_write|log_write)\([^;"]*"([a-z_]+)"', text))
    return found


def check_log(problems):
    page = read(LOG) if os.path.exists(LOG) else ''
    problems.extend(f'{LOG} lacks the log event {event}' for event in sorted(logged_events()) if f'`{event}`' not in page)


def check_api(problems):
    page = read(API)
    words = set(re.findall(r'[A-Za-z_][A-Za-z_-]*(?:\.[a-z]+)?', page)) | set(re.findall(r'\w+', page))
    quoted = set(re.findall(r'`([^`\n]+)`', page))

    def need(kind, names, known):
        problems.extend(f'{API} lacks the {kind} {name}' for name in sorted(names) if name not in known)

    named = {(method, path) for method, path in re.findall(r'`([A-Z]+) (/[^?` ]*)(?:\?[^`]*)?`', page)}
    known = routes()
    problems.extend(f'{API} lacks the route `{method} {path}`' for method, path in sorted(known - named))
    problems.extend(f'{API} names the route `{method} {path}`, which does not exist'
                    for method, path in sorted(named - known - UNLISTED))
    codes = error_codes(problems)
    rows = re.findall(r'^\| (`[^|]*`) \| \d{3}', page, flags=re.M)
    listed = {code for row in rows for code in re.findall(r'`(\w+)`', row)}
    need('error code', codes, listed)
    problems.extend(f'{API} names the error code {code}, which does not exist' for code in sorted(listed - codes))
    need('event', events(), quoted)
    need('query parameter', parameters(), set(re.findall(r'[?&`](\w+)=', page)) | quoted)
    need('option', options(), quoted)
    need('header', headers(), words | set(re.findall(r'[A-Za-z]+(?:-[A-Za-z]+)*', page)))
    need('member', members(), words | set(re.findall(r'^\| `(\w+)` \|', read(KEYS) if os.path.exists(KEYS) else '', flags=re.M)))


def anchor(heading):
    text = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
    return re.sub(r'[^\w\- ]', '', text.strip().lower()).replace(' ', '-')


def anchors(path):
    text = re.sub(r'^```.*?^```', '', read(path), flags=re.S | re.M)
    return {anchor(heading) for heading in re.findall(r'^#+ (.*)$', text, flags=re.M)}


def pages():
    for directory in ('.', 'docs', 'docs/internals', 'docs/measurements'):
        if os.path.isdir(directory):
            yield from (os.path.normpath(os.path.join(directory, name)) for name in sorted(os.listdir(directory)) if name.endswith('.md'))


def check_links(problems):
    for path in pages():
        text = re.sub(r'^```.*?^```|`[^`\n]*`', '', read(path), flags=re.S | re.M)
        for target in re.findall(r'\]\(([^)\s]+)\)', text):
            if re.match(r'[a-z]+:', target):
                continue
            file, _, fragment = target.partition('#')
            there = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
            if not os.path.exists(there):
                problems.append(f'{path}: the link {target} leads to no file')
            elif fragment and there.endswith('.md') and fragment not in anchors(there):
                problems.append(f'{path}: the link {target} leads to no heading')


def check_names(problems):
    text = '\n'.join(read(path) for path in sources(*ROOMS))
    words = set(re.findall(r'\w+', text))
    kinds = set(re.findall(r'\b(?:struct|enum) \w+', text))
    for path in pages():
        if path != 'CONTRIBUTING.md' and path != 'docs/architecture.md' and not path.startswith('docs/internals/'):
            continue
        page = read(path)
        missing = [name + '()' for name in re.findall(r'`(\w+)\(\)`', page) if name not in words]
        missing += [name for name in re.findall(r'`((?:struct|enum) \w+)`', page) if name not in kinds]
        problems.extend(f'{path}: the sources have no {name}' for name in missing)
        for code in re.findall(r'^```c\n(.*?)^```', page, flags=re.S | re.M):
            if code not in text:
                problems.append(f'{path}: the sources have no such code: {code.splitlines()[0]}')


def check_messages(problems):
    text = '\n'.join(read(path) for path in sources(*ROOMS))
    text = re.sub(r'"\s*"', '', text)
    for path in ('README.md', API):
        for message in re.findall(r'(?<!{)"message":"([^"\\]*)', read(path) if os.path.exists(path) else ''):
            beginning = re.split(r'[0-9…]|: ', message)[0].strip()
            if len(beginning) >= 10 and beginning not in text:
                problems.append(f'{path}: the sources have no message that begins "{beginning}"')


def find_problems(directory):
    before = os.getcwd()
    os.chdir(directory)
    problems = []
    try:
        check_api(problems)
        check_links(problems)
        check_names(problems)
        check_messages(problems)
        check_log(problems)
    finally:
        os.chdir(before)
    return problems


SOURCE = {
    'routes/router.c': '#define USER "/apps/{app}"\n#define SESSION USER "/s/{session}"\n'
                       'static const char *const run_query[] = {"until", NULL};\n'
                       'static const struct route routes[] = {\n    {METHOD_GET, SESSION "/run", f, 0},\n};\n'
                       'void f(void) { reply_error(request, 404, "not_found", "No."); }\n',
    'routes/run_request.c': '    {"label", read_label, true},\n',
}
PAGE = ('# The page\n\n`GET /apps/{app}/s/{session}/run?until=run` `label` [up](#the-page)\n\n| code | status |\n|---|---|\n'
        '| `not_found` | 404 |\n')


def expect(changes, problem):
    """Expects that the example with these files has this problem (a part of one line), or none (None)."""
    with tempfile.TemporaryDirectory() as tree:
        for path, text in {**SOURCE, API: PAGE, **changes}.items():
            os.makedirs(os.path.join(tree, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(tree, path), 'w', encoding='utf-8') as file:
                file.write(text)
        found = find_problems(tree)
    if problem is None and found or problem is not None and not (len(found) == 1 and problem in found[0]):
        sys.exit(f'check-pages: self-test: expected {problem}, found {found}')


def self_test():
    def source(text):
        return {'routes/a.c': f'void g(void) {{\n{text}\n}}\n'}

    expect({}, None)
    expect({API: PAGE.replace('GET /', 'GET  /')}, 'lacks the route `GET /apps/{app}/s/{session}/run`')
    expect({API: PAGE + '`PUT /x`'}, 'names the route `PUT /x`')
    expect({API: PAGE.replace('`not_found`', 'not_found')}, 'lacks the error code not_found')
    expect({API: PAGE + '| `gone`, `not_found` | 410 |'}, 'names the error code gone')
    expect({API: PAGE.replace('until', 'to')}, 'the query parameter until')
    expect({API: PAGE.replace('label', 'name')}, 'the option label')
    expect({API: PAGE.replace('#the-page', '#a-page')}, 'leads to no heading')
    expect({'README.md': '[a](docs/b.md)'}, 'leads to no file')
    expect({'README.md': '[a](docs/api.md#the-page) `[b](c)`'}, None)
    expect({'docs/internals/a.md': '`f()`, `struct route`'}, None)
    expect({'docs/internals/a.md': '`gone()`'}, 'the sources have no gone()')
    expect({'docs/architecture.md': '`struct gone`'}, 'the sources have no struct gone')
    expect({'docs/operations.md': '`gone()`'}, None)
    expect(source('log_info("thing_done", LOG_INT("a", 1));'), 'the log event thing_done')
    expect({**source('refusal_log(r, LOG_LEVEL_INFO, "thing_refused", x);'), LOG: '| info | `thing_refused` | |'}, None)
    expect(source('refuse_listing(request, "until", result);'), None)
    expect({**source('reply("This is "\n      "the end: %d.");'), API: PAGE + '`{"code":"a","message":"This is the end: 7."}`'}, None)
    expect({API: PAGE + '`{"code":"a","message":"This is the end."} {"message":"what a user says"}`'}, 'no message that begins "This is the end."')
    expect({'CONTRIBUTING.md': '```c\n    {"label", read_label, true},\n```\n'}, None)
    expect({'CONTRIBUTING.md': '```c\n    {"label", read_label, false},\n```\n'}, 'the sources have no such code')
    expect(source('reply_limit(r, 429, is_app ? "of_app" : "not_found", "x", "k", 1, NULL);'), 'the error code of_app')
    expect(source('reply_error_about(request(r), 409, "taken", "a", b, "c");'), 'the error code taken')
    expect(source('reply_error(r, 400, names[i], "x");'), 'cannot be read')
    expect(source('return refuse(r, 400, "too_long", "x");'), 'the error code too_long')
    expect(source('const char *code = a ? "one_thing" : "not_found";'), 'the error code one_thing')
    expect(source('static const char chunks[] = "odd_chunk";'), 'the error code odd_chunk')
    expect(source('snprintf(code, sizeof(code), "bad_%s", name);'), 'made by a format')
    expect(source('length = json_write_error(body, sizeof(body), "no_room", message);'), 'the error code no_room')
    expect(source('/* reply_error(r, 400, "gone", "x"); */'), None)
    expect(source('reply_header(r, "X-Thing", "a");'), 'the header X-Thing')
    expect(source('json_add_string(&json, "thing", a);'), 'the member thing')
    expect({**source('json_add_count(&json, "runs_max", a);'), KEYS: '| `runs_max` | a number |\n'}, None)
    expect({'broadcaster/a.c': 'frame_create("run.pause", 9);'}, 'the event run.pause')
    expect({'broadcaster/a.c': '#define A "event: ping\\ndata: {}\\n\\n"\n'}, 'the event ping')


def main():
    if sys.argv[1:] == ['--self-test']:
        self_test()
        return
    problems = find_problems(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), '..'))
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


main()
