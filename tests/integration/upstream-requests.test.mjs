// What operators can say about requests to an upstream: a query, further headers, placeholders in its URL and body.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {assertError} from '../support/expect.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {until} from '../support/limits.mjs';
import {sessionPath, sluiceSays, startSluice, temporaryFile} from '../support/sluice.mjs';

const done = 'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n';
const upstream = await startUpstream({after}, (exchange) =>
  (exchange.method === 'POST' ? exchange.stream(exchange.path.includes('chat/completions') ? done : adkFrame('x')) : exchange.answer(200, '{}')), {onSession: 'script'});

/** A gateway whose settings are this YAML. */
const startWith = (t, yaml, options) => startSluice(t, {}, {args: ['--config', temporaryFile(t, 'sluice.yaml', yaml)], ...options});

async function runAndSee(gateway, session, body) {
  const {task_id} = await gateway.run(session, body);
  assert.equal((await gateway.taskEnded(task_id)).status, 'completed');
  return {task_id, request: upstream.runs.findLast(({method}) => method === 'POST')};
}

test('openai: a query in the URL stays at its end, and headers of the configuration go along', async (t) => {
  const gateway = await startWith(t, `upstream: ${upstream.url}/openai/deployments/gpt?api-version=2024-06-01\nupstream_kind: openai\nupstream_headers: ["api-key: se, cret", "X-Org:  a, b"]\n`);
  const messages = [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'hi'}];
  const {request} = await runAndSee(gateway, sessionPath(), {messages, temperature: 0.5});
  assert.equal(request.path, '/openai/deployments/gpt/chat/completions?api-version=2024-06-01');
  assert.deepEqual([request.headers['api-key'], request.headers['x-org']], ['se, cret', 'a, b']);
  assert.deepEqual(request.json, {messages, temperature: 0.5, stream: true});
});

test('headers of the configuration go along with every request to the upstream', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, upstream_health_path: '/health', upstream_health_interval_ms: 50}, {env: {SLUICE_UPSTREAM_HEADERS: 'api-key: hidden'}});
  const from = upstream.runs.length;
  const session = sessionPath();
  await runAndSee(gateway, session, 'hello');
  await gateway.get('/list-apps');
  await gateway.delete(session);
  await until(() => upstream.runs.slice(from).some(({path}) => path === '/health'), 'a health check');
  const requests = upstream.runs.slice(from);
  assert.deepEqual([...new Set(requests.map(({headers}) => headers['api-key']))], ['hidden']);
  for (const line of ['GET /health', 'POST /run_sse', 'GET /list-apps', `POST ${session}`, `DELETE ${session}`])
    assert.ok(requests.some(({method, path}) => `${method} ${path}` === line), line);
  for (const path of ['/stats', '/metrics', '/health', '/tasks']) assert.ok(!(await gateway.get(path)).text.includes('hidden'), path);
  assert.ok(!gateway.program.stderr.includes('hidden'), 'nor does the log');
});

