// What guards an upstream guards it from every request of the gateway: passed-through reads and sessions as well as runs.
import assert from 'node:assert/strict';
import http from 'node:http';
import {test} from 'node:test';
import {assertError} from '../support/expect.mjs';
import {pause, stretched, until} from '../support/limits.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

/** A gate that the requests at the upstream wait at; counts how many are there at once. */
class Gate {
  constructor() {
    this.now = this.most = 0;
    this.opened = new Promise((resolve) => { this.open = resolve; });
  }

  async pass(answer) {
    this.most = Math.max(this.most, ++this.now);
    await this.opened;
    await answer();
    this.now--;
  }
}

/** Answers whatever is asked, with an empty stream if it is a run. */
const answerAnything = (exchange) => (exchange.path === '/run_sse' ? exchange.stream(adkFrame('x')) : exchange.answer(200, '{"id":"any"}'));

async function start(t, flags, script) {
  const upstream = await startUpstream(t, script, {onSession: 'script'});
  const sluice = await startSluice(t, {upstream: upstream.url, ...flags});
  return {upstream, sluice};
}

const upstreamNow = async (sluice) => (await sluice.stats()).upstreams[0];
const requestsNow = async (sluice) => (await upstreamNow(sluice)).requests;

/** A reader that takes the head of an answer and nothing more, and may leave. */
const openReader = (sluice, path) => new Promise((resolve, reject) => {
  const outgoing = http.get(`${sluice.url}${path}`, {agent: false}, (incoming) => {
    incoming.pause();
    incoming.on('error', () => {});
    resolve({incoming, leave: () => outgoing.destroy()});
  });
  outgoing.on('error', reject);
});

test('60 requests of all kinds at once keep to a limit of 2', async (t) => {
  const gate = new Gate();
  const {sluice} = await start(t, {limiter_concurrency_max: 2, limiter_requests_wait_ms: 60000}, (exchange) => gate.pass(() => answerAnything(exchange)));
  const ask = [
    () => sluice.get('/list-apps'),
    () => sluice.get('/debug/trace/x'),
    () => sluice.get(sessionPath()),
    () => sluice.post(sessionPath(), {}),
    () => sluice.delete(sessionPath()),
    () => sluice.post(`${sessionPath()}/run`, {message: 'hello'}).then((answer) => sluice.taskEnded(answer.json.task_id)).then((task) => ({status: task.status})),
  ];
  const answers = Array.from({length: 60}, (_, i) => ask[i % ask.length]());
  await until(async () => (await upstreamNow(sluice)).limiter.waiting === 58, '58 wait');
  await until(() => gate.now === 2, 'two are there');
  assert.equal((await requestsNow(sluice)).waiting + (await requestsNow(sluice)).active + 10, 60);
  gate.open();
  for (const {status} of await Promise.all(answers)) assert.ok([200, 'completed'].includes(status), `${status}`);
  assert.equal(gate.most, 2, 'never more than two at once');
  const after = await upstreamNow(sluice);
  assert.deepEqual([after.limiter.slots_used, after.limiter.waiting, after.requests.active, after.requests.waiting], [0, 0, 0, 0]);
  assert.deepEqual([after.requests.total, after.requests.failures, after.requests.refused], [50, 0, 0]);
});

test('what cannot wait is refused at once, and runs still have room in the line', async (t) => {
  const gate = new Gate();
  const {sluice} = await start(t, {limiter_concurrency_max: 1, limiter_waiting_max: 10, limiter_requests_waiting_max: 2},
    (exchange) => gate.pass(() => answerAnything(exchange)));
  const first = sluice.get('/list-apps');
  await until(() => gate.now === 1, 'the first is there');
  const waiting = [sluice.get('/list-apps'), sluice.post(sessionPath(), {})];
  await until(async () => (await requestsNow(sluice)).waiting === 2, 'two wait');
  for (const answer of [await sluice.get('/list-apps'), await sluice.delete(sessionPath()), await sluice.get(sessionPath())]) {
    assertError(answer, 503, /^upstream_limited$/);
    assert.ok(Number(answer.headers['retry-after']) >= 1);
  }
  const {task_id} = await sluice.run(sessionPath());
  await until(async () => (await upstreamNow(sluice)).limiter.waiting === 3, 'the run waits, too');
  gate.open();
  for (const {status} of await Promise.all([first, ...waiting])) assert.equal(status, 200);
  assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
  assert.equal((await requestsNow(sluice)).refused, 3);
});

test('a request that is no run does not wait longer than limiter_requests_wait_ms', async (t) => {
  const gate = new Gate();
  const {sluice, upstream} = await start(t, {limiter_concurrency_max: 1, limiter_requests_wait_ms: 50},
    (exchange) => gate.pass(() => answerAnything(exchange)));
  const first = sluice.get('/list-apps');
  await until(() => gate.now === 1, 'the first is there');
  assertError(await sluice.get('/list-apps'), 503, /^upstream_limited$/);
  gate.open();
  assert.equal((await first).status, 200);
  assert.equal((await sluice.get('/list-apps')).status, 200, 'the slot is free again');
  assert.equal(upstream.runs.length, 2);
});

