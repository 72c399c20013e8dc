// The event stream as the contract describes it, byte for byte, seen by an independent client.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {readdirSync} from 'node:fs';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerAsAsked, assertSameEvents, checkRuns, marked, runEnd} from '../support/expect.mjs';
import {pause, slow, stretched, until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const scripts = new Map(); // message -> what an upstream run does
const upstream = await startUpstream({after}, answerAsAsked(scripts));
const sluice = await startSluice({after}, {upstream: upstream.url, heartbeat_ms: 200, retry_ms: 1000});

test('a stream starts at once with its headers, a comment and retry', async () => {
  const client = await sluice.follow(sessionPath());
  assert.equal(client.status, 200);
  assert.match(client.headers['content-type'], /^text\/event-stream(; *charset=utf-8)?$/i);
  assert.equal(client.headers['cache-control'], 'no-cache, no-transform');
  assert.equal(client.headers['x-accel-buffering'], 'no');
  assert.equal(client.headers['transfer-encoding'], 'chunked');
  await client.until(() => client.comments.length > 0 && client.retries.length > 0, 'comment and retry');
  const [retry] = client.retries;
  assert.ok(retry >= 500 && retry <= 2000, `retry: ${retry} is around 1000`);
  client.leave();
});

test('retry is jittered, so that clients do not come back together', async () => {
  const clients = await Promise.all(Array.from({length: 12}, () => sluice.follow(sessionPath())));
  for (const client of clients) await client.until(() => client.retries.length > 0, 'retry');
  assert.ok(new Set(clients.map((client) => client.retries[0])).size > 1);
  for (const client of clients) client.leave();
});

test('silence is filled with comments, talk is not', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  await client.until(() => client.comments.length >= 4, 'heartbeats');
  const times = client.arrivals.filter(({kind}) => kind === 'comment').map(({at}) => at);
  const gaps = times.slice(1).map((at, i) => at - times[i]);
  for (const gap of gaps) assert.ok(gap >= 80 && gap <= stretched(900), `heartbeats ${gaps} ms apart`);
  const before = client.comments.length;
  const {task_id} = await sluice.run(session, 'count=40 delay=20');
  await runEnd(client, task_id);
  if (!slow) assert.ok(client.comments.length - before <= 3, `${client.comments.length - before} comments while events came every 20 ms`);
  client.leave();
});

test('every event has an id that grows, lifecycle events too, and agent events are unnamed', async () => {
  const {client, task_id} = await sluice.finishedRun(5);
  assert.deepEqual(client.types, ['run.start', ...Array(5).fill('message'), 'run.end']);
  assert.equal(client.json('run.start').task_id, task_id);
  const end = client.json('run.end');
  assert.deepEqual({...end, duration_ms: 0, bytes: 0, reason: null},
    {task_id, status: 'completed', reason: null, events: 5, bytes: 0, duration_ms: 0});
  assert.ok(!end.reason, 'a completed run needs no reason');
  assert.ok(end.bytes > 0 && end.duration_ms >= 0);
  // the strict client has checked the ids' form and order; that they are the clock's:
  assert.ok(Math.abs(Number(client.lastId.split('-')[0]) - Date.now()) < stretched(60000));
  assert.ok(!client.bytes.toString().includes('event: message'), 'type message is the default and goes unnamed');
});

test('data is byte for byte what the upstream sent', async () => {
  const datas = [
    ['one line'], ['two', 'lines'], ['', 'an empty first line'], ['an empty last line', ''], [''], ['', '', ''], [' leading and trailing '],
    ['  two spaces'], ['colon: in: it'], ['data: looks like a field'], ['id: 7'], [':comment?'], ['\u2028 and \u2029 and \u0085'], ['tab\tand \u0001\u0002'],
    ['\u{1F600} caf\u00e9 \u4e2d\u6587'], ['\ufeffa BOM inside'], ['x'.repeat(300000)], ['\\n\\r\\u2028'],
  ];
  const ends = ['\n', '\r\n', '\r'];
  scripts.set('bytes', async (exchange) => {
    await exchange.head();
    for (const [i, lines] of datas.entries()) {
      const end = ends[i % 3];
      await exchange.chunk(`${lines.map((line) => `data: ${line}${end}`).join('')}${end}`);
    }
    await exchange.lastChunk();
  });
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'bytes');
  await sluice.taskEnded(task_id);
  const client = await sluice.follow(session, '?until=run');
  await client.ended();
  assert.deepEqual(client.data, datas.map((lines) => lines.join('\n')));
});

