// The cache of completed runs: what was answered is not asked again, what is asked by many is asked once, and gateways
// share through a real Redis, with which they do better and without which they do.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {answerAsAsked} from '../support/expect.mjs';
import {pause, stretched, until} from '../support/limits.mjs';
import {startRedis} from '../support/redis_server.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

/** An upstream that answers each run with two events, the second one naming how many runs there were. */
async function startCounting(context, {delay = 0} = {}) {
  return startUpstream(context, async (exchange) => {
    await exchange.head();
    await exchange.chunk(adkFrame('answer '));
    if (delay) await pause(delay);
    await exchange.chunk(adkFrame(`number ${exchange.number}`));
    await exchange.lastChunk();
  });
}

/** One run to its end: {client, start, end, data, task, ms}. */
async function ask(gateway, message = 'hello', {path = sessionPath(), options} = {}) {
  const begun = performance.now();
  const client = await gateway.runStream(path, message, options);
  assert.equal(client.status, 200, client.body?.toString());
  assert.equal(await client.ended(20000), 'last-chunk');
  const ms = performance.now() - begun;
  const end = client.json('run.end');
  return {client, start: client.json('run.start'), end, data: client.data, task: await gateway.task(end.task_id), ms};
}

const cacheStats = async (gateway) => (await gateway.stats()).cache;
const redisIs = (gateway, state) => until(async () => (await cacheStats(gateway)).redis.state === state, `Redis is ${state}`, 15000);

/** Each worker has its own connection. */
const redisIsUp = (gateway, workers) => until(async () => {
  const {state, connections} = (await cacheStats(gateway)).redis;
  return state === 'up' && connections === workers;
}, `Redis is up for ${workers} workers`, 15000);

test('the same question is answered from memory, marked as such, by the same events', async (t) => {
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true});
  const first = await ask(gateway);
  const second = await ask(gateway);
  assert.equal(upstream.runs.length, 1);
  assert.deepEqual(second.data, first.data);
  assert.equal(second.end.status, 'completed');
  assert.deepEqual([first.start.cached, second.start.cached], [undefined, true]);
  assert.deepEqual([first.end.cached, second.end.cached], [undefined, true]);
  assert.deepEqual([first.task.cached, second.task.cached], [false, true]);
  assert.notEqual(second.end.task_id, first.end.task_id, 'a run of its own');
  const {hits, misses, stored, entries} = await cacheStats(gateway);
  assert.deepEqual({hits, misses, stored, entries}, {hits: 1, misses: 1, stored: 1, entries: 1});
});

test('who asks again by an idempotency key gets his run, which is no hit', async (t) => {
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true});
  const session = sessionPath();
  const headers = {'Idempotency-Key': 'one'};
  const {task_id: task} = await gateway.run(session, 'hello', undefined, {headers});
  await gateway.taskEnded(task);
  assert.equal((await gateway.run(session, 'hello', undefined, {headers})).task_id, task);
  const {hits, misses} = await cacheStats(gateway);
  assert.deepEqual({hits, misses}, {hits: 0, misses: 1});
});

test('another question, app or user is another one; the order of members is not', async (t) => {
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, cache_ignore: 'stamp'});
  await ask(gateway, {message: 'a', stateDelta: {x: 1, y: {p: 1, q: 2}, stamp: 1}});
  assert.equal((await ask(gateway, {stateDelta: {stamp: 2, y: {q: 2, p: 1}, x: 1}, message: 'a'})).end.cached, true);
  assert.equal((await ask(gateway, {message: 'a', stateDelta: {x: 1, y: {p: 1, q: 3}}})).end.cached, undefined);
  assert.equal((await ask(gateway, 'b')).end.cached, undefined);
  assert.equal((await ask(gateway, 'b', {path: sessionPath('one', {user: 'u2'})})).end.cached, undefined);
  assert.equal((await ask(gateway, 'b', {path: sessionPath('one', {app: 'other'})})).end.cached, undefined);
  assert.equal(upstream.runs.length, 5);
});

test('users share what is not kept per user', async (t) => {
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, cache_per_user: false});
  await ask(gateway);
  assert.equal((await ask(gateway, 'hello', {path: sessionPath('one', {user: 'u2'})})).end.cached, true);
  assert.equal(upstream.runs.length, 1);
});

test('without the option nothing is kept', async (t) => {
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url});
  await ask(gateway);
  await ask(gateway);
  assert.equal(upstream.runs.length, 2);
});

