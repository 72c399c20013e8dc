// The real development server of LangGraph: a run that breaks off goes on by GET, is started once, and loses and doubles nothing.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {startLangGraph} from '../support/agents.mjs';
import {startCuttingProxy} from '../support/cutting_proxy.mjs';
import {stretched, until} from '../support/limits.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

const threads = 4;
let cutOf = () => undefined; // the cut of a request {method, path, lastId}
let asked = 0; // connections before this test
const agent = await startLangGraph({after});
const proxy = await startCuttingProxy({after}, agent.url, (request) => cutOf(request));
const threadIds = [];
for (let i = 0; i < threads; i++) threadIds.push((await agent.request('POST', '/threads', {body: {}})).json.thread_id);

// An app for each thread, and one for runs without a thread. Each request has a connection of its own, for a cut of its own.
const paths = [...threadIds.map((id) => `/threads/${id}/runs/stream`), '/runs/stream'];
const items = paths.map((path, i) => `  - name: t${i}\n    upstream: ${proxy.url}${path}\n    upstream_apps: t${i}\n`);
const gateway = await startSluice({after}, {upstream_kind: 'sse', upstream_resumable: true, upstream_resume: 'location', upstream_keepalive_ms: 0, retry_base_ms: 5, retry_attempts_max: 5,
  config: temporaryFile({after}, 'sluice.yaml', `upstreams:\n${items.join('')}`)});

const input = (count, more = {}) => ({assistant_id: 'counting', input: {count, pause_ms: 12, fail: false, ...more}, stream_mode: ['custom', 'updates'], stream_resumable: true, on_disconnect: 'continue'});
const upTo = (count) => Array.from({length: count}, (_, i) => i + 1);
const numbersOf = (client) => client.events.filter(({type}) => type === 'custom').map(({data}) => JSON.parse(data).n);
const runsOf = async (thread) => (await agent.request('GET', `/threads/${threadIds[thread]}/runs?limit=100`)).json;

/** A run on a thread: {client, end, runs}, `runs` being those that it has made on the server. */
async function outcomeOf(thread, body) {
  const known = new Set((threadIds[thread] ? await runsOf(thread) : []).map(({run_id}) => run_id));
  const client = await gateway.runStream(sessionPath(undefined, {app: `t${thread}`}), body);
  await client.ended(stretched(30000));
  const runs = threadIds[thread] ? (await runsOf(thread)).filter(({run_id}) => !known.has(run_id)) : [];
  return {client, end: client.json('run.end'), runs};
}

/** Cuts by this rule from now on, and forgets what was asked before. */
function cutBy(rule) {
  cutOf = rule;
  asked = proxy.asked.length;
}
const askedSince = () => proxy.asked.slice(asked);

/** `count` runs at once on threads of their own. */
const onThreads = (count, work) => Promise.all(Array.from({length: count}, (_, thread) => work(thread)));

test('a run of LangGraph is whole, and its failure is told in its words', async () => {
  cutBy(() => undefined);
  const [whole, failed] = await Promise.all([outcomeOf(0, input(5)), outcomeOf(1, input(2, {fail: true}))]);
  assert.deepEqual([whole.end.status, whole.end.warning, numbersOf(whole.client)], ['completed', undefined, upTo(5)]);
  assert.deepEqual(whole.client.types, ['run.start', 'metadata', ...upTo(5).map(() => 'custom'), 'updates', 'run.end']);
  assert.deepEqual([failed.end.status, failed.end.reason, numbersOf(failed.client)], ['failed', 'upstream_error', upTo(2)]);
  assert.equal(failed.end.message, 'ValueError: out of luck');
  assert.equal(whole.runs.length, 1);
});

/** The run of `outcome` was started once, and all its events came once. */
function checkWhole({client, end, runs}, count) {
  assert.equal(runs.length, 1, 'it was started once');
  assert.equal(end.status, 'completed', JSON.stringify(end));
  assert.deepEqual(numbersOf(client), upTo(count), 'nothing is lost and nothing doubled');
  assert.deepEqual(client.types.filter((type) => type !== 'run.retry'), ['run.start', 'metadata', ...upTo(count).map(() => 'custom'), 'updates', 'run.end']);
}

