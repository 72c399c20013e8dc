// memory_max_bytes: what is trimmed near it, what is refused at it, and that the process stays near it.
import assert from 'node:assert/strict';
import {readFileSync, writeFileSync} from 'node:fs';
import net from 'node:net';
import {totalmem} from 'node:os';
import {test} from 'node:test';
import {setTimeout} from 'node:timers/promises';
import {answerAsAsked, asked, assertError} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, sluiceSays, startSluice, temporaryFile} from '../support/sluice.mjs';
import {residentBytes} from '../support/vitals.mjs';

const KiB = 1 << 10;
const MiB = 1 << 20;
const LIMIT = 16 * MiB;

/** "fill": a run of 128 events of 8 KiB, or as many as "fill=N" says, of the size that "size=N" says. */
const answer = async (exchange) => {
  if (exchange.method === 'GET') return exchange.answer(200, '["demo"]');
  const text = asked(exchange);
  if (/grow/.test(text)) return exchange.head();
  if (!/fill/.test(text)) return answerAsAsked(new Map())(exchange);
  await exchange.head();
  await sendEvents(exchange, Number(/fill=(\d+)/.exec(text)?.[1] ?? 128), Number(/size=(\d+)/.exec(text)?.[1] ?? 8 * KiB));
  await exchange.lastChunk();
};

async function sendEvents(exchange, count, size) {
  const event = `data: ${'x'.repeat(size)}\n\n`;
  const together = Math.ceil(32 * KiB / event.length);
  for (let left = count; left > 0 && exchange.open; left -= together) await exchange.chunk(event.repeat(Math.min(left, together)));
}

async function start(t, flags = {}) {
  const upstream = await startUpstream(t, answer);
  const sluice = await startSluice(t, {upstream: upstream.url, memory_max_bytes: LIMIT, ...flags});
  return {upstream, sluice};
}

/** A session with a full log of a run that has ended. */
async function filled(sluice, session = sessionPath()) {
  const {task_id} = await sluice.run(session, 'fill');
  assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
  return session;
}

/** Whether anything is left of it; asks for little, so that nothing is trimmed for the answer. */
const isRetained = async (sluice, session) => (await sluice.get(`${session}/history?limit=1`)).json.events.length > 0;

test('near the limit the logs of idle sessions are trimmed, those that were not used for longest first', async (t) => {
  const {sluice} = await start(t);
  const sessions = [];
  for (let i = 0; i < 40; i++) {
    sessions.push(await filled(sluice));
    const {memory} = await sluice.stats();
    assert.ok(memory.accounted_bytes < LIMIT, `${memory.accounted_bytes} bytes with ${i + 1} sessions`);
    assert.equal(memory.max_bytes, LIMIT);
  }
  const trimmed = await sluice.logged({event: 'memory_trimmed'});
  assert.ok(trimmed.events_trimmed > 0 && trimmed.max_bytes === LIMIT);
  const left = [];
  for (const session of sessions) left.push(await isRetained(sluice, session));
  const first = left.indexOf(true);
  assert.ok(first > 20 && first < 35, `retained: ${left}`);
  assert.ok(left.slice(first).every(Boolean), `all of the younger ones are there: ${left}`);
  const client = await sluice.follow(sessions[0], '?from=start&until=run');
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.events.map(({type}) => type), ['gap']);
  const {from, reason} = JSON.parse(client.events[0].data);
  assert.deepEqual([from, reason], [null, 'trimmed']);
});

/**
 * Runs that wait, with bodies of 1 MiB, then smaller ones, until none is accepted: [ids, the last refusal]. One
 * refusal does not say that: what was trimmed is free, but the kernel may not have all of it back yet.
 */
async function fillTheQueue(sluice) {
  const ids = [];
  let refusal;
  for (const size of [MiB - 200, 100 * KiB, 20]) {
    for (let refusals = 0; refusals < 5;) {
      refusal = await sluice.post(`${sessionPath()}/run`, {message: `wait ${'x'.repeat(size)}`});
      if (refusal.status === 200) ids.push(refusal.json.task_id);
      else if (++refusals < 5) await setTimeout(50);
      assert.ok(ids.length < 500, 'runs are accepted without bound');
    }
  }
  return [ids, refusal];
}

