// What stands between a run and an upstream that fails: retries, resumption, the breaker, the limiter, fallbacks.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {answerMarked, assertError} from '../support/expect.mjs';
import {pause, until} from '../support/limits.mjs';
import {adkData, refusingAddress, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

/** A script that answers the first requests by these statuses, and then by a clean stream. */
const failing = (...failures) => async (exchange) => {
  const failure = failures[exchange.number];
  if (failure === undefined) return answerMarked(2)(exchange);
  if (typeof failure === 'function') return failure(exchange);
  return exchange.answer(failure, '{"detail":"not now"}');
};

/** A gateway with this list of upstreams in its file. */
function withUpstreams(t, list, flags = {}) {
  const lines = list.map((item) => Object.entries(item)
    .map(([key, value], i) => `${i ? '    ' : '  - '}${key}: ${JSON.stringify(value)}\n`).join(''));
  return startSluice(t, {config: temporaryFile(t, 'sluice.yaml', `upstreams:\n${lines.join('')}`), ...flags});
}

const retries = {retry_attempts_max: 4, retry_base_ms: 20, retry_max_ms: 100};

test('failures that may pass are tried again before the first event, and told', async (t) => {
  const upstream = await startUpstream(t, failing(503, 502, 429));
  const sluice = await startSluice(t, {upstream: upstream.url, ...retries});
  const client = await sluice.runStream(sessionPath());
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.types, ['run.start', 'run.retry', 'run.retry', 'run.retry', 'message', 'message', 'run.end']);
  assert.equal(client.json('run.end').status, 'completed');
  const told = client.events.filter((event) => event.type === 'run.retry').map((event) => JSON.parse(event.data));
  assert.deepEqual(told.map(({attempt, reason}) => [attempt, reason]), [[2, 'upstream_status'], [3, 'upstream_status'], [4, 'upstream_status']]);
  assert.match(told[0].message, /503.*not now/);
  for (const {task_id, delay_ms, fallback} of told) {
    assert.equal(task_id, client.json('run.start').task_id);
    assert.ok(delay_ms >= 0 && delay_ms <= 100);
    assert.equal(fallback, false);
  }
  assert.equal((await sluice.task(told[0].task_id)).retries, 3);
  assert.equal((await sluice.logged({event: 'run_retried', attempt: 2})).task_id, told[0].task_id);
});

test('attempts are bounded, and the run ends by the last failure', async (t) => {
  const upstream = await startUpstream(t, failing(503, 503, 503, 503, 503));
  const sluice = await startSluice(t, {upstream: upstream.url, ...retries});
  const client = await sluice.runStream(sessionPath());
  await client.ended();
  assert.deepEqual([client.json('run.end').status, client.json('run.end').reason], ['failed', 'upstream_status']);
  assert.equal(upstream.runs.length, 4);
});

test('what will not pass, or has brought an event, is not tried again', async (t) => {
  const cut = async (exchange) => {
    await exchange.head();
    await exchange.chunk(`data: ${adkData('half')}\n\n`);
    exchange.reset();
  };
  const upstream = await startUpstream(t, failing(400, cut));
  const sluice = await startSluice(t, {upstream: upstream.url, ...retries});
  for (const reason of ['upstream_status', 'upstream_truncated']) {
    const {task_id} = await sluice.run(sessionPath());
    assert.equal((await sluice.taskEnded(task_id)).reason, reason);
  }
  assert.equal(upstream.runs.length, 2);
});

test('a Retry-After is obeyed', async (t) => {
  const upstream = await startUpstream(t, failing(async (exchange) => {
    await exchange.send('HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n');
  }));
  const sluice = await startSluice(t, {upstream: upstream.url, ...retries});
  const from = Date.now();
  const {task_id} = await sluice.run(sessionPath());
  assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
  assert.ok(Date.now() - from >= 990, 'not before a second');
});

test('a run can be cancelled while it waits to be tried again', async (t) => {
  const upstream = await startUpstream(t, failing(503));
  const sluice = await startSluice(t, {upstream: upstream.url, retry_attempts_max: 5, retry_base_ms: 60000, retry_max_ms: 60000, retry_total_ms: 600000});
  const session = sessionPath();
  const client = await sluice.runStream(session);
  await client.event('run.retry');
  await sluice.delete(`${session}/run`);
  assert.equal(await client.ended(), 'last-chunk');
  assert.equal(client.json('run.end').status, 'cancelled');
  await pause(50);
  assert.equal(upstream.runs.length, 1);
});

