// /health: healthy, degraded or critical, and why.
import assert from 'node:assert/strict';
import http from 'node:http';
import {test} from 'node:test';
import {answerAsAsked, assertError} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {refusingAddress, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

const breaker = {breaker_failure_percent: 50, breaker_calls_min: 2, breaker_recovery_ms: 60000};

async function health(sluice, status) {
  const answer = await sluice.get('/health');
  assert.match(answer.headers['content-type'], /^application\/json/);
  assert.equal(answer.status, status, answer.text);
  return answer.json;
}

const codes = ({reasons}) => reasons.map(({code}) => code).sort();

const fail = (sluice) => async () => sluice.taskEnded((await sluice.run(sessionPath())).task_id);

test('a gateway that is well is healthy', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const sluice = await startSluice(t, {upstream: upstream.url, ...breaker});
  await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
  const {status, reasons, upstreams, version, uptime_ms} = await health(sluice, 200);
  assert.deepEqual([status, reasons], ['healthy', []]);
  assert.deepEqual(upstreams, [{name: 'default', kind: 'adk', healthy: true, state: 'closed', score: 100}]);
  assert.ok(version && uptime_ms >= 0);
});

test('it is critical while the only breaker is open, and healthy once the upstream is back', async (t) => {
  let broken = true;
  const upstream = await startUpstream(t, async (exchange) => (broken ? exchange.answer(503, '{}') : exchange.stream('data: {"a":1}\n\n')));
  const sluice = await startSluice(t, {upstream: upstream.url, ...breaker, breaker_recovery_ms: 300});
  await fail(sluice)();
  assert.equal((await health(sluice, 200)).status, 'healthy');
  await fail(sluice)();
  const open = await health(sluice, 503);
  assert.deepEqual([open.status, codes(open)], ['critical', ['breaker_open', 'no_upstream']]);
  assert.deepEqual([open.upstreams[0].state, open.upstreams[0].score], ['open', 0]);
  assert.equal(open.reasons.find(({code}) => code === 'breaker_open').upstream, 'default');
  assertError(await sluice.post(`${sessionPath()}/run`, {message: 'a'}), 503, /^circuit_open$/);
  assert.equal((await sluice.get('/readyz')).status, 200, 'it may take work when the upstream is back');
  const stats = await sluice.stats();
  assert.deepEqual([stats.upstreams[0].state, stats.upstreams[0].breaker.opened], ['open', 1]);
  broken = false;
  const halfOpen = await until(async () => {
    const {json} = await sluice.get('/health');
    return json.status === 'degraded' && json;
  }, 'the time to recover');
  assert.deepEqual(codes(halfOpen), ['breaker_half_open']);
  await fail(sluice)();
  assert.equal((await health(sluice, 200)).status, 'healthy');
});

test('it is degraded while one of two upstreams cannot take a run', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const file = temporaryFile(t, 'sluice.yaml', `upstreams:
  - name: good
    upstream: ${upstream.url}
    upstream_apps: demo
  - name: bad
    upstream: ${await refusingAddress()}
    upstream_apps: other
`);
  const sluice = await startSluice(t, breaker, {args: ['--config', file]});
  for (let i = 0; i < 2; i++) await sluice.taskEnded((await sluice.run(sessionPath(undefined, {app: 'other'}))).task_id);
  await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
  const {status, reasons, upstreams} = await health(sluice, 200);
  assert.equal(status, 'degraded');
  assert.deepEqual(reasons.map(({code, upstream: name}) => [code, name]), [['breaker_open', 'bad']]);
  assert.deepEqual(upstreams.map(({name, state}) => [name, state]), [['good', 'closed'], ['bad', 'open']]);
});

test('it is degraded while the queue is nearly full', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const sluice = await startSluice(t, {upstream: upstream.url, runs_max: 1, runs_queued_max: 2});
  const tasks = [];
  for (let i = 0; i < 3; i++) tasks.push((await sluice.run(sessionPath(), 'hold')).task_id);
  const full = await health(sluice, 200);
  assert.deepEqual([full.status, codes(full)], ['degraded', ['queue_high']]);
  assert.deepEqual([full.reasons[0].value, full.reasons[0].limit], [2, 1]);
  const {queue} = await sluice.stats();
  assert.deepEqual([queue.running, queue.queued, queue.queued_max], [1, 2, 2]);
  for (const id of tasks.reverse()) await sluice.delete(`/tasks/${id}`);
  await until(async () => (await sluice.get('/health')).json.status === 'healthy', 'an empty queue');
});

test('it is degraded above the memory it should take', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const {accounted_bytes} = (await (await startSluice(t, {upstream: upstream.url, workers: 1})).stats()).memory;
  const limit = accounted_bytes + 100000;
  const sluice = await startSluice(t, {upstream: upstream.url, workers: 1, memory_warn_bytes: limit});
  assert.equal((await health(sluice, 200)).status, 'healthy');
  await sluice.taskEnded((await sluice.run(sessionPath(), 'count=900')).task_id);
  const {status, reasons} = await health(sluice, 200);
  assert.deepEqual([status, reasons[0].code, reasons[0].limit], ['degraded', 'memory_high', limit]);
  assert.ok(reasons[0].value > limit);
});

test('it is degraded while Redis is away', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const sluice = await startSluice(t, {upstream: upstream.url, cache: true, redis: new URL(await refusingAddress()).host});
  const away = await until(async () => {
    const {json} = await sluice.get('/health');
    return json.status === 'degraded' && json;
  }, 'a Redis that is known to be away');
  assert.deepEqual(codes(away), ['redis_away']);
  assert.equal((await sluice.stats()).cache.redis.state, 'away');
});

test('it is degraded while it drains, and not ready', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 20000});
  const agent = new http.Agent({keepAlive: true, maxSockets: 1}); // the listener takes no connections any more
  t.after(() => agent.destroy());
  const get = (path) => new Promise((resolve, reject) => {
    http.get(`${sluice.url}${path}`, {agent}, (incoming) => {
      let text = '';
      incoming.on('data', (part) => { text += part; });
      incoming.on('end', () => resolve({status: incoming.statusCode, json: JSON.parse(text)}));
    }).on('error', reject);
  });
  const {task_id} = await sluice.run(sessionPath(), 'hold');
  assert.equal((await get('/health')).json.status, 'healthy');
  sluice.program.signal('SIGTERM');
  await sluice.logged({event: 'draining'});
  const {status, json} = await get('/health');
  assert.deepEqual([status, json.status, codes(json)], [200, 'degraded', ['draining']]);
  assert.equal((await get('/readyz')).status, 503);
  assert.equal((await get('/healthz')).status, 200);
  await new Promise((resolve) => {
    http.request(`${sluice.url}/tasks/${task_id}`, {method: 'DELETE', agent}, (incoming) => incoming.resume().on('end', resolve)).end();
  });
  await sluice.program.ended;
});
