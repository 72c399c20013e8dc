// A connection that the upstream closes or resets: the bytes that arrived before it count, and a run is posted once.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {Certificates} from '../support/certificates.mjs';
import {asked, marked} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

let scriptNow;

const upstream = await startUpstream({after}, (exchange) => scriptNow(exchange));
const sluice = await startSluice({after}, {upstream: upstream.url});

/** Starts `count` runs, some at once, and gives the states that they ended in. */
async function endsOf(count, gateway = sluice, body = 'hello', atOnce = 10) {
  const ends = [];
  const one = async () => ends.push(await gateway.taskEnded((await gateway.run(sessionPath(), body)).task_id));
  for (let begun = 0; begun < count; begun += atOnce) await Promise.all(Array.from({length: atOnce}, one));
  return ends;
}

test('200 whole answers that a reset follows are 200 completed runs', async () => {
  const events = 20;
  scriptNow = async (exchange) => {
    const frames = Array.from({length: events}, (_, i) => marked(asked(exchange), i + 1)).join('');
    const chunk = `${Buffer.byteLength(frames).toString(16)}\r\n${frames}\r\n`;
    await exchange.send(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`);
    exchange.reset();
  };
  const ends = await endsOf(200);
  assert.deepEqual(ends.map(({status, reason, events: count}) => `${status} ${reason ?? ''} ${count}`),
    Array(200).fill(`completed  ${events}`));
});

/** An upstream that answers as soon as a request begins, leaves the rest of it unread, and so resets the connection. */
async function startHasty(context, answer) {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.pause();
      socket.write(answer, () => socket.resetAndDestroy());
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

for (const length of [10000, 900000])
  test(`40 refusals before the end of a request of ${length} bytes keep their status`, async (t) => {
    const url = await startHasty(t, 'HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 7\r\nContent-Type: application/json\r\n' +
      'Content-Length: 20\r\n\r\n{"error":"too many"}');
    const gateway = await startSluice(t, {upstream: url, upstream_kind: 'sse', breaker_failure_percent: 50, breaker_calls_min: 5});
    const ends = await endsOf(40, gateway, {text: 'x'.repeat(length)});
  assert.deepEqual(ends.map(({status, reason, message}) => `${status} ${reason} ${message}`),
    Array(40).fill('failed upstream_status The upstream answered 429: too many'));
  const {upstreams} = await gateway.stats();
  assert.equal(upstreams[0].state, 'closed', 'a 429 is no failure of the upstream');
});

// ---- a run is posted once ----

const unanswered = 'The upstream closed the connection without an answer; it may have received the request';

for (const ending of ['close', 'reset'])
  test(`a run that the agent dies on is posted once, after the creation of its session (${ending})`, async (t) => {
    const gateway = await startSluice(t, {upstream: upstream.url, retry_attempts_max: 3, retry_base_ms: 1});
    scriptNow = (exchange) => exchange[ending]();
    const before = upstream.runs.length;
    const client = await gateway.runStream(sessionPath());
    await client.ended();
    const end = client.json('run.end');
    assert.deepEqual([end.status, end.reason], ['failed', 'upstream_truncated']);
    assert.ok(end.message.startsWith(unanswered), end.message);
    assert.match(end.cause, ending === 'close' ? /^closed$/ : /^reset$/);
    assert.equal(upstream.runs.length - before, 1);
    assert.deepEqual(client.types, ['run.start', 'run.end']);
  });

test('upstream_resend unanswered posts it again, and each further post is a run.retry', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, retry_attempts_max: 3, retry_base_ms: 1, upstream_resend: 'unanswered'});
  const before = upstream.runs.length;
  scriptNow = (exchange) => (upstream.runs.length - before < 3 ? exchange.close() : exchange.stream(marked(asked(exchange), 1)));
  const client = await gateway.runStream(sessionPath());
  await client.ended();
  assert.deepEqual(client.types, ['run.start', 'run.retry', 'run.retry', 'message', 'run.end']);
  assert.equal(client.json('run.end').status, 'completed');
  assert.equal(upstream.runs.length - before, 3);
});

/* libcurl takes a TLS connection for alive as long as bytes have come: its end is an alert, in bytes. */
test('a kept TLS connection that the upstream has closed is not used', async (t) => {
  const certificate = new Certificates(t).selfSigned();
  const secure = await startUpstream(t, (exchange) => exchange.stream(marked(asked(exchange), 1)), {certificate});
  const gateway = await startSluice(t, {upstream: secure.url, upstream_ca_file: certificate.path, workers: 1});
  const session = sessionPath();
  for (let i = 1; i <= 5; i++) {
    const end = await gateway.taskEnded((await gateway.run(session)).task_id);
    assert.equal(end.status, 'completed', JSON.stringify(end));
    assert.equal(secure.runs.length, i);
    for (const socket of secure.sockets) socket.end();
    await until(() => secure.sockets.size === 0 || [...secure.sockets].every((socket) => socket.writableFinished), 'the upstream has closed');
  }
  assert.equal(secure.connections, 5);
});

test('a kept TLS connection that is well is used again', async (t) => {
  const certificate = new Certificates(t).selfSigned();
  const secure = await startUpstream(t, (exchange) => exchange.stream(marked(asked(exchange), 1)), {certificate});
  const gateway = await startSluice(t, {upstream: secure.url, upstream_ca_file: certificate.path, workers: 1});
  for (let i = 0; i < 5; i++) await gateway.taskEnded((await gateway.run(sessionPath())).task_id);
  assert.deepEqual([secure.runs.length, secure.connections], [5, 1]);
});
