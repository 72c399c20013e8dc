// Nothing wrong is ever kept: each way in which a run can go wrong, with the cache on, in memory and in a Redis that a
// second gateway reads. What the same question brings next comes from the upstream, and only that is kept.
// verdicts.test.mjs has what the events of a stream can say; here is the rest.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {gzipSync} from 'node:zlib';
import {stretched, until} from '../support/limits.mjs';
import {startRedis} from '../support/redis_server.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

const kinds = ['adk', 'openai', 'sse'];
const data = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const say = {
  adk: (text) => data({content: {role: 'model', parts: [{text}]}}),
  openai: (content) => data({choices: [{index: 0, delta: {content}}]}),
  sse: (text) => data(text),
};
const end = {adk: '', openai: data('[DONE]'), sse: ''};
const good = (kind) => (exchange) => exchange.stream(say[kind]('good'), say[kind]('answer') + end[kind]);

let scriptNow;
const upstream = await startUpstream({after}, (exchange) => scriptNow(exchange));
const redis = await startRedis({after});
const flags = {upstream: upstream.url, cache: true, upstream_idle_timeout_ms: stretched(300), upstream_first_byte_timeout_ms: stretched(300), event_bytes_max: 2048};
const gateways = {};
for (const kind of kinds) {
  gateways[kind] = [];
  for (let i = 0; i < 2; i++) gateways[kind].push(await startSluice({after}, {...flags, upstream_kind: kind, redis: redis.address}));
}
for (const gateway of Object.values(gateways).flat()) await until(async () => (await gateway.stats()).cache.redis.state === 'up', 'Redis is up', 15000);

let question = 0;
const ask = async (gateway, script, body, options) => {
  scriptNow = script;
  const client = await gateway.runStream(sessionPath(), body, options);
  assert.equal(client.status, 200, client.body?.toString());
  assert.equal(await client.ended(20000), 'last-chunk');
  return {...client.json('run.end'), data: client.data};
};

/** After something went wrong, `body` is answered anew by `first`, which keeps that; `second` finds it, too. */
async function expectNothingKept(kind, body, first, second = first) {
  const anew = await ask(first, good(kind), body);
  assert.deepEqual([anew.status, anew.cached ?? false], ['completed', false], JSON.stringify(anew));
  assert.ok(anew.data.join().includes('good') && anew.data.length >= 2, anew.data.join());
  await until(async () => {
    const later = await ask(second, good(kind), body);
    assert.deepEqual([later.status, later.data], ['completed', anew.data]);
    return later.cached;
  }, 'the sound answer is kept', 10000);
}

// ---- what the upstream does ----

