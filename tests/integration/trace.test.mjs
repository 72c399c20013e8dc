// W3C Trace Context: a run's trace goes on to the upstream, and stands in the log lines about the run.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {answerAsAsked} from '../support/expect.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const scripts = new Map();
const upstream = await startUpstream({after}, answerAsAsked(scripts));
const sluice = await startSluice({after}, {upstream: upstream.url, retry_attempts_max: 3, retry_base_ms: 1, trace_trust: 'all', trace_begin: 'unsampled'});

const id = '4bf92f3577b34da6a3ce929d0e0e4736';
const parent = '00f067aa0ba902b7';

/** A finished run with these headers: {task_id, session, asked}, the latter the headers that came to the upstream with it. */
async function traced(headers, message = 'hello', gateway = sluice) {
  const before = upstream.runs.length;
  const session = sessionPath();
  const {task_id} = await gateway.run(session, message, undefined, {headers});
  await gateway.taskEnded(task_id);
  return {task_id, session, asked: upstream.runs.slice(before).map((exchange) => exchange.headers)};
}

const parts = (traceparent) => {
  const match = /^00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])$/.exec(traceparent);
  assert.ok(match, traceparent);
  return {trace: match[1], parent: match[2], flags: match[3]};
};

test('a trace is passed on with a new parent, and its state with it', async () => {
  const {asked: [headers]} = await traced({traceparent: `00-${id}-${parent}-01`, tracestate: 'rojo=00f067aa0ba902b7, congo=t61rcWkgMzE'});
  const sent = parts(headers.traceparent);
  assert.deepEqual([sent.trace, sent.flags], [id, '01']);
  assert.notEqual(sent.parent, parent);
  assert.equal(headers.tracestate, 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
});

test('a client cannot force sampling, unless it is trusted', async (t) => {
  const untrusting = await startSluice(t, {upstream: upstream.url});
  const headers = {traceparent: `00-${id}-${parent}-01`, tracestate: 'rojo=1'};
  const byDefault = (await traced(headers, 'hello', untrusting)).asked[0];
  assert.deepEqual([parts(byDefault.traceparent).trace, parts(byDefault.traceparent).flags], [id, '00']);
  assert.equal(byDefault.tracestate, 'rojo=1');
  const closed = await startSluice(t, {upstream: upstream.url, trace_trust: 'none', trace_begin: 'unsampled'});
  const fresh = (await traced(headers, 'hello', closed)).asked[0];
  assert.notEqual(parts(fresh.traceparent).trace, id);
  assert.equal(parts(fresh.traceparent).flags, '00');
  assert.equal(fresh.tracestate, undefined);
});

test('without a trace, or with one that is not valid, one is begun', async () => {
  const seen = new Set([id]);
  for (const traceparent of [null, `00-${id.toUpperCase()}-${parent}-01`, `ff-${id}-${parent}-01`, `00-${'0'.repeat(32)}-${parent}-01`, 'nonsense']) {
    const {asked: [headers]} = await traced({traceparent, tracestate: 'rojo=1'});
    const sent = parts(headers.traceparent);
    assert.ok(!seen.has(sent.trace), `${traceparent} begins a trace of its own`);
    assert.equal(sent.flags, '00');
    assert.equal(headers.tracestate, undefined, 'the state of no trace is not passed on');
    seen.add(sent.trace);
  }
});

test('a trace is left to the agent to begin, or begun with the flag, as trace_begin says', async (t) => {
  for (const [flags, expected] of [[{}, undefined], [{trace_begin: 'agent', trace_trust: 'none'}, undefined], [{trace_begin: 'sampled'}, '01']]) {
    const gateway = await startSluice(t, {upstream: upstream.url, ...flags});
    const traceparent = flags.trace_trust ? `00-${id}-${parent}-01` : null;
    const {task_id, asked: [headers]} = await traced({traceparent, tracestate: 'rojo=1'}, 'hello', gateway);
    const sent = headers.traceparent === undefined ? undefined : parts(headers.traceparent);
    assert.deepEqual([sent?.flags, headers.tracestate], [expected, undefined]);
    const shown = {task: (await gateway.task(task_id)).trace_id, log: (await gateway.logged({event: 'run_ended', task_id})).trace_id};
    assert.deepEqual(shown, {task: sent?.trace ?? null, log: sent?.trace ?? ''});
  }
});

test('a state that is not valid is left out, the trace is not', async () => {
  const {asked: [headers]} = await traced({traceparent: `00-${id}-${parent}-00`, tracestate: 'Rojo'});
  assert.equal(parts(headers.traceparent).trace, id);
  assert.equal(headers.tracestate, undefined);
});

test('several headers of one name count as one', async () => {
  const {asked: [two]} = await traced({traceparent: [`00-${id}-${parent}-01`, `00-${id}-${parent}-01`], tracestate: 'rojo=1'});
  assert.notEqual(parts(two.traceparent).trace, id, 'two parents are none');
  const {asked: [states]} = await traced({traceparent: `00-${id}-${parent}-01`, tracestate: ['rojo=1', '', 'congo=2,a=3']});
  assert.equal(states.tracestate, 'rojo=1,congo=2,a=3');
});

test('every attempt of a run is of the same trace', async () => {
  let failures = 2;
  scripts.set('retried', (exchange) => (failures-- > 0 ? exchange.answer(503, '{}') : exchange.stream('data: {"of":"retried","number":1}\n\n')));
  const {asked} = await traced({traceparent: `00-${id}-${parent}-01`}, 'retried');
  assert.equal(asked.length, 3);
  for (const headers of asked) assert.equal(parts(headers.traceparent).trace, id);
});

test('the log lines about a run name the task, the session and the trace', async () => {
  const {task_id, session} = await traced({traceparent: `00-${id}-${parent}-01`});
  await sluice.logged({event: 'run_ended', task_id});
  const [, app, user, name] = /^\/apps\/([^/]+)\/users\/([^/]+)\/sessions\/([^/]+)$/.exec(session);
  for (const event of ['run_accepted', 'run_ended']) {
    const line = sluice.logs.find((entry) => entry.event === event && entry.task_id === task_id);
    assert.deepEqual([line.session, line.trace_id], [`${app}/${user}/${name}`, id], event);
  }
  const held = await sluice.run(sessionPath(), 'hold', undefined, {headers: {traceparent: `00-${id}-${parent}-01`}});
  await sluice.delete(`/tasks/${held.task_id}`);
  await sluice.logged({event: 'run_cancelled', task_id: held.task_id, trace_id: id});
  const about = sluice.logs.filter((entry) => entry.task_id !== undefined);
  for (const entry of about) assert.ok(entry.session && /^[0-9a-f]{32}$/.test(entry.trace_id), JSON.stringify(entry));
});
