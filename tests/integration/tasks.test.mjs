// Runs after they were started: their status, result, events and history, and cancelling them.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked, asked, assertError, holdAfterOne, runEnd} from '../support/expect.mjs';
import {pause, stretched} from '../support/limits.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const upstream = await startUpstream({after}, (exchange) => (/hold/.test(asked(exchange)) ? holdAfterOne : answerMarked(3))(exchange));
const sluice = await startSluice({after}, {upstream: upstream.url});

test('DELETE S/run ends the current run and says so; without one it is 404', async () => {
  const session = sessionPath();
  assertError(await sluice.delete(`${session}/run`), 404);
  const {task_id} = await sluice.run(session, 'hold');
  const answer = await sluice.delete(`${session}/run`);
  assert.equal(answer.status, 200);
  assert.deepEqual([answer.json.task_id, answer.json.status], [task_id, 'cancelled']);
  assertError(await sluice.delete(`${session}/run`), 404);
});

test('GET S/task-status of a session where nothing ran', async () => {
  const {status, json} = await sluice.get(`${sessionPath('quiet')}/task-status`);
  assert.equal(status, 200);
  assert.deepEqual(json, {session_id: 'quiet', has_task: false, task_id: null, status: null, cancelled: false});
});

test('GET /tasks/{id} tells status, timings and counts', async () => {
  const session = sessionPath('timed');
  const {task_id} = await sluice.run(session, 'timed', {label: 'my label'});
  const task = await sluice.taskEnded(task_id);
  assert.equal(task.task_id, task_id);
  assert.equal(task.status, 'completed');
  assert.equal(task.events, 3);
  assert.ok(task.bytes > 0);
  assert.ok(task.duration_ms >= 0);
  const text = JSON.stringify(task);
  for (const part of ['demo', 'u1', 'timed', 'my label']) assert.ok(text.includes(part), `${part} in ${text}`);
  assertError(await sluice.get('/tasks/no-such-task'), 404);
  assertError(await sluice.delete('/tasks/no-such-task'), 404);
  assertError(await sluice.get('/tasks/no-such-task/events'), 404);
  assertError(await sluice.get('/tasks/no-such-task/result'), 404);
});

test('GET /tasks/{id}?wait_ms answers at the end of the run, or when the time is over', async () => {
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'hold');
  const from = Date.now();
  const early = await sluice.get(`/tasks/${task_id}?wait_ms=200`);
  assert.equal(early.json.status, 'running');
  assert.ok(Date.now() - from >= 190, 'it waited');
  const waiting = sluice.get(`/tasks/${task_id}?wait_ms=20000`, {ms: 25000});
  await pause(50);
  const cancelled = Date.now();
  await sluice.delete(`/tasks/${task_id}`);
  assert.equal((await waiting).json.status, 'cancelled');
  assert.ok(Date.now() - cancelled < stretched(2000), 'at once');
  for (const bad of ['-1', 'x', '60001', '1e3', '99999999999999999999']) assertError(await sluice.get(`/tasks/${task_id}?wait_ms=${bad}`), 400);
  assert.equal((await sluice.get(`/tasks/${task_id}?wait_ms=60000`)).status, 200, 'an ended run is not waited for');
});