test('new runs are refused when nothing is left to trim, and accepted again later', async (t) => {
  const {sluice} = await start(t, {runs_max: 1, runs_queued_max: 1000});
  for (let i = 0; i < 8; i++) await filled(sluice);
  const running = sessionPath();
  const viewer = await sluice.follow(running);
  const {task_id} = await sluice.run(running, 'count=100000 delay=5');
  const [ids, refusal] = await fillTheQueue(sluice);
  assertError(refusal, 503, /^memory_full$/);
  assert.ok(Number(refusal.headers['retry-after']) >= 1);
  const {memory} = await sluice.stats();
  assert.ok(memory.kinds.upstream_requests > LIMIT * 0.8, `nothing but bodies is left: ${JSON.stringify(memory)}`);
  assert.ok(memory.accounted_bytes > LIMIT * 0.95 && memory.accounted_bytes < LIMIT * 1.01, JSON.stringify(memory));
  let refusals = 0;
  const health = await until(async () => { // what is forgotten meanwhile makes room for a few more
    const run = await sluice.post(`${sessionPath()}/run`, {message: 'one more'});
    if (run.status === 200) ids.push(run.json.task_id);
    const answer = await sluice.get('/health');
    refusals = run.status === 503 && answer.status === 503 ? refusals + 1 : 0;
    return refusals === 10 && answer;
  }, 'a gateway that refuses runs and says that this is critical', 20000);
  assert.equal(health.json.status, 'critical');
  assert.ok(health.json.reasons.some(({code}) => code === 'memory_full'));
  const logged = await sluice.logged({event: 'memory_trimmed'});
  assert.ok(logged.events_trimmed >= 1 && logged.max_bytes === LIMIT);

  const seen = viewer.events.length;
  await until(() => viewer.events.length > seen + 5, 'the run that was accepted goes on');
  assertError(await sluice.post(`${running}/run`, {message: 'x'.repeat(300 * KiB)}), 503, /^memory_full$/);
  assert.equal((await sluice.get(`/tasks/${task_id}`)).json.status, 'running', 'a refused run replaces nothing');
  assert.match((await sluice.get('/metrics')).text, /^sluice_memory_refused_total [1-9]/m);

  assert.equal((await sluice.delete('/tasks?status=pending')).json.cancelled, ids.length);
  await until(async () => (await sluice.get('/health')).json.status !== 'critical', 'memory that is not full any more');
  await sluice.delete(`/tasks/${task_id}`);
  const {task_id: next} = await sluice.run(sessionPath(), 'count=3');
  assert.equal((await sluice.taskEnded(next)).status, 'completed');
});

test('runs that take more than there is end as limit, and memory stays bounded', async (t) => {
  const {sluice, upstream} = await start(t);
  const ids = [];
  for (let i = 0; i < 40; i++) ids.push((await sluice.run(sessionPath(), 'grow')).task_id);
  await until(() => upstream.runs.length === 40, 'all runs at the upstream');
  let most = 0, grows = true, looked;
  const look = async () => {
    most = Math.max(most, (await sluice.stats()).memory.accounted_bytes);
    if (grows) looked = look();
  };
  looked = look();
  const growing = upstream.runs.map(async (exchange) => {
    await exchange.chunk('data: small\n\ndata: ');
    for (let i = 0; i < 14 && exchange.open; i++) {
      await exchange.chunk('x'.repeat(64 * KiB));
      await looked;
    }
    if (exchange.open) await exchange.chunk('\n\n');
    if (exchange.open) await exchange.lastChunk();
  });
  await Promise.all(growing);
  grows = false;
  await looked;
  const ends = [];
  for (const id of ids) ends.push(await sluice.taskEnded(id));
  const limited = ends.filter(({status, reason}) => status === 'failed' && reason === 'limit');
  assert.ok(limited.length > 10, `only ${limited.length} runs ended as limit`);
  assert.match(limited[0].message, /memory limit/);
  assert.ok(most < LIMIT * 1.25, `${most} bytes of ${LIMIT}`);
  assert.equal(ends.filter(({status}) => status === 'completed').length + limited.length, 40);
  const logged = await sluice.logged({event: 'memory_full'});
  assert.ok(logged.runs_ended >= 1);
  const {task_id} = await sluice.run(sessionPath(), 'count=3');
  assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
});

/** A sanitizer's memory is not what this is about. */
const isSanitized = (sluice) => /lib[at]san/.test(readFileSync(`/proc/${sluice.program.pid}/maps`, 'utf8'));