/** Events, and then something that is no end. */
const begun = (kind, then) => async (exchange) => {
  await exchange.head();
  await exchange.chunk(say[kind]('wrong'));
  await then(exchange);
};
const raw = (head, body = '') => (exchange) => exchange.send(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${head}\r\n${body}`).then(() => exchange.close());

const forms = {
  'a status of 400': () => (exchange) => exchange.answer(400, '{"error":"no"}'),
  'a status of 404': () => (exchange) => exchange.answer(404, '{"detail":"no"}'),
  'a status of 429': () => (exchange) => exchange.answer(429, '{"error":"no"}'),
  'a status of 500 with a stream': (kind) => async (exchange) => {
    await exchange.head({status: 500});
    await exchange.chunk(say[kind]('wrong') + end[kind]);
    await exchange.lastChunk();
  },
  'a status of 503': () => (exchange) => exchange.answer(503, ''),
  'a status of 204': () => (exchange) => exchange.send('HTTP/1.1 204 No Content\r\n\r\n'),
  'a redirect': () => (exchange) => exchange.send('HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n'),
  'JSON in a 200': () => (exchange) => exchange.answer(200, '{"error":{"message":"no"}}'),
  'a page in a 200': () => (exchange) => exchange.answer(200, '<html>no</html>', 'text/html'),
  'nothing in a 200': () => (exchange) => exchange.answer(200, '', 'text/plain'),
  'an answer of JSON that would be good': () => (exchange) => exchange.answer(200, '{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'),
  'no answer, closed': () => (exchange) => exchange.close(),
  'no answer, reset': () => (exchange) => exchange.reset(),
  'no HTTP': () => (exchange) => exchange.send('garbage\r\n\r\n').then(() => exchange.close()),
  'events and then a FIN': (kind) => begun(kind, (exchange) => exchange.close()),
  'events and then a reset': (kind) => begun(kind, (exchange) => exchange.reset()),
  'events and then half an event': (kind) => begun(kind, async (exchange) => {
    await exchange.chunk('data: {"half":');
    await exchange.lastChunk();
  }),
  'half a chunk': (kind) => begun(kind, (exchange) => exchange.send('ff\r\ndata: x').then(() => exchange.close())),
  'a chunk that is none': (kind) => begun(kind, (exchange) => exchange.send('zz\r\n\r\n').then(() => exchange.close())),
  'less than its length': (kind) => raw('Content-Length: 10000\r\n', say[kind]('wrong') + end[kind].slice(0, 3)),
  'two lengths': (kind) => raw('Content-Length: 9\r\nContent-Length: 10\r\n', say[kind]('wrong')),
  'a compressed answer': (kind) => (exchange) => {
    const body = gzipSync(say[kind]('wrong') + end[kind]);
    return exchange.send(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: ${body.length}\r\n\r\n`).then(() => exchange.send(body));
  },
  'an event that is too large': (kind) => begun(kind, async (exchange) => {
    await exchange.chunk(say[kind]('x'.repeat(3000)) + end[kind]);
    await exchange.lastChunk();
  }),
  'silence before the answer': () => (exchange) => exchange.gone,
  'silence after an event': (kind) => begun(kind, (exchange) => exchange.gone),
  'text that is no event': (kind) => begun(kind, async (exchange) => {
    await exchange.chunk('Internal Server Error\n');
    await exchange.lastChunk();
  }),
  'an error in the stream': (kind) => begun(kind, async (exchange) => {
    await exchange.chunk(data({error: {message: 'no'}}) + end[kind]);
    await exchange.lastChunk();
  }),
};

for (const kind of kinds) {
  for (const [name, form] of Object.entries(forms)) {
    test(`${kind}: ${name} is not kept`, async () => {
      const [one, other] = gateways[kind];
      const body = `question ${++question}`;
      const bad = await ask(one, form(kind), body);
      assert.equal(bad.status, 'failed', JSON.stringify(bad));
      const again = await ask(other, form(kind), body);
      assert.deepEqual([again.status, again.reason, again.cached], ['failed', bad.reason, undefined]);
      await expectNothingKept(kind, body, other, one);
    });
  }

  test(`${kind}: what several runs share is wrong for each of them, and not kept`, async () => {
    const body = `question ${++question}`;
    let release;
    const held = new Promise((resolve) => { release = resolve; });
    scriptNow = begun(kind, (exchange) => held.then(() => exchange.close()));
    const before = upstream.runs.length;
    const clients = await Promise.all([1, 2, 3].map(() => gateways[kind][0].runStream(sessionPath(), body)));
    for (const client of clients) await client.messages(1);
    assert.equal(upstream.runs.length, before + 1);
    release();
    for (const client of clients) {
      await client.ended();
      assert.deepEqual([client.json('run.end').status, client.json('run.end').reason], ['failed', 'upstream_truncated']);
    }
    await expectNothingKept(kind, body, ...gateways[kind]);
  });

  test(`${kind}: what was cancelled, replaced or took too long is not kept`, async () => {
    const [gateway] = gateways[kind];
    const waits = begun(kind, async (exchange) => {
      await exchange.chunk(': nothing more\n\n');
      await exchange.gone;
    });
    for (const [status, options, act] of [
      ['cancelled', {}, (session) => gateway.delete(`${session}/run`)],
      ['replaced', {}, (session) => { scriptNow = good(kind); return gateway.run(session, `question ${++question}`); }],
      ['timeout', {timeout_ms: 50}, () => {}],
    ]) {
      const body = `question ${++question}`;
      const session = sessionPath();
      scriptNow = waits;
      const client = await gateway.runStream(session, body, options);
      if (status !== 'timeout') await client.event('message');
      await act(session);
      await client.ended();
      assert.equal(client.json('run.end').status, status);
      await expectNothingKept(kind, body, ...gateways[kind]);
    }
  });
}

