// POST S/run: what it takes, what it refuses, conflicts, limits, idempotency, and the names of sessions.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked, asked, assertError, holdAfterOne, runEnd} from '../support/expect.mjs';
import {rawRequest} from '../support/http.mjs';
import {pause, until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, (exchange) => (/hold/.test(asked(exchange)) ? holdAfterOne : answerMarked(3))(exchange));
const sluice = await startSluice({after}, {upstream: upstream.url, request_body_bytes_max: 10000, disconnect_grace_ms: 50});

test('POST S/run refuses what is no run', async () => {
  const url = `${sessionPath()}/run`;
  const came = upstream.runs.length;
  assertError(await sluice.post(url, '{"message":'), 400);
  assertError(await sluice.post(url, '[]'), 400);
  assertError(await sluice.post(url, '"text"'), 400);
  assertError(await sluice.post(url, '{}'), 400);
  assertError(await sluice.post(url, '{"message":7}'), 400);
  assertError(await sluice.post(url, ''), 400);
  assertError(await sluice.post(url, '{"message":"a"} trailing'), 400);
  assertError(await sluice.post(url, `{"message":"a","deep":${'['.repeat(2000)}${']'.repeat(2000)}}`), 400);
  assertError(await sluice.post(url, Buffer.from('{"message":"\xff\xfe"}', 'latin1')), 400);
  assert.equal(upstream.runs.length, came, 'none of it reached the upstream');
});

test('POST S/run wants JSON, a length, and not too much', async () => {
  const url = `${sessionPath()}/run`;
  assertError(await sluice.post(url, '{"message":"a"}', {headers: {'content-type': 'text/plain'}}), 415);
  assertError(await sluice.post(url, '{"message":"a"}', {headers: {'content-type': null}}), 415);
  assert.equal((await sluice.post(url, '{"message":"a"}', {headers: {'content-type': 'Application/JSON; charset=utf-8'}})).status, 200);
  assertError(await sluice.post(url, {message: 'x'.repeat(20000)}), 413);
  const noLength = await rawRequest(sluice.port, `POST ${url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n`);
  assert.match(noLength, /^HTTP\/1\.1 411 /);
  const many = await rawRequest(sluice.port, `POST ${url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n{`);
  assert.match(many, /^HTTP\/1\.1 413 /, 'refused before it is sent');
});

test('POST S/run takes a body that comes in pieces', async () => {
  const url = `${sessionPath()}/run`;
  const body = '{"message":"in pieces"}';
  const answer = await new Promise((resolve) => {
    let text = '';
    const socket = net.connect(sluice.port, '127.0.0.1', async () => {
      socket.setNoDelay();
      for (const byte of `POST ${url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`) {
        socket.write(byte);
        await new Promise(setImmediate);
      }
    });
    socket.on('data', (part) => { text += part; });
    socket.on('close', () => resolve(text));
  });
  assert.match(answer, /^HTTP\/1\.1 200 /);
});

test('gateway options are checked: unknown ones and bad values are 400', async () => {
  const url = `${sessionPath()}/run`;
  for (const gateway of [{unknown: 1}, {on_conflict: 'fight'}, {on_conflict: 1}, {on_disconnect: 'weep'}, {timeout_ms: -1}, {timeout_ms: '5'}, {timeout_ms: 1.5}, {cancel_after_idle_ms: -5},
    {priority: 0}, {priority: 11}, {label: 7}, {delay_ms: 86400001}, {delay_ms: -1}, 'text', [], {timeout_ms: 1e300}])
    assertError(await sluice.post(url, {message: 'a', gateway}), 400);
  for (const gateway of [{}, {priority: 1}, {priority: 10}, {label: 'mine é'}, {on_conflict: 'replace', on_disconnect: 'continue', timeout_ms: 5000}, {delay_ms: 0}])
    assert.equal((await sluice.post(url, {message: 'a', gateway})).status, 200, JSON.stringify(gateway));
  const came = upstream.runs.length;
  await sluice.taskEnded((await sluice.run(sessionPath(), 'a', {label: 'x'})).task_id);
  assert.ok(!('gateway' in upstream.runs[came].json), 'they are not passed on');
});

