// The end of a run is told truthfully: what each way of ending at the upstream becomes for the client.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {asked, marked} from '../support/expect.mjs';
import {pause, stretched, within} from '../support/limits.mjs';
import {adkFrame, refusingAddress, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

let scriptNow;

const upstream = await startUpstream({after}, (exchange) => scriptNow(exchange));
const sluice = await startSluice({after}, {upstream: upstream.url, event_bytes_max: 50000,
  upstream_idle_timeout_ms: stretched(400), upstream_first_byte_timeout_ms: stretched(400), upstream_connect_timeout_ms: 2000});

/** Runs `script` once and gives {end, task, client}: what the stream and the task said about the end. */
async function endOf(script, {gateway = sluice, options, body = 'hello', events} = {}) {
  scriptNow = script;
  const client = await gateway.runStream(sessionPath(), body, options);
  assert.equal(client.status, 200, client.body.toString());
  assert.equal(await client.ended(15000), 'last-chunk', 'the stream itself ends cleanly: the end is told in it');
  const end = client.json('run.end');
  const task = await gateway.task(end.task_id);
  assert.equal(task.status, end.status);
  assert.equal(task.reason ?? null, end.reason ?? null);
  const agentEvents = client.events.filter(({type}) => !['run.start', 'run.end'].includes(type));
  assert.deepEqual([client.types[0], client.types.at(-1), client.types.length], ['run.start', 'run.end', agentEvents.length + 2]);
  assert.equal(end.events, agentEvents.length, 'run.end counts the events');
  if (events !== undefined) assert.equal(client.data.length, events);
  return {end, task, client};
}

const failed = async (reason, script, options) => {
  const outcome = await endOf(script, options);
  assert.deepEqual([outcome.end.status, outcome.end.reason], ['failed', reason], JSON.stringify(outcome.end));
  return outcome;
};

const completed = async (script, options) => {
  const outcome = await endOf(script, options);
  assert.equal(outcome.end.status, 'completed', JSON.stringify(outcome.end));
  return outcome;
};

const frames = (exchange, count, send = 'chunk') => Array.from({length: count}, (_, i) => i + 1)
  .reduce((before, number) => before.then(() => exchange[send](marked(asked(exchange), number))), Promise.resolve());

test('the last chunk is a clean end', () => completed(async (exchange) => {
  await exchange.head();
  await frames(exchange, 3);
  await exchange.lastChunk();
}, {events: 3}));

test('the whole content-length is a clean end', () => completed(async (exchange) => {
  const body = marked('hello', 1) + marked('hello', 2);
  await exchange.head({framing: 'length', length: Buffer.byteLength(body)});
  await exchange.send(body);
}, {events: 2}));

test('an empty stream is a clean end', () => completed((exchange) => exchange.stream(), {events: 0}));

test('a connection refused is upstream_connect', async (t) => {
  const gateway = await startSluice(t, {upstream: await refusingAddress()});
  await failed('upstream_connect', null, {gateway, events: 0});
});

test('a host that cannot be resolved is upstream_connect', async (t) => {
  const gateway = await startSluice(t, {upstream: 'http://does-not-exist.invalid:1', upstream_connect_timeout_ms: 3000});
  await failed('upstream_connect', null, {gateway, events: 0});
});

for (const status of [400, 401, 404, 429, 500, 503, 204, 302]) {
  test(`status ${status} is upstream_status`, async () => {
    const {end} = await failed('upstream_status', (exchange) => (status === 204
      ? exchange.send('HTTP/1.1 204 No Content\r\n\r\n')
      : exchange.head({status, headers: {'Content-Type': 'text/html', ...(status === 302 && {Location: '/elsewhere'})}, framing: 'length', length: 5}).then(() => exchange.send('<h1>x'.slice(0, 5)))), {events: 0});
    assert.ok(!JSON.stringify(end).includes('<h1>'), "the upstream's page is not passed on");
  });
}

test('an error frame is upstream_error, also in front of a clean end', async () => {
  const {client} = await failed('upstream_error', async (exchange) => {
    await exchange.head();
    await frames(exchange, 2);
    await exchange.chunk('data: {"error":"it broke"}\n\n');
    await exchange.lastChunk();
  }, {events: 3});
  assert.equal(client.data.at(-1), '{"error":"it broke"}', 'the frame itself is passed on as it came');
});

for (const frame of ['{"error":"Type: msg","error_details":{"a":1}}', '{"error": "with "quotes" unescaped"}', '{"error":{"code":500}}', ' {"error" : "spaced"}'])
  test(`an error frame in the form ${frame} is upstream_error`, () => failed('upstream_error', (exchange) => exchange.stream(`data: ${frame}\n\n`), {events: 1}));

for (const frame of ['{"content":{"parts":[{"text":"{\\"error\\": 1}"}]}}', '{"content":{"error":"inside"}}', '{"errorCode":"429","errorMessage":"quota"}'])
  test(`${frame} is an ordinary event`, () => completed((exchange) => exchange.stream(`data: ${frame}\n\n`), {events: 1}));

test('a chunked stream cut between events is upstream_truncated', () => failed('upstream_truncated', async (exchange) => {
  await exchange.head();
  await frames(exchange, 2);
  exchange.close();
}, {events: 2}));

test('a chunked stream cut inside an event is upstream_truncated, and the half event is not told', () => failed('upstream_truncated', async (exchange) => {
  await exchange.head();
  await frames(exchange, 2);
  await exchange.chunk('data: {"of":"hello"');
  exchange.close();
}, {events: 2}));

test('a chunked stream cut inside a chunk is upstream_truncated', () => failed('upstream_truncated', async (exchange) => {
  await exchange.head();
  await frames(exchange, 1);
  await exchange.send('400\r\ndata: half');
  exchange.close();
}, {events: 1}));

test('a connection reset in the middle is upstream_truncated', () => failed('upstream_truncated', async (exchange) => {
  await exchange.head();
  await frames(exchange, 2);
  await pause(50); // a reset would throw away what the gateway has not read yet
  exchange.reset();
}, {events: 2}));

test('less than content-length is upstream_truncated', () => failed('upstream_truncated', async (exchange) => {
  await exchange.head({framing: 'length', length: 10000});
  await exchange.send(marked('hello', 1));
  exchange.close();
}, {events: 1}));

test('a stream delimited by the close promises no end, so its close is upstream_truncated', () => failed('upstream_truncated', async (exchange) => {
  await exchange.head({framing: 'close'});
  await exchange.send(marked('hello', 1));
  exchange.close();
}, {events: 1}));

test('a clean end inside an event loses the half event, and says so', async () => {
  const {client, end} = await endOf(async (exchange) => exchange.stream(marked('hello', 1), 'data: half an event'));
  assert.equal(client.data.length, 1);
  assert.match(`${end.status} ${end.reason ?? ''}`.trim(), /^(completed|failed upstream_truncated)$/);
});

test('a connection closed without an answer is told as a failure of the upstream', async () => {
  const {end} = await endOf((exchange) => exchange.close());
  assert.equal(end.status, 'failed');
  assert.match(end.reason, /^upstream_(truncated|protocol|connect)$/);
});

test('garbage instead of HTTP is upstream_protocol', () => failed('upstream_protocol', async (exchange) => {
  await exchange.send('SSH-2.0-nonsense\r\n\r\nnot http at all');
  exchange.close();
}, {events: 0}));

test('garbage instead of a chunk line is upstream_protocol or upstream_truncated', async () => {
  const {end} = await endOf(async (exchange) => {
    await exchange.head();
    await frames(exchange, 1);
    await exchange.send('zzz\r\nnot a chunk\r\n');
  }, {events: 1});
  assert.equal(end.status, 'failed');
  assert.match(end.reason, /^upstream_(protocol|truncated)$/);
});

for (const type of ['application/json', 'text/html', 'text/event-streams', undefined])
  test(`content type ${type} is upstream_protocol`, () => failed('upstream_protocol', async (exchange) => {
    await exchange.head({headers: type ? {'Content-Type': type} : {}});
    await exchange.chunk('{"not":"a stream"}');
    await exchange.lastChunk();
  }, {events: 0}));

for (const type of ['text/event-stream; charset=utf-8', 'Text/Event-Stream', 'text/event-stream;charset=UTF-8'])
  test(`content type ${type} is an event stream`, () => completed(async (exchange) => {
    await exchange.head({headers: {'Content-Type': type}});
    await frames(exchange, 1);
    await exchange.lastChunk();
  }, {events: 1}));

test('silence between events is upstream_idle, and the upstream is left', async () => {
  const number = upstream.runs.length;
  await failed('upstream_idle', async (exchange) => {
    await exchange.head();
    await frames(exchange, 1);
    await exchange.gone;
  }, {events: 1});
  await within(upstream.runs[number].gone, 5000, 'the upstream is left');
});

const comments = async (exchange, ms) => {
  const end = Date.now() + stretched(ms);
  while (exchange.open && Date.now() < end) {
    await exchange.chunk(': processing\n\n');
    await pause(stretched(40));
  }
};

test('an upstream that sends comments is alive, however long it thinks', () => completed(async (exchange) => {
  await exchange.head();
  await frames(exchange, 1);
  await comments(exchange, 1000);
  await exchange.chunk(marked(asked(exchange), 2));
  await exchange.lastChunk();
}, {events: 2}));

test('upstream_event_timeout_ms ends a run that comments alone keep alive', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, upstream_event_timeout_ms: stretched(400)});
  const {end} = await failed('upstream_idle', async (exchange) => {
    await exchange.head();
    await frames(exchange, 1);
    await comments(exchange, 60000);
  }, {gateway, events: 1});
  assert.match(end.message, /^The upstream sent no event in time: upstream_event_timeout_ms \(\d+ ms\)\.$/);
});

