// Writes the inputs that the fuzzers begin with: the streams of tests/data and a few texts by hand, each behind the
// bytes that steer its target (see the comment on top of fuzz_<name>.c).
//
//   node tests/fuzz/make-seeds.mjs DIRECTORY
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '../..');
const directory = process.argv[2];

function seed(target, ...parts) {
    const bytes = Buffer.concat(parts.map((part) => Buffer.from(part)));
    const folder = join(directory, target);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, createHash('sha1').update(bytes).digest('hex')), bytes);
}

const wpt = JSON.parse(readFileSync(join(root, 'tests/data/wpt-eventsource.json')));
const streams = wpt.cases.map((test) => Buffer.from(test.bytes_hex, 'hex'));
for (const folder of readdirSync(join(root, 'tests/data'), { withFileTypes: true }).filter((entry) => entry.isDirectory())) {
    const path = join(root, 'tests/data', folder.name);
    for (const name of readdirSync(path).filter((file) => /\.(txt|http)$/.test(file))) {
        const bytes = readFileSync(join(path, name));
        const head = name.endsWith('.http') ? bytes.indexOf('\r\n\r\n') + 4 : 0;
        streams.push(bytes.subarray(head, head + 4096));
    }
}
streams.push(
    Buffer.from('data: {"content":{"role":"model","parts":[{"text":"Hel"}]},"partial":true}\n\n' +
        'data: {"content":{"role":"model","parts":[{"text":"lo"},{"text":"hm","thought":true}]},"partial":true}\n\n' +
        'data: {"content":{"role":"model","parts":[{"text":"Hello"}]}}\n\ndata: {"error": "no"}\n\n'),
    Buffer.from('data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: {"error":null}\n\ndata: [DONE]\n\n'),
    Buffer.from('{"error":{"message":"bad"}}'), Buffer.from('{"detail":[{"msg":"bad\\nthing"}]}'));

rmSync(directory, { recursive: true, force: true });
for (const stream of streams) {
    seed('sse_parser', [0, 0, 0, 0], stream);
    seed('sse_parser', [1, 0, 0, 0], stream);
    seed('sse_parser', [7, 1, 40, 3], stream);
    seed('utf8', [0, 64], stream);
    for (const kind of [0, 1, 2])
        seed('adapter', [kind, 9, 1, 0], stream);
    seed('frame', [3, 1, 0, 2, 0, 3, 5, 0, 200], 'event', stream);
}
const adkSaid = (parts, extra = '') => `data: {${extra}"content":{"role":"model","parts":[${parts}]}}\n\n`;
seed('adapter', [0, 9, 1, 0], adkSaid('{"text":"a"},{"text":"b","thought":true},{"text":"c","thought":1}', '"partial":true,') +
    adkSaid('{"text":"ac"},{"functionCall":{}}') + adkSaid('{"text":"d"}', '"partial":0,') + adkSaid('{"text":"e"}').replace('model', 'user'));
seed('sse_parser', [0, 0, 0, 0], 'retry: 9223372036854775808\nretry:10\r\nid: a\0b\nid\ndata\n\n');
// The last data line has no end, and is over the limit together with the lines before it.
seed('sse_parser', [0, 0, 40, 0], `data: ${'x'.repeat(30)}\ndata: ${'y'.repeat(20)}`);
seed('sse_parser', [0, 0, 0, 0], `${'data\n'.repeat(1500)}\n`);
seed('utf8', [0, 9], [0x61, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xed, 0xa0, 0x80, 0xf0, 0x80, 0xff, 0xe2]);
seed('frame', [0, 0, 0, 1, 0, 1, 0, 0, 6], 'a\r\nb\rc', [0, 0, 0, 1, 0, 2, 4, 0, 2], 'type\r\n');
for (const type of ['run.start', 'run.end', 'run.retry', 'gap', 'session.end', 'server.', 'auth.x', 'run.endx', 'gap\0'])
    seed('frame', [3, 1, 0, 1, 0, 1, type.length, 0, 3], `${type}a\nb`);

for (const id of ['0-0', '1000-0', '1000-3', '1001-0', '18446744073709551615-18446744073709551615', '01-1', '-1',
    '18446744073709551616-0', '1000-', '1000-1 ', 'garbage', '']) {
    const steps = [16, 10, 0, 3, 0, 0, 127, 4, 200, 1];
    seed('event_id', [3, 255, 255, 0, 5], steps, id);
    seed('event_id', [200, 1, 0x40, 2, 5], steps, id);
}

