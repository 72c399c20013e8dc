// The user's message in run.start and in /tasks/{id}, for those who come later or watch from another device: however the
// run came about, and whoever answers it.
import assert from 'node:assert/strict';
import {writeFileSync} from 'node:fs';
import {after, test} from 'node:test';
import {answerAsAsked} from '../support/expect.mjs';
import {SseClient} from '../support/sse_client.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, answerAsAsked(new Map([['fails', (exchange) => exchange.answer(500, '{}')]])));
const sluice = await startSluice({after}, {upstream: upstream.url}); // `text` is the default

const starts = (client) => client.events.filter((event) => event.type === 'run.start').map((event) => JSON.parse(event.data));
const hard = 'Ünï 😀 "quoted" \\ \n\r\t \u0001 \u2028 </script>';

test('with `none` neither run.start nor the run shows what the user sent', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, run_start_input: 'none'});
  const client = await gateway.runStream(sessionPath(), 'secret');
  await client.ended();
  assert.ok(!client.bytes.toString().includes('"input'), client.bytes.toString());
  const task = await gateway.task(client.json('run.start').task_id);
  assert.deepEqual([task.input, task.input_truncated], [null, false]);
});

test('who comes later, resumes or reads the history has the message, byte for byte', async () => {
  const session = sessionPath();
  const own = await sluice.runStream(session, hard);
  await own.ended();
  const {task_id, input, ...rest} = own.json('run.start');
  assert.equal(input, hard);
  assert.ok(!('input_truncated' in rest));
  assert.equal((await sluice.task(task_id)).input, hard);
  const later = await sluice.follow(session, '?until=run');
  await later.ended();
  assert.deepEqual(starts(later), starts(own));
  await sluice.runStream(session, 'second').then((client) => client.ended());
  const resumed = await sluice.follow(session, '?until=run', {'Last-Event-ID': own.lastId});
  await resumed.ended();
  assert.deepEqual(starts(resumed).map((start) => start.input), ['second']);
  const {events} = (await sluice.get(`${session}/history`)).json;
  assert.deepEqual(events.filter((event) => event.type === 'run.start').map((event) => JSON.parse(event.data).input), [hard, 'second']);
  const replayed = await new SseClient(sluice.url, `/tasks/${task_id}/events`).opened();
  await replayed.ended();
  assert.deepEqual(starts(replayed), starts(own));
  assert.ok(!sluice.program.stderr.includes('Ünï'), 'it is not logged');
});

test('a run that waits, for its turn or for its time, shows it before and after it starts', async () => {
  const session = sessionPath();
  const follower = await sluice.follow(session);
  const first = await sluice.run(session, 'hold');
  const queued = await sluice.run(session, 'queued', {on_conflict: 'enqueue'});
  const delayed = await sluice.run(session, 'delayed', {delay_ms: 300, on_conflict: 'enqueue'});
  const unstarted = await sluice.run(session, 'unstarted', {delay_ms: 86400000});
  for (const [run, status, message] of [[first, 'running', 'hold'], [queued, 'pending', 'queued'], [delayed, 'pending', 'delayed'], [unstarted, 'pending', 'unstarted']]) {
    const task = await sluice.task(run.task_id);
    assert.deepEqual([task.status, task.input], [status, message]);
  }
  await sluice.delete(`/tasks/${first.task_id}`);
  await follower.event((event) => event.type === 'run.end' && JSON.parse(event.data).task_id === delayed.task_id);
  assert.deepEqual(starts(follower).map((start) => start.input), ['hold', 'queued', 'delayed']);
  await sluice.delete(`/tasks/${unstarted.task_id}`);
  assert.equal((await sluice.task(unstarted.task_id)).input, 'unstarted', 'of a run that never started, too');
});

test('a repeated Idempotency-Key shows the run that it started', async () => {
  const session = sessionPath();
  const headers = {'Idempotency-Key': 'key'};
  const first = await sluice.run(session, 'once', undefined, {headers});
  await sluice.taskEnded(first.task_id);
  const again = await sluice.runStream(session, 'once', undefined, {headers});
  await again.ended();
  assert.deepEqual(starts(again).map(({task_id, input}) => ({task_id, input})), [{task_id: first.task_id, input: 'once'}]);
});