test('on_conflict reject is 409 with the id of the run that goes on', async () => {
  const session = sessionPath();
  const held = await sluice.run(session, 'hold');
  const refused = await sluice.post(`${session}/run`, {message: 'b', gateway: {on_conflict: 'reject'}});
  assertError(refused, 409);
  assert.ok(refused.text.includes(held.task_id));
  assert.equal((await sluice.task(held.task_id)).status, 'running');
  await sluice.delete(`${session}/run`);
  assert.equal((await sluice.post(`${session}/run`, {message: 'b', gateway: {on_conflict: 'reject'}})).status, 200, 'once it has ended, there is no conflict');
});

test('on_conflict enqueue waits its turn, in order', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  const held = await sluice.run(session, 'hold');
  const waiting = [];
  for (let i = 0; i < 3; i++) waiting.push(await sluice.run(session, `queued ${i}`, {on_conflict: 'enqueue'}));
  for (const {status, task_id} of waiting) {
    assert.equal(status, 'pending');
    assert.equal((await sluice.task(task_id)).status, 'pending');
  }
  assert.equal((await sluice.delete(`/tasks/${waiting[1].task_id}`)).json.status, 'cancelled', 'one that waits can be cancelled');
  await sluice.delete(`/tasks/${held.task_id}`);
  await runEnd(client, waiting[2].task_id);
  const started = client.events.filter(({type}) => type === 'run.start').map(({data}) => JSON.parse(data).task_id);
  assert.deepEqual(started, [held.task_id, waiting[0].task_id, waiting[2].task_id]);
  assert.equal((await sluice.task(waiting[0].task_id)).status, 'completed');
  client.leave();
});

test('at most 16 runs wait in a session', async () => {
  const session = sessionPath();
  await sluice.run(session, 'hold');
  for (let i = 0; i < 16; i++) await sluice.run(session, 'queued', {on_conflict: 'enqueue'});
  const refused = await sluice.post(`${session}/run`, {message: 'one more', gateway: {on_conflict: 'enqueue'}});
  assertError(refused, 429);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  await sluice.delete(session);
  await until(async () => (await sluice.get('/task-status')).json.running_tasks === 0, 'all of them are gone with the session');
});

test('runs_max is a limit over all sessions', async (t) => {
  const small = await startSluice(t, {upstream: upstream.url, runs_max: 3, runs_queued_max: 0});
  const sessions = Array.from({length: 4}, () => sessionPath());
  for (const session of sessions.slice(0, 3)) await small.run(session, 'hold');
  const refused = await small.post(`${sessions[3]}/run`, {message: 'a'});
  assertError(refused, 429);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  await small.delete(`${sessions[0]}/run`);
  assert.equal((await small.post(`${sessions[3]}/run`, {message: 'a'})).status, 200);
});

test('on_disconnect cancel ends the run when its own client leaves', async () => {
  const client = await sluice.runStream(sessionPath(), 'hold', {on_disconnect: 'cancel'});
  await client.messages(1);
  const {task_id} = client.json('run.start');
  client.leave();
  assert.equal((await sluice.taskEnded(task_id)).status, 'cancelled');
});

test('cancel_after_idle_ms ends a run that nobody has watched for that long', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  const {task_id} = await sluice.run(session, 'hold', {cancel_after_idle_ms: 200});
  await client.messages(1);
  await pause(400);
  assert.equal((await sluice.task(task_id)).status, 'running', 'it is watched');
  client.leave();
  assert.equal((await sluice.taskEnded(task_id)).status, 'cancelled');
});

test('Idempotency-Key: the same key with the same body is the same run, with another body 409', async () => {
  const session = sessionPath();
  const headers = {'Idempotency-Key': 'key-1'};
  const first = await sluice.run(session, 'once', undefined, {headers});
  const again = await sluice.run(session, 'once', undefined, {headers});
  assert.equal(again.task_id, first.task_id);
  await sluice.taskEnded(first.task_id);
  assert.equal((await sluice.run(session, 'once', undefined, {headers})).task_id, first.task_id, 'also when it has ended');
  assertError(await sluice.post(`${session}/run`, {message: 'other'}, {headers}), 409);
  assert.notEqual((await sluice.run(session, 'once', undefined, {headers: {'Idempotency-Key': 'key-2'}})).task_id, first.task_id);
  const elsewhere = await sluice.run(sessionPath(), 'once', undefined, {headers});
  assert.notEqual(elsewhere.task_id, first.task_id, 'a key is of its session');
  const racing = await Promise.all(Array.from({length: 10}, () => sluice.run(session, 'race', undefined, {headers: {'Idempotency-Key': 'racing'}})));
  assert.equal(new Set(racing.map(({task_id}) => task_id)).size, 1);
  assertError(await sluice.post(`${session}/run`, {message: 'a'}, {headers: {'Idempotency-Key': 'x'.repeat(2000)}}), 400);
});