test('the type of an upstream event is kept, its id, retry and comments are not', async () => {
  scripts.set('fields', (exchange) => exchange.stream(
    ': a comment\n\n', 'retry: 99999\n\n', 'id: upstream-id\nevent: tool\ndata: 1\n\n', 'event:\ndata: 2\n\n', 'event: message\ndata: 3\n\n', 'unknown: x\ndata: 4\n\n', 'event: nothing\n\n'));
  const session = sessionPath();
  await sluice.taskEnded((await sluice.run(session, 'fields')).task_id);
  const client = await sluice.follow(session, '?until=run');
  await client.ended();
  assert.deepEqual(client.events.slice(1, -1).map(({type, data}) => [type, data]), [['tool', '1'], ['message', '2'], ['message', '3'], ['message', '4']]);
  const text = client.bytes.toString();
  for (const word of ['upstream-id', '99999', 'a comment', 'unknown', 'nothing']) assert.ok(!text.includes(word), word);
  assert.equal(client.json('run.end').events, 4);
});

test('an upstream cannot speak in the name of the gateway', async () => {
  scripts.set('forged', (exchange) => exchange.stream('event: run.end\ndata: {"task_id":"forged"}\n\n', marked('forged', 1)));
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'forged');
  await sluice.taskEnded(task_id);
  const client = await sluice.follow(session, '?until=run');
  assert.equal(await client.ended(), 'last-chunk');
  assert.equal(JSON.parse(client.events.at(-1).data).task_id, task_id, 'the stream ends with the true end');
});

test('until=run closes after the run.end, and asked again from its end answers 204', async () => {
  const {session, client, task_id} = await sluice.finishedRun(2);
  const again = await sluice.follow(session, '?until=run', {'Last-Event-ID': client.lastId});
  assert.equal(again.status, 204);
  assert.equal(await again.ended(), 'length');
  const events = await new SseClient(sluice.url, `/tasks/${task_id}/events`, {headers: {'Last-Event-ID': client.lastId}}).opened();
  assert.equal(events.status, 204, "a run's own stream as well");
  const open = await sluice.follow(session, '', {'Last-Event-ID': client.lastId});
  assert.equal(open.status, 200, 'but not the stream of a session, which goes on');
  open.leave();
});

test('without until=run the stream stays open across runs', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  for (let i = 0; i < 3; i++) await runEnd(client, (await sluice.run(session, 'count=2')).task_id);
  assert.equal(checkRuns(client.events).size, 3);
  assert.equal(client.end, null);
  client.leave();
});

test('who subscribes first waits for the run, and with until=run for its end', async () => {
  const session = sessionPath();
  const open = await sluice.follow(session);
  const once = await sluice.follow(session, '?until=run');
  const {task_id} = await sluice.run(session, 'count=3');
  assert.equal(await once.ended(), 'last-chunk');
  await runEnd(open, task_id);
  assertSameEvents(once, open);
  assert.equal(once.types.at(-1), 'run.end');
  open.leave();
});

test('until=run in the middle of a run waits for its end', async () => {
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'count=3 hold');
  const client = await sluice.follow(session, '?until=run');
  await client.messages(3);
  assert.equal(client.end, null);
  await sluice.delete(`/tasks/${task_id}`);
  assert.equal(await client.ended(), 'last-chunk');
  assert.equal(client.json('run.end').status, 'cancelled');
});

test('the stream of a POST ends after its own run.end', async () => {
  const client = await sluice.runStream(sessionPath(), 'count=3');
  assert.equal(client.status, 200);
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.types, ['run.start', 'message', 'message', 'message', 'run.end']);
  assert.equal(await client.disconnected(2000), 'last-chunk');
});

test("a stream's connection is closed at its end, whatever other connections are idle", async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, workers: 1});
  const idle = net.connect(gateway.port, '127.0.0.1');
  t.after(() => idle.destroy());
  idle.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(idle, 'data');
  for (const version of ['1.1', '1.0']) {
    const client = await gateway.runStream(sessionPath(), 'count=2', undefined, {version});
    await client.event('run.end');
    await client.disconnected(2000);
  }
});

test('a POST stream that is replaced ends with its own end and nothing of the next run', async () => {
  const session = sessionPath();
  const first = await sluice.runStream(session, 'hold');
  await first.messages(1);
  const second = await sluice.runStream(session, 'count=2');
  assert.equal(await first.ended(), 'last-chunk');
  assert.deepEqual(first.types, ['run.start', 'message', 'run.end']);
  assert.equal(first.json('run.end').status, 'replaced');
  assert.equal(await second.ended(), 'last-chunk');
  assert.deepEqual(second.types, ['run.start', 'message', 'message', 'run.end']);
});

