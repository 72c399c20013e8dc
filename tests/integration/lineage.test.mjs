// The behaviours that the systems Sluice descends from had tests for, under their names; the last one deadlocked there.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {after, test} from 'node:test';
import {answerMarked, asked, checkRuns, holdAfterOne, runEnd} from '../support/expect.mjs';
import {slow, stretched, until, within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const script = async (exchange) => (/hold/.test(asked(exchange)) ? holdAfterOne : answerMarked(3))(exchange);

const upstream = await startUpstream({after}, script);
const sluice = await startSluice({after}, {upstream: upstream.url});

test('task executes after registration', async () => {
  const session = sessionPath();
  const {task_id, status} = await sluice.run(session, 'work');
  assert.match(status, /^(pending|running)$/);
  const task = await sluice.taskEnded(task_id);
  assert.equal(task.status, 'completed');
  assert.equal(upstream.runs.filter((run) => asked(run) === 'work').length, 1);
  const history = (await sluice.get(`${session}/history`)).json;
  assert.ok(JSON.stringify(history).includes(task_id));
});

test("task replacement doesn't block new task", async (t) => {
  // The first run's upstream never answers and never reads: nothing that the new run could wait for ever comes.
  const stuck = await startUpstream(t, (exchange) => (asked(exchange) === 'stuck' ? exchange.gone : answerMarked(3)(exchange)));
  const gateway = await startSluice(t, {upstream: stuck.url});
  const session = sessionPath();
  const first = await gateway.run(session, 'stuck');
  await stuck.run(0);
  const before = Date.now();
  const second = await gateway.run(session, 'next');
  assert.ok(Date.now() - before < stretched(1000), 'the answer comes at once');
  assert.equal((await gateway.taskEnded(second.task_id)).status, 'completed');
  assert.equal((await gateway.taskEnded(first.task_id)).status, 'replaced');
  await within(stuck.runs[0].gone, 5000, 'the replaced run is cancelled at the upstream');
});

test('multiple rapid registrations', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  const runs = await Promise.all(Array.from({length: 20}, (_, i) => sluice.run(session, `rapid ${i}`)));
  const ids = runs.map((run) => run.task_id);
  assert.equal(new Set(ids).size, 20, 'each has an id of its own');
  for (const id of ids) await runEnd(client, id);
  const ends = checkRuns(client.events);
  const last = JSON.parse(client.events.findLast((event) => event.type === 'run.start').data).task_id;
  assert.equal(ends.get(last).status, 'completed');
  for (const id of ids) assert.match((await sluice.task(id)).status, id === last ? /^completed$/ : /^(replaced|completed)$/);
  client.leave();
});

test('task executes before endpoint returns', async () => {
  // Nobody reads a byte of the answer, or is even there any more: the upstream's run is under way all the same.
  const session = sessionPath();
  const came = upstream.runs.length;
  const client = new SseClient(sluice.url, `${session}/run`,
    {method: 'POST', body: '{"message":"hold unread"}', headers: {Accept: 'text/event-stream'}});
  client.socket.pause();
  assert.equal(asked(await upstream.run(came)), 'hold unread');
  client.leave(true);
  const status = await until(async () => {
    const {json} = await sluice.get(`${session}/task-status`);
    return json.status === 'running' && json;
  }, 'the run goes on without its client');
  assert.equal(upstream.runs[came].open, true);
  await sluice.delete(`/tasks/${status.task_id}`);
});

