// What holds for all endpoints: methods, CORS, limits, malformed requests; and health, metrics and the demo page.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked, asked, assertError, holdAfterOne} from '../support/expect.mjs';
import {curl, rawRequest} from '../support/http.mjs';
import {pause, until, within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

let listApps;
const upstream = await startUpstream({after}, (exchange) => {
  if (exchange.path === '/list-apps') return listApps(exchange);
  return (/hold/.test(asked(exchange)) ? holdAfterOne : answerMarked(3))(exchange);
});
const sluice = await startSluice({after}, {upstream: upstream.url});

// ---- methods ----

test('unknown paths are 404, known ones with another method 405 with Allow', async () => {
  for (const path of ['/', '/nope', '/tasks/a/b', '/apps', '/healthz/x']) assertError(await sluice.get(path), 404);
  const session = sessionPath();
  const cases = [['PUT', `${session}/run`, ['GET', 'POST', 'DELETE']], ['POST', `${session}/task-status`, ['GET']], ['POST', '/tasks', ['GET', 'DELETE']], ['POST', '/tasks/x', ['GET', 'DELETE']], ['GET', '/run_sse', ['POST']],
    ['POST', '/healthz', ['GET']], ['DELETE', '/metrics', ['GET']], ['PATCH', `${session}/history`, ['GET']], ['POST', '/list-apps', ['GET']], ['BREW', '/stats', ['GET']]];
  for (const [method, path, allowed] of cases) {
    const answer = await rawRequest(sluice.port, `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 405 /, `${method} ${path}: ${answer.split('\r')[0]}`);
    const allow = /^Allow: (.*)$/im.exec(answer)[1].split(/, */);
    for (const each of allowed) assert.ok(allow.includes(each), `${each} in ${allow} of ${path}`);
    assert.ok(!allow.includes(method));
  }
});

test('every answer carries nosniff, those without a body too', async () => {
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'work');
  await sluice.taskEnded(task_id);
  const client = await sluice.follow(session, '?until=run');
  await client.ended();
  const answers = [['GET', '/healthz', 200], ['GET', '/nope', 404], ['OPTIONS', '/healthz', 204], ['HEAD', `/tasks/${task_id}/events`, 200], ['GET', `${session}/run?until=run&last_event_id=${client.lastId}`, 204],
    ['DELETE', session, 200]];
  for (const [method, path, status] of answers) {
    const answer = await sluice.request(method, path);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
    assert.equal(answer.headers['x-content-type-options'], 'nosniff', `${method} ${path}`);
  }
  const full = await startSluice({after}, {upstream: upstream.url, connections_per_address_max: 1});
  const socket = net.connect(full.port, '127.0.0.1', () => socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'));
  await once(socket, 'data'); // it has its place, and keeps it
  await until(async () => /^HTTP\/1\.1 429 [^]*nosniff/.test(await rawRequest(full.port, '')), 'a refusal of a connection with nosniff');
  socket.destroy();
});

test('HEAD is GET without the body, OPTIONS says what is allowed', async () => {
  const {task_id} = await sluice.run(sessionPath(), 'work');
  await sluice.taskEnded(task_id);
  for (const path of ['/healthz', '/stats', '/tasks', `/tasks/${task_id}`, `/tasks/${task_id}/events`]) {
    const head = await sluice.request('HEAD', path);
    assert.equal(head.status, 200, path);
    assert.equal(head.text, '');
    assert.equal(head.headers['content-type'], (await sluice.get(path)).headers['content-type']);
  }
  assert.equal((await sluice.request('HEAD', '/tasks/none')).status, 404);
  const options = await sluice.request('OPTIONS', '/tasks');
  assert.match(String(options.status), /^20[04]$/);
  assert.match(options.headers.allow, /GET/);
});

test('headers over the limit are refused, and nonsense is no harm', async () => {
  const large = await rawRequest(sluice.port, `GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Large: ${'x'.repeat(40000)}\r\n\r\n`);
  assert.match(large, /^HTTP\/1\.[01] (431|4\d\d) /);
  for (const bytes of ['\r\n\r\n\r\n', 'GET\r\n\r\n', 'nonsense\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'GET /a b HTTP/1.1\r\n\r\n', '\x16\x03\x01\x02\x00']) {
    const socket = net.connect(sluice.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.end(Buffer.from(bytes, 'latin1'));
    await within(new Promise((resolve) => { socket.resume(); socket.on('close', resolve); }), 20000, 'the close');
  }
  assert.equal((await sluice.get('/healthz')).status, 200);
});

test('a request may not be told twice how long it is', async () => {
  const body = '{"message":"smuggled"}';
  const came = upstream.runs.length;
  const url = `${sessionPath()}/run`;
  const both = await rawRequest(sluice.port, `POST ${url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n`);
  assert.doesNotMatch(both, /^HTTP\/1\.1 200 /);
  assert.equal(upstream.runs.length, came);
});

// ---- CORS ----

test('CORS: exact origins, preflight, credentials', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, cors_origins: 'https://app.example,http://localhost:3000', cors_credentials: true});
  const session = sessionPath();
  for (const origin of ['https://app.example', 'http://localhost:3000']) {
    const {headers} = await gateway.get('/healthz', {headers: {Origin: origin}});
    assert.equal(headers['access-control-allow-origin'], origin);
    assert.equal(headers['access-control-allow-credentials'], 'true');
    assert.match(headers.vary, /origin/i);
  }
  for (const origin of ['https://evil.example', 'https://app.example.evil', 'http://app.example', 'null', 'https://app.example:444'])
    assert.equal((await gateway.get('/healthz', {headers: {Origin: origin}})).headers['access-control-allow-origin'], undefined, origin);
  const preflight = await gateway.request('OPTIONS', `${session}/run`,
    {headers: {Origin: 'https://app.example', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type, idempotency-key, authorization, last-event-id'}});
  assert.match(String(preflight.status), /^20[04]$/);
  assert.equal(preflight.headers['access-control-allow-origin'], 'https://app.example');
  assert.match(preflight.headers['access-control-allow-methods'], /POST/);
  for (const name of ['content-type', 'idempotency-key', 'authorization', 'last-event-id'])
    assert.ok(preflight.headers['access-control-allow-headers'].toLowerCase().split(/, */).includes(name), name);
  const refused = await gateway.request('OPTIONS', `${session}/run`, {headers: {Origin: 'https://evil.example', 'Access-Control-Request-Method': 'POST'}});
  assert.equal(refused.headers['access-control-allow-origin'], undefined);
  const stream = await gateway.follow(session, '', {Origin: 'https://app.example'});
  assert.equal(stream.headers['access-control-allow-origin'], 'https://app.example');
  stream.leave();
  const failure = await gateway.get('/tasks/none', {headers: {Origin: 'https://app.example'}});
  assert.equal(failure.headers['access-control-allow-origin'], 'https://app.example', 'errors can be read as well');
});

test("CORS: * allows any origin, without credentials; the upstream's own CORS headers are not passed", async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, cors_origins: '*'});
  listApps = (exchange) => exchange.head({headers: {'Content-Type': 'application/json', 'Access-Control-Allow-Origin': 'https://other.example', 'Access-Control-Allow-Credentials': 'true'}, framing: 'length', length: 2})
    .then(() => exchange.send('[]'));
  for (const path of ['/healthz', '/list-apps']) {
    const {headers} = await gateway.get(path, {headers: {Origin: 'https://any.example'}});
    assert.match(headers['access-control-allow-origin'], /^(\*|https:\/\/any\.example)$/, path);
    assert.equal(headers['access-control-allow-credentials'], undefined, path);
  }
  assert.equal((await sluice.get('/healthz', {headers: {Origin: 'https://any.example'}})).headers['access-control-allow-origin'], undefined, 'none by default');
});

test('CORS: headers of tracing, and those of cors_headers even where an answer has the least room', async (t) => {
  const further = Array.from({length: 32}, (_, i) => `x-header-${String(i).padStart(6, '0')}`);
  const gateway = await startSluice(t, {upstream: upstream.url, cors_origins: 'https://app.example', cors_headers: further.join(','), request_header_bytes_max: '1KiB'});
  const {headers} = await gateway.request('OPTIONS', `${sessionPath()}/run`, {headers: {Origin: 'https://app.example', 'Access-Control-Request-Method': 'POST'}});
  const allowed = headers['access-control-allow-headers'].toLowerCase().split(', ');
  for (const name of ['traceparent', 'tracestate', 'x-requested-with', ...further]) assert.ok(allowed.includes(name), name);
});

test('CORS: a refused origin is logged once, the own and a listed one never', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, cors_origins: 'https://app.example', workers: 2});
  const origins = ['https://evil.example', 'https://app.example', gateway.url, 'https://evil.example', 'https://other.example'];
  for (const Origin of origins) {
    await gateway.request('OPTIONS', '/tasks', {headers: {Origin, 'Access-Control-Request-Method': 'GET'}});
    await gateway.get('/tasks', {headers: {Origin}});
  }
  await gateway.logged({event: 'origin_refused', origin: 'https://other.example', path: '/tasks'});
  const lines = gateway.logs.filter((line) => line.event === 'origin_refused').map((line) => line.origin);
  assert.deepEqual(lines, ['https://evil.example', 'https://other.example']);
});

// ---- limits ----

test('subscribers are limited, in a session and over all', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, subscribers_max: 5, subscribers_per_session_max: 3});
  const one = sessionPath();
  const clients = [];
  for (let i = 0; i < 3; i++) clients.push(await gateway.follow(one));
  const refused = await gateway.follow(one);
  assert.equal(refused.status, 429);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  for (let i = 0; i < 2; i++) clients.push(await gateway.follow(sessionPath()));
  assert.equal((await gateway.follow(sessionPath())).status, 429);
  clients[0].leave();
  const again = await until(async () => {
    const client = await gateway.follow(one);
    return client.status === 200 && client;
  }, 'there is room again');
  for (const client of [...clients, again]) client.leave();
});

test('sessions are limited', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, sessions_max: 3});
  const sessions = Array.from({length: 4}, () => sessionPath());
  for (const session of sessions.slice(0, 3)) await gateway.taskEnded((await gateway.run(session)).task_id);
  assert.match(String((await gateway.post(`${sessions[3]}/run`, {message: 'a'})).status), /^(429|503)$/);
  await gateway.delete(sessions[0]);
  assert.equal((await gateway.post(`${sessions[3]}/run`, {message: 'a'})).status, 200);
});

// ---- health, and all the rest ----

test('/healthz, /readyz, /health, /stats and /metrics', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  const {task_id} = await sluice.run(session, 'hold');
  await client.messages(1);
  assert.equal((await sluice.get('/healthz')).status, 200);
  assert.equal((await sluice.get('/readyz')).status, 200);
  const health = await sluice.get('/health');
  assert.equal(health.status, 200);
  assert.match(health.headers['content-type'], /^application\/json/);
  const stats = await sluice.stats();
  const text = JSON.stringify(stats);
  for (const word of ['sessions', 'subscribers', 'runs', 'bytes', 'limits']) assert.ok(text.includes(word), `${word} in ${text}`);
  const metrics = await sluice.get('/metrics');
  assert.match(metrics.headers['content-type'], /^text\/plain; version=0\.0\.4|^application\/openmetrics-text/);
  for (const line of metrics.text.trim().split('\n'))
    assert.match(line, /^(# (HELP|TYPE|EOF).*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*"(,[a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*")*\})? [-+]?(\d+(\.\d+)?([eE][-+]?\d+)?|Inf|NaN))$/, line);
  assert.match(metrics.text, /^sluice_\w*subscribers\w*(\{[^}]*\})? [1-9]/m);
  assert.match(metrics.text, /^# TYPE sluice_/m);
  await sluice.delete(`/tasks/${task_id}`);
  client.leave();
});

test('memory is accounted for, and above a threshold there is a warning', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, memory_warn_bytes: 1000, cleanup_interval_ms: 50});
  const session = sessionPath();
  await gateway.taskEnded((await gateway.run(session, 'work')).task_id);
  await gateway.logged({level: 'warn'});
  assert.match(gateway.logs.find(({level}) => level === 'warn').event, /memory/);
  assert.ok((await gateway.stats()).memory.kinds.events > 0);
  await gateway.delete(session);
  await until(async () => (await gateway.stats()).memory.kinds.events === 0, 'memory that was freed');
});

test('a client that never finishes its request is closed', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, request_timeout_ms: 1000});
  const pieces = ['', 'GET /heal', 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n', `POST ${sessionPath()}/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"mess`];
  await Promise.all(pieces.map((piece) => within(new Promise((resolve) => {
    const socket = net.connect(gateway.port, '127.0.0.1', () => socket.write(piece));
    socket.on('error', () => {});
    socket.resume().on('close', resolve);
  }), 8000, `the close of a connection that said ${JSON.stringify(piece)}`)));
  const client = await gateway.follow(sessionPath());
  await pause(2500);
  assert.equal(client.closed, false, 'a stream is no request that hangs');
  client.leave();
});

test('the demo page is served at /demo, and can be turned off', async (t) => {
  const page = await sluice.get('/demo');
  assert.equal(page.status, 200);
  assert.match(page.headers['content-type'], /^text\/html; *charset=utf-8/i);
  assert.match(page.text, /<!doctype html>/i);
  assert.ok(!/(src|href)="https?:/.test(page.text), 'nothing from elsewhere');
  const without = await startSluice(t, {upstream: upstream.url, demo: false});
  assertError(await without.get('/demo'), 404);
});

test('curl can do it all', async () => {
  const url = `${sluice.url}${sessionPath()}/run`;
  const started = await curl('-X', 'POST', url, '-H', 'Content-Type: application/json', '-d', '{"message":"by curl"}');
  assert.equal(started.code, 0, started.stderr);
  const {task_id} = JSON.parse(started.stdout);
  const followed = await curl('-i', `${url}?until=run`);
  assert.equal(followed.code, 0, 'curl sees a clean end');
  assert.match(followed.stdout, /event: run\.end/);
  assert.ok(followed.stdout.includes(task_id));
  const posted = await curl('-X', 'POST', url, '-H', 'Accept: text/event-stream', '-H', 'Content-Type: application/json', '-d', '{"message":"by curl"}');
  assert.match(posted.stdout, /event: run\.start[^]*"number":3[^]*event: run\.end/);
  const expect = await curl('-X', 'POST', url, '-H', 'Expect: 100-continue', '-H', 'Content-Type: application/json', '-d', '{"message":"politely"}');
  assert.equal(JSON.parse(expect.stdout).success, true);
});

test('keep-alive: many requests on one connection', async () => {
  const body = '{"message":"again"}';
  const url = `${sessionPath()}/run`;
  const one = `POST ${url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const answer = await rawRequest(sluice.port, `${one.repeat(5)}GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  assert.equal(answer.match(/HTTP\/1\.1 200 /g).length, 6, 'pipelined, answered in order');
});