test('a resumable stream that breaks off goes on behind its last event, none lost and none doubled', async (t) => {
  const count = 10;
  const upstream = await startUpstream(t, async (exchange) => {
    const from = Number(exchange.headers['last-event-id'] ?? 0);
    await exchange.head();
    for (let id = from + 1; id <= count; id++) {
      await exchange.chunk(`id: ${id}\ndata: event ${id}\n\n`);
      if (id % 3 === 0) {
        await exchange.chunk(`id: ${id + 1}\ndata: half of ev`);
        return exchange.close(); // a reset could take along what the gateway has not read yet
      }
    }
    await exchange.lastChunk();
  });
  const sluice = await startSluice(t, {upstream: upstream.url, upstream_kind: 'sse', upstream_resumable: true, ...retries});
  const client = await sluice.runStream(sessionPath());
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.data, Array.from({length: count}, (_, i) => `event ${i + 1}`));
  assert.equal(client.json('run.end').status, 'completed');
  assert.deepEqual(upstream.runs.map((exchange) => exchange.headers['last-event-id']), [undefined, '3', '6', '9']);
  assert.ok(client.events.filter((event) => event.type === 'run.retry').every((event) => JSON.parse(event.data).resumption));
});

test('a breaker opens, refuses at once with 503, probes, and closes', async (t) => {
  let broken = true;
  const upstream = await startUpstream(t, (exchange) => (broken ? exchange.answer(500, '{}') : answerMarked(1)(exchange)));
  const sluice = await startSluice(t, {upstream: upstream.url, breaker_failure_percent: 50, breaker_calls_min: 4, breaker_recovery_ms: 400, breaker_recovery_max_ms: 1000});
  for (let i = 0; i < 4; i++) await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
  const refused = await sluice.post(`${sessionPath()}/run`, {message: 'a'});
  assertError(refused, 503, /^circuit_open$/);
  assert.equal((await sluice.logged({event: 'run_refused', status: 503})).level, 'info');
  assert.equal((await sluice.stats()).upstreams[0].breaker.refused, 1);
  const opened = await sluice.logged({level: 'warn', event: 'breaker_opened'});
  assert.deepEqual([opened.calls, opened.failures], [4, 4]);
  assert.equal(opened.upstream, (await sluice.stats()).upstreams[0].name);
  assert.ok(Number(refused.headers['retry-after']) >= 1);
  assert.equal(upstream.runs.length, 4, 'the upstream is left alone');
  assert.equal((await sluice.get('/health')).json.status, 'critical');
  broken = false;
  await until(async () => (await sluice.post(`${sessionPath()}/run`, {message: 'a'})).status === 200, 'the recovery time is over');
  await until(async () => (await sluice.get('/health')).json.status === 'healthy', 'the probe has closed it');
  await sluice.logged({level: 'info', event: 'breaker_closed', upstream: opened.upstream});
});

test('an upstream that fails is replaced by its chain of fallbacks, the last of which is a canned answer', async (t) => {
  const nowhere = await refusingAddress();
  const good = await startUpstream(t, answerMarked(2));
  const sluice = await withUpstreams(t, [
    {name: 'first', upstream: nowhere, upstream_apps: 'shop*', upstream_fallback: 'second'},
    {name: 'second', upstream: good.url, upstream_weight: 0},
    {name: 'canned', upstream: nowhere, upstream_apps: 'desk', upstream_canned_answer: 'We are away. "Later", please.'},
  ]);
  const client = await sluice.runStream(sessionPath(undefined, {app: 'shop-1'}));
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.types, ['run.start', 'run.retry', 'message', 'message', 'run.end']);
  const retry = client.json('run.retry');
  assert.deepEqual([retry.upstream, retry.fallback, retry.reason, retry.canned], ['second', true, 'upstream_connect', false]);
  const task = await sluice.task(retry.task_id);
  assert.deepEqual([task.status, task.upstream, task.canned], ['completed', 'second', false]);

  const away = await sluice.runStream(sessionPath(undefined, {app: 'desk'}));
  assert.equal(await away.ended(), 'last-chunk');
  assert.equal(away.json('run.end').status, 'completed');
  assert.equal(away.json('run.end').canned, true);
  assert.equal(JSON.parse(away.data[0]).content.parts[0].text, 'We are away. "Later", please.');
  const {json} = await sluice.get(`/tasks/${away.json('run.end').task_id}/result`);
  assert.equal(json.text, 'We are away. "Later", please.');

  assertError(await sluice.post(`${sessionPath(undefined, {app: 'other'})}/run`, {message: 'a'}), 404, /^unknown_app$/);
});

