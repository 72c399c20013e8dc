// Nobody can lock others out: floods of requests that any web page may send, streams that wait for a session, runs for later.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {assertError} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

/** An answer for any kind of upstream: one event, and then the end, or none if the message says `hold`. */
async function answer(exchange) {
  await exchange.head();
  await exchange.chunk('data: {"number":1}\n\n');
  if (/hold/.test(exchange.body)) await exchange.gone;
  else await exchange.lastChunk();
}

const start = async (t, flags) => {
  const upstream = await startUpstream(t, answer);
  return {upstream, sluice: await startSluice(t, {upstream: upstream.url, ...flags})};
};

/** `count` requests, a few at once. */
async function flood(count, ask) {
  for (let i = 0; i < count; i += 10) await Promise.all(Array.from({length: 10}, (_, k) => ask(i + k)));
}

/** A form of another site, which the browser sends without asking first. */
const form = {headers: {'content-type': 'text/plain', 'content-length': '0'}};

for (const kind of ['adk', 'sse']) {
  test(`a flood of forms that create sessions locks nobody out (${kind})`, async (t) => {
    const {sluice} = await start(t, {sessions_max: 20, upstream_kind: kind});
    await flood(100, () => sluice.request('POST', sessionPath(), form));
    await flood(50, () => sluice.request('POST', sessionPath().replace(/\/[^/]*$/, ''), form));
    assert.equal((await sluice.stats()).sessions, 20);
    const ours = sessionPath();
    const run = await sluice.run(ours);
    await flood(100, () => sluice.request('POST', sessionPath(), form));
    assert.equal((await sluice.get(`${ours}/task-status`)).json.task_id, run.task_id, 'a session that had a run stays');
    const watched = sessionPath();
    assert.equal((await sluice.request('POST', watched, form)).status, 200);
    const client = await sluice.follow(watched);
    await flood(100, () => sluice.request('POST', sessionPath(), form));
    await sluice.run(watched);
    await client.event('run.end'); // and so does one that is watched
    assert.ok((await sluice.stats()).counters.sluice_sessions_evicted_total >= 250);
  });
}

test('when all sessions are in use, one more is refused until one ends', async (t) => {
  const {sluice} = await start(t, {sessions_max: 3});
  const clients = [];
  for (let i = 0; i < 3; i++) {
    const session = sessionPath();
    await sluice.request('POST', session, form);
    clients.push(await sluice.follow(session));
  }
  const refused = await sluice.post(`${sessionPath()}/run`, {message: 'a'});
  assertError(refused, 429, /^too_many_sessions$/);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  clients[0].leave();
  await until(async () => (await sluice.post(`${sessionPath()}/run`, {message: 'a'})).status === 200, 'there is room again');
  for (const client of clients) client.leave();
});

test('a session without a run that nobody watches ends soon, one that had a run stays', async (t) => {
  const {sluice} = await start(t, {session_empty_ttl_ms: 200, cleanup_interval_ms: 20, upstream_kind: 'sse'});
  const [empty, watched, used] = [sessionPath(), sessionPath(), sessionPath()];
  await sluice.run(used);
  for (const session of [empty, watched]) assert.equal((await sluice.request('POST', session, form)).status, 200);
  const client = await sluice.follow(watched);
  await until(async () => (await sluice.get(empty)).status === 404, 'the empty session ends');
  for (const session of [watched, used]) assert.equal((await sluice.get(session)).status, 200);
  client.leave();
  await until(async () => (await sluice.get(watched)).status === 404, 'and so does the other, once nobody watches it');
  assert.equal((await sluice.get(used)).status, 200);
  assert.equal((await sluice.stats()).limits.session_empty_ttl_ms, 200);
});