test('a client that leaves while it waits is no harm', async () => {
  const {task_id} = await sluice.run(sessionPath(), 'hold');
  const sockets = Array.from({length: 10}, () => {
    const socket = net.connect(sluice.port, '127.0.0.1');
    socket.write(`GET /tasks/${task_id}?wait_ms=30000 HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    return socket;
  });
  await pause(50);
  for (const [i, socket] of sockets.entries()) i % 2 ? socket.destroy() : socket.resetAndDestroy();
  assert.equal((await sluice.delete(`/tasks/${task_id}`)).json.status, 'cancelled');
  assert.equal((await sluice.get('/healthz')).status, 200);
});

test('GET /tasks/{id}/result is 409 while it runs, and then what was produced', async (t) => {
  const adk = await startUpstream(t, async (exchange) => {
    await exchange.head();
    await exchange.chunk(adkFrame('Hel', {partial: true}));
    await exchange.chunk(adkFrame('lo ', {partial: true}));
    if (asked(exchange) === 'hold') await exchange.gone;
    await exchange.chunk(adkFrame('Hello world', {partial: false}));
    await exchange.lastChunk();
  });
  const gateway = await startSluice(t, {upstream: adk.url});
  const held = await gateway.run(sessionPath(), 'hold');
  assertError(await gateway.get(`/tasks/${held.task_id}/result`), 409);
  await gateway.delete(`/tasks/${held.task_id}`);
  assert.equal((await gateway.get(`/tasks/${held.task_id}/result`)).status, 200);
  const {task_id} = await gateway.run(sessionPath(), 'all');
  await gateway.taskEnded(task_id);
  const {json} = await gateway.get(`/tasks/${task_id}/result`);
  assert.equal(json.status, 'completed');
  assert.equal(json.text, 'Hello world', 'partial texts are replaced by the whole one');
});

test("GET /tasks/{id}/events replays that run's events alone", async () => {
  const session = sessionPath();
  const whole = await sluice.follow(session);
  const first = await sluice.run(session, 'first');
  await runEnd(whole, first.task_id);
  const second = await sluice.run(session, 'second');
  await runEnd(whole, second.task_id);
  for (const [i, {task_id}] of [first, second].entries()) {
    const client = await new SseClient(sluice.url, `/tasks/${task_id}/events`).opened();
    assert.equal(await client.ended(), 'last-chunk');
    assert.deepEqual(client.ids, whole.ids.slice(i * 5, i * 5 + 5));
    const rest = await new SseClient(sluice.url, `/tasks/${task_id}/events?last_event_id=${client.ids[1]}`).opened();
    await rest.ended();
    assert.deepEqual(rest.ids, client.ids.slice(2));
  }
  const held = await sluice.run(session, 'hold');
  const live = await new SseClient(sluice.url, `/tasks/${held.task_id}/events`).opened();
  await live.messages(1);
  await sluice.run(session, 'third');
  assert.equal(await live.ended(), 'last-chunk');
  assert.deepEqual(live.types, ['run.start', 'message', 'run.end']);
  await sluice.delete(session);
  assertError(await sluice.get(`/tasks/${first.task_id}/events`), 404);
  whole.leave();
});

test('DELETE /tasks/{id} cancels that run; an ended one is 409 with its status', async () => {
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'hold');
  const answer = await sluice.delete(`/tasks/${task_id}`);
  assert.equal(answer.status, 200);
  assert.equal(answer.json.status, 'cancelled');
  const again = await sluice.delete(`/tasks/${task_id}`);
  assertError(again, 409);
  assert.ok(again.text.includes('cancelled'));
});

test('GET /tasks lists newest first, filters and pages', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url});
  const made = [];
  for (let i = 0; i < 7; i++) {
    const {task_id} = await gateway.run(sessionPath(`p${i % 2}`, {app: i % 3 ? 'x' : 'y', user: `v${i % 2}`}), i === 6 ? 'hold' : 'work');
    if (i < 6) await gateway.taskEnded(task_id);
    made.unshift(task_id);
  }
  const ids = async (query) => {
    const {status, json, text} = await gateway.get(`/tasks${query}`);
    assert.equal(status, 200, text);
    return json.tasks.map(({task_id}) => task_id);
  };
  assert.deepEqual(await ids(''), made);
  assert.deepEqual(await ids('?status=running'), made.slice(0, 1));
  assert.equal((await ids('?status=completed')).length, 6);
  assert.deepEqual(await ids('?app=y'), [made[0], made[3], made[6]]);
  assert.deepEqual(await ids('?user=v1'), [made[1], made[3], made[5]]);
  assert.deepEqual(await ids('?session=p1&app=y'), [made[3]]);
  assert.deepEqual(await ids('?session=none'), []);
  const paged = [];
  let cursor;
  do {
    const {json} = await gateway.get(`/tasks?limit=3${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
    assert.ok(json.tasks.length <= 3);
    paged.push(...json.tasks.map(({task_id}) => task_id));
    cursor = json.next_cursor;
    if (paged.length === 3) { // a newer run does not shift the pages
      const {task_id} = await gateway.run(sessionPath('late'), 'work');
      await gateway.taskEnded(task_id);
    }
  } while (cursor);
  assert.deepEqual(paged, made);
  for (const bad of ['?limit=0', '?limit=x', '?limit=-1', '?status=odd', '?cursor=garbage', '?app=a%2Fb']) assertError(await gateway.get(`/tasks${bad}`), 400);
});

test('GET S/history gives the newest retained events as JSON', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  const {task_id} = await sluice.run(session, 'work');
  await runEnd(client, task_id);
  const {json} = await sluice.get(`${session}/history`);
  assert.deepEqual(json.events.map(({id}) => id), client.ids);
  const message = json.events[1];
  assert.deepEqual(typeof message.data === 'string' ? JSON.parse(message.data) : message.data, {of: 'work', number: 1});
  assert.deepEqual((await sluice.get(`${session}/history?limit=2`)).json.events.map(({id}) => id), client.ids.slice(-2), 'the newest, oldest of them first');
  for (const bad of ['0', '-1', 'x']) assertError(await sluice.get(`${session}/history?limit=${bad}`), 400);
  assert.match(String((await sluice.get(`${sessionPath()}/history`)).status), /^(200|404)$/);
  client.leave();
});