test('headers of the configuration are not printed, and bad ones are refused', async () => {
  const checked = await sluiceSays(['--check-config', '--upstream-headers', 'api-key: hidden']);
  assert.equal(checked.code, 0, checked.stderr);
  assert.ok(!(checked.stdout + checked.stderr).includes('hidden'));
  assert.match(checked.stdout, /#upstream_headers: \(not shown\)/);
  for (const bad of ['hidden', ': hidden', 'a b: hidden', 'Host: hidden', 'host: hidden', 'Content-Length: hidden', 'authorization: hidden', 'x:', 'x: a\u0001hidden', 'x: hidden\r\ny: z', 'x: hidden,Transfer-Encoding: chunked']) {
    const {code, stderr} = await sluiceSays(['--check-config', '--upstream-headers', bad]);
    assert.equal(code, 2, bad);
    assert.match(stderr, /upstream_headers|upstream-headers/);
    assert.ok(!stderr.includes('hidden'), stderr);
  }
});

const named = {app: 'demo', user: 'auth0|6"4\\', session: 'a b/?é'.replace('/', '')};
const namedPath = `/apps/${named.app}/users/${encodeURIComponent(named.user)}/sessions/${encodeURIComponent(named.session)}`;

test('sse: placeholders reach the threads of LangGraph', async (t) => {
  const template = {assistant_id: 'agent', if_not_exists: 'create', input: {messages: [{role: 'user', content: '{message}'}]}, metadata: {who: '{user}@{app}', run: '{task}', odd: '{unknown}{', n: 1.5}, stream_mode: ['messages']};
  const gateway = await startWith(t, `upstream: "${upstream.url}/threads/{session}/runs/stream?u={user}"\nupstream_kind: sse\nupstream_body_template: '${JSON.stringify(template)}'\n`);
  const text = 'say "hi"\\\n{user} {"a":1}';
  const {request, task_id} = await runAndSee(gateway, namedPath, {message: text, assistant_id: 'other', Metadata: {who: 'other'}, config: {x: 1}});
  assert.equal(request.path, '/threads/a%20b%3F%C3%A9/runs/stream?u=auth0%7C6%224%5C');
  assert.deepEqual(request.json, {...template, input: {messages: [{role: 'user', content: text}]}, metadata: {who: `${named.user}@demo`, run: task_id, odd: '{unknown}{', n: 1.5}, config: {x: 1}});
  assertError(await gateway.post(`${namedPath}/run`, {config: {}}), 400, /^invalid_message$/);
});

test('sse: no spelling of a template\'s member gets past it', async (t) => {
  const template = {user: '{user}', task: 'fixed', thread_id: '{session}', class: 1, gr\u00f6sse: 2};
  const gateway = await startWith(t, `upstream: "${upstream.url}"\nupstream_kind: sse\nupstream_body_template: '${JSON.stringify(template)}'\n`);
  const spellings = ['user', 'USER', 'u\u017fer', 'tas\u212a', '_task', 'threadId', 'THREADID', 'thread_\u0130d', 'cla\u00df', 'CLA\u1e9e', 'GR\u00d6SSE', 'gr\u00f6\u00dfe'];
  const body = {message: 'x', users: 'own', 'thread-id': 'own', ...Object.fromEntries(spellings.map((name) => [name, 'victim']))};
  const {request} = await runAndSee(gateway, sessionPath('mine'), body);
  assert.deepEqual(request.json, {...template, user: 'u1', thread_id: 'mine', users: 'own', 'thread-id': 'own', message: 'x'});
});

test('sse: without {message} in a template the message is a member, and {task} is the same in a run\'s attempts', async (t) => {
  let refusals = 2;
  const shy = await startUpstream(t, (exchange) => (refusals-- > 0 ? exchange.answer(503, '{}') : exchange.stream(adkFrame('x'))));
  const gateway = await startWith(t, `upstream: ${shy.url}/{task}\nupstream_kind: sse\nretry_attempts_max: 3\nretry_base_ms: 1\nupstream_body_template: '{"id":"{task}"}'\n`);
  const {task_id} = await gateway.run(sessionPath(), {query: 'hello'});
  assert.equal((await gateway.taskEnded(task_id)).status, 'completed');
  assert.deepEqual(shy.runs.map(({path, json}) => [path, json]), Array(3).fill([`/${task_id}`, {id: task_id, message: 'hello'}]));
});

test('sse: a body without a template has no placeholders, and a URL\'s host never has', async (t) => {
  const gateway = await startWith(t, `upstream: ${upstream.url}/{app}\nupstream_kind: sse\n`);
  const {request} = await runAndSee(gateway, namedPath, {text: '{user}'});
  assert.deepEqual([request.path, request.body], ['/demo', '{"text":"{user}"}']);
  const {code, stderr} = await sluiceSays(['--check-config', '--upstream-kind', 'sse', '--upstream', 'http://{user}/x']);
  assert.equal(code, 2, stderr);
});

test('answers of other sessions are not taken from the cache if the URL names the session', async (t) => {
  const gateway = await startWith(t, `upstream: ${upstream.url}/threads/{session}\nupstream_kind: sse\ncache: true\n`);
  const from = upstream.runs.length;
  for (const session of ['one', 'two', 'two']) await gateway.taskEnded((await gateway.run(sessionPath(session), 'same')).task_id);
  assert.deepEqual(upstream.runs.slice(from).map(({path}) => path), ['/threads/one', '/threads/two']);
});

test('a template is a JSON object', async () => {
  for (const bad of ['x', '[]', '{"a":1,"a":2}', '{"a":}', '{} {}', `{"a":"${'x'.repeat(20000)}"}`]) {
    const {code, stderr} = await sluiceSays(['--check-config', '--upstream-kind', 'sse', '--upstream-body-template', bad]);
    assert.equal(code, 2, bad);
    assert.match(stderr, /JSON object/);
  }
  const {code, stdout} = await sluiceSays(['--check-config', '--upstream-kind', 'sse', '--upstream-body-template', '{"a":"{user}"}']);
  assert.equal(code, 0);
  assert.ok(stdout.includes('upstream_body_template: "{\\"a\\":\\"{user}\\"}"'), stdout);
});