test('no answer in time is upstream_idle', () => failed('upstream_idle', (exchange) => exchange.gone, {events: 0}));

test('an upstream that is slow, but not silent, is let be', () => completed(async (exchange) => {
  await exchange.head();
  for (let number = 1; number <= 6; number++) {
    await exchange.chunk(marked(asked(exchange), number));
    await pause(stretched(130));
  }
  await exchange.lastChunk();
}, {events: 6}));

test('an event over the limit is limit, and what came before it is told', async () => {
  await failed('limit', async (exchange) => {
    await exchange.head();
    await frames(exchange, 2);
    await exchange.chunk(`data: ${'x'.repeat(60000)}\n\n`);
    await exchange.lastChunk();
  }, {events: 2});
  await failed('limit', async (exchange) => {
    await exchange.head();
    for (let i = 0; i < 100 && exchange.open; i++) await exchange.chunk(`data: ${'x'.repeat(1000)}\n`);
    await exchange.gone;
  }, {events: 0});
});

test('an event of empty lines is limit, for it would be sent as seven times its data', async () => {
  const {end} = await failed('limit', async (exchange) => {
    await exchange.head();
    await frames(exchange, 1);
    await exchange.chunk(`${'data\n'.repeat(40000)}\n`);
    await exchange.lastChunk();
  }, {events: 1});
  assert.match(end.message, /too many lines/);
});