test('an Idempotency-Key answers with its run though that is no longer remembered', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, tasks_kept: 1});
  const session = sessionPath();
  const headers = {'Idempotency-Key': 'key-1'};
  const came = upstream.runs.length;
  const first = await gateway.run(session, 'once', undefined, {headers});
  assert.equal((await gateway.taskEnded(first.task_id)).status, 'completed');
  for (let i = 0; i < 2; i++) await gateway.taskEnded((await gateway.run(sessionPath(), 'another')).task_id);
  assertError(await gateway.get(`/tasks/${first.task_id}`), 404);
  const again = await gateway.post(`${session}/run`, {message: 'once'}, {headers});
  assert.equal(again.status, 200);
  assert.deepEqual({...again.json, message: ''}, {...first, message: '', status: 'completed'});
  assert.equal(again.headers['idempotency-replayed'], 'true');
  assert.equal(again.headers.location, `/tasks/${first.task_id}`);
  const mismatch = await gateway.post(`${session}/run`, {message: 'other'}, {headers});
  assert.equal(mismatch.status, 409);
  assert.equal(mismatch.json.error.task_id, first.task_id);
  assertError(await gateway.post(`${session}/run`, {message: 'once'}, {headers: {...headers, Accept: 'text/event-stream'}}), 404, /^events_not_retained$/);
  assert.equal(upstream.runs.length - came, 3, 'nothing ran twice');
});

test('an Idempotency-Key is forgotten after its time', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, idempotency_ttl_ms: 150, cleanup_interval_ms: 50});
  const session = sessionPath();
  const headers = {'Idempotency-Key': 'short'};
  const first = await gateway.run(session, 'once', undefined, {headers});
  await until(async () => (await gateway.run(session, 'once', undefined, {headers})).task_id !== first.task_id, 'a new run');
});

// ---- names of sessions ----

test('a name of 128 allowed bytes, encoded or not, is the same session', async () => {
  const name = 'aZ09._~@:+-'.padEnd(128, 'x');
  const encoded = [...name].map((letter) => `%${letter.charCodeAt(0).toString(16).padStart(2, '0')}`).join('');
  const {task_id, session_id} = await sluice.run(`/apps/demo/users/u/sessions/${name}`);
  assert.equal(session_id, name);
  assert.equal((await sluice.get(`/apps/demo/users/u/sessions/${encoded}/task-status`)).json.task_id, task_id);
});

test('an empty name is no session', async () => {
  for (const path of ['/apps/demo/users/u/sessions//run', '/apps//users/u/sessions/s/run'])
    assert.match(String((await sluice.post(path, {message: 'a'})).status), /^40[04]$/);
});

test('a body of too many JSON values is refused before anything is made of them', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url});
  const zeros = (count) => Array(count).fill(0);
  const {text} = await gateway.get('/metrics');
  const before = Number(/^sluice_json_refused_total (\d+)$/m.exec(text)[1]);
  for (const path of [`${sessionPath()}/run`, '/run_sse', sessionPath(), '/apps/demo/users/u1/sessions'])
    assertError(await gateway.post(path, {message: 'x', a: zeros(500000)}), 413, /^too_many_json_values$/);
  const after = Number(/^sluice_json_refused_total (\d+)$/m.exec((await gateway.get('/metrics')).text)[1]);
  assert.equal(after, before + 4);
  const {request_json_values_max: max} = (await gateway.stats()).limits;
  assertError(await gateway.post(`${sessionPath()}/run`, {message: 'x', a: zeros(max - 2)}), 413, /^too_many_json_values$/);
  await gateway.run(sessionPath(), {message: 'x', a: zeros(max - 3)});
  await gateway.run(sessionPath(), ','.repeat(900000)); // a long text is one value
});