// ---- what the gateway itself does ----

test('a run that is ended for its budget takes nothing from what others get', async (t) => {
  const gateway = await startSluice(t, {...flags, upstream_kind: 'sse', redis: redis.address, run_events_max: 3});
  const events = ['a', 'b', 'c', 'd'];
  const whole = (exchange) => exchange.stream(...events.map(data));
  const inTwo = async (exchange) => {
    await exchange.head();
    await exchange.chunk(events.map(data).join(''));
    await exchange.gone;
  };
  for (const script of [whole, inTwo]) {
    const body = `question ${++question}`;
    for (let i = 0; i < 2; i++) {
      const ended = await ask(gateway, script, body);
      assert.deepEqual([ended.status, ended.reason, ended.data], ['failed', 'limit', ['a', 'b', 'c']]);
    }
    for (const other of gateways.sse) assert.deepEqual((await ask(other, whole, body)).data, events);
  }
});

const chain = (t, list) => {
  const lines = list.map((item) => Object.entries(item).map(([key, value], i) => `${i ? '    ' : '  - '}${key}: ${JSON.stringify(value)}\n`).join(''));
  return startSluice(t, {cache: true, config: temporaryFile(t, 'sluice.yaml', `upstreams:\n${lines.join('')}`)});
};

test('what a fallback or a canned answer says is not kept as the answer of the upstream', async (t) => {
  const gateway = await chain(t, [
    {name: 'a', upstream: `${upstream.url}/a`, upstream_kind: 'openai', upstream_fallback: 'b'},
    {name: 'b', upstream: `${upstream.url}/b`, upstream_kind: 'openai', upstream_weight: 0, upstream_canned_answer: 'canned'},
  ]);
  const failing = (exchange) => exchange.answer(503, '');
  const other = (exchange) => (exchange.path.startsWith('/b') ? exchange.stream(say.openai('of the fallback'), end.openai) : failing(exchange));
  for (const [script, word] of [[other, 'of the fallback'], [failing, 'canned']]) {
    const body = `question ${++question}`;
    for (let i = 0; i < 2; i++) {
      const ended = await ask(gateway, script, body);
      assert.deepEqual([ended.status, ended.cached], ['completed', undefined]);
      assert.ok(ended.data.join().includes(word), ended.data.join());
    }
    await expectNothingKept('openai', body, gateway);
  }
});

test('of an answer that was tried again, what the last attempt said is kept alone', async (t) => {
  const gateway = await startSluice(t, {...flags, upstream_kind: 'openai', retry_attempts_max: 3, retry_base_ms: 1});
  const failures = [(exchange) => exchange.answer(503, ''), (exchange) => exchange.stream(data({choices: [{index: 0, delta: {role: 'assistant'}}]}), data({error: {message: 'overloaded'}}))];
  const body = `question ${++question}`;
  const ended = await ask(gateway, (exchange) => (failures.shift() ?? good('openai'))(exchange), body);
  assert.deepEqual([ended.status, ended.cached, failures.length], ['completed', undefined, 0]);
  const again = await ask(gateway, (exchange) => exchange.reset(), body);
  assert.deepEqual([again.status, again.cached, again.data], ['completed', true, ended.data]);
  assert.ok(!again.data.join().includes('overloaded') && again.data.length === 3, again.data.join());
});