const bodies = [
    '{"message":"hello"}', '{"query":"hé\\u00e9\\ud83d\\ude00"}', '{"message":"a","query":"b"}', '{"message":1}', '{}', '[]', '',
    '{"newMessage":{"role":"user","parts":[{"text":"x"}]},"streaming":false,"stateDelta":{"a":[1,2.5e3,-0,null,true]}}',
    '{"message":"x","gateway":{"on_conflict":"enqueue","on_disconnect":"cancel","cancel_after_idle_ms":10,"timeout_ms":9,' +
        '"priority":3,"delay_ms":0,"label":"l"}}', '{"message":"x","gateway":{"priority":11}}',
    '{"message":"x","gateway":{"no":1}}', '{"a":1,"a":2}', '{"message":"x","n":9007199254740993}',
    '{"message":"x","n":[1e999,0.1,1E-2]}', '{"appName":"a","userId":"u","sessionId":"s","newMessage":{"parts":[]}}',
    '{"app_name":"a","user_id":"u","session_id":"s","newMessage":{"parts":[{"text":"t"}]},"streaming":true}',
    '{"messages":[{"role":"user","content":"x"}],"stream":false,"model":"m"}', '{"message":"\\u0000"}',
    '{"message":"x","USERID":"v"}', '{"message":"x","u\\u017ferId":"v"}', '{"message":"x","se\u00dfion_id":"v"}', '{"message":"x","user\\u0130d":"v"}',
    '{"message":"x","app__name":"v"}', '{"message":"x","useri\\u0307d":"v"}',
    '{"appName":"a","userId":"u","USER_ID":"v","sessionId":"s","newMessage":{"parts":[]}}', '{"message":"x"} x',
    `{"message":"x","a":[${Array(197).fill(0)}]}`, `{"message":"x","a":[${Array(198).fill(0)}]}`, `{"message":"x","a":[${Array(150).fill('{}')}]}`,
    `{"message":"${'[{,'.repeat(100)}"}`,
];
for (const body of bodies) {
    for (const what of [0, 1, 2, 0x80, 0x81])
        seed('run_request', [what, 0], body);
    seed('run_request', [0, 3], 'key', body);
}

const session = '/apps/a%70p/users/u@x/sessions/s:1';
for (const text of ['/', '/healthz', session, `${session}/run`, `${session}/history`, '/tasks/0123abc', '/apps/%2e%2e/users/a',
    '/run_sse', '/list-apps', '/a//b', '/a/', '/a%2Fb', '/a%252Fb', '/%00', '/%zz', '/debug/trace/x', '/apps/a/eval_sets/b',
    'from=run&until=run&last_event_id=1000-0', 'limit=5&wait_ms=60000&limit=6', 'a=%41+b%ff', 'a=%c3%a9', 'a', '&&a==b&', 'limit=007']) {
    for (const what of [0, 1, 2, 3, 9])
        seed('path', [what, 8], text);
}

const example = readFileSync(join(root, 'scripts/sluice.example.yaml'), 'utf8');
seed('config', [0], example);
seed('config', [0], example.replace(/^#(?=[a-z_]+:)/gm, ''));
seed('config', [0], example.replace(/^# (?=upstreams:| )/gm, ''));
const keys = example.match(/^#[a-z_]+:/gm).length;
example.match(/^#[a-z_]+:/gm).forEach((_, key) => {
    for (const value of ['', '0', '1', '1000', '1536', '99999999999999999999', '18446744073709551615', '4KiB', '1GiB', '"a"', 'true',
        'http://h:1/p', '[::1]:1', 'https://a.example, "http://[::1]:81"', 'sse', 'openai', 'text', 'warn', 'b', '/h', '100']) {
        seed('config', [1, key, value.length], value);
        seed('config', [1, keys, 1], 'a', [key, value.length], value, [keys, 1], 'b');
    }
});
for (const text of ['', 'listen: 127.0.0.1:0\nworkers: 2\n', 'listen: "[::1]:80"\nupstream_kind: sse\nupstream: http://h/p?q\n',
    'cors_origins: [https://a.example, "http://b:81"]\ncors_credentials: true\n', 'cors_origins: ["*"]\n', 'nope: 1\n',
    'listen: 127.0.0.1:0\nlisten: x\n', 'a: &a 1\nb: *a\n', '- 1\n', '---\nworkers: 1\n---\nworkers: 2\n', 'workers: [1\n',
    'log_bytes_max: 4KiB\nevent_bytes_max: 1KiB\n', 'upstream_authorization: "Bearer 0123456789012345678901234567890123456789"\n',
    'upstream_model: "a\\u00e9\\n"\n', 'upstream_model: "a\\u0085\\u2028\\ufeff"\n', 'upstream_model: "a\\0b"\n', 'listen: 0.0.0.0:1\n', 'runs_max: null\ntasks_kept: ~\n', 'log_level: |\n  info\n',
    'upstreams:\n  - name: a\n    upstream: http://a/\n    upstream_fallback: b\n  - {name: b, upstream_weight: 0, cache: true}\nretry_max_ms: 900\n',
    'upstream_fallback: b\nupstreams: [{name: a}, {name: b, upstream_kind: sse, upstream_resumable: true, upstream: "http://h/?q"}]\n',
    'upstreams: []\n', 'upstreams: [a]\n', 'upstreams:\n  - nope: 1\n', 'upstreams:\n  - name: a\n    name: b\n', 'upstreams: [{? [a] : b}]\n',
    'upstreams: [{name: &a b}, {name: *a}]\n', 'upstreams: [{name: a, upstream_apps: "x, y*"}, {name: a}]\n', 'upstreams:\n  -\n', 'upstreams: [[{name: a}]]\n',
    'upstreams:\n  - {name: a, upstream_fallback: b}\n  - {name: b, upstream_fallback: a}\n'])
    seed('config', [0], text);

for (const body of bodies)
    seed('canonical_json', [3], body);
const number32 = (value) => [value, 0, 0, 0];
const recordingHead = (count) => [...Buffer.from('sluicer'), 1, 0, 0, 0, 0, 1, 0, 0, 0, ...number32(count)];
const recordedEvent = (at, type, data) => Buffer.concat([Buffer.from([at, 0, 0, 0, 0, 0, 0, 0, ...number32(type.length), ...number32(data.length)]),
    Buffer.from(type + data, 'latin1')]);
seed('recording', recordingHead(0));
seed('recording', recordingHead(2), recordedEvent(3, 'message', '{"a":1}'), recordedEvent(5, 't', ''));
seed('recording', recordingHead(1), recordedEvent(0, 'message', 'one\ntwo'));
