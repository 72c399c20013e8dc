// The HTTP side as a process: signals at the worst moment, the head of an answer, many kinds of clients at the end.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked, asked, holdAfterOne} from '../support/expect.mjs';
import {slow, within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, async (exchange) => {
  if (exchange.method === 'HEAD') return exchange.head({headers: {'Content-Type': 'application/json'}});
  if (exchange.method === 'GET') return exchange.answer(200, '[]');
  if (/hold/.test(asked(exchange))) return holdAfterOne(exchange);
  return answerMarked(3)(exchange);
});

/** A connection that sends `text` and gives what came until it was closed, or reset. */
function converse(sluice, text, address = '127.0.0.1') {
  const socket = net.connect(sluice.port, address);
  const parts = [];
  socket.on('data', (part) => parts.push(part));
  socket.on('error', () => {});
  socket.write(text);
  const closed = new Promise((resolve) => socket.on('close', () => resolve(Buffer.concat(parts).toString())));
  return {socket, closed};
}

test('the head of an answer without a length is followed by nothing', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url});
  const {closed} = converse(sluice, 'HEAD /list-apps HTTP/1.1\r\nHost: localhost\r\n\r\n');
  const text = await within(closed, 5000, 'the end of the answer');
  assert.match(text, /^HTTP\/1\.1 200 /);
  assert.equal(text.slice(text.indexOf('\r\n\r\n')), '\r\n\r\n');
});

test('a run is asked for and followed by IPv6 as well', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, listen: '[::1]:0'});
  await sluice.logged({event: 'listening', address: '::1', port: sluice.port});
  const body = '{"message":"go"}';
  const {closed} = converse(sluice, `POST ${sessionPath()}/run HTTP/1.1\r\nHost: [::1]:${sluice.port}\r\nAccept: text/event-stream\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`, '::1');
  assert.match(await within(closed, 5000, 'the end of the run'), /^HTTP\/1\.1 200 [^]*event: run\.end[^]*"completed"/);
});

test('SIGHUP does not disturb the end, whenever it comes', async (t) => {
  const file = temporaryFile(t, 'sluice.yaml', 'runs_max: 10\n');
  for (let round = 0; round < (slow ? 3 : 8); round++) {
    const sluice = await startSluice(t, {upstream: upstream.url, workers: 4}, {args: ['--config', file]});
    await sluice.run(sessionPath(), 'hold');
    const storm = setInterval(() => sluice.program.signal('SIGHUP'), 0);
    try {
      await sluice.logged({event: 'reloaded'});
      sluice.program.signal('SIGTERM');
      assert.deepEqual(await within(sluice.program.ended, 10000, 'the end'), {code: 0, signal: null});
    } finally {
      clearInterval(storm);
    }
  }
});

test('the end comes in order under everything that clients do', async (t) => {
  const session = sessionPath();
  const body = (message) => JSON.stringify({message, gateway: {on_conflict: 'enqueue'}});
  const post = (path, text, more = '') => `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${more}Content-Type: application/json\r\n` +
    `Content-Length: ${text.length}\r\n\r\n${text}`;
  const get = (path, version = '1.1') => `GET ${path} HTTP/${version}\r\nHost: localhost\r\n\r\n`;
  const kinds = [
    get(`${session}/run`), get(`${session}/run`, '1.0'), get(`${session}/run?until=run`), get('/list-apps').repeat(3),
    post(`${session}/run`, body('hold')), post(`${session}/run`, body('go'), 'Accept: text/event-stream\r\n'),
    `DELETE ${session}/run HTTP/1.1\r\nHost: localhost\r\n\r\n`, `DELETE ${session} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    post(`${session}/run`, body('go')).slice(0, -5), 'GET /hea', post('/nowhere', 'x'.repeat(100000)), get('/stats').repeat(5),
  ];
  for (let round = 0; round < (slow ? 3 : 6); round++) {
    const sluice = await startSluice(t, {upstream: upstream.url, workers: 3, drain_ms: round % 2 === 0 ? 0 : 50});
    let over = false;
    const clients = Array.from({length: slow ? 60 : 200}, async (_, number) => {
      for (let turn = number; !over; turn++) {
        const {socket, closed} = converse(sluice, kinds[turn % kinds.length]);
        const leave = setTimeout(() => turn % 2 === 0 ? socket.destroy() : socket.resetAndDestroy(), turn % 97);
        await closed;
        clearTimeout(leave);
        await new Promise(setImmediate);
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    sluice.program.signal('SIGTERM');
    try {
      assert.deepEqual(await within(sluice.program.ended, 10000, 'the end'), {code: 0, signal: null});
    } finally {
      over = true;
    }
    await Promise.all(clients);
    await sluice.stop(); // which looks for a sanitizer's report
  }
});
