// White space around the value of a header is not part of it (RFC 9110, 5.5), whatever header that is.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked} from '../support/expect.mjs';
import {rawRequest} from '../support/http.mjs';
import {within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const answerRun = answerMarked(3);
const upstream = await startUpstream({after}, (exchange) => (exchange.method === 'GET' ? exchange.answer(200, '[]') : answerRun(exchange)));
const sluice = await startSluice({after}, {upstream: upstream.url, cors_origins: 'https://a.example'});

const message = '{"message":"hi"}';
const paddings = {'spaces before': ['   ', ''], 'a space after': ['', ' '], 'a tab after': ['', '\t'],
  'much around': [' \t \t', '  \t  '], 'nothing before, much after': ['', ' \t'.repeat(200)]};

/** The answer to a request with these headers, each padded; the connection is closed after it. */
async function ask(method, path, headers, [front, back], body = '') {
  const all = {Host: 'localhost', Connection: 'close', ...headers};
  const lines = Object.entries(all).map(([name, value]) => `${name}:${front}${value}${back}\r\n`).join('');
  const length = body && !('Transfer-Encoding' in headers) ? `Content-Length: ${body.length}\r\n` : '';
  return rawRequest(sluice.port, `${method} ${path} HTTP/1.1\r\n${lines}${length}\r\n${body}`);
}

const statusOf = (answer) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]);
const json = {'Content-Type': 'application/json'};
const taskOf = (answer) => JSON.parse(answer.split('\r\n\r\n')[1]).task_id;

for (const [name, padding] of Object.entries(paddings)) {
  test(`${name}: Host, Connection, Content-Type, Content-Encoding`, async () => {
    const answer = await ask('POST', `${sessionPath()}/run`, {...json, 'Content-Encoding': 'identity'}, padding, message);
    assert.equal(statusOf(answer), 200, answer);
  });

  test(`${name}: Last-Event-ID`, async () => {
    const {session, client} = await sluice.finishedRun(3);
    const answer = await ask('GET', `${session}/run?until=run`, {'Last-Event-ID': client.ids[2]}, padding);
    assert.equal(statusOf(answer), 200, answer);
    for (const id of client.ids.slice(0, 3)) assert.ok(!answer.includes(`id: ${id}\n`), `event ${id} is replayed`);
    for (const id of client.ids.slice(3)) assert.ok(answer.includes(`id: ${id}\n`), `event ${id} is missing`);
    assert.equal(statusOf(await ask('GET', `${session}/run?until=run`, {'Last-Event-ID': client.ids.at(-1)}, padding)), 204);
  });

  test(`${name}: Idempotency-Key`, async () => {
    const session = sessionPath();
    const plain = await sluice.run(session, 'hi', undefined, {headers: {'Idempotency-Key': `key-${session}`}});
    const answer = await ask('POST', `${session}/run`, {...json, 'Idempotency-Key': `key-${session}`}, padding, message);
    assert.equal(statusOf(answer), 200, answer);
    assert.equal(taskOf(answer), plain.task_id);
  });

  test(`${name}: Accept`, async () => {
    const answer = await ask('POST', `${sessionPath()}/run`, {...json, Accept: 'text/event-stream'}, padding, message);
    assert.match(answer, /Content-Type: text\/event-stream/);
  });

  test(`${name}: Expect`, async () => {
    const answer = await ask('POST', `${sessionPath()}/run`, {...json, Expect: '100-continue'}, padding, message);
    assert.match(answer, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
  });

  for (const [kind, body] of Object.entries({'one chunk': `10\r\n${message}\r\n0\r\n\r\n`, 'many chunks': `${[...message].map((byte) => `1\r\n${byte}\r\n`).join('')}0\r\n\r\n`,
    'extensions and trailers': `0010;a=b\r\n${message}\r\n0;c\r\nA: b\r\nC: d\r\n\r\n`})) {
    test(`${name}: Transfer-Encoding, ${kind}`, async () => {
      const headers = {...json, 'Transfer-Encoding': 'Chunked'};
      const answer = await ask('POST', `${sessionPath()}/run`, headers, padding, body);
      assert.equal(statusOf(answer), 200, answer);
      assert.equal((await sluice.taskEnded(taskOf(answer))).status, 'completed');
      const stream = await ask('POST', `${sessionPath()}/run`, {...headers, Accept: 'text/event-stream'}, padding, body);
      assert.match(stream, /^HTTP\/1\.1 200 OK\r\n[^]*Transfer-Encoding: chunked\r\n[^]*run\.start[^]*run\.end[^]*\r\n0\r\n\r\n$/);
      const session = await ask('POST', sessionPath(), headers, padding, '2\r\n{}\r\n0\r\n\r\n'); // answered by the upstream first
      assert.equal(statusOf(session), 200, session);
    });
  }

  test(`${name}: Origin, also of a preflight`, async () => {
    const answer = await ask('GET', '/healthz', {Origin: 'https://a.example'}, padding);
    assert.match(answer, /Access-Control-Allow-Origin: https:\/\/a\.example\r\n/);
    const preflight = await ask('OPTIONS', '/tasks', {Origin: 'https://a.example', 'Access-Control-Request-Method': 'DELETE'}, padding);
    assert.match(preflight, /Access-Control-Allow-Methods: /);
  });

  test(`${name}: traceparent and tracestate`, async () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    const headers = {...json, traceparent: `00-${trace}-00f067aa0ba902b7-01`, tracestate: 'a=b'};
    const answer = await ask('POST', `${sessionPath()}/run`, headers, padding, message);
    const task = await sluice.taskEnded(taskOf(answer));
    assert.equal(task.trace_id, trace);
    assert.equal(upstream.runs.at(-1).headers.tracestate, 'a=b');
  });

  test(`${name}: a header that is passed on`, async () => {
    assert.equal(statusOf(await ask('GET', '/list-apps', {'If-None-Match': '"a"'}, padding)), 200);
    assert.equal(upstream.runs.at(-1).headers['if-none-match'], '"a"');
  });
}