/** A run that is asked for until it is accepted: its id. */
async function accepted(sluice, message) {
  const answer = await until(async () => {
    const one = await sluice.post(`${sessionPath()}/run`, {message});
    return one.status === 200 && one;
  }, 'a run that is accepted');
  return answer.json.task_id;
}

/** Fills 60 sessions: the most resident bytes meanwhile, without those of its start. */
async function fillWith(sluice, atStart, size) {
  let most = 0;
  const one = async () => {
    await sluice.taskEnded(await accepted(sluice, `fill=${Math.ceil(MiB / size)} size=${size}`));
    most = Math.max(most, residentBytes(sluice.program.pid) - atStart);
  };
  for (let i = 0; i < 12; i++) await Promise.all(Array.from({length: 5}, one));
  return most;
}

// Measured: 1.0 to 1.15 times the limit, 1.5 for a moment after the size of what is kept has changed. Without
// memory_give_back() and memory_tune_allocator() it was 1.7, and stayed so.
test('the resident memory stays near the limit, whatever the logs are full of', async (t) => {
  const limit = 32 * MiB;
  const {sluice} = await start(t, {memory_max_bytes: limit, log_events_max: 100000, runs_max: 5, runs_queued_max: 1000});
  if (isSanitized(sluice)) return;
  const atStart = residentBytes(sluice.program.pid);
  for (const size of [200, 40000, 700000, 2000, 700000, 100]) {
    const most = await fillWith(sluice, atStart, size);
    assert.ok(most > limit * 0.7, `logs are full: ${most} bytes with events of ${size}`);
    assert.ok(most < limit * 1.6, `${most} bytes with events of ${size}`);
    await until(() => residentBytes(sluice.program.pid) - atStart < limit * 1.25, 'memory that is given back');
  }
  for (let i = 0; i < 5; i++) await accepted(sluice, 'hold');
  const [, refusal] = await fillTheQueue(sluice);
  assertError(refusal, 503, /^memory_full$/);
  assert.ok(residentBytes(sluice.program.pid) - atStart < limit * 1.6);
  assert.equal((await sluice.delete('/tasks?all=true')).status, 200);
  assert.equal((await sluice.taskEnded(await accepted(sluice, 'count=3'))).status, 'completed');
});

test('the logs of runs under way share what is left, and the runs go on', async (t) => {
  const {sluice, upstream} = await start(t);
  const ids = [];
  for (let i = 0; i < 10; i++) ids.push((await sluice.run(sessionPath(), 'grow')).task_id);
  await until(() => upstream.runs.length === 10, 'all runs at the upstream');
  for (const exchange of upstream.runs) sendEvents(exchange, 1000, 4000);
  const told = async (id) => (await sluice.task(id)).events;
  await until(async () => {
    const {memory} = await sluice.stats();
    assert.ok(memory.accounted_bytes < LIMIT * 1.25, JSON.stringify(memory));
    return (await Promise.all(ids.map(told))).every((events) => events === 1000);
  }, 'ten runs with all of their 4 MB', 20000);
  for (const id of ids) assert.equal((await sluice.task(id)).status, 'running');
  await until(async () => (await sluice.stats()).memory.level !== 'full', 'logs that have shrunk');
  assert.equal((await sluice.taskEnded(await accepted(sluice, 'count=3'))).status, 'completed');
  assert.equal((await sluice.delete('/tasks?all=true')).json.cancelled, 10);
});

