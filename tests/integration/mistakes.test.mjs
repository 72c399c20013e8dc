// Mistakes that would go unseen: parameters that nobody reads, options at the wrong place, a filter that was forgotten.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {answerAsAsked, assertError} from '../support/expect.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const runAsAsked = answerAsAsked(new Map());
const read = [];
const upstream = await startUpstream({after}, (exchange) => {
  if (exchange.method !== 'GET') return runAsAsked(exchange);
  read.push(exchange.path);
  return exchange.answer(200, '[]');
});
const openai = await startUpstream({after}, (exchange) => exchange.stream('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n', 'data: [DONE]\n\n'));
const sluice = await startSluice({after}, {upstream: upstream.url});
const completions = await startSluice({after}, {upstream: openai.url, upstream_kind: 'openai'});

/** Method, path, and the parameters that it takes. */
const session = sessionPath();
const routes = [
  ['POST', `${session}/run`, ['events', 'heartbeat']],
  ['GET', `${session}/run`, ['from', 'until', 'last_event_id', 'lastEventId', 'events', 'heartbeat', 'wait']],
  ['DELETE', `${session}/run`, []], ['GET', `${session}/task-status`, []], ['GET', `${session}/history`, ['limit']],
  ['POST', session, []], ['DELETE', session, []],
  ['POST', '/apps/demo/users/u1/sessions', []],
  ['GET', '/task-status', []], ['GET', '/tasks', ['app', 'user', 'session', 'status', 'limit', 'cursor']],
  ['DELETE', '/tasks', ['app', 'user', 'session', 'status', 'all']], ['GET', '/tasks/x', ['wait_ms']], ['DELETE', '/tasks/x', []],
  ['GET', '/tasks/x/result', []], ['GET', '/tasks/x/events', ['last_event_id', 'lastEventId', 'events', 'heartbeat']],
  ['GET', '/healthz', []], ['GET', '/readyz', []], ['GET', '/health', []], ['GET', '/metrics', []], ['GET', '/stats', []], ['GET', '/demo', []],
  ['POST', '/run_sse', []],
];

for (const [method, path, names] of routes)
  test(`${method} ${path} refuses a parameter that it does not know, and names those that it knows`, async () => {
    for (const unknown of ['untill=run', 'x', 'Until=run', 'limit%20=1', `${names[0] ?? 'y'}2=1`]) {
      const answer = await sluice.request(method, `${path}?${unknown}`, {body: method === 'POST' ? {} : undefined});
      assertError(answer, 400, /^invalid_query$/);
      const {message} = answer.json.error;
      assert.ok(message.includes(`"${unknown.split('=')[0]}"`), message);
      for (const name of names) assert.ok(message.includes(`"${name}"`), message);
      if (names.length === 0) assert.match(message, /takes none/);
    }
  });

test('parameters of what is passed on go to the upstream', async () => {
  const paths = ['/list-apps?relative=1', '/apps/demo/eval_sets?x=1', '/dev/apps/demo?&y', '/apps/demo/users/u1/sessions?page=2', '/apps/demo/users/u1/sessions/s1?x'];
  for (const path of paths) assert.equal((await sluice.get(path)).status, 200);
  assert.deepEqual([...read, ...upstream.sessions.filter((line) => line.endsWith('?x')).map((line) => line.replace('GET ', ''))], paths);
  for (const path of ['/apps/demo/users/u1/sessions?page=2', '/apps/demo/users/u1/sessions/s1?x']) // nothing is passed on there
    assertError(await completions.get(path), 400, /^invalid_query$/);
});

test('an option of the gateway next to "gateway" is refused, and the message says where it goes', async () => {
  const options = {on_conflict: 'reject', on_disconnect: 'cancel', cancel_after_idle_ms: 5, timeout_ms: 5, delay_ms: 5, priority: 1, label: 'x'};
  const wrong = async (gateway, path, body, name) => {
    const answer = await gateway.post(path, body);
    assertError(answer, 400, /^misplaced_option$/);
    assert.match(answer.json.error.message, new RegExp(`"${name}".*"gateway"`));
  };
  const adk = {appName: 'demo', userId: 'u1', sessionId: 's1', newMessage: {role: 'user', parts: [{text: 'x'}]}};
  for (const [name, value] of Object.entries(options)) {
    const session = sessionPath();
    await wrong(sluice, `${session}/run`, {message: 'x', [name]: value}, name);
    await wrong(sluice, `${session}/run`, {message: 'x', gateway: {[name]: value}, [name]: value}, name);
    await wrong(sluice, '/run_sse', {...adk, [name]: value}, name);
    if (['on_disconnect', 'priority', 'label'].includes(name)) {
      const {task_id} = await completions.run(session, {message: 'x', [name]: value});
      assert.equal((await completions.taskEnded(task_id)).status, 'completed');
      assert.equal(JSON.parse(openai.runs.at(-1).body)[name], value, 'it is the upstream\'s own');
    } else await wrong(completions, `${session}/run`, {message: 'x', [name]: value}, name);
    assert.equal((await sluice.get(`${session}/history`)).status, 404, 'nothing was started');
  }
});

test('DELETE /tasks needs a filter or all=true', async () => {
  const {task_id} = await sluice.run(sessionPath(), 'hold');
  const answer = await sluice.delete('/tasks');
  assertError(answer, 400, /^filter_required$/);
  assert.match(answer.json.error.message, /all=true/);
  assertError(await sluice.delete('/tasks?all=false'), 400, /^invalid_query$/);
  assert.equal((await sluice.task(task_id)).status, 'running');
  assert.deepEqual((await sluice.delete('/tasks?app=nobody&all=true')).json, {success: true, cancelled: 0});
  assert.deepEqual((await sluice.delete('/tasks?all=true')).json, {success: true, cancelled: 1});
});