test('what has failed is not kept', async (t) => {
  const upstream = await startUpstream(t, async (exchange) => {
    if (exchange.number > 0) return exchange.stream(adkFrame('whole'));
    await exchange.head();
    await exchange.chunk(adkFrame('half'));
    exchange.close();
  });
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true});
  assert.equal((await ask(gateway)).end.status, 'failed');
  const second = await ask(gateway);
  assert.equal(second.end.status, 'completed');
  assert.equal(second.end.cached, undefined);
  assert.equal((await ask(gateway)).end.cached, true);
});

test('what is too old is asked again', async (t) => {
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, cache_ttl_ms: 50});
  await ask(gateway);
  await pause(60);
  assert.equal((await ask(gateway)).end.cached, undefined);
  assert.equal(upstream.runs.length, 2);
});

test('a run for later is not answered by what is too old when its time comes', async (t) => {
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, cache_ttl_ms: 300});
  await ask(gateway);
  const later = await ask(gateway, 'hello', {options: {delay_ms: 600}});
  assert.equal(upstream.runs.length, 2);
  assert.deepEqual([later.start.cached, later.end.cached], [undefined, undefined]);
});

test('a run that waits for its user to have room is not answered by what is too old then', async (t) => {
  const upstream = await startCounting(t, {delay: 600});
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, cache_ttl_ms: 300, runs_per_user_max: 1});
  await ask(gateway);
  await gateway.run(sessionPath(), 'another');
  const waited = await ask(gateway);
  assert.equal(upstream.runs.length, 3);
  assert.equal(waited.end.cached, undefined);
});

test('nor is one that waits for a POST /run to end', async (t) => {
  const upstream = await startCounting(t, {delay: 600});
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, cache_ttl_ms: 300, runs_max: 1});
  await ask(gateway);
  const passed = gateway.post('/run', {appName: 'demo', userId: 'u1', sessionId: 'passed', newMessage: {role: 'user', parts: [{text: 'hello'}]}});
  await until(() => upstream.runs.length === 2, 'it is at the agent');
  const waited = await ask(gateway);
  assert.equal((await passed).status, 200);
  assert.equal(upstream.runs.length, 3);
  assert.deepEqual([waited.start.cached, waited.end.cached], [undefined, undefined]);
});

test('runs that ask the same at the same time share one stream, on whatever worker, and each gets all of it', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, workers: 2});
  const answers = await Promise.all(Array.from({length: 20}, () => ask(gateway, 'count=30 delay=10')));
  assert.equal(upstream.runs.length, 1);
  for (const {data, end} of answers) {
    assert.equal(end.status, 'completed');
    assert.deepEqual(data, answers[0].data);
    assert.equal(data.length, 30);
  }
});

test('the stream goes on when the run that began it is cancelled, and is left when nobody follows any more', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true});
  const [first, second] = [sessionPath(), sessionPath()];
  const {task_id: firstTask} = await gateway.run(first, 'count=1 hold');
  const exchange = await upstream.run(0);
  const {task_id: secondTask} = await gateway.run(second, 'count=1 hold');
  const client = await gateway.follow(second, '?until=run');
  await client.messages(1);
  await gateway.delete(`/tasks/${firstTask}`);
  assert.equal((await gateway.taskEnded(firstTask)).status, 'cancelled');
  await pause(50);
  assert.ok(exchange.open, 'somebody still follows');
  await gateway.delete(`/tasks/${secondTask}`);
  assert.equal((await gateway.taskEnded(secondTask)).status, 'cancelled');
  await exchange.gone;
  assert.equal(upstream.runs.length, 1);
});

test('a paced replay takes its time, and can be cancelled', async (t) => {
  const upstream = await startCounting(t, {delay: 300});
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, cache_paced: true});
  await ask(gateway);
  const {ms, end} = await ask(gateway);
  assert.equal(end.cached, true);
  assert.ok(ms >= 280, `${ms} ms`);
  const session = sessionPath();
  const {task_id} = await gateway.run(session);
  await gateway.delete(`/tasks/${task_id}`);
  assert.equal((await gateway.taskEnded(task_id)).status, 'cancelled');
});

test('a gateway that stops with a shared stream under way leaves it and ends', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true});
  const clients = await Promise.all(Array.from({length: 6}, () => gateway.runStream(sessionPath(), 'count=1 hold')));
  await Promise.all(clients.map((client) => client.messages(1)));
  await gateway.stop();
  for (const client of clients) assert.equal(client.json('run.end').status, 'cancelled');
  assert.equal(upstream.runs.length, 1);
});

