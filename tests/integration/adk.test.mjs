// The real thing: Google ADK's api server upstream, curl, eventsource-parser and the AI SDK's reader as clients.
import assert from 'node:assert/strict';
import {parseJsonEventStream} from '@ai-sdk/provider-utils';
import {EventSourceParserStream} from 'eventsource-parser/stream';
import {after, test} from 'node:test';
import {z} from 'zod';
import {adkText, startAdk} from '../support/agents.mjs';
import {assertSameEvents, runEnd} from '../support/expect.mjs';
import {curl} from '../support/http.mjs';
import {until} from '../support/limits.mjs';
import {sessionPath as pathOf, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const sessionPath = (name) => pathOf(name, {app: 'vana'});

const adk = await startAdk({after});
const sluice = await startSluice({after}, {upstream: adk.url});

const nameOf = (session) => session.split('/').at(-1);

const adkBody = (session, text) => ({appName: 'vana', userId: 'u1', sessionId: nameOf(session), newMessage: {role: 'user', parts: [{text}]}, streaming: true});

/** The agent's events as ADK itself has stored them in the session. */
const stored = async (session) => (await adk.request('GET', session)).json.events.filter(({author}) => author === 'scripted_agent');

/** Posts a run with the real curl. */
async function curlRun(session, message) {
  const {code, stdout, stderr} = await curl('-X', 'POST', `${sluice.url}${session}/run`, '-H', 'Content-Type: application/json', '-d', JSON.stringify({message}));
  assert.equal(code, 0, stderr);
  const answer = JSON.parse(stdout);
  assert.equal(answer.success, true, stdout);
  return answer;
}

test('a run posted by curl reaches the agent, and its stream is what ADK itself recorded', async () => {
  const session = sessionPath();
  const {task_id} = await curlRun(session, 'hello steps=3 delay=20');
  const {code, stdout} = await curl(`${sluice.url}${session}/run?until=run`);
  assert.equal(code, 0);
  assert.match(stdout, /event: run\.start[^]*hello steps=3[^]*event: run\.end/);
  const client = await sluice.follow(session, '?until=run');
  await client.ended();
  assert.deepEqual(client.data.map((data) => JSON.parse(data)), await stored(session));
  assert.equal(adkText(client.data), 'chunk 1/3 echo: hello steps=3 delay=20chunk 2/3chunk 3/3');
  const task = await sluice.taskEnded(task_id);
  assert.equal(task.status, 'completed');
  assert.equal(task.events, 3);
  assert.equal((await sluice.get(`/tasks/${task_id}/result`)).json.text, adkText(client.data));
});

test('a session that the agent does not know is created', async () => {
  const session = sessionPath('brand-new');
  assert.equal((await adk.request('GET', session)).status, 404);
  await sluice.taskEnded((await sluice.run(session, 'hi delay=1')).task_id);
  assert.equal((await adk.request('GET', session)).status, 200);
  assert.equal((await sluice.taskEnded((await sluice.run(session, 'again delay=1')).task_id)).status, 'completed', 'and one that it knows is fine');
});

test('a session is created once: the second time is a conflict, in the contract\'s own words', async () => {
  const session = sessionPath('made');
  assert.equal((await sluice.post(session, {})).status, 200);
  const again = await sluice.post(session, {});
  assert.equal(again.status, 409);
  assert.equal(again.json.error.code, 'session_exists');
});

test('five subscribers, one of them killed and resumed by id, see the same bytes', async () => {
  const session = sessionPath();
  const clients = await Promise.all(Array.from({length: 5}, () => sluice.follow(session, '?until=run')));
  await curlRun(session, 'steps=40 delay=15 partial=1 tool=1 state=1');
  const victim = clients.pop();
  await victim.messages(10);
  victim.leave(true);
  const resumed = await sluice.follow(session, '?until=run', {'Last-Event-ID': victim.lastId});
  for (const client of [...clients, resumed]) assert.equal(await client.ended(), 'last-chunk');
  for (const client of clients.slice(1)) {
    assertSameEvents(client, clients[0]);
    const body = (each) => each.bytes.toString('latin1').replace(/^[^]*?(?=id: )/, '');
    assert.equal(body(client), body(clients[0]), 'byte for byte, chunk lines and all, from the first event on');
  }
  assertSameEvents({events: [...victim.events, ...resumed.events]}, clients[0], 'no seam');
  assert.equal(clients[0].data.length, 42);
});

test('an agent that fails in the middle: what it said, its error, and the end told as failed', async () => {
  const client = await sluice.runStream(sessionPath(), 'steps=5 delay=10 fail=3');
  await client.ended();
  assert.equal(client.data.length, 3);
  assert.match(JSON.parse(client.data[2]).error, /scripted failure before event 3/);
  const end = client.json('run.end');
  assert.deepEqual([end.status, end.reason, end.events], ['failed', 'upstream_error', 3]);
});

test('an event with errorCode is an event, not the end of the run', async () => {
  const client = await sluice.runStream(sessionPath(), 'steps=1 delay=1 errcode=1');
  await client.ended();
  assert.equal(JSON.parse(client.data[1]).errorCode, '429');
  assert.equal(client.json('run.end').status, 'completed');
});

test('events of 200 KB come whole', async () => {
  const session = sessionPath();
  const client = await sluice.runStream(session, 'steps=3 delay=1 size=200000');
  await client.ended();
  assert.deepEqual(client.data.map((data) => JSON.parse(data)), await stored(session));
  assert.equal(client.data.filter((data) => data.length > 200000).length, 3);
});

test('U+2028, control characters, CR, LF and emoji come through', async () => {
  const session = sessionPath();
  const client = await sluice.runStream(session, 'steps=2 delay=1 uni=1');
  await client.ended();
  assert.deepEqual(client.data.map((data) => JSON.parse(data)), await stored(session));
  assert.ok(adkText(client.data).includes('\u2028\u2029 caf\u00e9 \u{1F600} tab\t cr\r lf\n end'));
});

test('an agent that hangs is cancelled', async () => {
  const session = sessionPath();
  const client = await sluice.follow(session);
  const {task_id} = await curlRun(session, 'steps=1 delay=1 hang=1');
  await client.messages(1);
  const cancelled = await curl('-X', 'DELETE', `${sluice.url}${session}/run`);
  assert.deepEqual(JSON.parse(cancelled.stdout).status, 'cancelled');
  assert.equal((await runEnd(client, task_id)).status, 'cancelled');
  const next = await sluice.run(session, 'steps=1 delay=1');
  assert.equal((await runEnd(client, next.task_id)).status, 'completed', 'and the session goes on');
  client.leave();
});

test('a server that is killed in the middle is upstream_truncated, in its own framing an error frame', async (t) => {
  const doomed = await startAdk(t);
  const gateway = await startSluice(t, {upstream: doomed.url});
  const [one, two] = [sessionPath(), sessionPath()];
  const client = await gateway.runStream(one, 'steps=1000 delay=10');
  const plain = new SseClient(gateway.url, '/run_sse', {method: 'POST', body: JSON.stringify(adkBody(two, 'steps=1000 delay=10'))});
  await client.messages(3);
  await plain.messages(3);
  await doomed.kill();
  assert.equal(await client.ended(), 'last-chunk');
  const end = client.json('run.end');
  assert.deepEqual([end.status, end.reason], ['failed', 'upstream_truncated']);
  await plain.ended();
  assert.deepEqual([...new Set(plain.types)], ['message']);
  assert.match(JSON.stringify(JSON.parse(plain.data.at(-1)).error), /truncated|broke/);
  assert.equal(plain.data.filter((data) => 'error' in JSON.parse(data)).length, 1);

  const gone = await gateway.runStream(sessionPath(), 'hello');
  await gone.ended();
  assert.equal(gone.json('run.end').reason, 'upstream_connect');
});

test('two runs posted together in one session do not interleave', async () => {
  for (const on_conflict of ['replace', 'enqueue']) {
    const session = sessionPath();
    const client = await sluice.follow(session);
    const runs = await Promise.all(['first', 'second'].map((word) => sluice.run(session, `${word} steps=8 delay=15`, {on_conflict})));
    for (const {task_id} of runs) await runEnd(client, task_id);
    let invocation = null;
    let inside = false;
    for (const {type, data} of client.events) {
      if (type === 'run.start') [inside, invocation] = [true, null];
      else if (type === 'run.end') inside = false;
      else {
        assert.ok(inside);
        invocation ??= JSON.parse(data).invocationId;
        assert.equal(JSON.parse(data).invocationId, invocation, 'one run at a time');
      }
    }
    const statuses = (await Promise.all(runs.map(({task_id}) => sluice.task(task_id)))).map(({status}) => status).sort();
    assert.deepEqual(statuses, on_conflict === 'replace' ? ['completed', 'replaced'] : ['completed', 'completed']);
    client.leave();
  }
});

// ---- ADK's own endpoint ----

const postRunSse = (session, text) => fetch(`${sluice.url}/run_sse`,
  {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(adkBody(session, text))});

test('POST /run_sse has ADK\'s framing: its data alone, with ids, for a client such as eventsource-parser', async () => {
  const session = sessionPath();
  const response = await postRunSse(session, 'by parser steps=4 delay=10');
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/event-stream/);
  const events = [];
  for await (const event of response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())) events.push(event);
  assert.equal(events.length, 4);
  for (const {event, id} of events) {
    assert.equal(event, undefined);
    assert.match(id, /^\d+-\d+$/);
  }
  assert.deepEqual(events.map(({data}) => JSON.parse(data)), await stored(session));
});

