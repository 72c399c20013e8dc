// Names of apps, users and sessions are any valid UTF-8: they come back byte for byte from every route, and reach the
// upstream encoded once.
import assert from 'node:assert/strict';
import {randomBytes, randomInt} from 'node:crypto';
import {after, test} from 'node:test';
import {asked, assertError} from '../support/expect.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const upstream = await startUpstream({after}, (exchange) =>
  (exchange.method === 'POST' && exchange.path === '/run_sse' ? exchange.stream(adkFrame(asked(exchange))) : exchange.answer(200, '{"seen":true}')));
const sluice = await startSluice({after}, {upstream: upstream.url, runs_per_app_max: 100, runs_per_user_max: 100});
const plain = await startSluice({after}, {upstream: upstream.url, upstream_kind: 'sse'});

/** As the gateway encodes a part of a path: all but what is unreserved (RFC 3986), and the at sign of addresses. */
const encoded = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`).replaceAll('%40', '@');
const pathOf = ({app, user, session}, encode = encoded) => `/apps/${encode(app)}/users/${encode(user)}/sessions/${encode(session)}`;

const chosen = ['auth0|64ab', 'DOMAIN\\user', 'me@example.org', '@%40', 'two  words ', ' ', 'Zoë', 'Zoe\u0308', '名前', '👩‍💻', '100%', '%41', 'a%2Fb', '"quoted"', 'a;b', 'a?b=c#d', '*', '{user}', '...', '~', '\u202ertl', '\u2028', '\ufeff', 'a&b=c', '+',
  'x'.repeat(128), 'é'.repeat(64), '\u{10ffff}', '<b>', '$(id)', 'CON', '-', '__proto__', 'sessions', 'run'];

/** A random name of at most `most` bytes, of what the contract allows; half of them of bytes that mean something somewhere. */
function randomName(most) {
  const odd = '|\\ %&=?#;:@+,\'"<>{}[]()*!$^`~._-';
  let name = '';
  for (let left = randomInt(1, 24); left > 0; left--) {
    const point = [() => odd.codePointAt(randomInt(odd.length)), () => randomInt(0x20, 0x7f), () => randomInt(0xa0, 0x800), () => randomInt(0x800, 0xd800), () => randomInt(0xe000, 0x110000)][randomInt(5)]();
    if (point === 0x2f || point === 0x7f) continue;
    if (Buffer.byteLength(name + String.fromCodePoint(point)) <= most) name += String.fromCodePoint(point);
  }
  return /[./\\．／＼․‥…;?#]/.test(name) || name === '' ? `n${name.replace(/[．／＼․‥…⁄∕﹒﹨︙︰.]/gu, '')}` : name;
}

/** What a proxy, or a filesystem, might take for another name. */
const parts = chosen.map((name, i) => ({app: name, user: chosen[(i + 7) % chosen.length], session: chosen[(i + 13) % chosen.length]}));
for (let i = 0; i < 40; i++) parts.push({app: randomName(128), user: randomName(255), session: randomName(128)});

/** The paths of requests the upstream has got since, sessions' too. */
function watchUpstream() {
  const from = {runs: upstream.runs.length, sessions: upstream.sessions.length};
  return () => [...upstream.sessions.slice(from.sessions), ...upstream.runs.slice(from.runs).map(({method, path}) => `${method} ${path}`)];
}

const namesOf = ({app_name: app, user_id: user, session_id: session}) => ({app, user, session});