test('what is after the end of a request with a padded Transfer-Encoding is not looked at', async () => {
  const head = `POST ${sessionPath()}/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked \r\n\r\n`;
  const answer = await rawRequest(sluice.port, `${head}10\r\n${message}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  assert.deepEqual([...answer.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => match[1]), ['200']);
});

// A long request is answered in a later turn, and a client may send more meanwhile, which nobody reads.
for (const [what, accept, end] of [['an event stream', 'text/event-stream', '\r\n0\r\n\r\n'], ['a body', '*/*', '}']]) {
  test(`a long request with a padded Transfer-Encoding is answered by ${what}, and whole`, async () => {
    const long = JSON.stringify({message: 'a'.repeat(8192)});
    const chunks = `${long.length.toString(16)}\r\n${long}\r\n0\r\n\r\n`;
    for (const rest of ['', 'more', 'a'.repeat(40000)]) {
      const socket = net.connect({port: sluice.port, host: '127.0.0.1'});
      let text = '', error;
      socket.on('error', (failure) => { error = failure; });
      socket.on('data', (part) => { text += part; });
      socket.write(`POST ${sessionPath()}/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: ${accept}\r\n` +
        `Transfer-Encoding: chunked \r\n\r\n${chunks}${rest}`);
      await within(new Promise((resolve) => { socket.once('close', resolve); }), 10000, 'the end of the answer');
      assert.equal(error, undefined, `${rest.length} bytes more: ${text}`);
      assert.ok(text.startsWith('HTTP/1.1 200 ') && text.endsWith(end), text);
    }
  });
}

test('a path whose POST is passed on takes no padded Transfer-Encoding, and says so', async () => {
  const body = '{"appName":"a","userId":"b","sessionId":"c"}';
  for (const path of ['/run', `${sessionPath()}/artifacts`]) {
    const answer = await rawRequest(sluice.port, `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked \r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 400 [^]*"code":"invalid_header"/);
  }
});

test('white space before a chunk extension is taken where the gateway reads the chunks', async () => {
  const head = `POST ${sessionPath()}/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked \r\n\r\n`;
  assert.match(await rawRequest(sluice.port, `${head}10 \t; a="b"\r\n${message}\r\n0 ;c\r\n\r\n`), /^HTTP\/1\.1 200 /);
});

test('a body in chunks that are none is refused, also with a padded Transfer-Encoding', async () => {
  const bodies = {'zz\r\n': 400, '-2\r\n': 400, '2\r\nabXX0\r\n\r\n': 400, '2\nab\r\n0\r\n\r\n': 400, [`${'f'.repeat(17)}\r\n`]: 400,
    [`1;${'a'.repeat(40000)}`]: 400, [`0\r\n${'A: b\r\n'.repeat(8000)}`]: 400, '1;a\x01\r\n': 400, ['ffffff\r\n' + 'a'.repeat(2 ** 21)]: 413};
  for (const padding of [['', ''], ['', ' ']]) {
    for (const [body, status] of Object.entries(bodies)) {
      if (padding[1] === '' && /A: b|fffff|\n.b|\x01/.test(body)) continue; // the library's own answers: see hostile.test.mjs
      assert.equal(statusOf(await ask('POST', `${sessionPath()}/run`, {...json, 'Transfer-Encoding': 'chunked'}, padding, body)), status, body.slice(0, 40));
    }
  }
  assert.equal(statusOf(await ask('GET', '/healthz', {'Transfer-Encoding': 'chunked'}, ['', ' '], '0\r\n\r\n')), 400);
});