test('task registration and tracking', async () => {
  const session = sessionPath('tracked', {app: 'app', user: 'me@example.org'});
  const answer = await sluice.post(`${session}/run`, {message: 'hold', gateway: {label: 'mine'}});
  assert.equal(answer.status, 200);
  assert.match(answer.headers['content-type'], /^application\/json/);
  const {json} = answer;
  assert.deepEqual({...json, task_id: '', message: '', timestamp: '', status: ''},
    {success: true, app_name: 'app', user_id: 'me@example.org', session_id: 'tracked', task_id: '', status: '', message: '', timestamp: '',
      stream_url: json.stream_url, task_url: json.task_url});
  assert.equal(answer.headers.location, `/tasks/${json.task_id}`);
  assert.ok(json.task_url.endsWith(`/tasks/${json.task_id}`));
  assert.ok(json.stream_url.includes(`${session}/run`));

  const client = await sluice.follow(session);
  await client.messages(1);
  const running = await sluice.task(json.task_id);
  assert.equal(running.status, 'running');
  assert.equal(running.task_id, json.task_id);
  assert.deepEqual((await sluice.get(`${session}/task-status`)).json,
    {session_id: 'tracked', has_task: true, task_id: json.task_id, status: 'running', cancelled: false});
  const listed = (await sluice.get('/tasks?app=app&user=me@example.org&session=tracked')).json;
  assert.ok(JSON.stringify(listed).includes(json.task_id));

  assert.equal((await sluice.delete(`${session}/run`)).json.status, 'cancelled');
  assert.deepEqual((await sluice.get(`${session}/task-status`)).json,
    {session_id: 'tracked', has_task: true, task_id: json.task_id, status: 'cancelled', cancelled: true});
  client.leave();
});

test('cancellation on timeout', async () => {
  const session = sessionPath();
  const came = upstream.runs.length;
  const client = await sluice.follow(session);
  const {task_id} = await sluice.run(session, 'hold', {timeout_ms: 150});
  const end = await runEnd(client, task_id);
  assert.equal(end.status, 'timeout');
  assert.equal((await sluice.task(task_id)).status, 'timeout');
  await within((await upstream.run(came)).gone, 5000, 'the upstream is left');
  client.leave();
});

test('error handling', async (t) => {
  let failing = true;
  const bad = await startUpstream(t, (exchange) => (failing ? exchange.answer(500, 'boom') : answerMarked(3)(exchange)));
  const gateway = await startSluice(t, {upstream: bad.url});
  const session = sessionPath();
  const failed = await gateway.taskEnded((await gateway.run(session)).task_id);
  assert.equal(failed.status, 'failed');
  assert.equal(failed.reason, 'upstream_status');
  failing = false;
  assert.equal((await gateway.taskEnded((await gateway.run(session)).task_id)).status, 'completed', 'the session is as good as new');
});

test('cleanup on session end', async () => {
  const session = sessionPath();
  const came = upstream.runs.length;
  const client = await sluice.follow(session);
  const {task_id} = await sluice.run(session, 'hold');
  await client.messages(1);
  const answer = await sluice.delete(session);
  assert.ok(answer.status === 200 || answer.status === 204, `${answer.status} ${answer.text}`);
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.types, ['run.start', 'message', 'run.end', 'session.end']);
  assert.equal(client.json('run.end').status, 'cancelled');
  await within((await upstream.run(came)).gone, 5000, 'the upstream run is left');
  await until(() => upstream.sessions.includes(`DELETE ${session}`), 'it is deleted upstream too');
  assert.equal((await sluice.taskEnded(task_id)).status, 'cancelled');
  const status = (await sluice.get('/task-status')).json;
  assert.ok(!JSON.stringify(status).includes(task_id), 'no session holds the task');
});

test('multiple sessions no orphaned tasks', async () => {
  const sessions = Array.from({length: 20}, () => sessionPath());
  const runs = await Promise.all(sessions.map((session, i) => sluice.run(session, i % 2 ? 'hold' : 'work')));
  await Promise.all(sessions.map((session, i) => i % 2 && sluice.delete(`${session}/run`)));
  for (const [i, {task_id}] of runs.entries())
    assert.equal((await sluice.taskEnded(task_id)).status, i % 2 ? 'cancelled' : 'completed');
  assert.equal((await sluice.get('/task-status')).json.running_tasks, 0);
  await until(() => upstream.open === 0, 'no request is left at the upstream');
});

test('task replacement on new registration', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  const old = await sluice.run(session, 'hold');
  await client.messages(1);
  const next = await sluice.run(session, 'work');
  await runEnd(client, next.task_id);
  assert.deepEqual(client.types, ['run.start', 'message', 'run.end', 'run.start', 'message', 'message', 'message', 'run.end']);
  const ends = checkRuns(client.events);
  assert.equal(ends.get(old.task_id).status, 'replaced');
  assert.equal(ends.get(next.task_id).status, 'completed');
  assert.equal((await sluice.get(`${session}/task-status`)).json.task_id, next.task_id);
  client.leave();
});