for (const of of parts) {
  const path = pathOf(of);
  const title = JSON.stringify(of).slice(0, 200);

  test(`a run of ${title}`, async () => {
    const came = watchUpstream();
    const answer = await sluice.post(`${path}/run`, {message: 'hello'});
    assert.equal(answer.status, 200, answer.text);
    const started = answer.json;
    assert.deepEqual(namesOf(started), of);
    assert.equal(started.stream_url, `${path}/run`);
    assert.equal(answer.headers.location, started.task_url);
    const ended = await sluice.taskEnded(started.task_id);
    assert.deepEqual([ended.status, namesOf(ended)], ['completed', of]);
    assert.deepEqual(came(), [`POST ${path}`, 'POST /run_sse']);
    const {appName: app, userId: user, sessionId: session} = upstream.runs.at(-1).json;
    assert.deepEqual({app, user, session}, of);

    const client = await new SseClient(sluice.url, `${started.stream_url}?until=run`).opened();
    assert.equal(await client.ended(), 'last-chunk');
    assert.deepEqual(namesOf(client.json('run.start')), of);
    const history = (await sluice.get(`${path}/history`)).json;
    assert.deepEqual([history.session_id, history.events.length], [of.session, 3]);
    assert.deepEqual(namesOf(JSON.parse(history.events[0].data)), of);
    assert.equal((await sluice.get(`${path}/task-status`)).json.session_id, of.session);
    assert.equal((await sluice.get('/task-status')).json.sessions[`${of.app}/${of.user}/${of.session}`].task_id, started.task_id);
    const found = (await sluice.get(`/tasks?app=${encoded(of.app)}&user=${encoded(of.user)}&session=${encoded(of.session)}`)).json.tasks;
    assert.deepEqual(found.map(({task_id}) => task_id), [started.task_id]);
    assert.equal((await sluice.get('/metrics')).status, 200);
    assert.equal((await sluice.logged({event: 'run_accepted', task_id: started.task_id})).session, `${of.app}/${of.user}/${of.session}`);
    assertError(await sluice.delete(`${path}/run`), 404, /^no_run$/);
  });

  test(`sessions and paths that are passed on, of ${title}`, async () => {
    const came = watchUpstream();
    const list = path.slice(0, path.lastIndexOf('/'));
    for (const [method, target] of [['POST', path], ['GET', path], ['GET', list], ['GET', `${path}/artifacts`], ['GET', `${list.replace('/sessions', '/memory')}`], ['DELETE', path]])
      assert.equal((await sluice.request(method, target)).status, 200, `${method} ${target}`);
    assert.deepEqual(came().sort(), [`POST ${path}`, `GET ${path}`, `GET ${list}`, `DELETE ${path}`, `GET ${path}/artifacts`, `GET ${list.replace('/sessions', '/memory')}`].sort());
  });

  test(`/run_sse of ${title}`, async () => {
    const body = JSON.stringify({appName: of.app, userId: of.user, sessionId: of.session, newMessage: {role: 'user', parts: [{text: 'hello'}]}});
    const came = watchUpstream();
    const client = await new SseClient(sluice.url, '/run_sse', {method: 'POST', body}).opened();
    assert.equal(await client.ended(), 'last-chunk');
    assert.deepEqual(came(), [`POST ${path}`, 'POST /run_sse']);
    assert.equal(upstream.runs.at(-1).body, body);
    assert.deepEqual(namesOf(await sluice.task(client.headers.location.slice('/tasks/'.length))), of);
  });

  test(`sessions that are the gateway's alone, of ${title}`, async () => {
    const created = await plain.post(path, undefined, {headers: {'content-length': 0}});
    assert.deepEqual([created.status, created.json], [200, {id: of.session, appName: of.app, userId: of.user}]);
    assert.deepEqual((await plain.get(path)).json, {id: of.session, appName: of.app, userId: of.user});
    const {sessions} = (await plain.get(path.slice(0, path.lastIndexOf('/')))).json;
    assert.ok(sessions.some(({id, appName, userId}) => id === of.session && appName === of.app && userId === of.user));
    assert.deepEqual((await plain.delete(path)).json, {success: true, session_id: of.session});
  });
}

test('names that look alike are not the same', async () => {
  const sessions = ['Zoë', 'Zoe\u0308', 'zoë', 'Zoe', 'Zoë ', '%5Aoë'].map((session) => pathOf({app: 'demo', user: 'alike', session}));
  const ids = new Set();
  for (const session of sessions) ids.add((await sluice.run(session)).task_id);
  for (const session of sessions) ids.delete((await sluice.get(`${session}/task-status`)).json.task_id);
  assert.equal(ids.size, 0, 'each has its own run');
});

