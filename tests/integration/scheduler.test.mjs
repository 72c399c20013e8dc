// Which runs run now, which wait and in what order, which are for later; limits, budgets, and cancelling many.
import assert from 'node:assert/strict';
import {writeFileSync} from 'node:fs';
import {test} from 'node:test';
import {answerAsAsked, asked, assertError, checkRuns} from '../support/expect.mjs';
import {pause, until} from '../support/limits.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

const start = async (t, flags, script = answerAsAsked(new Map())) => {
  const upstream = await startUpstream(t, script);
  return {upstream, sluice: await startSluice(t, {upstream: upstream.url, ...flags})};
};

const statusOf = async (sluice, {task_id}) => (await sluice.task(task_id)).status;

test('a run above runs_max waits, is shown as pending, and starts when another has ended', async (t) => {
  const {sluice, upstream} = await start(t, {runs_max: 1});
  const first = await sluice.run(sessionPath(), 'hold');
  const session = sessionPath();
  const second = await sluice.run(session, 'count=2');
  assert.equal(second.status, 'pending');
  const client = await sluice.follow(session, '?until=run');
  assert.deepEqual([(await sluice.stats()).runs, (await sluice.stats()).runs_queued], [1, 1]);
  assert.equal((await sluice.get(`${session}/task-status`)).json.status, 'pending');
  await sluice.delete(`/tasks/${first.task_id}`);
  assert.equal(await client.ended(), 'last-chunk');
  checkRuns(client.events);
  assert.deepEqual(client.types, ['run.start', 'message', 'message', 'run.end']);
  const task = await sluice.task(second.task_id);
  assert.equal(task.status, 'completed');
  assert.ok(task.queue_wait_ms > 0 && task.execution_delay_ms >= task.queue_wait_ms, JSON.stringify(task));
  assert.equal(upstream.runs.length, 2);
});

test('of those that wait the higher priority comes first, and the older among equals', async (t) => {
  const {sluice, upstream} = await start(t, {runs_max: 1, queue_aging_ms: 3600000});
  const first = await sluice.run(sessionPath(), 'hold');
  const waiting = [];
  for (const [text, priority] of [['low', 1], ['usual', undefined], ['high', 10], ['high too', 10], ['usual too', 5]])
    waiting.push(await sluice.run(sessionPath(), text, priority && {priority}));
  await sluice.delete(`/tasks/${first.task_id}`);
  for (const run of waiting) assert.equal((await sluice.taskEnded(run.task_id)).status, 'completed');
  assert.deepEqual(upstream.runs.map(asked), ['hold', 'high', 'high too', 'usual', 'usual too', 'low']);
});

test('apps and users have limits of their own, and do not stand in the way of others', async (t) => {
  const {sluice} = await start(t, {runs_per_app_max: 2, runs_per_user_max: 1});
  const run = (app, user) => sluice.run(sessionPath(undefined, {app, user}), 'hold');
  const runs = [await run('a', 'u'), await run('a', 'u'), await run('a', 'v'), await run('a', 'w'), await run('b', 'u')];
  assert.deepEqual(await Promise.all(runs.map((each) => statusOf(sluice, each))), ['running', 'pending', 'running', 'pending', 'running']);
  await sluice.delete(`/tasks/${runs[2].task_id}`);
  await until(async () => await statusOf(sluice, runs[3]) === 'running', 'the third user of the app');
  assert.equal(await statusOf(sluice, runs[1]), 'pending', 'its user is still at the limit');
});

test('a full queue is 429 with a Retry-After that follows from how long runs take', async (t) => {
  const {sluice} = await start(t, {runs_max: 1, runs_queued_max: 1});
  const quick = await sluice.run(sessionPath(), 'count=3 delay=600');
  await sluice.taskEnded(quick.task_id); // some two seconds in its slot
  await sluice.run(sessionPath(), 'hold');
  await sluice.run(sessionPath(), 'waits');
  const refused = await sluice.post(`${sessionPath()}/run`, {message: 'one more'});
  assertError(refused, 429, /^too_many_runs$/);
  const seconds = Number(refused.headers['retry-after']);
  assert.ok(seconds >= 2 && seconds <= 10, `Retry-After: ${seconds}`);
  const stats = await sluice.stats();
  assert.equal(stats.runs_queued, 1);
});

