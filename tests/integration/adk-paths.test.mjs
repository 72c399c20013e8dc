// ADK's other paths: writes and reads that are passed on, POST /run, and what a run's body may leave out.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {startPythonAdk} from '../support/agents.mjs';
import {assertError} from '../support/expect.mjs';
import {stretched, until} from '../support/limits.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const newMessage = {role: 'user', parts: [{text: 'hello'}]};
let hold = null;
const upstream = await startUpstream({after}, async (exchange) => {
  if (exchange.path === '/run_sse') {
    await exchange.head();
    await exchange.chunk(adkFrame('x'));
    if (hold) await hold;
    return exchange.lastChunk();
  }
  return exchange.answer(200, '[{"seen":true}]');
}, {onSession: 'script'});
const sluice = await startSluice({after}, {upstream: upstream.url});

/** The last request the upstream has got, in short. */
const last = () => {
  const {method, path, headers, body} = upstream.runs.at(-1);
  return {line: `${method} ${path}`, type: headers['content-type'], body};
};

const S = sessionPath('s1');
for (const [method, path, body] of [['PATCH', S, '{ "stateDelta": {"a":1.50} }'], ['PATCH', '/apps/demo/users/u1/memory', '{"session_id":"s1"}'],
  ['POST', `${S}/artifacts`, '{"filename":"a/b.txt","artifact":{"text":"x"}}'], ['POST', '/config/telemetry', '{"telemetry":false}']])
  test(`${method} ${path} is passed on byte for byte`, async () => {
    const answer = await sluice.request(method, path, {body, headers: {'x-adk-telemetry-request': 'true'}});
    assert.deepEqual([answer.status, answer.text], [200, '[{"seen":true}]']);
    assert.deepEqual(last(), {line: `${method} ${path}`, type: 'application/json', body});
    assert.equal(upstream.runs.at(-1).headers['x-adk-telemetry-request'], 'true');
    assertError(await sluice.request(method, path, {body: '{"a":'}), 400, /^invalid_json$/);
    assertError(await sluice.request(method, path, {body, headers: {'content-type': 'text/plain'}}), 415);
    assertError(await sluice.request(method, path, {body, headers: {origin: 'https://evil.example'}}), 403, /^cross_site$/);
    assertError(await sluice.request(method, path, {body: '{"USERID":"other"}'}), 400, /^identity_in_body$/);
    assert.match((await sluice.request('OPTIONS', path)).headers.allow, RegExp(`\\b${method}\\b`));
  });

test('the session that PATCH of a memory names is a name', async () => {
  const patch = (body) => sluice.request('PATCH', '/apps/demo/users/u1/memory', {body});
  assertError(await patch({session_id: '../x'}), 400, /^invalid_body$/);
  assertError(await patch({session_id: 'a', sessionId: 'b'}), 400, /^invalid_body$/);
  assertError(await patch({sessionID: 'a'}), 400, /^identity_in_body$/);
});

for (const path of ['/dev/apps/demo/debug/trace/session/s1', '/dev/apps/demo/graph', '/dev/apps/demo/eval-sets', '/config/telemetry', `/dev${S}/events/e/graph`])
  test(`GET ${path} is passed on`, async () => {
    assert.equal((await sluice.get(path)).status, 200);
    assert.equal(last().line, `GET ${path}`);
    assert.equal((await sluice.post(path.replace('/config', '/dev/apps/demo'), {})).status, 405, 'reads only');
  });

test('names of artifacts may have encoded slashes, and stay in their place', async () => {
  for (const name of ['photo.png', 'a%2Fb%2Fc.txt', 'user%3Aphoto%20of%20me.png', '%C3%A9%2F100%25.txt', 'a/b']) {
    for (const [method, path] of [['DELETE', `${S}/artifacts/${name}`], ['GET', `${S}/artifacts/${name}/versions/3`]]) {
      assert.equal((await sluice.request(method, path)).status, 200, path);
      assert.deepEqual(last(), {line: `${method} ${path}`, type: undefined, body: ''});
    }
  }
  await sluice.get(`${S}/artifacts/user:a@b.png`);
  assert.equal(last().line, `GET ${S}/artifacts/user%3Aa@b.png`, 'encoded anew');
  const came = upstream.runs.length;
  for (const name of ['..', '%2e%2e', '..%2Fx', 'a%2F..%2Fb', 'a%2F%2e%2e', '%2Fetc', 'a%2F%2Fb', 'a%2F', 'a%5Cb', 'a%00', 'a%0a', 'a%C2%85', '%252e%252e%252fx', '%61.png', 'a;b', '%ff', 'x'.repeat(1025)])
    for (const method of ['GET', 'DELETE']) assertError(await sluice.request(method, `${S}/artifacts/${name}`), 400);
  assert.equal(upstream.runs.length, came, 'nothing reached the upstream');
});