test('a run that is answered by the cache, or by the call of another run, shows its own', async (t) => {
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  const counting = await startUpstream(t, async (exchange) => {
    await held;
    await exchange.stream(adkFrame('answer'));
  });
  const gateway = await startSluice(t, {upstream: counting.url, cache: true, run_start_input: 'body'});
  const bodies = [{message: 'same'}, {query: 'same'}];
  const clients = await Promise.all(bodies.map((body) => gateway.runStream(sessionPath(), body)));
  for (const client of clients) await client.event('run.start');
  release();
  for (const client of clients) await client.ended();
  clients.push(await gateway.runStream(sessionPath(), {message: 'same'}, {label: 'later'}));
  await clients[2].ended();
  assert.equal(counting.runs.length, 1);
  assert.equal(clients[2].json('run.start').cached, true);
  const expected = [...bodies, {message: 'same', gateway: {label: 'later'}}].map((body) => JSON.stringify(body));
  assert.deepEqual(clients.map((client) => client.json('run.start').input), expected);
  for (const [i, client] of clients.entries()) assert.equal((await gateway.task(client.json('run.start').task_id)).input, expected[i]);
});

test('a run that fails, or that another one replaces, shows it', async () => {
  const session = sessionPath();
  const failed = await sluice.runStream(session, 'fails');
  await failed.ended();
  assert.deepEqual([failed.json('run.start').input, failed.json('run.end').status], ['fails', 'failed']);
  const first = await sluice.run(session, 'hold');
  await sluice.run(session, 'second');
  const task = await sluice.taskEnded(first.task_id);
  assert.deepEqual([task.status, task.input], ['replaced', 'hold']);
});

test("POST /run_sse shows it to the session's viewers, its own stream has ADK's events alone", async () => {
  const session = sessionPath('own');
  const follower = await sluice.follow(session);
  const body = {appName: 'demo', userId: 'u1', sessionId: 'own', newMessage: {role: 'user', parts: [{text: 'in parts'}, {text: 'two'}]}};
  const client = await new SseClient(sluice.url, '/run_sse', {method: 'POST', body: JSON.stringify(body), headers: {Accept: 'text/event-stream'}}).opened();
  await client.ended();
  assert.ok(!client.types.includes('run.start'));
  await follower.event('run.end');
  assert.deepEqual(starts(follower).map((start) => start.input), ['in parts\ntwo']);
});

test('a longer message is cut where a character ends, and marked; a reload changes what later runs show', async (t) => {
  const path = temporaryFile(t, 'sluice.yaml', 'run_start_input: text\nrun_start_input_bytes_max: 20\n');
  const gateway = await startSluice(t, {upstream: upstream.url, config: path});
  const startOf = async (message) => {
    const client = await gateway.runStream(sessionPath(), message);
    await client.ended();
    const start = client.json('run.start');
    const task = await gateway.task(start.task_id);
    assert.deepEqual([task.input, task.input_truncated], [start.input ?? null, start.input_truncated ?? false]);
    return start;
  };
  for (const [message, input, truncated] of [['x'.repeat(20), 'x'.repeat(20)], ['x'.repeat(21), 'x'.repeat(20), true], [`${'x'.repeat(17)}😀`, 'x'.repeat(17), true], [`${'x'.repeat(16)}😀`, `${'x'.repeat(16)}😀`]]) {
    const start = await startOf(message);
    assert.deepEqual([start.input, start.input_truncated], [input, truncated]);
  }
  writeFileSync(path, 'run_start_input: body\nrun_start_input_bytes_max: 1MiB\n');
  gateway.program.signal('SIGHUP');
  await gateway.logged({event: 'reloaded'});
  const long = '\u0001'.repeat(100000);
  assert.equal((await startOf(long)).input, JSON.stringify({message: long}));
  assert.equal((await gateway.stats()).limits.run_start_input_bytes_max, 1 << 20);
});

test('a fallback of another kind does not change it', async (t) => {
  const openai = await startUpstream(t, (exchange) => exchange.stream('data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n', 'data: [DONE]\n\n'));
  const config = temporaryFile(t, 'sluice.yaml', `upstreams:\n  - name: a\n    upstream: ${upstream.url}\n    upstream_fallback: b\n  - name: b\n    upstream: ${openai.url}\n    upstream_kind: openai\n    upstream_weight: 0\n`);
  const gateway = await startSluice(t, {config, run_start_input: 'text'});
  const client = await gateway.runStream(sessionPath(), 'fails');
  await client.ended();
  assert.deepEqual([client.json('run.start').input, client.json('run.end').status, openai.runs.length], ['fails', 'completed', 1]);
});
