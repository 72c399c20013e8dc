// Nobody can lock others out: floods of requests that any web page may send, streams that wait for a session, runs for later.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import {test} from 'node:test';
import {assertError} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

/** An answer for any kind of upstream: one event, and then the end, or none if the message says `hold`. */
async function answer(exchange) {
  await exchange.head();
  await exchange.chunk('data: {"number":1}\n\n');
  if (/hold/.test(exchange.body)) await exchange.gone;
  else await exchange.lastChunk();
}

const start = async (t, flags) => {
  const upstream = await startUpstream(t, answer);
  return {upstream, sluice: await startSluice(t, {upstream: upstream.url, ...flags})};
};

/** `count` requests, a few at once. */
async function flood(count, ask) {
  for (let i = 0; i < count; i += 10) await Promise.all(Array.from({length: 10}, (_, k) => ask(i + k)));
}

/** A form of another site, which the browser sends without asking first. */
const form = {headers: {'content-type': 'text/plain', 'content-length': '0'}};

for (const kind of ['adk', 'sse']) {
  test(`a flood of forms that create sessions locks nobody out (${kind})`, async (t) => {
    const {sluice} = await start(t, {sessions_max: 20, upstream_kind: kind});
    await flood(100, () => sluice.request('POST', sessionPath(), form));
    await flood(50, () => sluice.request('POST', sessionPath().replace(/\/[^/]*$/, ''), form));
    assert.equal((await sluice.stats()).sessions, 20);
    const ours = sessionPath();
    const run = await sluice.run(ours);
    await flood(100, () => sluice.request('POST', sessionPath(), form));
    assert.equal((await sluice.get(`${ours}/task-status`)).json.task_id, run.task_id, 'a session that had a run stays');
    const watched = sessionPath();
    assert.equal((await sluice.request('POST', watched, form)).status, 200);
    const client = await sluice.follow(watched);
    await flood(100, () => sluice.request('POST', sessionPath(), form));
    await sluice.run(watched);
    await client.event('run.end'); // and so does one that is watched
    assert.ok((await sluice.stats()).counters.sluice_sessions_evicted_total >= 250);
  });
}

test('when all sessions are in use, one more is refused until one ends', async (t) => {
  const {sluice} = await start(t, {sessions_max: 3});
  const clients = [];
  for (let i = 0; i < 3; i++) {
    const session = sessionPath();
    await sluice.request('POST', session, form);
    clients.push(await sluice.follow(session));
  }
  const refused = await sluice.post(`${sessionPath()}/run`, {message: 'a'});
  assertError(refused, 429, /^too_many_sessions$/);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  clients[0].leave();
  await until(async () => (await sluice.post(`${sessionPath()}/run`, {message: 'a'})).status === 200, 'there is room again');
  for (const client of clients) client.leave();
});

test('a session without a run that nobody watches ends soon, one that had a run stays', async (t) => {
  const {sluice} = await start(t, {session_empty_ttl_ms: 200, cleanup_interval_ms: 20, upstream_kind: 'sse'});
  const [empty, watched, used] = [sessionPath(), sessionPath(), sessionPath()];
  await sluice.run(used);
  for (const session of [empty, watched]) assert.equal((await sluice.request('POST', session, form)).status, 200);
  const client = await sluice.follow(watched);
  await until(async () => (await sluice.get(empty)).status === 404, 'the empty session ends');
  for (const session of [watched, used]) assert.equal((await sluice.get(session)).status, 200);
  client.leave();
  await until(async () => (await sluice.get(watched)).status === 404, 'and so does the other, once nobody watches it');
  assert.equal((await sluice.get(used)).status, 200);
  assert.equal((await sluice.stats()).limits.session_empty_ttl_ms, 200);
});

// ---- waiting for a session ----

/** Every way to read a session, or to ask something of one that is expected to exist. */
const readings = [['GET', ''], ['GET', '/history'], ['GET', '/task-status'], ['HEAD', '/run'], ['DELETE', '/run'], ['DELETE', '']];

for (const kind of ['adk', 'sse']) {
  test(`nothing but opening a session opens one (${kind})`, async (t) => {
    const {sluice} = await start(t, {upstream_kind: kind});
    const session = sessionPath();
    const read = async () => {
      for (const [method, path] of readings) await sluice.request(method, `${session}${path}`);
      await sluice.get(session.replace(/\/[^/]*$/, ''));
      for (const path of ['/tasks', '/task-status']) await sluice.get(path);
    };
    await read();
    assert.equal((await sluice.stats()).sessions, 0);
    const client = await sluice.follow(session);
    await read();
    let stats = await sluice.stats();
    assert.deepEqual([stats.sessions, stats.subscribers, stats.subscribers_waiting], [0, 1, 1]);
    assert.equal((await sluice.get(`${session}/history`)).status, 404, 'a session that is only waited for is unknown');
    if (kind === 'sse') for (const method of ['GET', 'DELETE']) assert.equal((await sluice.request(method, session)).status, 404, method);
    client.leave();
    await until(async () => (await sluice.stats()).subscribers_waiting === 0, 'its place is released');
    stats = await sluice.stats();
    assert.deepEqual([stats.sessions, stats.subscribers, stats.counters.sluice_sessions_opened_total], [0, 0, 0]);
  });
}