test('gateways that may not ask the same of the agent share no answers', async (t) => {
  const redis = await startRedis(t);
  const upstream = await startCounting(t);
  const flags = {upstream: upstream.url, cache: true, redis: redis.address};
  const one = await startSluice(t, {...flags, upstream_authorization: 'Bearer one'});
  const other = await startSluice(t, {...flags, upstream_authorization: 'Bearer other'});
  await redisIsUp(one, 2);
  await redisIsUp(other, 2);
  await ask(one);
  await until(async () => (await cacheStats(one)).redis.stored === 1, 'the run is in Redis');
  assert.equal((await ask(other)).end.cached, undefined);
  assert.equal(upstream.runs.length, 2);
});

test('gateways share through Redis, do without it while it is away, and use it again', async (t) => {
  const redis = await startRedis(t);
  const upstream = await startCounting(t);
  const flags = {upstream: upstream.url, cache: true, redis: `redis://${redis.address}/2`};
  const [one, other] = [await startSluice(t, flags), await startSluice(t, flags)];
  await redisIsUp(one, 2);
  await redisIsUp(other, 2);
  const first = await ask(one);
  await until(async () => (await cacheStats(one)).redis.stored === 1, 'the run is in Redis');
  const shared = await ask(other);
  assert.deepEqual(shared.data, first.data);
  assert.equal(shared.end.cached, true);
  assert.equal(upstream.runs.length, 1);
  assert.equal((await cacheStats(other)).redis.hits, 1);

  await redis.kill();
  await redisIs(one, 'away');
  await redisIs(other, 'away');
  const health = (await one.get('/health')).json;
  assert.match(JSON.stringify(health), /redis_away/);
  await one.logged({level: 'warn', event: 'redis_away'});
  assert.equal((await ask(one)).end.cached, true, 'memory still has it');
  assert.equal((await ask(one, 'while it is away')).end.status, 'completed');
  assert.equal((await ask(one, 'while it is away')).end.cached, true);
  assert.equal((await ask(other, 'while it is away')).end.cached, undefined);

  await redis.start();
  await redisIsUp(one, 2);
  await redisIsUp(other, 2);
  await one.logged({level: 'info', event: 'redis_back'});
  assert.equal(one.logs.filter((line) => line.event === 'redis_away').length, 1, 'it is told once');
  await ask(one, 'when it is back');
  await until(async () => (await cacheStats(one)).redis.stored === 2, 'the run is in Redis');
  assert.equal((await ask(other, 'when it is back')).end.cached, true);
  assert.doesNotMatch(JSON.stringify((await one.get('/health')).json), /redis_away/);
});

test('what Redis says to a password that it does not want is told', async (t) => {
  const redis = await startRedis(t);
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, redis: redis.address, redis_password: 'not asked for'});
  const {message} = await gateway.logged({level: 'warn', event: 'redis_away'});
  assert.match(message, /^(ERR|WRONGPASS).* password/);
});

test('a Redis that hangs delays a run by no more than its timeout, and the next ones not at all', async (t) => {
  const redis = await startRedis(t);
  const upstream = await startCounting(t);
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, redis: redis.address, redis_timeout_ms: 400, workers: 1});
  await redisIsUp(gateway, 1);
  redis.hang();
  const first = await ask(gateway);
  assert.equal(first.end.status, 'completed');
  assert.ok(first.ms >= 390, `${first.ms} ms`);
  const second = await ask(gateway, 'another');
  assert.equal(second.end.status, 'completed');
  assert.ok(second.ms < 390 || stretched(1) > 1, `${second.ms} ms`);
  redis.goOn();
  await redisIsUp(gateway, 1);
});

test('how much faster a replay is than an upstream that takes 0.72 s', async (t) => {
  const upstream = await startCounting(t, {delay: 720});
  const gateway = await startSluice(t, {upstream: upstream.url, cache: true, workers: 1});
  const asked = await ask(gateway);
  assert.ok(asked.ms >= 720);
  const replays = [];
  for (let i = 0; i < 50; i++) {
    const replay = await ask(gateway);
    assert.equal(replay.end.cached, true);
    assert.deepEqual(replay.data, asked.data);
    replays.push(replay.ms);
  }
  replays.sort((a, b) => a - b);
  const median = replays[replays.length / 2];
  t.diagnostic(`asked: ${asked.ms.toFixed(1)} ms; replayed: median of ${replays.length} ${median.toFixed(2)} ms, ` +
    `best ${replays[0].toFixed(2)} ms; the ratio of the median is ${(asked.ms / median).toFixed(0)}, of the best ${(asked.ms / replays[0]).toFixed(0)}`);
  assert.ok(median < asked.ms);
});
