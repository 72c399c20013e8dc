// A real server written with FastAPI and sse-starlette, with and without a middleware that reads the answer.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {startSseStarlette} from '../support/agents.mjs';
import {stretched, until} from '../support/limits.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const agent = await startSseStarlette({after});
const idle = stretched(400);
const gateways = {};
for (const [name, app, flags] of [['plain', 'plain', {}], ['wrapped', 'wrapped', {}], ['ending', 'wrapped', {upstream_end_events: 'done'}], ['endingPlain', 'plain', {upstream_end_events: 'done'}]])
  gateways[name] = await startSluice({after}, {upstream: `${agent.url}/${app}/runs`, upstream_kind: 'sse', upstream_idle_timeout_ms: idle, ...flags});

let runs = 0;

/** What came of a run: {end, numbers, seen}; `seen` is what the agent made of it. */
async function outcomeOf(gateway, body) {
  const name = `run ${++runs}`;
  const client = await gateways[gateway].runStream(sessionPath(), {name, ...body});
  assert.equal(await client.ended(stretched(20000)), 'last-chunk');
  const numbers = client.events.filter(({type}) => type === 'token').map(({data}) => JSON.parse(data).n);
  return {end: client.json('run.end'), numbers, seen: (await agent.seen())[name]};
}

for (const gateway of Object.keys(gateways)) {
  test(`${gateway}: a whole answer of sse-starlette is complete`, async () => {
    const {end, numbers, seen} = await outcomeOf(gateway, {events: 3});
    assert.deepEqual([end.status, end.reason, numbers, seen], ['completed', null, [1, 2, 3], 'finished']);
  });
}

// Behind a BaseHTTPMiddleware a crash ends with a proper last chunk: only an end event tells it from a whole answer.
for (const [gateway, status, reason] of [['plain', 'failed', 'upstream_truncated'], ['endingPlain', 'failed', 'upstream_truncated'], ['wrapped', 'completed', null], ['ending', 'failed', 'upstream_truncated']]) {
  test(`${gateway}: a crash of an agent in sse-starlette is ${status} ${reason ?? 'without upstream_end_events'}`, async () => {
    for (const failAfter of [1, 2, 5]) {
      const {end, numbers, seen} = await outcomeOf(gateway, {events: 9, fail_after: failAfter});
      assert.deepEqual([end.status, end.reason, numbers.length, seen], [status, reason, failAfter, 'raised'], JSON.stringify(end));
    }
  });
}

test('pings of sse-starlette show that the upstream is alive', async () => {
  const slow = {events: 2, pause_ms: 2 * idle};
  await Promise.all(['plain', 'wrapped'].map(async (gateway) => {
    const [alive, silent] = await Promise.all([outcomeOf(gateway, {...slow, ping_s: idle / 8000}), outcomeOf(gateway, {...slow, ping_s: 1000})]);
    assert.deepEqual([alive.end.status, alive.numbers], ['completed', [1, 2]], JSON.stringify(alive.end));
    assert.deepEqual([silent.end.status, silent.end.reason, silent.numbers], ['failed', 'upstream_idle', [1]], JSON.stringify(silent.end));
  }));
});

for (const gateway of ['plain', 'wrapped']) {
  test(`${gateway}: a cancel and a swap reach an agent in sse-starlette`, async () => {
    const path = sessionPath();
    const sluice = gateways[gateway];
    const client = await sluice.runStream(path, {name: `${gateway} cancelled`, hold: true, ping_s: idle / 8000});
    await client.event('token');
    assert.equal((await sluice.delete(`${path}/run`)).status, 200);
    await client.ended();
    assert.equal(client.json('run.end').status, 'cancelled');
    await until(async () => (await agent.seen())[`${gateway} cancelled`] === 'cancelled', 'the agent heard of the cancel');
    const old = await sluice.runStream(path, {name: `${gateway} replaced`, hold: true, ping_s: idle / 8000});
    await old.event('token');
    const next = await sluice.runStream(path, {name: `${gateway} next`, events: 2});
    await Promise.all([old.ended(), next.ended()]);
    assert.deepEqual([old.json('run.end').status, next.json('run.end').status], ['replaced', 'completed']);
    await until(async () => (await agent.seen())[`${gateway} replaced`] === 'cancelled', 'the agent heard of the swap');
  });
}