test('POST /run is passed on, and says by itself whose it is', async () => {
  const body = `{ "app_name":"demo","userId":"u1","session_id":"fresh","new_message":${JSON.stringify(newMessage)},"n":12345678901234567890}`;
  const answer = await sluice.post('/run', body);
  assert.deepEqual([answer.status, answer.text], [200, '[{"seen":true}]']);
  assert.deepEqual(last(), {line: 'POST /run', type: 'application/json', body});
  for (const wrong of [{}, {appName: 'demo', userId: 'u1'}, {appName: '..', userId: 'u', sessionId: 's'}, {appName: 'demo', app_name: 'demo', userId: 'u', sessionId: 's'}, {userId: 'u', sessionId: 's'}])
    assertError(await sluice.post('/run', wrong), 400, /^invalid_body$/);
  assertError(await sluice.post('/run', {appName: 'demo', userId: 'u', sessionId: 's', USERID: 'x'}), 400, /^identity_in_body$/);
});

test('POST /run is refused while a run of the session is under way', async () => {
  let go;
  hold = new Promise((resolve) => { go = resolve; });
  const {task_id} = await sluice.run(sessionPath('busy'));
  await until(async () => (await sluice.task(task_id)).status === 'running', 'it runs');
  const body = {appName: 'demo', userId: 'u1', sessionId: 'busy', newMessage};
  const answer = await sluice.post('/run', body);
  assertError(answer, 409, /^run_in_progress$/);
  assert.equal(answer.json.error.task_id, task_id);
  go();
  hold = null;
  await sluice.taskEnded(task_id);
  assert.equal((await sluice.post('/run', body)).status, 200);
});

test('POST /run takes a slot of those that runs have, and is refused without one', async (t) => {
  let free;
  const freed = new Promise((resolve) => { free = resolve; });
  const slow = await startUpstream(t, async (exchange) => {
    if (exchange.path === '/run') await freed;
    return exchange.answer(200, '[]');
  }, {onSession: 'script'});
  const few = await startSluice(t, {upstream: slow.url, runs_max: 3, runs_per_user_max: 2});
  const post = (userId, sessionId) => few.post('/run', {appName: 'demo', userId, sessionId, newMessage});
  const held = [post('a', '1'), post('a', '2'), post('b', '3')];
  await slow.run(2);
  const refused = await post('c', '4');
  assertError(refused, 429, /^too_many_runs$/);
  assert.match(refused.headers['retry-after'], /^[1-9]/);
  const waiting = await few.run(sessionPath('s5', {user: 'c'}));
  assert.equal((await few.get(`/tasks/${waiting.task_id}`)).json.status, 'pending');
  assert.equal(slow.runs.length, 3);
  const {running, passed} = (await few.stats()).queue;
  assert.deepEqual([running, passed], [0, 3]);
  assert.match((await few.get('/metrics')).text, /^sluice_runs_passed 3$/m);
  free();
  assert.deepEqual((await Promise.all(held)).map(({status}) => status), [200, 200, 200]);
  await few.taskEnded(waiting.task_id);
  assert.equal((await post('c', '4')).status, 200);
});

test('the gateway ends though a POST /run is under way, and a failed one leaves its slot', async (t) => {
  const silent = await startUpstream(t, (exchange) => (silent.runs.length === 1 ? exchange.reset() : exchange.gone), {onSession: 'script'});
  const one = await startSluice(t, {upstream: silent.url, runs_max: 1});
  const post = () => one.post('/run', {appName: 'demo', userId: 'a', sessionId: '1', newMessage});
  assertError(await post(), 503, /^upstream_unavailable$/);
  post().catch(() => {});
  await silent.run(1);
  assertError(await post(), 429, /^too_many_runs$/);
});

