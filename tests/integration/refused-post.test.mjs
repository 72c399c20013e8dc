// A POST that is refused changes nothing: no run is replaced, no Idempotency-Key is used up, no place is kept.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {assertError} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const holding = (t) => startUpstream(t, async (exchange) => {
  await exchange.head();
  await exchange.chunk(adkFrame('a'));
  if (exchange.body.includes('quick')) return exchange.lastChunk();
  return exchange.gone;
});

const post = (sluice, path, body, headers = {}) => sluice.request('POST', path, {
  headers: {'Content-Type': 'application/json', Accept: 'text/event-stream', ...headers}, body: JSON.stringify(body)});

for (const limit of ['subscribers_max', 'subscribers_per_session_max']) {
  test(`a POST that ${limit} refuses leaves the running run and the key alone`, async (t) => {
    const upstream = await holding(t);
    const sluice = await startSluice(t, {upstream: upstream.url, [limit]: 1});
    const path = sessionPath();
    const {task_id} = await sluice.run(path, {message: 'hold', gateway: {on_disconnect: 'cancel'}});
    const viewer = await sluice.follow(path);
    await viewer.event('message');
    for (let i = 0; i < 3; i++) assertError(await post(sluice, `${path}/run`, {message: 'quick'}, {'Idempotency-Key': 'k1'}), 429);
    const adk = {appName: 'demo', userId: 'u1', sessionId: path.split('/').at(-1), newMessage: {role: 'user', parts: [{text: 'quick'}]}};
    assertError(await post(sluice, '/run_sse', adk), 429);
    assert.equal((await sluice.task(task_id)).status, 'running');
    assert.deepEqual([upstream.runs.length, (await sluice.stats()).subscribers], [1, 1]);
    assert.deepEqual(viewer.types.filter((type) => type.startsWith('run.')), ['run.start']);
    const done = await sluice.request('DELETE', `${path}/run`);
    assert.equal(done.status, 200);
    viewer.leave();
    await until(async () => (await sluice.stats()).subscribers === 0, 'the place is free');
    const again = await sluice.runStream(path, 'quick', undefined, {headers: {'Idempotency-Key': 'k1'}});
    await again.ended();
    assert.equal(again.json('run.end').status, 'completed', 'the key was not used up');
    assert.equal(again.headers['idempotency-replayed'], undefined);
    assert.equal(upstream.runs.length, 2);
    await until(async () => (await sluice.stats()).subscribers === 0, 'nothing is left');
  });
}

test('the stream of a run that was found by its key keeps its end', async (t) => {
  const upstream = await holding(t);
  const sluice = await startSluice(t, {upstream: upstream.url});
  const path = sessionPath();
  for (let i = 0; i < 3; i++) {
    const client = await sluice.runStream(path, 'quick', undefined, {headers: {'Idempotency-Key': 'k2'}});
    assert.equal(await client.ended(), 'last-chunk');
    assert.deepEqual(client.types, ['run.start', 'message', 'run.end']);
  }
  assert.equal(upstream.runs.length, 1);
});

test('two POSTs with one key at once are one run, and both streams are whole', async (t) => {
  const upstream = await holding(t);
  const sluice = await startSluice(t, {upstream: upstream.url});
  for (let i = 0; i < 20; i++) {
    const path = sessionPath();
    const clients = await Promise.all([0, 1, 2].map(() => sluice.runStream(path, 'quick', undefined, {headers: {'Idempotency-Key': 'k3'}})));
    for (const client of clients) {
      assert.equal(await client.ended(), 'last-chunk');
      assert.deepEqual(client.types, ['run.start', 'message', 'run.end']);
    }
    assert.equal(upstream.runs.length, i + 1);
  }
});