test('a run that waits for longer than queue_timeout_ms ends as timeout, in-band', async (t) => {
  const {sluice, upstream} = await start(t, {runs_max: 1, queue_timeout_ms: 200});
  await sluice.run(sessionPath(), 'hold');
  const client = await sluice.runStream(sessionPath(), 'never');
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.types, ['run.end']);
  assert.deepEqual([client.json('run.end').status, client.json('run.end').reason], ['timeout', 'queue_time']);
  assert.equal(upstream.runs.length, 1);
  assert.equal((await sluice.logged({event: 'run_ended', reason: 'queue_time'})).status, 'timeout');
});

test('a run for later waits for its time and then replaces what runs', async (t) => {
  const {sluice} = await start(t, {});
  const session = sessionPath();
  const first = await sluice.run(session, 'hold');
  const from = Date.now();
  const later = await sluice.run(session, 'count=1', {delay_ms: 300});
  assert.equal(later.status, 'pending');
  assert.equal(await statusOf(sluice, first), 'running', 'nothing is replaced before');
  const task = await sluice.taskEnded(later.task_id);
  assert.ok(Date.now() - from >= 295, 'it waited');
  assert.equal(task.status, 'completed');
  assert.ok(task.execution_delay_ms < 250, `counted from its time on: ${task.execution_delay_ms}`);
  assert.equal(await statusOf(sluice, first), 'replaced');
});

test('a run for later can be cancelled, and one that wants no conflict gives way', async (t) => {
  const {sluice, upstream} = await start(t, {});
  const session = sessionPath();
  const cancelled = await sluice.run(session, 'a', {delay_ms: 60000});
  assert.equal((await sluice.delete(`/tasks/${cancelled.task_id}`)).json.status, 'cancelled');
  await sluice.run(session, 'hold');
  const rejected = await sluice.run(session, 'b', {delay_ms: 50, on_conflict: 'reject'});
  const task = await sluice.taskEnded(rejected.task_id);
  assert.deepEqual([task.status, task.reason], ['cancelled', 'conflict']);
  assert.equal(upstream.runs.length, 1);
});

test('DELETE /tasks cancels all that fit the filter, and none that waits is started by it', async (t) => {
  const {sluice, upstream} = await start(t, {runs_max: 3});
  const run = (app, gateway) => sluice.run(sessionPath(undefined, {app}), 'hold', gateway);
  const ofA = [await run('a'), await run('a'), await run('b')];
  const waiting = [await run('a'), await run('a'), await run('b'), await run('a', {delay_ms: 60000})];
  await upstream.run(2);
  assertError(await sluice.delete('/tasks?app=a%2Fb'), 400);
  assert.deepEqual((await sluice.delete('/tasks?app=nobody')).json, {success: true, cancelled: 0});
  const answer = await sluice.delete('/tasks?app=a');
  assert.deepEqual([answer.status, answer.json], [200, {success: true, cancelled: 5}]);
  for (const each of [ofA[0], ofA[1], waiting[0], waiting[1], waiting[3]]) {
    const task = await sluice.task(each.task_id);
    assert.deepEqual([task.status, task.reason], ['cancelled', 'requested']);
  }
  assert.equal(await statusOf(sluice, ofA[2]), 'running');
  await until(async () => await statusOf(sluice, waiting[2]) === 'running', 'the slot that became free');
  assertError(await sluice.delete('/tasks'), 400, /^filter_required$/);
  for (const query of ['all=false', 'all=', 'all', 'all=true&all=true']) assertError(await sluice.delete(`/tasks?${query}`), 400, /^invalid_query$/);
  assert.equal((await sluice.delete('/tasks?all=true')).json.cancelled, 2);
  assert.equal(upstream.runs.map((exchange) => exchange.json.appName).filter((app) => app === 'a').length, 2);
  const stats = await sluice.stats();
  assert.deepEqual([stats.runs, stats.runs_queued], [0, 0]);
  assert.deepEqual(stats.runs_ended, {completed: 0, failed: 0, cancelled: 7, replaced: 0, timeout: 0});
});

test('DELETE /tasks takes those that fit when it comes, not those that follow, and no filter that it does not know', async (t) => {
  const {sluice} = await start(t, {runs_max: 1});
  const session = sessionPath();
  await sluice.run(session, 'hold');
  const next = await sluice.run(session, 'hold', {on_conflict: 'enqueue'});
  const other = await sluice.run(sessionPath(), 'hold');
  for (const query of ['limit=1', 'sesion=x', 'status=running&x=', 'x', 'user', 'status&app', 'session=', 'user=u1&user=u2', 'user=u1&us%65r=u2'])
    assertError(await sluice.delete(`/tasks?${query}`), 400, /^invalid_query$/);
  assert.deepEqual((await sluice.delete('/tasks?status=running')).json, {success: true, cancelled: 1});
  const statuses = await Promise.all([next, other].map((each) => statusOf(sluice, each)));
  assert.deepEqual(statuses.sort(), ['pending', 'running']);
});