test('those who wait for a session get its first run from the first event on, however it is opened', async (t) => {
  const {sluice} = await start(t, {workers: 3});
  for (const open of ['run', 'create', 'stream']) {
    const session = sessionPath();
    const clients = await Promise.all(Array.from({length: 12}, (_, i) => sluice.follow(session, i % 3 ? '' : '?until=run')));
    if (open === 'create') assert.equal((await sluice.request('POST', session, form)).status, 200);
    if (open === 'stream') await (await sluice.runStream(session)).ended();
    else await sluice.run(session);
    for (const client of clients) {
      await client.event('run.end');
      assert.deepEqual(client.types, ['run.start', 'message', 'run.end'], open);
      assert.deepEqual(client.ids, clients[0].ids);
    }
    for (const client of clients.filter((_, i) => i % 3 === 0)) assert.equal(await client.ended(), 'last-chunk');
    assert.equal((await sluice.stats()).subscribers_waiting, 0);
    for (const client of clients) client.leave();
  }
});

test('a session is waited for, opened and left by many at once, and no event is lost', async (t) => {
  const {sluice} = await start(t, {workers: 3});
  for (let round = 0; round < 15; round++) {
    const session = sessionPath();
    const leaving = Array.from({length: 5}, () => sluice.follow(session).then((client) => client.leave(true)));
    const staying = sluice.follow(session, '?from=start');
    const runs = Array.from({length: 3}, () => sluice.run(session, 'hello', {on_conflict: 'enqueue'}));
    await Promise.all([...leaving, ...runs]);
    const client = await staying;
    await client.until(() => client.types.filter((type) => type === 'run.end').length === 3, 'three ends');
    assert.deepEqual(client.types, [1, 2, 3].flatMap(() => ['run.start', 'message', 'run.end']));
    client.leave();
  }
  await until(async () => (await sluice.stats()).subscribers === 0, 'all have left');
  const stats = await sluice.stats();
  assert.deepEqual([stats.sessions, stats.subscribers_waiting], [15, 0]);
});

test('a flood of streams that wait locks nobody out, and leaves nothing behind', async (t) => {
  const {sluice} = await start(t, {sessions_max: 5, session_ttl_ms: 3600000});
  await flood(200, async () => (await sluice.follow(sessionPath())).leave());
  const staying = await Promise.all(Array.from({length: 50}, () => sluice.follow(sessionPath())));
  await sluice.run(sessionPath());
  for (const client of staying) client.leave();
  await until(async () => (await sluice.stats()).subscribers === 0, 'all have left');
  const stats = await sluice.stats();
  assert.deepEqual([stats.sessions, stats.subscribers_waiting], [1, 0]);
});

test('the places of those that wait are limited, and released when they leave or their session opens', async (t) => {
  const {sluice} = await start(t, {subscribers_waiting_max: 3});
  const [one, two] = [sessionPath(), sessionPath()];
  const clients = [await sluice.follow(one), await sluice.follow(one), await sluice.follow(two)];
  const refused = await sluice.get(`${sessionPath()}/run`);
  assertError(refused, 429, /^too_many_waiting$/);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  assertError(await sluice.get(`${one}/run`), 429, /^too_many_waiting$/);
  const stats = await sluice.stats();
  assert.equal(stats.counters.sluice_subscribers_waiting_refused_total, 2);
  assert.deepEqual([stats.subscribers, stats.limits.subscribers_waiting_max], [3, 3]);
  await sluice.run(one); // two of them wait no more
  for (let i = 0; i < 2; i++) clients.push(await sluice.follow(sessionPath()));
  assert.deepEqual(clients.map(({status}) => status), [200, 200, 200, 200, 200]);
  assertError(await sluice.get(`${sessionPath()}/run`), 429);
  assert.equal((await sluice.follow(one)).status, 200, 'a session that exists is not waited for');
  clients[2].leave();
  await until(async () => (await sluice.follow(sessionPath())).status === 200, 'its place is free again');
});

