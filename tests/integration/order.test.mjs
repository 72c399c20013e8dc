// The order of checks that docs/security.md promises: of all that is wrong with a request, the first one answers.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {answerMarked} from '../support/expect.mjs';
import {rawRequest} from '../support/http.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {startSluice} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, answerMarked(1));

/** A POST with everything wrong; each of `right` puts one thing in order. */
function compose(right) {
  const has = (name) => right.includes(name);
  const method = has('method') ? has('method of the path') ? 'POST' : 'PUT' : 'P@ST';
  const session = has('name') ? 's1' : 'x'.repeat(129);
  const word = has('spelling') ? 'run' : 'r%75n';
  const path = has('path') ? `/apps/demo/users/u1/sessions/${session}/${word}` : '/nowhere/a%20b';
  const body = has('json') ? '{"message":"hi"}' : '{';
  const lines = [
    `${method} ${path}${has('target') ? '' : '#x'} HTTP/1.1`,
    `Host: ${has('host') ? has('our host') ? 'localhost' : 'evil.example' : 'a|b'}`,
    ...(has('once') ? [] : ['Idempotency-Key: a', 'Idempotency-Key: b']),
    ...(has('names') ? [] : ['A(b): c']),
    ...(has('expectation') ? [] : ['Expect: wonders']),
    ...(has('origin') ? [] : ['Origin: https://evil.example']),
    `Content-Type: ${has('type') ? 'application/json' : 'text/plain'}`,
    ...(has('number') ? [] : Array.from({length: 60}, () => 'A: b')),
    `Content-Length: ${has('size') ? body.length : 999999}`,
    ...(has('length') ? [] : ['Content-Length: 1']),
    'Connection: close'];
  const between = has('between') ? '' : 'B: c\nD: e\r\n';
  return `${lines.map((line) => `${line}\r\n`).join('')}${between}\r\n${body}`;
}

const order = [['number', 'too_many_headers'], ['length', 'ambiguous_length'], ['method', 'invalid_method'], ['names', 'invalid_header'],
  ['once', 'repeated_header'], ['between', 'invalid_head'], ['expectation', 'unsupported_expectation'], ['host', 'invalid_host'],
  ['our host', 'host_not_allowed'], ['target', 'invalid_target'], ['path', 'not_found'], ['spelling', 'invalid_path'],
  ['method of the path', 'method_not_allowed'], ['origin', 'cross_site'], ['name', 'invalid_session'], ['size', 'body_too_large'],
  ['type', 'unsupported_media_type'], ['json', 'invalid_json']];

test('of all that is wrong with a request the first one answers', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, request_headers_max: 50, request_body_bytes_max: 1000});
  const codeOf = (answer) => /"code":"(\w+)"/.exec(answer)?.[1];
  for (let fixed = 0; fixed < order.length; fixed++) {
    const answer = await rawRequest(sluice.port, compose(order.slice(0, fixed).map(([name]) => name)));
    assert.equal(codeOf(answer), order[fixed][1], answer);
  }
  assert.match(await rawRequest(sluice.port, compose(order.map(([name]) => name))), /^HTTP\/1\.1 200 /);
});

test('what is refused by its head takes none of the requests that an address may send', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, request_rate_per_address: 1, request_burst_per_address: 1});
  const heads = order.slice(0, 10).map((_, at) => order.slice(0, at).map(([name]) => name));
  for (const right of heads.filter((names) => names.includes('number'))) assert.match(await rawRequest(sluice.port, compose(right)), /^HTTP\/1\.1 4(00|03|17) /);
  const statuses = [];
  for (let at = 0; at < 3; at++) statuses.push((await sluice.get('/healthz')).status);
  assert.equal(statuses[0], 200);
  assert.ok(statuses.includes(429), `${statuses}`);
});