test('POST /run_sse is read by the AI SDK', async () => {
  const session = sessionPath();
  const response = await postRunSse(session, 'by sdk steps=3 delay=10 partial=1');
  const texts = [];
  for await (const part of parseJsonEventStream({stream: response.body, schema: z.looseObject({content: z.any()})})) {
    assert.equal(part.success, true, String(part.error));
    texts.push(part.value.content.parts[0].text);
  }
  assert.deepEqual(texts, ['chunk 1/3 echo: by sdk steps=3 delay=10 partial=1', 'chunk 2/3', 'chunk 3/3']);
});

test('POST /run_sse is a run of its session: tracked, followed, resumed and cancelled like any other', async () => {
  const session = sessionPath();
  const watcher = await sluice.follow(session);
  const client = new SseClient(sluice.url, '/run_sse', {method: 'POST', body: JSON.stringify(adkBody(session, 'shared steps=2 delay=10 hang=1'))});
  await client.messages(2);
  await watcher.messages(2);
  assert.deepEqual(watcher.types, ['run.start', 'message', 'message']);
  assert.deepEqual(watcher.data, client.data);
  const {task_id} = watcher.json('run.start');
  assert.equal((await sluice.task(task_id)).status, 'running');
  const late = await sluice.follow(session, '', {'Last-Event-ID': client.ids[0]});
  await late.messages(1);
  assert.deepEqual(late.data, client.data.slice(1));
  assert.equal((await sluice.delete(`/tasks/${task_id}`)).json.status, 'cancelled');
  await client.ended();
  assert.match(client.data.at(-1), /^\{"error":/, 'the end that ADK would not have told is told in its way');
  await runEnd(watcher, task_id);
  for (const each of [watcher, late]) each.leave();
});

test('POST /run_sse does not tell an error twice that ADK has told', async () => {
  const response = await postRunSse(sessionPath(), 'steps=3 delay=1 fail=2');
  const text = await response.text();
  assert.equal(text.match(/data: /g).length, 2);
  assert.equal(text.match(/"error"/g).length, 1);
});

test('POST /run_sse refuses a body that names no session', async () => {
  for (const body of [{}, {appName: 'vana', userId: 'u1'}, {...adkBody('/s', 'x'), sessionId: '../x'}, {...adkBody('/s', 'x'), userId: 5}]) {
    const {status, json} = await sluice.post('/run_sse', body);
    assert.equal(status, 400);
    assert.match(json.error.code, /^[a-z_]+$/);
  }
});

// ---- ADK's other paths ----

test("ADK's read paths and sessions come through the gateway as from ADK itself", async () => {
  assert.deepEqual((await sluice.get('/list-apps')).json, ['vana']);
  const session = sessionPath();
  const created = await sluice.post(session, {});
  assert.equal(created.status, 200, created.text);
  assert.equal(created.json.id, nameOf(session));
  await sluice.taskEnded((await sluice.run(session, 'steps=1 delay=1')).task_id);
  assert.deepEqual((await sluice.get(session)).json, (await adk.request('GET', session)).json);
  const list = await sluice.get('/apps/vana/users/u1/sessions');
  assert.ok(JSON.stringify(list.json).includes(`"${nameOf(session)}"`));
  const named = await sluice.post('/apps/vana/users/u1/sessions', {});
  assert.equal(named.status, 200, named.text);
  assert.ok(named.json.id);
  assert.equal((await sluice.get(sessionPath('never-made'))).status, 404);
  assert.match(String((await sluice.delete(session)).status), /^20[04]$/);
  await until(async () => (await adk.request('GET', session)).status === 404, 'it is deleted upstream');
});

test('fifty sessions at once', async () => {
  const sessions = Array.from({length: 50}, () => sessionPath());
  const clients = await Promise.all(sessions.map((session) => sluice.runStream(session, `mine ${nameOf(session)} steps=4 delay=20`)));
  for (const [i, client] of clients.entries()) {
    assert.equal(await client.ended(30000), 'last-chunk');
    assert.equal(client.json('run.end').status, 'completed');
    assert.ok(client.data[0].includes(`mine ${nameOf(sessions[i])} `), 'its own answer');
    assert.equal(client.data.length, 4);
  }
});