test('an HTTP/1.0 client gets plain bytes until the connection closes', async () => {
  const {session, client} = await sluice.finishedRun(4);
  const old = await sluice.follow(session, '?until=run', {}, {version: '1.0'});
  assert.equal(old.headers['transfer-encoding'], undefined);
  assert.equal(old.headers['content-length'], undefined);
  assert.equal(await old.ended(), 'close');
  assertSameEvents(old, client);
});

test('a subscriber that leaves ends no run, and its place is freed', async () => {
  const session = sessionPath();
  const before = (await sluice.stats()).subscribers;
  const clients = await Promise.all(Array.from({length: 10}, () => sluice.follow(session)));
  const {task_id} = await sluice.run(session, 'count=30 delay=10');
  await clients[0].messages(1);
  clients.forEach((client, i) => client.leave(i % 2 === 0));
  assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
  await until(async () => JSON.stringify((await sluice.stats()).subscribers) === JSON.stringify(before), 'no subscriber is left');
});

test('a subscriber that reads nothing is closed, and others feel nothing', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, stall_timeout_ms: stretched(600), send_buffer_bytes: 32768, log_bytes_max: 32 << 20});
  const chunks = 300;
  scripts.set('flood', async (exchange) => {
    await exchange.head();
    for (let number = 1; number <= chunks && exchange.open; number++) {
      await exchange.chunk(`data: ${JSON.stringify({of: 'flood', number, padding: 'x'.repeat(50000)})}\n\n`);
      await pause(5);
    }
    await exchange.lastChunk();
  });
  const session = sessionPath();
  const reader = await gateway.follow(session);
  const sleeper = await gateway.follow(session);
  sleeper.socket.pause();
  const {task_id} = await gateway.run(session, 'flood');
  await runEnd(reader, task_id, 30000);
  checkRuns(reader.events);
  assert.equal(reader.data.length, chunks, 'the reader has it all');
  assert.ok(!reader.types.includes('gap'));
  await until(async () => JSON.stringify((await gateway.stats()).subscribers).includes('1'), 'the sleeper is closed');
  sleeper.socket.resume();
  await sleeper.disconnected();
  assert.notEqual(sleeper.end, 'last-chunk', 'and can tell that it was cut');
  assert.ok(sleeper.data.length < chunks);
  reader.leave();
});

test('descriptors and subscribers go back to where they were, however clients leave', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url});
  const descriptors = () => readdirSync(`/proc/${gateway.program.pid}/fd`).length;
  const session = sessionPath();
  const open = await gateway.follow(session); // whatever is opened once is open now
  const {task_id} = await gateway.run(session, 'count=1');
  await runEnd(open, task_id);
  const before = descriptors();
  const rounds = slow ? 2 : 5;
  for (let round = 0; round < rounds; round++) {
    const clients = Array.from({length: 60}, (_, i) => new SseClient(gateway.url, `${session}/run${i % 5 === 0 ? '?until=run' : ''}`, {version: i % 4 === 0 ? '1.0' : '1.1'}));
    clients.forEach((client, i) => i % 3 === 0 && client.leave(i % 2 === 0)); // some before they were answered
    await Promise.all(clients.filter((client) => !client.left).map((client) => client.opened()));
    clients.forEach((client, i) => client.leave(i % 2 === 0));
  }
  await until(() => descriptors() <= before, `${before} descriptors, as before; there are ${descriptors()}`);
  const {task_id: next} = await gateway.run(session, 'count=2');
  assert.equal((await runEnd(open, next)).events, 2);
  open.leave();
});

test('a hundred subscribers of one session see the same', async () => {
  const session = sessionPath();
  const clients = await Promise.all(Array.from({length: 100}, () => sluice.follow(session, '?until=run')));
  await sluice.run(session, 'count=50');
  for (const client of clients) assert.equal(await client.ended(), 'last-chunk');
  for (const client of clients.slice(1)) assertSameEvents(client, clients[0]);
  checkRuns(clients[0].events);
});

test('HEAD of a stream answers its headers and does not subscribe', async () => {
  const answer = await sluice.request('HEAD', `${sessionPath()}/run`);
  assert.equal(answer.status, 200);
  assert.match(answer.headers['content-type'], /^text\/event-stream/);
});