test('a type over event_type_bytes_max is limit', async () => {
  const {end} = await failed('limit', async (exchange) => {
    await exchange.head();
    await frames(exchange, 1);
    await exchange.chunk(`event: ${'t'.repeat(1025)}\ndata: x\n\n`);
    await exchange.lastChunk();
  }, {events: 1});
  assert.match(end.message, /event_type_bytes_max/);
});

test('an event just below the limit is passed on', () => completed((exchange) => exchange.stream(`data: ${'x'.repeat(49000)}\n\n`), {events: 1}));

test('timeout_ms ends the run as timeout, however lively it is', async () => {
  const number = upstream.runs.length;
  const {end} = await endOf(async (exchange) => {
    await exchange.head();
    for (let i = 1; exchange.open; i++) {
      await exchange.chunk(marked(asked(exchange), i));
      await pause(20);
    }
  }, {options: {timeout_ms: 250}});
  assert.equal(end.status, 'timeout');
  assert.ok(end.duration_ms >= 200 && end.duration_ms < stretched(2000), `${end.duration_ms} ms`);
  await within(upstream.runs[number].gone, 5000, 'the upstream is left');
});

test('run_timeout_ms is the limit for runs that name none', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, run_timeout_ms: 250});
  const {end} = await endOf((exchange) => exchange.head().then(() => exchange.gone), {gateway});
  assert.equal(end.status, 'timeout');
});

