// One path for each resource: what a proxy in front keeps strangers from by its path cannot be had by another one.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {rawRequest} from '../support/http.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {startSluice, temporaryFile} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, (exchange) => exchange.answer(200, '{}'));
const sluice = await startSluice({after}, {upstream: upstream.url});

const get = async (target, gateway = sluice) => {
  const answer = await rawRequest(gateway.port, `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]);
};

/** Ways to write a path that some server or other takes for it. */
function* spellings(path) {
  const word = path.slice(1);
  const hex = (text) => [...text].map((byte) => `%${byte.charCodeAt(0).toString(16)}`).join('');
  yield* [`//${word}`, `/${word}/`, `/./${word}`, `/x/../${word}`, `/;/${word}`, `/${word};`, `/${word};x=y`, `/${word}%3b`, `/${word}%2f`, `/%2f${word}`, `/${word}%20`];
  yield* [`/\\${word}`, `/%5c${word}`, `/${word.toUpperCase()}`, `/${word}.`, `/${word}%00`, `/${word}%0a`, `/${word}%23`, `/${word}%3f`, `/..;/${word}`, `/%2e/${word}`];
  for (let at = 0; at < word.length; at++) {
    const put = (piece) => `/${word.slice(0, at)}${piece}${word.slice(at + 1)}`;
    const byte = word.charCodeAt(at);
    yield put(hex(word[at]));
    yield put(hex(word[at]).toUpperCase());
    yield put(`%25${hex(word[at]).slice(1)}`);
    yield put(`%c${byte < 64 ? 0 : 1}%${(0x80 | (byte & 63)).toString(16)}`); // overlong
    if (word[at] !== '/') yield put(encodeURIComponent(String.fromCodePoint(0xfee0 + byte))); // fullwidth
  }
  yield `/${hex(word)}`;
}

for (const path of ['/stats', '/metrics', '/tasks', '/task-status', '/list-apps', '/healthz']) {
  test(`${path} has one spelling`, async () => {
    assert.equal(await get(path), 200);
    upstream.runs.length = 0;
    for (const target of spellings(path)) {
      const status = await get(target);
      assert.ok(status === 400 || status === 404, `${target} is answered ${status}`);
    }
    assert.equal(upstream.runs.length, 0, `the upstream was asked for ${upstream.runs[0]?.path}`);
  });
}

test('a path that is passed on has one spelling, and does not leave its place', async () => {
  assert.equal(await get('/apps/x/eval-sets'), 200);
  assert.equal(await get('/apps/x/photo%20of%20me'), 200);
  for (const target of ['/apps/Users/users/Sessions/sessions/Debug/artifacts/Versions', '/apps/x/eval-sets/Memory', '/apps/x/EvalSets']) assert.equal(await get(target), 200, target);
  upstream.runs.length = 0;
  for (const target of ['/apps/..;/admin/x', '/apps/x/..;/..;/admin', '/apps/%2e%2e;/admin', '/apps/..%3b/admin', '/apps/x/%2e%2e%3Ba=b/admin', '/apps/.;/x', '/apps/..%3fx/y',
    '/debug/trace/..;/x', '/apps/x/eval%2dsets', '/apps/x/%65val-sets', '/apps/x/eval%2Esets', '/apps/x/%7Eme', '/apps/%78/eval-sets', '/debug/trace/%78',
    '/apps/x/USERS/u/sessions/s', '/apps/x/users/u/Sessions/s', '/apps/x/users/u/sessions/s/ARTIFACTS/a', '/apps/x/users/u/sessions/s/artifacts/a/Versions',
    '/apps/x/Users', '/dev/apps/x/USERS/u', '/debug/trace/SESSION/s', '/dev/apps/x/debug/TRACE/session/s', '/apps/x/Debug/trace/session/s',
    '/apps/x;a=b/eval-sets', '/apps/x/eval-sets;', '/apps/x/users;a=b/u/sessions/s', '/debug/trace/x;'])
    assert.equal(await get(target), 400, target);
  assert.equal(upstream.runs.length, 0, `the upstream was asked for ${upstream.runs[0]?.path}`);
});

test('an app that no upstream may have is not had by a name that the gateway does not know', async (t) => {
  const first = await startUpstream(t, (exchange) => exchange.answer(200, '{}'));
  const file = temporaryFile(t, 'sluice.yaml', `upstreams:
  - name: first
    upstream: ${first.url}
    upstream_apps: open
  - name: second
    upstream: ${upstream.url}
    upstream_apps: other
`);
  const gateway = await startSluice(t, {}, {args: ['--config', file]});
  assert.equal(await get('/apps/open/eval-sets', gateway), 200);
  assert.equal(await get('/apps/hidden/eval-sets', gateway), 404);
  upstream.runs.length = first.runs.length = 0;
  for (const name of ['hidden;a=b', 'hidden;', 'hidden%3B', 'hidden%20', 'hidden%09', 'hidden!', 'hidden,x', 'h%C3%AFdden', 'hidden%E2%80%8B', 'other;a', 'other%20', `${'a'.repeat(129)}`]) {
    assert.match(String(await get(`/apps/${name}/eval-sets`, gateway)), /^40[04]$/, name);
    assert.match(String(await get(`/apps/${name}`, gateway)), /^40[04]$/, name);
  }
  assert.deepEqual([...first.runs, ...upstream.runs].map(({path}) => path), []);
});
