// A stream that broke off is asked for again where its first answer said that the run is: by GET, so that the agent is
// not started a second time.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const total = 12;
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
    assert.deepEqual(client.events.filter(({type}) => type === 'values').map(({data}) => JSON.parse(data).n), Array.from({length: total}, (_, i) => i + 1));
    assert.deepEqual(asked, ['POST /runs/stream 0 with a body', `GET ${path} 4`, `GET ${path} 8`]);
    assert.equal(client.events.filter(({type}) => type === 'run.retry').length, 2);
  });
}

test('a whole URL of the same server is fine', async (t) => {
  const headers = {};
  const {upstream, asked} = await startAgent(t, headers);
  headers.Location = `${upstream.url}/here`;
  const client = await (await gatewayFor(t, upstream)).runStream(sessionPath(), 'hello');
  await client.ended();
  assert.equal(client.json('run.end').status, 'completed');
  assert.deepEqual(asked.slice(1), ['GET /here 4', 'GET /here 8']);
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