test('when all circuits are open the canned answer is marked in run.start already', async (t) => {
  const upstream = await startUpstream(t, (exchange) => exchange.answer(500, '{}'));
  const sluice = await withUpstreams(t, [{name: 'only', upstream: upstream.url, upstream_canned_answer: 'away',
    breaker_failure_percent: 50, breaker_calls_min: 2, breaker_recovery_ms: 60000}]);
  for (let i = 0; i < 2; i++) await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
  const client = await sluice.runStream(sessionPath());
  await client.ended();
  assert.equal(client.json('run.start').canned, true);
  assert.equal(upstream.runs.length, 2);
});

test('a canned answer behind a fallback of another kind is told and read in the way of the first one', async (t) => {
  const nowhere = await refusingAddress();
  const sluice = await withUpstreams(t, [
    {name: 'first', upstream: nowhere, upstream_fallback: 'second', upstream_canned_answer: 'away'},
    {name: 'second', upstream: nowhere, upstream_kind: 'openai', upstream_model: 'm', upstream_weight: 0},
  ]);
  const {task_id} = await sluice.run(sessionPath());
  await sluice.taskEnded(task_id);
  const {json} = await sluice.get(`/tasks/${task_id}/result`);
  assert.equal(json.text, 'away');
});

test('what is in the cache is answered though no upstream takes runs', async (t) => {
  let broken = false;
  const upstream = await startUpstream(t, (exchange) => (broken ? exchange.answer(500, '{}') : exchange.stream('data: {"a":1}\n\n')));
  const sluice = await startSluice(t, {upstream: upstream.url, cache: true, breaker_failure_percent: 50, breaker_calls_min: 1, breaker_recovery_ms: 60000});
  await sluice.taskEnded((await sluice.run(sessionPath(), 'known')).task_id);
  broken = true;
  for (const text of ['new', 'newer']) await sluice.post(`${sessionPath()}/run`, {message: text});
  await until(async () => (await sluice.post(`${sessionPath()}/run`, {message: 'newest'})).status === 503, 'the breaker is open');
  const task = await sluice.taskEnded((await sluice.run(sessionPath(), 'known')).task_id);
  assert.deepEqual([task.status, task.cached], ['completed', true]);
});

test('a run for later is not called canned by how things stood when it was accepted', async (t) => {
  let broken = true;
  const upstream = await startUpstream(t, (exchange) => (broken ? exchange.answer(500, '{}') : answerMarked(1)(exchange)));
  const sluice = await withUpstreams(t, [{name: 'only', upstream: upstream.url, upstream_canned_answer: 'away',
    breaker_failure_percent: 50, breaker_calls_min: 1, breaker_recovery_ms: 300}]);
  await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
  broken = false;
  const client = await sluice.runStream(sessionPath(), 'hello', {delay_ms: 600});
  await client.ended();
  assert.equal(client.json('run.start').canned, undefined);
  assert.equal(client.json('run.end').canned, undefined);
  assert.match(client.data[0], /hello/);
});

test('sessions are spread by weight and stay where they are; an upstream that is unhealthy gets none', async (t) => {
  let healthy = true;
  const script = (exchange) => (exchange.path === '/up' ? exchange.answer(healthy ? 200 : 500, '{}') : answerMarked(1)(exchange));
  const a = await startUpstream(t, script);
  const b = await startUpstream(t, answerMarked(1));
  const sluice = await withUpstreams(t, [
    {name: 'a', upstream: a.url, upstream_health_path: '/up', upstream_health_interval_ms: 100},
    {name: 'b', upstream: b.url, upstream_weight: 3},
  ]);
  const sessions = Array.from({length: 40}, () => sessionPath());
  const served = async () => Promise.all(sessions.map(async (session) => {
    const task = await sluice.taskEnded((await sluice.run(session)).task_id);
    assert.equal(task.status, 'completed');
    return task.upstream;
  }));
  const first = await served();
  assert.ok(first.includes('a') && first.includes('b'), first.join());
  assert.ok(first.filter((name) => name === 'b').length > first.filter((name) => name === 'a').length, first.join());
  assert.deepEqual(await served(), first, 'each stays with its upstream');
  healthy = false;
  await until(async () => (await sluice.get('/health')).json.status !== 'healthy', 'the check has failed');
  await sluice.logged({level: 'warn', event: 'upstream_unhealthy', upstream: 'a', status: 500});
  assert.deepEqual(new Set(await served()), new Set(['b']));
  healthy = true;
  await sluice.logged({level: 'info', event: 'upstream_healthy', upstream: 'a'});
});

