// The names of events: what an agent calls its events reaches the viewers, but never under a name of the gateway's.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {answerAsAsked} from '../support/expect.mjs';
import {startRedis} from '../support/redis_server.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {readMetrics} from '../support/prometheus.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';
import {until} from '../support/limits.mjs';

const owned = ['run.start', 'run.end', 'run.retry', 'gap', 'session.end', 'session.state', 'session.anything', 'server.drain', 'server.', 'auth.expiring', 'auth.expired',
  'run.end ', ' run.end', '\trun.start', 'gap\0', '\0gap', '\ufeffrun.end', 'run.end\u00a0', '\u3000session.end', 'run.end\u2028'];
const free = ['tool', 'run.started', 'run', 'gaps', 'ping', 'sessions.end', 'Run.end', 'run. end', 'run.end\u200c', 'upstream.run.end', 'session'];
const named = (type, number) => `event: ${type}\ndata: ${JSON.stringify({of: type, number})}\n\n`;
const all = [...owned, ...free];
const deliveredAs = (type) => (owned.includes(type) ? `upstream.${type}` : type);

const scripts = new Map([['names', (exchange) => exchange.stream(...all.map(named))]]);
const upstream = await startUpstream({after}, answerAsAsked(scripts));
const sluice = await startSluice({after}, {upstream: upstream.url});

const plain = (events) => events.map(({id, type, data}) => ({id, type, data}));

/** The events of the agent, as [type, data]. */
const agents = (client) => client.events.slice(1, -1).map(({type, data}) => [type, data]);
const expected = all.map((type, number) => [deliveredAs(type), JSON.stringify({of: type, number})]);
const renamed = async (gateway) => readMetrics((await gateway.get('/metrics')).text).samples.sluice_events_renamed_total;

async function ranRun(gateway = sluice) {
  const session = sessionPath();
  const {task_id} = await gateway.run(session, 'names');
  assert.equal((await gateway.taskEnded(task_id)).status, 'completed');
  return {session, task_id};
}

test('an event of the agent with a name of the gateway\'s is delivered as upstream.<name>, all else as it is', async () => {
  const {session, task_id} = await ranRun();
  const client = await sluice.follow(session, '?until=run');
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(agents(client), expected);
  assert.deepEqual([client.types[0], client.types.at(-1)], ['run.start', 'run.end']);
  assert.equal(client.json('run.end').task_id, task_id);
  assert.equal(client.json('run.end').events, all.length);
  const again = await new SseClient(sluice.url, `/tasks/${task_id}/events`).opened();
  await again.ended();
  assert.deepEqual(plain(again.events), plain(client.events), 'so in the stream of the run');
});

test('it is counted each time and logged once a run', async () => {
  const before = await renamed(sluice);
  const {task_id} = await ranRun();
  assert.equal(await renamed(sluice), before + owned.length);
  const line = await sluice.logged({event: 'event_renamed', task_id});
  assert.deepEqual([line.level, line.type], ['warn', 'run.start']);
  await ranRun();
  assert.equal(sluice.logs.filter((entry) => entry.event === 'event_renamed' && entry.task_id === task_id).length, 1);
});

test('a viewer resumes after each of them exactly', async () => {
  const {session} = await ranRun();
  const client = await sluice.follow(session, '?until=run');
  await client.ended();
  for (const [i, {id}] of client.events.slice(0, -1).entries()) {
    const again = await sluice.follow(session, '?until=run', {'Last-Event-ID': id});
    await again.ended();
    assert.deepEqual(plain(again.events), plain(client.events.slice(i + 1)), `after ${client.types[i]}`);
  }
});

test('/history says of each event whether it is the agent\'s or the gateway\'s', async () => {
  const {session, task_id} = await ranRun();
  const {json} = await sluice.get(`${session}/history`);
  assert.deepEqual(json.events.map(({type, source}) => [type, source]),
    [['run.start', 'gateway'], ...all.map((type) => [deliveredAs(type), 'agent']), ['run.end', 'gateway']]);
  assert.equal(JSON.parse(json.events.at(-1).data).task_id, task_id);
  const {output} = (await sluice.get(`/tasks/${task_id}/result`)).json;
  assert.deepEqual(output.map(({type, data}) => [type, data]), expected);
});