test('connections to the upstream are used again', async () => {
  const before = upstream.connections;
  for (let i = 0; i < 10; i++) await completed((exchange) => exchange.stream(marked('hello', 1)));
  assert.ok(upstream.connections - before <= 4, `${upstream.connections - before} new connections for 10 runs`);
});

test('a kept connection that the upstream has closed does not fail the next run', async () => {
  for (let i = 0; i < 5; i++) {
    await completed((exchange) => exchange.stream(marked('hello', 1)));
    for (const socket of upstream.sockets) socket.end();
    await pause(20);
  }
});

test('the upstream gets its own Host, the ADK body and the session first', async () => {
  const session = sessionPath('exact', {app: 'a', user: 'u'});
  scriptNow = (exchange) => exchange.stream(adkFrame('hi'));
  const number = upstream.runs.length;
  await sluice.taskEnded((await sluice.run(session, 'text of it')).task_id);
  const exchange = upstream.runs[number];
  assert.equal(`${exchange.method} ${exchange.path}`, 'POST /run_sse');
  assert.equal(exchange.headers.host, new URL(upstream.url).host);
  assert.match(exchange.headers['content-type'], /^application\/json/);
  assert.deepEqual(exchange.json, {appName: 'a', userId: 'u', sessionId: 'exact', newMessage: {role: 'user', parts: [{text: 'text of it'}]}, streaming: true});
  assert.ok(upstream.sessions.includes(`POST ${session}`));
});

test("ADK's own fields are passed on as they are, and query is another name for message", async () => {
  scriptNow = (exchange) => exchange.stream(adkFrame('hi'));
  const number = upstream.runs.length;
  const newMessage = {role: 'user', parts: [{text: 'own'}, {inlineData: {mimeType: 'image/png', data: 'AAAA'}}]};
  await sluice.taskEnded((await sluice.run(sessionPath('own'), {newMessage, streaming: false, stateDelta: {a: [1, null, 'é']}, custom: true})).task_id);
  assert.deepEqual(upstream.runs[number].json, {appName: 'demo', userId: 'u1', sessionId: 'own', newMessage, streaming: false, stateDelta: {a: [1, null, 'é']}, custom: true});
  await sluice.taskEnded((await sluice.run(sessionPath(), {query: 'asked'})).task_id);
  assert.equal(asked(upstream.runs[number + 1]), 'asked');
});

test('a session that the upstream has lost is created again', async () => {
  const session = sessionPath();
  await completed((exchange) => exchange.stream(adkFrame('hi')));
  await sluice.taskEnded((await sluice.run(session)).task_id);
  let calls = 0;
  scriptNow = (exchange) => (++calls === 1 ? exchange.answer(404, '{"error":"Session not found: x"}') : exchange.stream(adkFrame('hi again')));
  const client = await sluice.runStream(session);
  await client.ended();
  assert.deepEqual(client.types, ['run.start', 'run.retry', 'message', 'run.end']);
  assert.equal(client.json('run.end').status, 'completed');
  const {attempt, reason, message} = client.json('run.retry');
  assert.deepEqual([attempt, reason, message], [2, 'upstream_status', 'The upstream answered 404: Session not found: x']);
  assert.equal(calls, 2);
});