test('one address cannot take all the places of those that wait', async (t) => {
  const {sluice} = await start(t, {subscribers_waiting_max: 100, subscribers_waiting_per_address_max: 2});
  const from = (localAddress, session = sessionPath()) => new Promise((resolve, reject) => {
    const outgoing = http.request({port: sluice.port, host: '127.0.0.1', localAddress, path: `${session}/run`, agent: false}, (answer) => {
      t.after(() => outgoing.destroy());
      resolve({status: answer.statusCode, headers: answer.headers, leave: () => outgoing.destroy()});
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
  const session = sessionPath();
  const first = [await from('127.0.0.2', session), await from('127.0.0.2', session)];
  const refused = await from('127.0.0.2');
  assert.equal(refused.status, 429);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  const other = await from('127.0.0.3', session);
  assert.deepEqual([...first, other].map(({status}) => status), [200, 200, 200]);
  first[0].leave();
  await until(async () => (await from('127.0.0.2')).status === 200, 'a place of that address is free again');
  await sluice.run(session);
  await until(async () => (await from('127.0.0.2')).status === 200, 'and another one, since that session is there');
});

// ---- runs for later ----

test('runs for later block no queue, and are limited in all and for each user', async (t) => {
  const {sluice} = await start(t, {runs_max: 1, runs_queued_max: 2, runs_delayed_max: 6, runs_delayed_per_user_max: 4});
  const delay = (user) => sluice.post(`${sessionPath(undefined, {user})}/run`, {message: 'later', gateway: {delay_ms: 86400000}});
  for (let i = 0; i < 4; i++) assert.equal((await delay('mallory')).status, 200);
  const refused = await delay('mallory');
  assertError(refused, 429, /^delayed_full$/);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  for (let i = 0; i < 2; i++) assert.equal((await delay('alice')).status, 200);
  assertError(await delay('bob'), 429, /^delayed_full$/);
  await sluice.run(sessionPath(), 'hold');
  const waiting = [await sluice.run(sessionPath()), await sluice.run(sessionPath())];
  assert.deepEqual(waiting.map(({status}) => status), ['pending', 'pending'], 'the queue is for those that could run now');
  const stats = await sluice.stats();
  assert.deepEqual([stats.runs, stats.runs_queued, stats.runs_delayed, stats.queue.delayed, stats.queue.delayed_max], [1, 2, 6, 6, 6]);
  assert.deepEqual([stats.limits.runs_delayed_max, stats.limits.runs_delayed_per_user_max], [6, 4]);
  assert.equal(stats.counters.sluice_runs_delayed_refused_total, 2);
  assert.equal((await sluice.delete('/tasks?user=mallory')).json.cancelled, 4);
  assert.equal((await delay('mallory')).status, 200);
});

test('a run for later that is due when the queue is full waits in its place, and runs', async (t) => {
  const {sluice} = await start(t, {runs_max: 1, runs_queued_max: 1});
  const holding = await sluice.run(sessionPath(), 'hold');
  const later = [];
  for (let i = 0; i < 5; i++) later.push(await sluice.run(sessionPath(), 'later', {delay_ms: 1}));
  const waiting = await sluice.run(sessionPath());
  await until(async () => (await sluice.stats()).queue.waiting === 6, 'all of them are due');
  assertError(await sluice.post(`${sessionPath()}/run`, {message: 'a'}), 429, /^too_many_runs$/);
  await sluice.delete(`/tasks/${holding.task_id}`);
  for (const {task_id} of [...later, waiting]) assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
});

// ---- requests that take long ----

/**
 * Sends `text` on `count` connections, the last byte of all at once, then `last`, by default a question for /healthz. Gives how many had their
 * answer before that one.
 */
async function answeredBefore(sluice, text, count, last = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n') {
  const connections = await Promise.all(Array.from({length: count + 1}, () => connect(sluice.port)));
  const ours = connections.pop();
  const isAnswered = (connection) => /^HTTP\/1.1 200 OK\r\n/.test(connection.received);
  const bodyBytes = text.length - text.indexOf('\r\n\r\n') - 4;
  await Promise.all(connections.map((connection) => connection.write(text.slice(0, -1))));
  await until(async () => (await sluice.stats()).memory.kinds.request_bodies >= count * (bodyBytes - 1), 'the bodies have come');
  for (const connection of connections) connection.write(text.slice(-1));
  ours.write(last);
  await until(() => isAnswered(ours), 'the last one is answered');
  const before = connections.filter(isAnswered).length;
  await until(() => connections.every(isAnswered), 'all are answered');
  for (const {socket} of [...connections, ours]) socket.destroy();
  return before;
}

function connect(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    const connection = {socket, received: '', write: (text) => new Promise((done) => { socket.write(text, done); })};
    socket.setEncoding('latin1');
    socket.on('data', (text) => { connection.received = (connection.received + text).slice(0, 100); });
    socket.on('error', reject);
    socket.on('connect', () => resolve(connection));
  });
}

test('requests that take long, all at once, do not hold up those that do not', async (t) => {
  const {sluice} = await start(t, {workers: 1, runs_max: 1, runs_queued_max: 5000, runs_queued_per_session_max: 5000});
  const session = sessionPath();
  await flood(1500, () => sluice.run(session, 'hold', {on_conflict: 'enqueue'}));
  const head = (line, more = '') => `${line} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`;
  const post = (message) => {
    const body = JSON.stringify({message, gateway: {on_conflict: 'enqueue'}});
    return `${head(`POST ${session}/run`, `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`)}${body}`;
  };
  const lists = head('GET /tasks?limit=1000');
  assert.ok(await answeredBefore(sluice, lists, 40) < 8, 'lists of runs');
  assert.ok(await answeredBefore(sluice, post('\u0001'.repeat(160000)), 40) < 8, 'large bodies');
  assert.ok(await answeredBefore(sluice, lists, 40, post('x'.repeat(8000))) < 12, 'a body after lists of runs');
  assert.equal((await sluice.stats()).counters.sluice_requests_long_total, 121);
  await sluice.delete('/tasks?all=true');
});
