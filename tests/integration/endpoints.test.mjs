// Every row of the contract's table of endpoints, with the ways each of them refuses.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked, asked, holdAfterOne, runEnd} from '../support/expect.mjs';
import {curl} from '../support/http.mjs';
import {pause, stretched, until, within} from '../support/limits.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const passthrough = new Map(); // path -> script

const upstream = await startUpstream({after}, (exchange) => {
  if (passthrough.has(exchange.path)) return passthrough.get(exchange.path)(exchange);
  if (exchange.path !== '/run_sse') return exchange.answer(404, '{"detail":"Not Found"}');
  return (/hold/.test(asked(exchange)) ? holdAfterOne : answerMarked(3))(exchange);
});
const sluice = await startSluice({after}, {upstream: upstream.url, request_body_bytes_max: 10000});

/** An error answer in the contract's form. */
function assertError(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers['content-type'], /^application\/json/);
  assert.deepEqual(Object.keys(answer.json), ['error']);
  assert.match(answer.json.error.code, code ?? /^[a-z]+(_[a-z]+)*$/);
  assert.match(answer.json.error.message, /\S \S.*[.?!]?$/, 'a sentence for people');
  assert.ok(!/<|at 0x|\.c:\d/.test(answer.text), 'no HTML and no stack trace');
}

/** Bytes as they are to the gateway, and what it answers until it closes. */
function raw(bytes, {port = sluice.port} = {}) {
  return within(new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (part) => { text += part; });
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(text));
    socket.on('error', (error) => (text ? resolve(text) : reject(error)));
  }), 10000, 'an answer to raw bytes');
}

// ---- POST S/run ----

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
  const noLength = await raw(`POST ${url} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n`);
  assert.match(noLength, /^HTTP\/1\.1 411 /);
  const many = await raw(`POST ${url} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n{`);
  assert.match(many, /^HTTP\/1\.1 413 /, 'refused before it is sent');
});