test('an app that a body does not name is default_app', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, default_app: 'dé"faut'});
  const rest = `"userId":"u1","sessionId":"s1","newMessage":${JSON.stringify(newMessage)},"n":12345678901234567890 }`;
  assert.equal((await gateway.post('/run', ` {${rest}`)).status, 200);
  assert.equal(last().body, `{"appName":"dé\\"faut",${rest}`);
  const client = await new SseClient(gateway.url, '/run_sse', {method: 'POST', body: ` {${rest}`}).opened();
  await client.ended();
  assert.equal(last().body, `{"appName":"dé\\"faut",${rest}`);
  assert.equal((await gateway.task(client.headers.location.slice(7))).app_name, 'dé"faut');
  assert.equal((await gateway.post('/run', {app_name: 'other', userId: 'u', sessionId: 's'})).status, 200);
  assert.equal(JSON.parse(last().body).app_name, 'other');
  assertError(await gateway.post('/run', {appName: null, userId: 'u', sessionId: 's'}), 400, /^invalid_body$/);
  assertError(await sluice.post('/run_sse', `{${rest}`), 400, /^invalid_body$/);
});

test('a run that takes longer than the time for a first byte ends within the time of a run', async (t) => {
  const slow = await startUpstream(t, async (exchange) => {
    if (exchange.path === '/run') await until(() => false, 'never', 0.6).catch(() => {});
    return exchange.answer(200, '[]');
  });
  const gateway = await startSluice(t, {upstream: slow.url, upstream_first_byte_timeout_ms: 50, run_timeout_ms: stretched(20000)});
  const body = {appName: 'demo', userId: 'u1', sessionId: 's1', newMessage};
  assert.equal((await gateway.post('/run', body, {ms: 25000})).status, 200);
});

test('writes pass the breaker and the limiter', async (t) => {
  const failing = await startUpstream(t, (exchange) => exchange.answer(500, '{}'), {onSession: 'script'});
  const gateway = await startSluice(t, {upstream: failing.url, breaker_failure_percent: 50, breaker_calls_min: 4, breaker_recovery_ms: 100000});
  const writes = [() => gateway.request('PATCH', S, {body: {stateDelta: {}}}), () => gateway.post(`${S}/artifacts`, {filename: 'x'}), () => gateway.delete(`${S}/artifacts/x`), () => gateway.post('/run', {appName: 'demo', userId: 'u1', sessionId: 's1', newMessage})];
  for (const write of writes) assert.equal((await write()).status, 500);
  for (const write of writes) assertError(await write(), 503, /^circuit_open$/);
  assert.equal(failing.runs.length, 4);

  const limited = await startSluice(t, {upstream: upstream.url, limiter_rate_calls: 1, limiter_rate_per_ms: 3600000, limiter_requests_waiting_max: 0});
  assert.equal((await limited.request('PATCH', S, {body: {stateDelta: {}}})).status, 200);
  assertError(await limited.post(`${S}/artifacts`, {filename: 'x'}), 503, /^upstream_limited$/);
  assertError(await limited.post('/run', {appName: 'demo', userId: 'u1', sessionId: 's1'}), 503, /^upstream_limited$/);
});

