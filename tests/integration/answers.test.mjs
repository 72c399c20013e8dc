// Long answers: what a run produced and a session's history are made while they are sent, and take little memory.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import http from 'node:http';
import net from 'node:net';
import {after, test} from 'node:test';
import {until, within} from '../support/limits.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const EVENTS = 300;
const textOf = (number) => `${number} \u00e9\u{1F600}"\\ ${'x'.repeat(10000)}`;
const upstream = await startUpstream({after}, async (exchange) => {
  await exchange.head();
  for (let number = 0; number < EVENTS; number++) await exchange.chunk(adkFrame(textOf(number)));
  await exchange.lastChunk();
});
const sluice = await startSluice({after}, {upstream: upstream.url, workers: 1});

const session = sessionPath();
const {task_id} = await sluice.run(session, 'x');
await sluice.taskEnded(task_id);
const texts = Array.from({length: EVENTS}, (_, number) => textOf(number));

function assertResult(json) {
  assert.deepEqual(json.output.map(({data}) => JSON.parse(data).content.parts[0].text), texts);
  assert.equal(json.text, texts.join(''));
  assert.equal(json.events, EVENTS);
  assert.equal(json.complete, true);
}

function assertHistory(json) {
  assert.deepEqual(json.events.map(({type}) => type), ['run.start', ...Array(EVENTS).fill('message'), 'run.end']);
  assert.deepEqual(json.events.slice(1, -1).map(({data}) => JSON.parse(data).content.parts[0].text), texts);
  assert.equal(json.complete, true);
}

test('a long answer is whole, one after the other on a connection', async () => {
  const agent = new http.Agent({keepAlive: true, maxSockets: 1});
  const get = (path) => new Promise((resolve, reject) => {
    http.get(`${sluice.url}${path}`, {agent}, (answer) => {
      const parts = [];
      const port = answer.socket.localPort;
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => resolve({port, headers: answer.headers, json: JSON.parse(Buffer.concat(parts))}));
    }).on('error', reject);
  });
  const ports = new Set();
  for (let i = 0; i < 2; i++) {
    for (const [path, check] of [[`/tasks/${task_id}/result`, assertResult], [`${session}/history?limit=1000`, assertHistory]]) {
      const {port, headers, json} = await get(path);
      assert.equal(headers['content-type'], 'application/json');
      assert.equal(headers['cache-control'], 'no-store');
      check(json);
      ports.add(port);
    }
  }
  assert.equal(ports.size, 1, 'the connection stays');
  agent.destroy();
});

test('a long answer in HTTP/1.0 ends with its connection, and HEAD has none', async () => {
  const socket = net.connect(sluice.port, '127.0.0.1', () => socket.write(`GET /tasks/${task_id}/result HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n`));
  const parts = [];
  socket.on('data', (part) => parts.push(part));
  await within(once(socket, 'end'), 10000, 'the end of the connection');
  const old = Buffer.concat(parts);
  assert.match(old.toString('latin1', 0, 20), /^HTTP\/1\.[01] 200 /);
  assertResult(JSON.parse(old.subarray(old.indexOf('\r\n\r\n') + 4)));
  const head = await sluice.request('HEAD', `/tasks/${task_id}/result`);
  assert.deepEqual([head.status, head.headers['content-type'], head.text], [200, 'application/json', '']);
});

const READERS = 50;

/** Connections that have read the beginning of an answer, and no more. */
const readSlowly = (gateway, path) => Promise.all(Array.from({length: READERS}, () => new Promise((resolve) => {
  const socket = net.connect({port: gateway.port, host: '127.0.0.1'}, () => {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    socket.once('data', () => {
      socket.pause();
      resolve(socket);
    });
  });
  socket.on('error', () => {});
})));

/** What the answers take that these readers wait for. */
async function assertSmall(gateway, before) {
  const {kinds} = (await gateway.stats()).memory;
  assert.ok(kinds.answers - before.answers < READERS * 256 * 1024, `${kinds.answers} bytes of answers`);
  assert.ok(kinds.events - before.events < 1024 * 1024, 'events stay those of the log');
}

test('many who read slowly, or leave in the middle, take the memory of a few events each', async () => {
  const {kinds: before} = (await sluice.stats()).memory;
  const sockets = await readSlowly(sluice, `/tasks/${task_id}/result`);
  await assertSmall(sluice, before);
  for (const socket of sockets) socket.destroy();
  await until(async () => (await sluice.stats()).memory.kinds.answers <= before.answers + 65536, 'all is released');
  assertResult((await sluice.get(`/tasks/${task_id}/result`)).json);
});

test('an event whose type is as long as it may be is whole in both answers', async (t) => {
  const type = '\u0001'.repeat(1024 * 1024); // each takes six bytes
  const odd = await startUpstream(t, (exchange) => exchange.stream(`event: ${type}\ndata: x\n\n`, 'data: y\n\n'));
  const gateway = await startSluice(t, {upstream: odd.url, upstream_kind: 'sse', event_type_bytes_max: '1MiB', event_bytes_max: '2MiB', run_bytes_max: '8MiB'});
  const path = sessionPath();
  const run = await gateway.run(path);
  assert.equal((await gateway.taskEnded(run.task_id)).status, 'completed');
  for (const [events, at] of [[(await gateway.get(`/tasks/${run.task_id}/result`)).json.output, 0],
    [(await gateway.get(`${path}/history`)).json.events, 1]]) {
    assert.ok(events[at].type === type, `a type of ${events[at].type.length} characters`);
    assert.deepEqual(events.slice(at, at + 2).map(({data}) => data), ['x', 'y']);
  }
});

test("a run's long input is sent in pieces, too, and is whole", async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, workers: 1, run_start_input: 'text', run_start_input_bytes_max: '1MiB', request_body_bytes_max: '8MiB'});
  const message = `${'\u0001'.repeat(20)}\u00e9\u{1F600}"`.repeat(38000); // a byte that is escaped takes six
  const run = await gateway.run(sessionPath(), message);
  await gateway.taskEnded(run.task_id);
  const {kinds: before} = (await gateway.stats()).memory;
  const sockets = await readSlowly(gateway, `/tasks/${run.task_id}`);
  await assertSmall(gateway, before);
  for (const socket of sockets) socket.destroy();
  await until(async () => (await gateway.stats()).memory.kinds.answers <= before.answers + 65536, 'all is released');
  const task = await gateway.task(run.task_id);
  assert.deepEqual([task.status, task.input === message, task.input_truncated], ['completed', true, false]);
  const head = await gateway.request('HEAD', `/tasks/${run.task_id}`);
  assert.deepEqual([head.status, head.headers['content-type'], head.text], [200, 'application/json', '']);
  const held = gateway.get(`/tasks/${(await gateway.run(sessionPath(), message)).task_id}?wait_ms=20000`);
  assert.equal((await held).json.input === message, true, 'for those who wait for its end as well');
});