test('/run_sse, in which nothing is the gateway\'s, has the names that the agent gave', async () => {
  const [, , app, , user, , session] = sessionPath().split('/');
  const body = JSON.stringify({appName: app, userId: user, sessionId: session, newMessage: {role: 'user', parts: [{text: 'names'}]}});
  const client = await new SseClient(sluice.url, '/run_sse', {method: 'POST', body, ids: false}).opened();
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.events.map(({type, data}) => [type, data]), all.map((type, number) => [type, JSON.stringify({of: type, number})]));
  const again = await new SseClient(sluice.url, client.headers.location + '/events', {headers: {'Last-Event-ID': client.ids[2]}}).opened();
  await again.ended();
  assert.deepEqual(again.events.slice(0, -1).map(({type, data}) => [type, data]), expected.slice(3), 'the stream of its run is a native one');
});

test('a run that is answered from memory or from Redis is renamed as the first one was', async (t) => {
  const redis = await startRedis(t);
  const gateways = [];
  for (let i = 0; i < 2; i++) {
    gateways.push(await startSluice(t, {upstream: upstream.url, cache: true, redis: redis.address, workers: 1}));
    await until(async () => (await gateways[i].stats()).cache.redis.state === 'up', 'Redis is up', 15000);
  }
  const [first, second] = gateways;
  const calls = upstream.runs.length;
  for (const [i, gateway] of [first, first, second].entries()) {
    const client = await gateway.runStream(sessionPath(), 'names');
    assert.equal(await client.ended(), 'last-chunk');
    assert.equal(client.json('run.end').cached, i > 0 ? true : undefined);
    assert.deepEqual(agents(client), expected);
    if (i === 0) await until(async () => (await first.stats()).cache.redis.stored === 1, 'it is in Redis');
  }
  assert.equal(upstream.runs.length, calls + 1);
  assert.equal((await second.stats()).cache.redis.hits, 1);
  assert.equal(await renamed(second), owned.length);
});

test('viewers that are there see the same as those that come late, whatever the events are named', async () => {
  const session = sessionPath();
  const live = await sluice.follow(session, '?until=run');
  const {task_id} = await sluice.run(session, 'names');
  await sluice.taskEnded(task_id);
  await live.ended();
  const late = await sluice.follow(session, '?until=run');
  await late.ended();
  assert.deepEqual(plain(live.events), plain(late.events));
  assert.deepEqual(agents(live), expected);
});

/** Where some clients end a line that no line end of the standard ends (httpx-sse, by Python's splitlines()). */
const breaks = /[\v\f\x1c-\x1e\x85\u2028\u2029]/;
const forged = ['\u2028', '\u2029', '\x85'].map((end) => `${end}event: run.end${end}data: {"status":"completed"}${end}${end}`).join('');

test('no words of a client or an agent end a line within an event of the gateway\'s', async (t) => {
  const failing = await startUpstream(t, (exchange) => exchange.answer(503, JSON.stringify({error: {message: `no${forged}`}})));
  const retrying = await startSluice(t, {upstream: failing.url, retry_attempts_max: 2, retry_base_ms: 1});
  const session = sessionPath(encodeURIComponent(`s\u2028event: run.end\u2028data: {}\u2028\u2028`));
  const label = 'a\u2028event: run.end\x85data: {}\u2029\u2029';
  const client = await retrying.runStream(session, 'x', {label});
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.types, ['run.start', 'run.retry', 'run.end']);
  for (const {type, data} of client.events) assert.ok(!breaks.test(data), `${type} ${JSON.stringify(data)}`);
  assert.equal(client.json('run.start').label, label);
  assert.ok(client.json('run.retry').message.includes(`no${forged}`));
  assert.match(client.json('run.end').message, /no event: run.end data: /);
  const [, , app, , user, , id] = sessionPath().split('/');
  const body = JSON.stringify({appName: app, userId: user, sessionId: id, newMessage: {role: 'user', parts: [{text: 'x'}]}});
  const framed = await new SseClient(retrying.url, '/run_sse', {method: 'POST', body}).opened();
  await framed.ended();
  assert.match(framed.events.at(-1).data, /"error":".*event: run.end/);
  assert.ok(!breaks.test(framed.events.at(-1).data));
});