test('a repeat of an idempotent request is answered by its run though no upstream takes runs now', async (t) => {
  const {sluice} = await start(t, {breaker_failure_percent: 50, breaker_calls_min: 1, breaker_recovery_ms: 60000}, (exchange) => exchange.answer(500, '{}'));
  const session = sessionPath();
  const post = (message) => sluice.post(`${session}/run`, {message}, {headers: {'Idempotency-Key': 'key'}});
  const {task_id} = (await post('a')).json;
  await sluice.taskEnded(task_id);
  const repeated = await post('a');
  assert.deepEqual([repeated.status, repeated.json.task_id], [200, task_id]);
  assertError(await post('b'), 409);
  assertError(await sluice.post(`${session}/run`, {message: 'a'}), 503, /^circuit_open$/);
});

test('a reload of queue_timeout_ms reaches runs that wait already', async (t) => {
  const upstream = await startUpstream(t, answerAsAsked(new Map()));
  const path = temporaryFile(t, 'sluice.yaml', 'queue_timeout_ms: 0\n');
  const sluice = await startSluice(t, {upstream: upstream.url, runs_max: 1, config: path});
  await sluice.run(sessionPath(), 'hold');
  const waiting = await sluice.run(sessionPath(), 'waits');
  writeFileSync(path, 'queue_timeout_ms: 100\n');
  sluice.program.signal('SIGHUP');
  assert.equal((await sluice.taskEnded(waiting.task_id)).reason, 'queue_time');
});

test('a run that reaches its budget of events or bytes fails as limit, told in-band', async (t) => {
  const {sluice, upstream} = await start(t, {run_events_max: 3, run_bytes_max: 4096}, async (exchange) => {
    await exchange.head();
    const type = asked(exchange) === 'typed' ? `event: ${'t'.repeat(1024)}\n` : '';
    const size = {large: 1500, typed: 700}[asked(exchange)] ?? 1;
    for (let i = 0; i < 20 && exchange.open; i++) await exchange.chunk(type + adkFrame('x'.repeat(size)));
    await exchange.gone;
  });
  for (const [text, whole] of [['many', 3], ['large', 2], ['typed', 2]]) {
    const client = await sluice.runStream(sessionPath(), text);
    assert.equal(await client.ended(), 'last-chunk');
    assert.equal(client.events.filter(({type}) => !type.startsWith('run.')).length, whole);
    const end = client.json('run.end');
    assert.deepEqual([end.status, end.reason, end.events], ['failed', 'limit', whole]);
    assert.match(end.message, text === 'many' ? /limit of events/ : /limit of bytes/);
  }
  await until(() => upstream.open === 0, 'the gateway has left the upstream');
});

test('a run that has used up its tokens ends with the event that says so', async (t) => {
  const usage = (total) => ({usageMetadata: {totalTokenCount: total}});
  const {sluice} = await start(t, {run_tokens_max: 100}, async (exchange) => {
    await exchange.head();
    await exchange.chunk(adkFrame('a', {...usage(60), invocationId: '1'}));
    await exchange.chunk(adkFrame('b', {...usage(150), invocationId: '2'}));
    await exchange.chunk(adkFrame('never', usage(160)));
    await exchange.gone;
  });
  const client = await sluice.runStream(sessionPath(), 'hello');
  assert.equal(await client.ended(), 'last-chunk');
  assert.equal(client.data.length, 2);
  assert.deepEqual([client.json('run.end').status, client.json('run.end').reason], ['failed', 'limit']);
  assert.ok((await sluice.task(client.json('run.end').task_id)).tokens > 100);
});

test('SIGTERM cancels what waits at once and lets what runs finish', async (t) => {
  const {sluice} = await start(t, {runs_max: 1, drain_ms: 20000});
  const running = await sluice.runStream(sessionPath(), 'count=4 delay=150');
  await running.messages(1);
  const waiting = await sluice.runStream(sessionPath(), 'waits');
  const later = await sluice.follow(sessionPath(), '?until=run');
  const from = Date.now();
  const stopped = sluice.stop();
  await waiting.event('run.end');
  assert.deepEqual([waiting.json('run.end').status, waiting.json('run.end').reason], ['cancelled', 'shutdown']);
  await running.event('run.end');
  assert.equal(running.json('run.end').status, 'completed');
  await later.ended();
  await stopped;
  assert.ok(Date.now() - from < 10000, 'as soon as the last run has ended');
});