test('POST S/run takes a body that comes in pieces', async () => {
  const url = `${sessionPath()}/run`;
  const body = '{"message":"in pieces"}';
  const answer = await new Promise((resolve) => {
    let text = '';
    const socket = net.connect(sluice.port, '127.0.0.1', async () => {
      socket.setNoDelay();
      for (const byte of `POST ${url} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`) {
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
    {priority: 0}, {priority: 11}, {label: 7}, {delay_ms: 100}, {delay_ms: -1}, 'text', [], {timeout_ms: 1e300}])
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
  const small = await startSluice(t, {upstream: upstream.url, runs_max: 3});
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

test('an Idempotency-Key is forgotten after its time', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, idempotency_ttl_ms: 150, cleanup_interval_ms: 50});
  const session = sessionPath();
  const headers = {'Idempotency-Key': 'short'};
  const first = await gateway.run(session, 'once', undefined, {headers});
  await until(async () => (await gateway.run(session, 'once', undefined, {headers})).task_id !== first.task_id, 'a new run');
});

// ---- names ----

const badNames = {'a space': 'a%20b', 'a slash': 'a%2Fb', 'a NUL': 'a%00b', 'a control character': 'a%0Ab', 'a letter beyond ASCII': '%C3%A9', 'a percent sign': 'a%25b', 'one dot': '%2E', 'two dots': '%2e%2e',
  '129 bytes': 'x'.repeat(129), 'a semicolon': 'a;b', 'a broken escape': 'a%2', 'an escape that is none': 'a%zz', 'a star': 'a*', 'a backslash': 'a%5Cb', 'a question mark': 'a%3Fb'};
for (const [what, name] of Object.entries(badNames))
  test(`a name with ${what} is 400`, async () => {
    const came = upstream.runs.length + upstream.sessions.length;
    for (const path of [`/apps/demo/users/u/sessions/${name}/run`, `/apps/${name}/users/u/sessions/s/run`, `/apps/demo/users/${name}/sessions/s/run`]) {
      assertError(await sluice.post(path, {message: 'a'}), 400);
      assertError(await sluice.get(path), 400);
    }
    assert.equal(upstream.runs.length + upstream.sessions.length, came, 'nothing reached the upstream');
  });

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

// ---- DELETE S/run, tasks ----

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
    socket.write(`GET /tasks/${task_id}?wait_ms=30000 HTTP/1.1\r\nHost: x\r\n\r\n`);
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

// ---- sessions and the upstream's own paths ----

test('sessions are created, shown, listed and deleted upstream', async () => {
  const session = sessionPath('kept', {app: 'a1'});
  const from = upstream.sessions.length;
  assert.equal((await sluice.post(session, {state: {x: 1}})).status, 200);
  assert.equal((await sluice.post('/apps/a1/users/u1/sessions', {})).status, 200);
  assert.equal((await sluice.get('/apps/a1/users/u1/sessions')).status, 200);
  assert.equal((await sluice.get(session)).status, 200);
  assert.match(String((await sluice.delete(session)).status), /^20[04]$/);
  assert.deepEqual(upstream.sessions.slice(from), [`POST ${session}`, 'POST /apps/a1/users/u1/sessions', 'GET /apps/a1/users/u1/sessions', `GET ${session}`, `DELETE ${session}`]);
});

test('passthrough streams, keeps status and end-to-end headers, and removes hop-by-hop ones', async () => {
  const part = 'x'.repeat(1000);
  let finish;
  const finished = new Promise((resolve) => { finish = resolve; });
  passthrough.set('/list-apps?x=1', async (exchange) => {
    await exchange.head({status: 203, headers: {'Content-Type': 'application/odd', 'X-Own': 'kept', 'Keep-Alive': 'timeout=5', Connection: 'X-Secret-Hop', 'X-Secret-Hop': 'removed',
      'Proxy-Authenticate': 'Basic', Upgrade: 'h2c', Trailer: 'X-T', 'Set-Cookie': 'a=b'}});
    await exchange.chunk(part);
    await finished;
    await exchange.chunk(part);
    await exchange.lastChunk();
  });
  const number = upstream.runs.length;
  const client = new SseClient(sluice.url, '/list-apps?x=1', {headers: {'X-Mine': '1', 'Proxy-Authorization': 'Basic secret', TE: 'trailers', Accept: 'application/odd'}, ids: false});
  await client.until(() => client.body.length === 1000, 'the first part before the second is made');
  finish();
  assert.match(await client.ended(), /^(last-chunk|length)$/);
  assert.equal(client.status, 203);
  assert.equal(client.body.length, 2000);
  assert.equal(client.headers['content-type'], 'application/odd');
  assert.equal(client.headers['x-own'], 'kept');
  for (const name of ['x-secret-hop', 'keep-alive', 'proxy-authenticate', 'upgrade', 'trailer']) assert.equal(client.headers[name], undefined, name);
  const {headers} = upstream.runs[number];
  assert.equal(headers.host, new URL(upstream.url).host);
  for (const name of ['proxy-authorization', 'te', 'upgrade']) assert.equal(headers[name], undefined, name);
});

test('a passthrough that breaks off is told from one that ends', async () => {
  passthrough.set('/list-apps?cut', async (exchange) => {
    await exchange.head({headers: {'Content-Type': 'application/json'}});
    await exchange.chunk('["half');
    exchange.close();
  });
  const client = new SseClient(sluice.url, '/list-apps?cut');
  await client.opened();
  assert.match(await client.disconnected(), /^(truncated|reset)$/);
});

test('a large passthrough is not kept in memory, however slow its reader', async () => {
  passthrough.set('/list-apps?large', async (exchange) => {
    await exchange.head({headers: {'Content-Type': 'application/json'}, framing: 'length', length: 20e6});
    for (let i = 0; i < 200; i++) if (!await exchange.send(Buffer.alloc(100000, 120))) return;
  });
  const client = new SseClient(sluice.url, '/list-apps?large');
  await client.opened();
  client.socket.pause();
  await pause(300);
  client.socket.resume();
  assert.equal(await client.ended(20000), 'length');
  assert.equal(client.body.length, 20e6);
});

test('an upstream that does not answer a passthrough is told as an error', async (t) => {
  const alone = await startSluice(t, {upstream: 'http://127.0.0.1:1', upstream_connect_timeout_ms: 1000});
  const answer = await alone.get('/list-apps');
  assert.ok(answer.status === 502 || answer.status === 503 || answer.status === 504, String(answer.status));
  assert.match(answer.json.error.code, /^[a-z_]+$/);
});

test('.., absolute URLs and unlisted prefixes never reach the upstream', async () => {
  const came = upstream.runs.length + upstream.sessions.length;
  const targets = ['/apps/../secret', '/list-apps/../secret', '/apps/a/users/..%2f..%2fsecret', '/debug/%2e%2e/secret', '/%2e%2e/secret', '/list-apps%2f..%2fsecret', '/..', '/.', '//list-apps', '/unlisted/path', '/builder/save',
    '/run', '/run_live', '/apps/a/users/u/sessions/%2e%2e', '/debug/trace/..', '/LIST-APPS', '/list-appsx'];
  for (const target of targets) {
    const answer = await raw(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 40[0345] /, target);
  }
  for (const target of [`${upstream.url}/list-apps`, 'http://elsewhere.example/list-apps', '*', 'elsewhere.example:80']) {
    const answer = await raw(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 4\d\d /, target);
  }
  assert.equal(upstream.runs.length + upstream.sessions.length, came);
});

// ---- methods ----

test('unknown paths are 404, known ones with another method 405 with Allow', async () => {
  for (const path of ['/', '/nope', '/tasks/a/b', '/apps', '/healthz/x']) assertError(await sluice.get(path), 404);
  const session = sessionPath();
  const cases = [['PUT', `${session}/run`, ['GET', 'POST', 'DELETE']], ['POST', `${session}/task-status`, ['GET']], ['DELETE', '/tasks', ['GET']], ['POST', '/tasks/x', ['GET', 'DELETE']], ['GET', '/run_sse', ['POST']],
    ['POST', '/healthz', ['GET']], ['DELETE', '/metrics', ['GET']], ['PATCH', `${session}/history`, ['GET']], ['POST', '/list-apps', ['GET']], ['BREW', '/stats', ['GET']]];
  for (const [method, path, allowed] of cases) {
    const answer = await raw(`${method} ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 405 /, `${method} ${path}: ${answer.split('\r')[0]}`);
    const allow = /^Allow: (.*)$/im.exec(answer)[1].split(/, */);
    for (const each of allowed) assert.ok(allow.includes(each), `${each} in ${allow} of ${path}`);
    assert.ok(!allow.includes(method));
  }
});

test('HEAD is GET without the body, OPTIONS says what is allowed', async () => {
  const {task_id} = await sluice.run(sessionPath(), 'work');
  await sluice.taskEnded(task_id);
  for (const path of ['/healthz', '/stats', '/tasks', `/tasks/${task_id}`]) {
    const head = await sluice.request('HEAD', path);
    assert.equal(head.status, 200, path);
    assert.equal(head.text, '');
    assert.equal(head.headers['content-type'], (await sluice.get(path)).headers['content-type']);
  }
  assert.equal((await sluice.request('HEAD', '/tasks/none')).status, 404);
  const options = await sluice.request('OPTIONS', '/tasks');
  assert.match(String(options.status), /^20[04]$/);
  assert.match(options.headers.allow, /GET/);
});

test('headers over the limit are refused, and nonsense is no harm', async () => {
  const large = await raw(`GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: ${'x'.repeat(40000)}\r\n\r\n`);
  assert.match(large, /^HTTP\/1\.[01] (431|4\d\d) /);
  for (const bytes of ['\r\n\r\n\r\n', 'GET\r\n\r\n', 'nonsense\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'GET /a b HTTP/1.1\r\n\r\n', '\x16\x03\x01\x02\x00']) {
    const socket = net.connect(sluice.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.end(Buffer.from(bytes, 'latin1'));
    await within(new Promise((resolve) => { socket.resume(); socket.on('close', resolve); }), 20000, 'the close');
  }
  assert.equal((await sluice.get('/healthz')).status, 200);
});

test('a request may not be told twice how long it is', async () => {
  const body = '{"message":"smuggled"}';
  const came = upstream.runs.length;
  const url = `${sessionPath()}/run`;
  const both = await raw(`POST ${url} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n`);
  assert.doesNotMatch(both, /^HTTP\/1\.1 200 /);
  assert.equal(upstream.runs.length, came);
});

// ---- CORS ----

test('CORS: exact origins, preflight, credentials', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, cors_origins: 'https://app.example,http://localhost:3000', cors_credentials: true});
  const session = sessionPath();
  for (const origin of ['https://app.example', 'http://localhost:3000']) {
    const {headers} = await gateway.get('/healthz', {headers: {Origin: origin}});
    assert.equal(headers['access-control-allow-origin'], origin);
    assert.equal(headers['access-control-allow-credentials'], 'true');
    assert.match(headers.vary, /origin/i);
  }
  for (const origin of ['https://evil.example', 'https://app.example.evil', 'http://app.example', 'null', 'https://app.example:444'])
    assert.equal((await gateway.get('/healthz', {headers: {Origin: origin}})).headers['access-control-allow-origin'], undefined, origin);
  const preflight = await gateway.request('OPTIONS', `${session}/run`,
    {headers: {Origin: 'https://app.example', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type, idempotency-key, authorization, last-event-id'}});
  assert.match(String(preflight.status), /^20[04]$/);
  assert.equal(preflight.headers['access-control-allow-origin'], 'https://app.example');
  assert.match(preflight.headers['access-control-allow-methods'], /POST/);
  for (const name of ['content-type', 'idempotency-key', 'authorization', 'last-event-id'])
    assert.ok(preflight.headers['access-control-allow-headers'].toLowerCase().split(/, */).includes(name), name);
  const refused = await gateway.request('OPTIONS', `${session}/run`, {headers: {Origin: 'https://evil.example', 'Access-Control-Request-Method': 'POST'}});
  assert.equal(refused.headers['access-control-allow-origin'], undefined);
  const stream = await gateway.follow(session, '', {Origin: 'https://app.example'});
  assert.equal(stream.headers['access-control-allow-origin'], 'https://app.example');
  stream.leave();
  const failure = await gateway.get('/tasks/none', {headers: {Origin: 'https://app.example'}});
  assert.equal(failure.headers['access-control-allow-origin'], 'https://app.example', 'errors can be read as well');
});

test("CORS: * allows any origin, without credentials; the upstream's own CORS headers are not passed", async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, cors_origins: '*'});
  passthrough.set('/list-apps', (exchange) => exchange.head({headers: {'Content-Type': 'application/json', 'Access-Control-Allow-Origin': 'https://other.example', 'Access-Control-Allow-Credentials': 'true'}, framing: 'length', length: 2})
    .then(() => exchange.send('[]')));
  for (const path of ['/healthz', '/list-apps']) {
    const {headers} = await gateway.get(path, {headers: {Origin: 'https://any.example'}});
    assert.match(headers['access-control-allow-origin'], /^(\*|https:\/\/any\.example)$/, path);
    assert.equal(headers['access-control-allow-credentials'], undefined, path);
  }
  assert.equal((await sluice.get('/healthz', {headers: {Origin: 'https://any.example'}})).headers['access-control-allow-origin'], undefined, 'none by default');
});

// ---- limits of subscribers and sessions ----

test('subscribers are limited, in a session and over all', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, subscribers_max: 5, subscribers_per_session_max: 3});
  const one = sessionPath();
  const clients = [];
  for (let i = 0; i < 3; i++) clients.push(await gateway.follow(one));
  const refused = await gateway.follow(one);
  assert.equal(refused.status, 429);
  assert.match(refused.headers['retry-after'], /^\d+$/);
  for (let i = 0; i < 2; i++) clients.push(await gateway.follow(sessionPath()));
  assert.equal((await gateway.follow(sessionPath())).status, 429);
  clients[0].leave();
  const again = await until(async () => {
    const client = await gateway.follow(one);
    return client.status === 200 && client;
  }, 'there is room again');
  for (const client of [...clients, again]) client.leave();
});

test('sessions are limited', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, sessions_max: 3});
  const sessions = Array.from({length: 4}, () => sessionPath());
  for (const session of sessions.slice(0, 3)) await gateway.taskEnded((await gateway.run(session)).task_id);
  assert.match(String((await gateway.post(`${sessions[3]}/run`, {message: 'a'})).status), /^(429|503)$/);
  await gateway.delete(sessions[0]);
  assert.equal((await gateway.post(`${sessions[3]}/run`, {message: 'a'})).status, 200);
});

// ---- health ----

test('/healthz, /readyz, /health, /stats and /metrics', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  const {task_id} = await sluice.run(session, 'hold');
  await client.messages(1);
  assert.equal((await sluice.get('/healthz')).status, 200);
  assert.equal((await sluice.get('/readyz')).status, 200);
  const health = await sluice.get('/health');
  assert.equal(health.status, 200);
  assert.match(health.headers['content-type'], /^application\/json/);
  const stats = await sluice.stats();
  const text = JSON.stringify(stats);
  for (const word of ['sessions', 'subscribers', 'runs', 'bytes', 'limits']) assert.ok(text.includes(word), `${word} in ${text}`);
  const metrics = await sluice.get('/metrics');
  assert.match(metrics.headers['content-type'], /^text\/plain; version=0\.0\.4|^application\/openmetrics-text/);
  for (const line of metrics.text.trim().split('\n'))
    assert.match(line, /^(# (HELP|TYPE|EOF).*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*"(,[a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*")*\})? [-+]?(\d+(\.\d+)?([eE][-+]?\d+)?|Inf|NaN))$/, line);
  assert.match(metrics.text, /^sluice_\w*subscribers\w*(\{[^}]*\})? [1-9]/m);
  assert.match(metrics.text, /^# TYPE sluice_/m);
  await sluice.delete(`/tasks/${task_id}`);
  client.leave();
});

test('memory is accounted for, and above a threshold there is a warning', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, memory_warn_bytes: 1000, cleanup_interval_ms: 50});
  const session = sessionPath();
  await gateway.taskEnded((await gateway.run(session, 'work')).task_id);
  await gateway.logged({level: 'warn'});
  assert.match(gateway.logs.find(({level}) => level === 'warn').event, /memory/);
  const used = JSON.stringify((await gateway.stats()).memory);
  await gateway.delete(session);
  await until(async () => JSON.stringify((await gateway.stats()).memory) !== used, 'memory is given back');
});

test('a client that never finishes its request is closed', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, request_timeout_ms: 1000});
  const pieces = ['', 'GET /heal', 'GET /healthz HTTP/1.1\r\nHost: x\r\n', `POST ${sessionPath()}/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"mess`];
  await Promise.all(pieces.map((piece) => within(new Promise((resolve) => {
    const socket = net.connect(gateway.port, '127.0.0.1', () => socket.write(piece));
    socket.on('error', () => {});
    socket.resume().on('close', resolve);
  }), 8000, `the close of a connection that said ${JSON.stringify(piece)}`)));
  const client = await gateway.follow(sessionPath());
  await pause(2500);
  assert.equal(client.closed, false, 'a stream is no request that hangs');
  client.leave();
});

test('the demo page is served at /demo, and can be turned off', async (t) => {
  const page = await sluice.get('/demo');
  assert.equal(page.status, 200);
  assert.match(page.headers['content-type'], /^text\/html; *charset=utf-8/i);
  assert.match(page.text, /<!doctype html>/i);
  assert.ok(!/(src|href)="https?:/.test(page.text), 'nothing from elsewhere');
  const without = await startSluice(t, {upstream: upstream.url, demo: false});
  assertError(await without.get('/demo'), 404);
});

test('curl can do it all', async () => {
  const url = `${sluice.url}${sessionPath()}/run`;
  const started = await curl('-X', 'POST', url, '-H', 'Content-Type: application/json', '-d', '{"message":"by curl"}');
  assert.equal(started.code, 0, started.stderr);
  const {task_id} = JSON.parse(started.stdout);
  const followed = await curl('-i', `${url}?until=run`);
  assert.equal(followed.code, 0, 'curl sees a clean end');
  assert.match(followed.stdout, /event: run\.end/);
  assert.ok(followed.stdout.includes(task_id));
  const posted = await curl('-X', 'POST', url, '-H', 'Accept: text/event-stream', '-H', 'Content-Type: application/json', '-d', '{"message":"by curl"}');
  assert.match(posted.stdout, /event: run\.start[^]*"number":3[^]*event: run\.end/);
  const expect = await curl('-X', 'POST', url, '-H', 'Expect: 100-continue', '-H', 'Content-Type: application/json', '-d', '{"message":"politely"}');
  assert.equal(JSON.parse(expect.stdout).success, true);
});

test('keep-alive: many requests on one connection', async () => {
  const body = '{"message":"again"}';
  const url = `${sessionPath()}/run`;
  const one = `POST ${url} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const answer = await raw(`${one.repeat(5)}GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  assert.equal(answer.match(/HTTP\/1\.1 200 /g).length, 6, 'pipelined, answered in order');
});
