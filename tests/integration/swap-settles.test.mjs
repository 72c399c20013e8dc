// After a run was cut off, an agent of kind adk still writes to its session: the session's next run waits a little, and
// is tried again when the agent refuses it for that reason. Nobody else waits.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {stretched, until} from '../support/limits.mjs';
import {startPythonAdk} from '../support/agents.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const stale = (text = 'StaleSessionError: The session has been modified in storage since it was loaded.') => `data: ${JSON.stringify({error: text, error_details: {}})}\n\n`;

/** Streams one event and stays open for "slow", else answers at once; notes when each run came. */
async function startAgent(t) {
  const came = [];
  const upstream = await startUpstream(t, async (exchange) => {
    came.push({at: performance.now(), text: exchange.body.toString()});
    await exchange.head();
    await exchange.chunk(adkFrame('a'));
    if (exchange.body.includes('slow')) return exchange.gone;
    return exchange.lastChunk();
  });
  return {upstream, came};
}

test('the run after a cut waits, that of another session does not', async (t) => {
  const {upstream, came} = await startAgent(t);
  const settle = stretched(600);
  const sluice = await startSluice(t, {upstream: upstream.url, upstream_settle_ms: settle});
  const cuts = {replaced: (path) => sluice.runStream(path, 'next'), cancelled: async (path) => {
    assert.equal((await sluice.request('DELETE', `${path}/run`)).status, 200);
    return sluice.runStream(path, 'next');
  }};
  for (const [status, cut] of Object.entries(cuts)) {
    const path = sessionPath();
    const first = await sluice.runStream(path, 'slow');
    await first.event('message');
    const begun = performance.now();
    const second = await cut(path);
    const other = await sluice.runStream(sessionPath(), 'other');
    await other.ended();
    assert.ok(came.at(-1).text.includes('other'), 'the other session did not wait');
    await second.ended();
    assert.equal(second.json('run.end').status, 'completed');
    const {at} = came.findLast(({text}) => text.includes('next'));
    assert.ok(at - begun >= settle - 1, `the next run came ${at - begun} ms after the cut`);
    await first.ended();
    assert.equal(first.json('run.end').status, status);
  }
});

test('a run after one that ended by itself does not wait', async (t) => {
  const {upstream} = await startAgent(t);
  const sluice = await startSluice(t, {upstream: upstream.url, upstream_settle_ms: 10000, run_timeout_ms: stretched(5000)});
  const path = sessionPath();
  for (let i = 0; i < 2; i++) {
    const client = await sluice.runStream(path, `quick ${i}`);
    await client.ended();
    assert.equal(client.json('run.end').status, 'completed');
  }
});

test('a run that waits for its session to settle can be cancelled', async (t) => {
  const {upstream, came} = await startAgent(t);
  const sluice = await startSluice(t, {upstream: upstream.url, upstream_settle_ms: 10000});
  const path = sessionPath();
  await (await sluice.runStream(path, 'slow')).event('message');
  const {task_id} = await sluice.run(path, 'never');
  assert.equal((await sluice.request('DELETE', `${path}/run`)).status, 200);
  assert.equal((await sluice.task(task_id)).status, 'cancelled');
  await until(async () => (await sluice.stats()).runs === 0, 'nothing runs');
  assert.equal(came.length, 1);
});

test('a run that the agent refuses because its session was written to is tried again', async (t) => {
  for (const [refusals, status] of [[1, 'completed'], [5, 'completed'], [6, 'failed']]) {
    let asked = 0;
    const upstream = await startUpstream(t, (exchange) => (asked++ < refusals ? exchange.stream(stale()) : exchange.stream(adkFrame('good'))));
    const sluice = await startSluice(t, {upstream: upstream.url, upstream_settle_ms: 5, breaker_failure_percent: 50, breaker_calls_min: 1});
    const client = await sluice.runStream(sessionPath(), 'hello');
    await client.ended();
    const end = client.json('run.end');
    assert.equal(end.status, status, JSON.stringify(end));
    assert.equal(client.events.filter(({type}) => type === 'run.retry').length, Math.min(refusals, 5));
    assert.equal(client.data.some((data) => data.includes('StaleSessionError')), status === 'failed', 'a refusal that is made good is not shown');
    assert.equal(asked, Math.min(refusals + 1, 6));
    assert.equal((await sluice.runStream(sessionPath(), 'again')).status, 200, 'refusals do not open the breaker');
  }
});

test('another error, a later one, or a wait of 0 is not tried again', async (t) => {
  for (const [frames, flags] of [[[stale('ValueError: StaleSessionError')], {}], [[adkFrame('a'), stale()], {}], [[stale()], {upstream_settle_ms: 0}]]) {
    const upstream = await startUpstream(t, (exchange) => exchange.stream(...frames));
    const sluice = await startSluice(t, {upstream: upstream.url, upstream_settle_ms: 5, ...flags});
    const client = await sluice.runStream(sessionPath(), 'hello');
    await client.ended();
    assert.deepEqual([client.json('run.end').status, client.json('run.end').reason, upstream.runs.length], ['failed', 'upstream_error', 1]);
  }
});

test('swaps on the real ADK for Python with a database all succeed', async (t) => {
  const agent = await startPythonAdk(t);
  const sluice = await startSluice(t, {upstream: agent.url});
  const swaps = Number(process.env.SWAPS ?? 48), abreast = 8;
  const failures = [];
  const swapInTurn = async (worker) => {
    for (let i = worker; i < swaps; i += abreast) {
      const path = sessionPath(`swap-${i}`, {app: 'scripted'});
      const first = await sluice.runStream(path, 'slow');
      await first.event('message', stretched(20000));
      if (i % 2) await sluice.request('DELETE', `${path}/run`);
      const second = await sluice.runStream(path, 'hi');
      await second.ended(stretched(20000));
      const end = second.json('run.end');
      if (end.status !== 'completed' || end.warning) failures.push(end);
      first.leave();
    }
  };
  await Promise.all(Array.from({length: abreast}, (_, worker) => swapInTurn(worker)));
  assert.deepEqual(failures, []);
});