test('the limiter holds runs back and lets them through as slots become free', async (t) => {
  let most = 0;
  let open = 0;
  const upstream = await startUpstream(t, async (exchange) => {
    most = Math.max(most, ++open);
    await exchange.head();
    await pause(30);
    open--;
    await exchange.chunk('data: {}\n\n');
    await exchange.lastChunk();
  });
  const sluice = await startSluice(t, {upstream: upstream.url, limiter_concurrency_max: 2, limiter_waiting_max: 6});
  const runs = await Promise.all(Array.from({length: 8}, () => sluice.run(sessionPath())));
  for (const {task_id} of runs) assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
  assert.equal(most, 2);
});

test('runs above what may wait for the limiter fail as upstream_limited; one that is cancelled gives its place back', async (t) => {
  const upstream = await startUpstream(t, async (exchange) => {
    await exchange.head();
    await exchange.gone;
  });
  const sluice = await startSluice(t, {upstream: upstream.url, limiter_concurrency_max: 1, limiter_waiting_max: 1});
  const waiting = (count) => until(async () => (await sluice.stats()).upstreams[0].limiter.waiting === count, `${count} wait for the limiter`);
  const first = await sluice.run(sessionPath());
  await upstream.run(0);
  const second = await sluice.run(sessionPath());
  await waiting(1);
  const third = await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
  assert.deepEqual([third.status, third.reason], ['failed', 'upstream_limited']);
  await sluice.delete(`/tasks/${second.task_id}`);
  await waiting(0);
  const fourth = await sluice.run(sessionPath());
  await waiting(1);
  await sluice.delete(`/tasks/${first.task_id}`);
  await upstream.run(1);
  assert.equal((await sluice.task(fourth.task_id)).status, 'running');
});

test('an upstream that asks for a long pause is left alone, and nobody waits for it', async (t) => {
  const upstream = await startUpstream(t, async (exchange) => {
    await exchange.send('HTTP/1.1 429 Too Many Requests\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n');
  });
  const sluice = await startSluice(t, {upstream: upstream.url, limiter_concurrency_max: 2});
  const {task_id} = await sluice.run(sessionPath());
  assert.equal((await sluice.taskEnded(task_id)).reason, 'upstream_status');
  const refused = await sluice.post(`${sessionPath()}/run`, {message: 'a'});
  assertError(refused, 503, /^upstream_paused$/);
  assert.ok(Number(refused.headers['retry-after']) > 590);
  assert.equal(upstream.runs.length, 1);
  const health = (await sluice.get('/health')).json;
  assert.deepEqual([health.status, health.reasons.map(({code}) => code).sort()], ['critical', ['no_upstream', 'upstream_paused']]);
});

test('the trace of a request goes on at the upstream and stands in the log; without one a trace is the agent\'s to begin', async (t) => {
  const upstream = await startUpstream(t, answerMarked(1));
  const sluice = await startSluice(t, {upstream: upstream.url});
  const trace = '0af7651916cd43dd8448eb211c80319c';
  const {task_id} = await sluice.run(sessionPath(), 'a', undefined, {headers: {traceparent: `00-${trace}-b7ad6b7169203331-01`, tracestate: 'vendor=1'}});
  const task = await sluice.taskEnded(task_id);
  assert.equal(task.trace_id, trace);
  const {traceparent, tracestate} = upstream.runs[0].headers;
  assert.match(traceparent, new RegExp(`^00-${trace}-[0-9a-f]{16}-00$`), 'the trace goes on, but no client makes it be recorded');
  assert.doesNotMatch(traceparent, /b7ad6b7169203331/);
  assert.equal(tracestate, 'vendor=1');
  for (const event of ['run_accepted', 'run_ended']) assert.equal((await sluice.logged({event, task_id})).trace_id, trace);
  await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
  assert.equal(upstream.runs[1].headers.traceparent, undefined);
});