test('task status endpoint all sessions', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url});
  assert.deepEqual((await gateway.get('/task-status')).json, {total_tasks: 0, running_tasks: 0, sessions: {}});
  const held = await gateway.run(sessionPath('one'), 'hold');
  const done = await gateway.run(sessionPath('two'), 'work');
  await gateway.taskEnded(done.task_id);
  const {json} = await gateway.get('/task-status');
  assert.equal(json.total_tasks, 2);
  assert.equal(json.running_tasks, 1);
  const text = JSON.stringify(json.sessions);
  for (const part of ['one', 'two', held.task_id, done.task_id]) assert.ok(text.includes(part), `${part} in ${text}`);
  await gateway.delete(`/tasks/${held.task_id}`);
});

test('memory stability with task churn', async (t) => {
  const kept = 50;
  const gateway = await startSluice(t, {upstream: upstream.url, tasks_kept: kept, cleanup_interval_ms: 100, log_events_max: 20});
  const sessions = Array.from({length: 5}, () => sessionPath());
  const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.program.pid}/status`, 'utf8'))[1]) * 1024;
  const churn = async (rounds) => {
    for (let i = 0; i < rounds; i++) {
      const runs = await Promise.all(sessions.map((session) => gateway.run(session, i % 3 ? 'work' : 'hold')));
      if (i % 3) await Promise.all(runs.map(({task_id}) => gateway.taskEnded(task_id)));
    }
    await Promise.all(sessions.map((session) => gateway.delete(`${session}/run`)));
  };
  await churn(30);
  const before = resident();
  await churn(slow ? 20 : 100);
  const grown = resident() - before;
  // A sanitizer keeps freed memory for a while, so only a normal build's pages tell.
  if (!slow) assert.ok(grown < 4 << 20, `grew by ${grown} bytes`);
  await until(async () => (await gateway.get('/task-status')).json.running_tasks === 0, 'nothing runs');
  const tracked = await until(async () => {
    const {json} = await gateway.get('/tasks?limit=1000');
    return json.tasks.length <= kept && json.tasks;
  }, `at most ${kept} ended runs are kept`);
  assert.ok(tracked.length > 0);
});

test('a session does not expire under a run, however silent that is, but after it', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, session_ttl_ms: 50, cleanup_interval_ms: 10});
  const session = sessionPath();
  const came = upstream.runs.length;
  const {task_id} = await gateway.run(session, 'hold');
  await upstream.run(came);
  const other = sessionPath();
  await gateway.taskEnded((await gateway.run(other, 'quick')).task_id);
  await until(async () => (await gateway.get(`${other}/task-status`)).json.has_task === false, 'the session of a run that has ended expires');
  assert.equal((await gateway.task(task_id)).status, 'running', 'the one that was used before it does not');
  await gateway.delete(`/tasks/${task_id}`);
  await until(async () => (await gateway.get(`${session}/task-status`)).json.has_task === false, 'it expires after its run');
});

test('cancel and clean-up while a subscriber of the same session is being removed', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, session_ttl_ms: 30, cleanup_interval_ms: 10, run_timeout_ms: stretched(2000)});
  const rounds = slow ? 10 : 40;
  for (let round = 0; round < rounds; round++) {
    const session = sessionPath(`contended${round % 3}`);
    const clients = await Promise.all(Array.from({length: 6}, () => gateway.follow(session)));
    const {task_id} = await gateway.run(session, 'hold');
    clients.forEach((client, i) => i % 2 && client.leave(i % 3 === 0));
    const answers = await Promise.all([
      gateway.delete(`${session}/run`), gateway.delete(`/tasks/${task_id}`), round % 2 ? gateway.delete(session) : null,
      gateway.post(`${session}/run`, {message: 'hold'}), gateway.get(`${session}/task-status`)]);
    for (const answer of answers) if (answer) assert.ok(answer.status < 500, `${answer.status} ${answer.text}`);
    clients.forEach((client) => client.leave(round % 2 === 0));
    await gateway.taskEnded(task_id);
  }
  assert.equal((await gateway.get('/healthz')).status, 200);
  await until(async () => (await gateway.get('/task-status')).json.running_tasks === 0, 'everything has expired or was cancelled');
  await until(() => upstream.open === 0, 'no request is left at the upstream');
});