test('a name is the same however it is percent-encoded', async () => {
  const path = (user) => `/apps/demo/users/${user}/sessions/s/run`;
  const {task_id} = (await sluice.post(path('auth0%7C64ab'), {message: 'a'})).json;
  for (const user of ['auth0%7c64ab', '%61uth0%7C64ab', [...'auth0|64ab'].map((byte) => `%${byte.charCodeAt(0).toString(16)}`).join('')])
    assert.equal((await sluice.get(path(user).replace('/run', '/task-status'))).json.task_id, task_id);
});

test('lengths are counted in decoded bytes: 128, and 255 for a user', async () => {
  const at = (most) => [`é`.repeat(Math.floor(most / 2)) + 'x'.repeat(most % 2), '\\'.repeat(most), '|'.repeat(most)];
  for (const name of at(255)) assert.equal((await sluice.post(`${pathOf({app: 'demo', user: name, session: 's'})}/run`, {message: 'a'})).json.user_id, name);
  const longest = {app: '"'.repeat(128), user: '"'.repeat(255), session: '"'.repeat(128)};
  const {task_id} = (await sluice.post(`${pathOf(longest)}/run`, {message: 'a', gateway: {label: '"'.repeat(64)}})).json;
  assert.deepEqual(namesOf(await sluice.taskEnded(task_id)), longest);
  for (const [part, most] of [['app', 128], ['user', 255], ['session', 128]])
    for (const name of at(most + 1)) assertError(await sluice.post(`${pathOf({app: 'demo', user: 'u', session: 's', [part]: name})}/run`, {message: 'a'}), 400, RegExp(`^invalid_${part}$`));
});

const refused = {'a slash': 'a%2Fb', 'an encoded slash alone': '%2f', 'a NUL': 'a%00b', 'a control character': 'a%0Ab', 'DEL': 'a%7fb', 'a C1 control character': 'a%C2%85b', 'one dot': '%2E', 'two dots': '%2e%2e',
  'dots before a semicolon': '..%3Ba', 'dots and a backslash': '..%5Ca', 'dots after a backslash': 'a%5C..', 'wide dots': '%EF%BC%8E%EF%BC%8E', 'dots that are encoded twice': '%252e%252e', 'a path that is encoded twice': '..%252fadmin',
  'a byte that is no UTF-8': '%ff', 'half a character': '%C3', 'an overlong slash': '%c0%af', 'a surrogate': '%ed%a0%80', 'a broken escape': 'a%2', 'an escape that is none': 'a%zz'};
for (const [what, name] of Object.entries(refused))
  test(`a name with ${what} is 400`, async () => {
    const came = watchUpstream();
    for (const path of [`/apps/demo/users/u/sessions/${name}`, `/apps/${name}/users/u/sessions/s`, `/apps/demo/users/${name}/sessions/s`])
      for (const [method, target] of [['POST', `${path}/run`], ['GET', `${path}/run`], ['DELETE', path], ['GET', path], ['GET', `${path}/artifacts`]])
        assertError(await sluice.request(method, target, method === 'POST' ? {body: {message: 'a'}} : {}), 400);
    assert.deepEqual(came(), [], 'nothing reached the upstream');
  });

test('what is no name in a path is none in the body of /run_sse', async () => {
  for (const [i, name] of ['', '.', '..', 'a/b', 'a\u0000b', 'a\nb', '\u007f', '\u0085', '..;a', '..\\', '%2e%2e', '\uff0e\uff0e', 'x'.repeat(256), 7, null].entries())
    for (const part of ['appName', 'userId', 'sessionId'])
      assertError(await sluice.post('/run_sse', {appName: 'demo', userId: 'u', sessionId: `s${i}`, newMessage: {role: 'user', parts: [{text: 'a'}]}, [part]: name}), 400);
});

test('the names of tasks stay plain', async () => {
  for (const id of ['%C3%A9', 'a%7Cb', '%00']) assertError(await sluice.get(`/tasks/${id}`), 400);
  assertError(await sluice.get('/tasks/0123'), 404, /^unknown_task$/);
});

test('a log line holds nothing of a name that a terminal obeys', async () => {
  const of = {app: 'demo', user: '\u202egnp.exe\u2066', session: randomBytes(4).toString('hex')};
  await sluice.run(pathOf(of));
  const line = await sluice.program.line('stderr', (each) => each.includes(of.session) && each);
  assert.ok(line.includes('\\u202egnp.exe\\u2066'), line);
});