test('the agent\'s pages are served if passthrough_ui says so, and only these as they are', async (t) => {
  const page = '<!doctype html><script src="main.js"></script>';
  const ui = await startUpstream(t, async (exchange) => {
    if (exchange.path !== '/') return exchange.answer(200, page, 'text/html');
    await exchange.head({status: 307, headers: {Location: '/dev-ui/'}, framing: 'length', length: 0});
  });
  const closed = await startSluice(t, {upstream: ui.url});
  for (const path of ['/', '/dev-ui', '/dev-ui/', '/dev-ui/main.js']) assertError(await closed.get(path), 404, /^not_found$/);
  assert.equal(ui.runs.length, 0);
  const gateway = await startSluice(t, {upstream: ui.url, passthrough_ui: true});
  const root = await gateway.get('/');
  assert.deepEqual([root.status, root.headers.location], [307, '/dev-ui/']);
  for (const path of ['/dev-ui/', '/dev-ui', '/dev-ui/assets/main.js?x=%20']) {
    const answer = await gateway.get(path);
    assert.deepEqual([answer.status, answer.text, answer.headers['content-type']], [200, page, 'text/html']);
    assert.equal(ui.runs.at(-1).path, path);
  }
  for (const path of ['/apps/demo/x', '/dev/apps/demo/x', '/list-apps', '/config/x']) {
    assertError(await gateway.get(`${path}?userId=u`), 400, /^identity_in_query$/);
    const {headers} = await gateway.get(path);
    assert.deepEqual([headers['content-type'], /sandbox/.test(headers['content-security-policy'])], ['text/plain; charset=utf-8', true], path);
  }
  for (const path of ['/dev-ui/..', '/dev-ui/%2e%2e/run', '/dev-ui/..;/x', '/dev-ui/%61', '/dev-ui/a;b', '/%64ev-ui/x', '/dev-ui/a%5cb']) assertError(await gateway.get(path), 400);
  for (const path of ['/dev-ui//', '//', '/dev-ui/a/', '/dev-uix/']) assertError(await gateway.get(path), 404);
  assertError(await gateway.post('/dev-ui/', {}), 405);
});

test('a page of the agent\'s whose address names a user and a session loads, and the agent does not see these names', async (t) => {
  const ui = await startUpstream(t, (exchange) => exchange.answer(200, '<!doctype html>', 'text/html'));
  const gateway = await startSluice(t, {upstream: ui.url, passthrough_ui: true});
  const loads = [['/dev-ui/', '/dev-ui/?app=demo&userId=u1&session=s1'], ['/', '/?user_id=u1'], ['/dev-ui', '/dev-ui?USERID[]=u1'],
    ['/dev-ui/main.js', '/dev-ui/main.js?u%C5%BFerId=u1'], ['/dev-ui/?app=demo&session=s1', '/dev-ui/?app=demo&session=s1']];
  for (const [seen, path] of loads) {
    assert.equal((await gateway.get(path)).status, 200, path);
    assert.equal(ui.runs.at(-1).path, seen);
  }
  assertError(await gateway.get('/dev-ui/?userId=%zz'), 400);
});

test('ADK for Python: state, artifacts, memory, /run and names with odd characters', async (t) => {
  const adk = await startPythonAdk(t);
  const gateway = await startSluice(t, {upstream: adk.url});
  const of = {app: 'scripted', user: 'auth0|64ab\\ü ', session: 'a b|c'};
  const path = `/apps/${of.app}/users/${encodeURIComponent(of.user)}/sessions/${encodeURIComponent(of.session)}`;
  const created = await gateway.post(path, {});
  assert.deepEqual([created.status, created.json.id, created.json.userId], [200, of.session, of.user], created.text);
  const {task_id} = await gateway.run(path, {new_message: newMessage});
  assert.equal((await gateway.taskEnded(task_id)).status, 'completed');
  const patched = await gateway.request('PATCH', path, {body: {stateDelta: {colour: 'blue'}}});
  assert.deepEqual([patched.status, patched.json.state.colour], [200, 'blue'], patched.text);
  const run = await gateway.post('/run', {appName: of.app, userId: of.user, sessionId: of.session, newMessage}, {ms: 20000});
  assert.equal(run.status, 200, run.text);
  assert.equal(run.json.at(-1).content.parts[0].text, 'Hello');
  const saved = await gateway.post(`${path}/artifacts`, {filename: 'notes/one.txt', artifact: {text: 'first'}});
  assert.equal(saved.status, 200, saved.text);
  assert.deepEqual((await gateway.get(`${path}/artifacts`)).json, ['notes/one.txt']);
  assert.equal((await gateway.get(`${path}/artifacts/notes%2Fone.txt`)).json.text, 'first');
  assert.equal((await gateway.delete(`${path}/artifacts/notes%2Fone.txt`)).status, 200);
  assert.deepEqual((await gateway.get(`${path}/artifacts`)).json, []);
  const remembered = await gateway.request('PATCH', `${path.slice(0, path.indexOf('/sessions'))}/memory`, {body: {sessionId: of.session}});
  assert.ok([200, 204, 400].includes(remembered.status), remembered.text);
  const {json: session} = await gateway.get(path);
  assert.deepEqual([session.id, session.state.colour], [of.session, 'blue']);
});