test('an answer of 429 pauses what follows, whatever asked for it', async (t) => {
  const {sluice, upstream} = await start(t, {limiter_concurrency_max: 5, retry_total_ms: 1000}, async (exchange) => {
    await exchange.head({status: 429, headers: {'Retry-After': 60}, framing: 'length', length: 0});
  });
  assert.equal((await sluice.get('/list-apps')).status, 429);
  for (const answer of [await sluice.get('/list-apps'), await sluice.post(sessionPath(), {})]) {
    assertError(answer, 503, /^upstream_limited$/);
    assert.ok(Number(answer.headers['retry-after']) > 50);
  }
  assert.equal(upstream.runs.length, 1);
});

test('failures of passed-through requests and sessions open the breaker for all', async (t) => {
  let status = 500;
  const {sluice, upstream} = await start(t, {breaker_failure_percent: 50, breaker_calls_min: 4, breaker_recovery_ms: 60000},
    (exchange) => exchange.answer(status, '{}'));
  status = 404;
  for (let i = 0; i < 2; i++) assert.equal((await sluice.get('/list-apps')).status, 404);
  assertError(await sluice.delete(sessionPath()), 404);
  assert.equal((await upstreamNow(sluice)).state, 'closed', '404 is a success');
  status = 500;
  assert.equal((await sluice.get('/list-apps')).status, 500);
  assertError(await sluice.post(sessionPath(), {}), 503, /^upstream_error$/);
  assertError(await sluice.delete(sessionPath()), 503, /^upstream_error$/);
  assert.equal((await upstreamNow(sluice)).state, 'open');
  const sent = upstream.runs.length;
  for (const answer of [await sluice.get('/list-apps'), await sluice.get(sessionPath()), await sluice.post(sessionPath(), {}),
    await sluice.delete(sessionPath()), await sluice.post(`${sessionPath()}/run`, {message: 'x'})]) {
    assertError(answer, 503, /^circuit_open$/);
    assert.ok(Number(answer.headers['retry-after']) >= 1);
  }
  assert.equal(upstream.runs.length, sent, 'nothing reaches the upstream');
  assert.equal((await requestsNow(sluice)).failures, 3);
});

test('a success of a passed-through request closes the breaker again', async (t) => {
  let status = 503;
  const {sluice} = await start(t, {breaker_failure_percent: 50, breaker_calls_min: 1, breaker_recovery_ms: 10, breaker_recovery_max_ms: 10},
    (exchange) => exchange.answer(status, '{}'));
  assert.equal((await sluice.get('/list-apps')).status, 503);
  assert.equal((await upstreamNow(sluice)).breaker.opened, 1);
  status = 200;
  await until(async () => (await sluice.get('/list-apps')).status === 200, 'a probe is let through');
  assert.equal((await upstreamNow(sluice)).state, 'closed');
});

test('a client that leaves in the middle of an answer leaves its slot to the next one', async (t) => {
  const {sluice, upstream} = await start(t, {limiter_concurrency_max: 1, breaker_failure_percent: 50, breaker_calls_min: 1}, async (exchange) => {
    if (exchange.path !== '/debug/trace/long') return answerAnything(exchange);
    await exchange.head({headers: {'Content-Type': 'application/json'}});
    while (await exchange.chunk('x'.repeat(1000))) await pause(1);
  });
  for (let i = 0; i < 3; i++) {
    const reader = await openReader(sluice, '/debug/trace/long');
    const next = sluice.get('/list-apps');
    await until(async () => (await requestsNow(sluice)).waiting === 1, 'the next one waits');
    reader.leave();
    assert.equal((await next).status, 200);
  }
  assert.equal((await upstreamNow(sluice)).state, 'closed', 'who leaves says nothing of the upstream');
  await until(() => upstream.open === 0, 'the upstream is left');
});

test('a client that reads nothing holds a slot no longer than a run may', async (t) => {
  const {sluice, upstream} = await start(t, {limiter_concurrency_max: 1, run_timeout_ms: stretched(300), breaker_failure_percent: 50, breaker_calls_min: 1}, async (exchange) => {
    if (exchange.path !== '/debug/trace/long') return answerAnything(exchange);
    await exchange.head({headers: {'Content-Type': 'application/json'}});
    while (await exchange.chunk('x'.repeat(65536)));
  });
  const reader = await openReader(sluice, '/debug/trace/long');
  assert.equal((await sluice.get('/list-apps')).status, 200);
  await until(() => upstream.open === 0, 'the upstream is left');
  assert.equal((await upstreamNow(sluice)).state, 'closed');
  reader.leave();
});

test('the gateway stops though an upstream does not answer and others wait', async (t) => {
  const {sluice, upstream} = await start(t, {limiter_concurrency_max: 1}, (exchange) => exchange.gone);
  const asked = [sluice.get('/list-apps'), sluice.get('/list-apps'), sluice.post(sessionPath(), {})];
  await until(() => upstream.runs.length === 1, 'one is there');
  await until(async () => (await requestsNow(sluice)).waiting === 2, 'two wait');
  const answers = Promise.allSettled(asked);
  await sluice.stop();
  for (const {value} of await answers) if (value) assertError(value, 503);
});