/** A client that reads the head of an answer and no more: its socket, once the answer has begun. */
const slowReader = async (t, sluice, path) => {
  const socket = net.connect({host: '127.0.0.1', port: sluice.port, highWaterMark: 1024});
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${sluice.port}\r\n\r\n`);
  await new Promise((resolve) => socket.once('readable', resolve));
  return socket;
};

test('clients that read answers slowly have no more than a share of the memory', async (t) => {
  const {sluice} = await start(t);
  const bystander = await filled(sluice), session = sessionPath();
  const {task_id} = await sluice.run(session, `fill=1 size=${900 * KiB}`);
  assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
  for (const path of [`${session}/history`, `/tasks/${task_id}/result`])
    for (let i = 0; i < 20; i++) await slowReader(t, sluice, path);
  const metrics = (await sluice.get('/metrics')).text;
  const {memory} = await sluice.stats();
  assert.ok(memory.kinds.passed_answers <= LIMIT / 4, JSON.stringify(memory));
  assert.ok(Number(/^sluice_memory_share_refused_total (\d+)$/m.exec(metrics)?.[1]) > 10, metrics);
  assert.ok(await isRetained(sluice, bystander), 'no log was trimmed for them');
  await sluice.run(sessionPath(), 'fill');
});

test('all that is charged is released', async (t) => {
  const {sluice, upstream} = await start(t, {tasks_kept: 1, request_timeout_ms: 1000}); // a half request may take that long
  /** But for the question itself: how long its answer is, and whether the connection of the one before is closed. */
  const kinds = async () => {
    const {answers: _a, connections: _c, upstream_connections: _u, ...others} = (await sluice.stats()).memory.kinds;
    return others;
  };
  /** libcurl keeps each connection that was open at the same time, with 1.5 KB, until it looks at it for another call. */
  const ofConnections = async () => (await sluice.stats()).memory.kinds.upstream_connections;
  const use = async (session) => {
    const client = await sluice.follow(session);
    const {task_id} = await sluice.run(session, 'count=5', undefined, {headers: {'Idempotency-Key': 'once'}});
    await sluice.run(session, 'count=5', undefined, {headers: {'Idempotency-Key': 'once'}});
    await until(() => client.events.some(({type}) => type === 'run.end'), 'the end of the run');
    for (const path of [`/tasks/${task_id}/result`, `${session}/history`, '/list-apps', session]) await sluice.get(path);
    const stream = await sluice.runStream(session, 'count=3 hold');
    await sluice.run(session, 'hold');
    await sluice.run(session, 'hold', {on_conflict: 'enqueue'});
    await sluice.run(session, 'hold', {delay_ms: 60000});
    await stream.ended();
    const half = net.connect(sluice.port, '127.0.0.1');
    half.on('error', () => {});
    half.write(`POST ${session}/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(50000)}`);
    await until(async () => (await kinds()).request_bodies > 40000, 'half of a body');
    half.destroy();
    await sluice.delete(session);
    await client.ended();
  };
  await use(sessionPath('trace-0'));
  await until(() => upstream.open === 0, 'an upstream that nobody asks');
  let before;
  await until(async () => {
    const last = before;
    before = await kinds();
    return JSON.stringify(last) === JSON.stringify(before);
  }, 'a gateway at rest');
  const kept = await ofConnections();
  // What is kept for a use grows with each round; what is kept for uses at the same time does not.
  for (const round of ['abcde', 'fghij', 'klmno']) await Promise.all([...round].map((letter) => use(sessionPath(`trace-${letter}`))));
  await until(async () => JSON.stringify(await kinds()) === JSON.stringify(before), 'memory that is released').catch(async () => assert.deepEqual(await kinds(), before));
  await until(async () => await ofConnections() < kept + 32 * KiB, 'memory of connections that is released');
  assert.deepEqual([before.upstream_requests, before.upstream_streams, before.subscribers, before.idempotency_keys, before.request_bodies], [0, 0, 0, 0, 0]);
});

test('the limit is half of what the machine has by default, and a reload changes it', async (t) => {
  const upstream = await startUpstream(t, answer);
  const file = temporaryFile(t, 'sluice.yaml', `upstream: ${upstream.url}\n`);
  const sluice = await startSluice(t, {}, {args: ['--config', file]});
  const {memory_max_bytes: byDefault} = await sluice.logged({event: 'listening'});
  assert.ok(byDefault >= LIMIT && byDefault <= Math.max(totalmem() / 2, LIMIT), `${byDefault} of ${totalmem()}`);
  const {memory, limits} = await sluice.stats();
  assert.deepEqual([memory.max_bytes, limits.memory_max_bytes, memory.level], [byDefault, byDefault, 'easy']);
  const shown = await sluiceSays(['--config', file, '--check-config']);
  assert.match(shown.stdout, /^memory_max_bytes: [1-9]/m);
  for (let i = 0; i < 20; i++) await filled(sluice);
  assert.ok((await sluice.stats()).memory.accounted_bytes > 20 * MiB);
  writeFileSync(file, `upstream: ${upstream.url}\nmemory_max_bytes: 16MiB\n`);
  sluice.program.signal('SIGHUP');
  const {changed} = await sluice.logged({event: 'reloaded'});
  assert.match(changed, /memory_max_bytes/);
  await until(async () => (await sluice.stats()).memory.accounted_bytes < LIMIT * 0.875, 'logs that are trimmed');
  assert.match((await sluice.get('/metrics')).text, /^sluice_limit\{limit="memory_max_bytes"\} 16777216$/m);
});
