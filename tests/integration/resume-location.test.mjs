// A stream that broke off is asked for again where its first answer said that the run is: by GET, so that the agent is
// not started a second time.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const total = 12;
const upTo = (n) => Array.from({length: n}, (_, i) => i + 1);
const frame = (n) => `id: ${n}\nevent: values\ndata: {"n":${n}}\n\n`;

/** An agent that keeps its runs: a POST starts one and breaks off after `cut` events; a GET goes on after Last-Event-ID. */
async function startAgent(t, headers, {cut = 4} = {}) {
  const asked = [];
  const upstream = await startUpstream(t, async (exchange) => {
    const last = Number(exchange.headers['last-event-id'] ?? 0);
    asked.push(`${exchange.method} ${exchange.path} ${last}${exchange.body.length ? ' with a body' : ''}`);
    await exchange.head({headers: {'Content-Type': 'text/event-stream', ...headers}});
    for (let n = last + 1; n <= Math.min(total, last + cut); n++) await exchange.chunk(frame(n));
    return last + cut < total ? exchange.reset() : exchange.lastChunk();
  });
  return {upstream, asked};
}

const gatewayFor = (t, upstream, flags = {}) => startSluice(t, {upstream: `${upstream.url}/runs/stream`, upstream_kind: 'sse', upstream_resumable: true,
  upstream_resume: 'location', retry_attempts_max: 3, retry_base_ms: 5, ...flags});

for (const [name, headers, path] of [
  ['Location', {Location: '/threads/t/runs/r/stream', 'Content-Location': '/threads/t/runs/r'}, '/threads/t/runs/r/stream'],
  ['Content-Location', {'Content-Location': '/threads/t/runs/r?x=1'}, '/threads/t/runs/r?x=1']]) {
  test(`a run is resumed by GET of its ${name}, and posted once`, async (t) => {
    const {upstream, asked} = await startAgent(t, headers);
    const sluice = await gatewayFor(t, upstream);
    const client = await sluice.runStream(sessionPath(), 'hello');
    await client.ended();
    assert.equal(client.json('run.end').status, 'completed', JSON.stringify(client.json('run.end')));
    assert.deepEqual(client.events.filter(({type}) => type === 'values').map(({data}) => JSON.parse(data).n), upTo(total));
    // each time by the id before the last, so that the last event must come again
    assert.deepEqual(asked, ['POST /runs/stream 0 with a body', `GET ${path} 3`, `GET ${path} 6`, `GET ${path} 9`]);
    assert.equal(client.events.filter(({type}) => type === 'run.retry').length, 3);
  });
}

test('a whole URL of the same server is fine', async (t) => {
  const headers = {};
  const {upstream, asked} = await startAgent(t, headers);
  headers.Location = `${upstream.url}/here`;
  const client = await (await gatewayFor(t, upstream)).runStream(sessionPath(), 'hello');
  await client.ended();
  assert.equal(client.json('run.end').status, 'completed');
  assert.deepEqual(asked.slice(1), ['GET /here 3', 'GET /here 6', 'GET /here 9']);
});

test('without a place, or with one elsewhere, the stream is truncated and nobody else is asked', async (t) => {
  const other = await startUpstream(t, (exchange) => exchange.stream(frame(5)));
  for (const headers of [{}, {Location: `${other.url}/stolen`}, {Location: '//127.0.0.1:1/x'}, {Location: 'relative/place'}, {Location: `${other.url.replace('http:', 'https:')}/x`}]) {
    const {upstream, asked} = await startAgent(t, headers);
    const client = await (await gatewayFor(t, upstream, {upstream_authorization: 'Bearer secret'})).runStream(sessionPath(), 'hello');
    await client.ended();
    assert.deepEqual([client.json('run.end').status, client.json('run.end').reason], ['failed', 'upstream_truncated'], JSON.stringify(headers));
    assert.equal(asked.length, 1);
  }
  assert.equal(other.runs.length, 0);
});

/** What came of a run whose answers are these lists of [id, n]; all but the last one are cut. */
async function outcomeOf(t, answers, flags = {}) {
  const lastIds = [];
  const upstream = await startUpstream(t, async (exchange) => {
    const events = answers[Math.min(lastIds.length, answers.length - 1)];
    lastIds.push(exchange.headers['last-event-id']);
    await exchange.head({headers: {'Content-Type': 'text/event-stream', Location: '/again'}});
    for (const [id, n] of events) await exchange.chunk(`id: ${id}\ndata: ${n}\n\n`);
    return lastIds.length < answers.length ? exchange.reset() : exchange.lastChunk();
  });
  const client = await (await gatewayFor(t, upstream, flags)).runStream(sessionPath(), 'hello');
  await client.ended();
  const {status, reason} = client.json('run.end');
  return {status, reason, numbers: client.data.map(Number), lastIds: lastIds.slice(1)};
}

test('ids that name several events lose nothing, wherever the stream breaks off', async (t) => {
  const events = [[10, 1], [11, 2], [11, 3], [11, 4], [12, 5], [12, 6], [13, 7]];
  for (let cut = 2; cut <= events.length; cut++) {
    const last = events[cut - 1][0] - 1;
    const answers = [events.slice(0, cut), events.filter(([id]) => id > last)];
    assert.deepEqual(await outcomeOf(t, answers), {status: 'completed', reason: null, numbers: upTo(7), lastIds: [String(last)]}, `cut after ${cut}`);
  }
});

test('an answer that does not bring the last event again is truncated', async (t) => {
  const first = [[1, 1], [2, 2], [3, 3]];
  const lost = {status: 'failed', reason: 'upstream_truncated'};
  assert.deepEqual(await outcomeOf(t, [first, [[4, 4]]]), {...lost, numbers: upTo(3), lastIds: ['2']}, 'it begins later');
  assert.deepEqual(await outcomeOf(t, [first, [[3, 5], [4, 4]]]), {...lost, numbers: upTo(3), lastIds: ['2']}, 'another event has its id');
  assert.deepEqual(await outcomeOf(t, [first, []]), {...lost, numbers: upTo(3), lastIds: ['2', '2', '2']}, 'it kept nothing');
  assert.deepEqual(await outcomeOf(t, [first, [[2, 2], [3, 3], [4, 4]]]), {status: 'completed', reason: null, numbers: upTo(4), lastIds: ['2']}, 'it begins with the event of the id');
});

test('an id without data moves the place', async (t) => {
  for (const by of ['post', 'location']) {
    const lastIds = [];
    const upstream = await startUpstream(t, async (exchange) => {
      lastIds.push(exchange.headers['last-event-id']);
      await exchange.head({headers: {'Content-Type': 'text/event-stream', Location: '/again'}});
      if (lastIds.length > 1) {
        await exchange.chunk('id: 8\ndata: c\n\n');
        return exchange.lastChunk();
      }
      await exchange.chunk('id: 5\ndata: a\n\ndata: b\n\nid: 7\n\nid: 9\n');
      return exchange.reset();
    });
    const client = await (await gatewayFor(t, upstream, {upstream_resume: by})).runStream(sessionPath(), 'hello');
    await client.ended();
    assert.deepEqual([client.data, lastIds], [['a', 'b', 'c'], [undefined, '7']], 'the block with 9 was not ended');
  }
});