test('an upstream that is faster than anybody reads does not grow memory without bound', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, log_bytes_max: 1 << 20, send_buffer_bytes: 32768});
  const session = sessionPath();
  const sleeper = await gateway.follow(session);
  sleeper.socket.pause();
  const padding = 'x'.repeat(20000);
  scriptNow = async (exchange) => {
    await exchange.head();
    for (let i = 0; i < 2000; i++) await exchange.chunk(`data: ${i} ${padding}\n\n`);
    await exchange.lastChunk();
  };
  const {task_id} = await gateway.run(session);
  assert.equal((await gateway.taskEnded(task_id)).status, 'completed', '40 MB went through while nobody read');
  const {readFileSync} = await import('node:fs');
  const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.program.pid}/status`, 'utf8'))[1]) / 1024;
  if (stretched(1) === 1) assert.ok(peak < 30, `peak of ${peak} MiB`);
  sleeper.leave();
});

// ---- other kinds ----

test('kind sse posts the body as given to the URL as given', async (t) => {
  const gateway = await startSluice(t, {upstream: `${upstream.url}/some/path?x=1`, upstream_kind: 'sse', upstream_error_events: ''});
  const number = upstream.runs.length;
  const {client} = await completed((exchange) => exchange.stream('event: token\ndata: a\n\n', 'data: {"error":"not special here"}\n\n'),
    {gateway, body: {any: {thing: [1, 2]}, text: 'x'}});
  const exchange = upstream.runs[number];
  assert.equal(`${exchange.method} ${exchange.path}`, 'POST /some/path?x=1');
  assert.deepEqual(exchange.json, {any: {thing: [1, 2]}, text: 'x'});
  assert.deepEqual(client.events.slice(1, -1).map(({type, data}) => [type, data]), [['token', 'a'], ['message', '{"error":"not special here"}']]);
  await failed('upstream_truncated', async (each) => {
    await each.head();
    await each.chunk('data: 1\n\n');
    each.close();
  }, {gateway, body: {text: 'x'}, events: 1});
  await failed('upstream_status', (each) => each.answer(500, 'no'), {gateway, body: {text: 'x'}});
});

test('kind openai asks for chat completions, and [DONE] ends it', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, upstream_kind: 'openai', upstream_model: 'small', upstream_authorization: 'Bearer secret-key',
    upstream_idle_timeout_ms: stretched(400)});
  const number = upstream.runs.length;
  const delta = (content) => `data: ${JSON.stringify({choices: [{delta: {content}}]})}\n\n`;
  const {client} = await completed((exchange) => exchange.stream(delta('Hel'), delta('lo'), 'data: [DONE]\n\n'), {gateway, body: 'say it'});
  const exchange = upstream.runs[number];
  assert.equal(`${exchange.method} ${exchange.path}`, 'POST /v1/chat/completions');
  assert.equal(exchange.headers.authorization, 'Bearer secret-key');
  assert.equal(exchange.json.model, 'small');
  assert.equal(exchange.json.stream, true);
  assert.deepEqual(exchange.json.messages, [{role: 'user', content: 'say it'}]);
  assert.ok(client.data.length >= 2);
  assert.ok(!gateway.program.stderr.includes('secret-key'), 'a secret is not logged');

  const open = await endOf(async (each) => {
    await each.head();
    await each.chunk(delta('a') + 'data: [DONE]\n\n');
    await each.gone;
  }, {gateway});
  assert.equal(open.end.status, 'completed', 'the connection need not end');
  await failed('upstream_truncated', (each) => each.stream(delta('a')), {gateway});
  await failed('upstream_error', (each) => each.stream('data: {"error":{"message":"overloaded"}}\n\n', 'data: [DONE]\n\n'), {gateway});
  await failed('upstream_idle', async (each) => {
    await each.head();
    await each.chunk(delta('a'));
    await each.gone;
  }, {gateway});
});