test('a run of LangGraph that is cut anywhere goes on by GET and is started once', async () => {
  const count = 14;
  for (let round = 0; round < 4; round++) {
    // after each event, and within the next one; some answers to a GET are cut, too
    cutBy(({method, path}) => {
      const number = round * threads + threadIds.findIndex((id) => path.includes(id));
      if (method === 'POST') return {events: number + 1, bytes: number % 3 ? 7 * (number % 8) : 0, how: number % 2 ? 'reset' : 'close'};
      const isFirst = askedSince().filter((each) => each.path === path).length === 1;
      return isFirst && number % 2 ? {events: 2, bytes: 11} : undefined;
    });
    const outcomes = await onThreads(threads, (thread) => outcomeOf(thread, input(count)));
    const requests = askedSince();
    assert.equal(requests.filter(({method}) => method === 'POST').length, threads);
    for (const {method, path, lastId} of requests.filter((each) => each.method !== 'POST')) {
      assert.equal(method, 'GET');
      assert.match(path, /^\/threads\/[^/]+\/runs\/[^/]+\/stream$/);
      assert.match(lastId, /^\d+-\d+$/);
    }
    for (const outcome of outcomes) checkWhole(outcome, count);
  }
});

// The server's ids are milliseconds, so that events share them, and it leaves out all that has the id it is asked for.
// What comes between its subscription and its look at what it kept is sent twice.
for (const [pauseMs, count] of [[1.5, 300], [0, 400]]) {
  test(`a run of LangGraph whose events come every ${pauseMs} ms loses and doubles nothing`, async () => {
    cutBy(({method, path}) => ({events: (method === 'POST' ? 5 : 120) + 9 * threadIds.findIndex((id) => path.includes(id)), how: 'close'}));
    for (const outcome of await onThreads(threads, (thread) => outcomeOf(thread, input(count, {pause_ms: pauseMs})))) checkWhole(outcome, count);
  });
}

test('a run of LangGraph without stream_resumable is truncated, and not started again', async () => {
  cutBy(() => ({events: 4}));
  const {end, client, runs} = await outcomeOf(0, {...input(10), stream_resumable: false});
  assert.deepEqual([end.status, end.reason, numbersOf(client)], ['failed', 'upstream_truncated', upTo(3)]);
  assert.deepEqual([runs.length, askedSince().length], [1, 1]);
});

test('a run of LangGraph without a thread cannot be resumed, for its Location is not served, and that is told', async () => {
  cutBy(({method}) => (method === 'POST' ? {events: 4} : undefined));
  const {end, client} = await outcomeOf(threads, input(10));
  assert.deepEqual([end.status, end.reason, end.message], ['failed', 'upstream_status', 'The upstream answered 404: Not Found']);
  assert.deepEqual(numbersOf(client), upTo(3));
  assert.equal(client.json('run.retry').resumption, true);
  assert.deepEqual(askedSince().map(({method}) => method), ['POST', 'GET']);
});

test('a cancelled run of LangGraph ends there, too, if it is asked to', async () => {
  cutBy(() => undefined);
  await until(async () => (await runsOf(0)).every(({status}) => status !== 'running'), 'the runs before have ended', 20000);
  const known = (await runsOf(0)).length;
  const path = sessionPath(undefined, {app: 't0'});
  const client = await gateway.runStream(path, {...input(100000), on_disconnect: 'cancel'});
  await client.event('custom', stretched(20000));
  assert.equal((await gateway.delete(`${path}/run`)).status, 200);
  await client.ended();
  assert.equal(client.json('run.end').status, 'cancelled');
  await until(async () => (await runsOf(0))[0].status === 'interrupted', 'the run has ended at the server', 20000);
  assert.equal((await runsOf(0)).length, known + 1);
});
