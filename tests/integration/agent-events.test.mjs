// `?events=agent`: the agent's events alone, under its own names, and a bad end in the form of its kind.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

let scriptNow;
const upstream = await startUpstream({after}, (exchange) => scriptNow(exchange));
const gateways = {};
for (const kind of ['adk', 'openai', 'sse']) gateways[kind] = await startSluice({after}, {upstream: upstream.url, upstream_kind: kind, cache: true});

const data = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const first = {
  adk: data({content: {role: 'model', parts: [{text: 'a'}]}, author: 'a'}),
  openai: data({choices: [{index: 0, delta: {content: 'a'}, finish_reason: null}]}),
  sse: data({type: 'TEXT', delta: 'a'}),
};
const ending = {adk: '', openai: data({choices: [{index: 0, delta: {}, finish_reason: 'stop'}]}) + data('[DONE]'), sse: ''};
const whole = (...frames) => async (exchange) => {
  await exchange.head();
  await exchange.chunk(frames.join(''));
  await exchange.lastChunk();
};
const cutAfter = (...frames) => async (exchange) => {
  await exchange.head();
  await exchange.chunk(frames.join(''));
  exchange.socket.destroy();
};

let question = 0;
const post = (gateway, session, message = `question ${++question}`) => new SseClient(gateway.url, `${session}/run?events=agent`, {method: 'POST',
  headers: {Accept: 'text/event-stream'}, body: JSON.stringify(gateway === gateways.sse ? {text: message} : {message})});
const plain = ({events}) => events.map(({id, type, data: text}) => ({id, type, text}));

/** Whether the event reports an error in the form of its kind; its message and code. */
const errorOf = {
  adk: ({type, data: text}) => type === 'message' && {message: JSON.parse(text).error},
  openai: ({type, data: text}) => type === 'message' && JSON.parse(text).error,
  sse: ({type, data: text}) => type === 'error' && JSON.parse(text).error,
};

/** All ways to the same stream give the same: of the POST, the session, the run. */
async function follow(gateway, session, client) {
  const {task_id: id} = await gateway.get(`${session}/task-status`).then(({json}) => json);
  const others = [await gateway.follow(session, '?events=agent&until=run'), new SseClient(gateway.url, `/tasks/${id}/events?events=agent`)];
  for (const other of others) {
    assert.equal(await other.ended(), 'last-chunk');
    assert.deepEqual(plain(other), plain(client));
  }
  return id;
}

for (const kind of ['adk', 'openai', 'sse']) {
  const gateway = gateways[kind];

  test(`${kind}: a whole run is the agent's events, and 204 after the last of them`, async () => {
    scriptNow = whole(first[kind], ending[kind]);
    const session = sessionPath();
    const client = post(gateway, session);
    assert.equal(await client.ended(), 'last-chunk');
    assert.equal(client.retries.length, 1);
    assert.equal(client.types.every((type) => type === 'message'), true);
    assert.equal(client.events.length, kind === 'openai' ? 3 : 1);
    const id = await follow(gateway, session, client);
    for (const path of [`${session}/run?events=agent&until=run`, `/tasks/${id}/events?events=agent`]) {
      const again = new SseClient(gateway.url, path, {headers: {'Last-Event-ID': client.lastId}});
      await again.opened();
      assert.equal(again.status, 204);
    }
  });

  test(`${kind}: a whole run without an event of the agent's is 204 for those who ask for it by GET`, async () => {
    const session = sessionPath();
    scriptNow = whole(first[kind], ending[kind]);
    assert.equal(await post(gateway, session).ended(), 'last-chunk');
    scriptNow = whole(kind === 'openai' ? data('[DONE]') : ': nothing\n\n');
    const client = post(gateway, session);
    assert.equal(await client.ended(), 'last-chunk');
    const id = (await gateway.get(`${session}/task-status`)).json.task_id;
    const events = kind === 'openai' ? 1 : 0;
    assert.deepEqual([client.status, client.events.length, (await gateway.taskEnded(id)).status], [200, events, 'completed']);
    const asks = [[`/run?events=agent&until=run`, events], ['/run?until=run', 2 + events], ['/run?events=agent&until=run&from=start', kind === 'openai' ? 4 : 1]];
    for (const [path, expected] of [...asks.map(([query, number]) => [session + query, number]), [`/tasks/${id}/events?events=agent`, events]]) {
      const other = new SseClient(gateway.url, path);
      await other.opened();
      assert.equal(other.status, expected === 0 ? 204 : 200, path);
      if (expected > 0) await other.ended();
      assert.equal(other.events.length, expected, path);
    }
  });

  test(`${kind}: a run that is cut off ends with an error in its form, and never looks whole`, async () => {
    scriptNow = cutAfter(first[kind]);
    const session = sessionPath();
    const client = post(gateway, session);
    assert.equal(await client.ended(), 'last-chunk');
    assert.equal(client.events.length, 2);
    const {message, code} = errorOf[kind](client.events[1]);
    assert.match(message, /^run failed: upstream_truncated: /);
    if (kind !== 'adk') assert.equal(code, 'upstream_truncated');
    const id = await follow(gateway, session, client);
    const rest = new SseClient(gateway.url, `/tasks/${id}/events?events=agent`, {headers: {'Last-Event-ID': client.ids[0]}});
    assert.equal(await rest.ended(), 'last-chunk');
    assert.deepEqual(plain(rest), plain(client).slice(1));
    const again = new SseClient(gateway.url, `${session}/run?events=agent&until=run`, {headers: {'Last-Event-ID': client.lastId}});
    await again.opened();
    assert.equal(again.status, 204);
  });

  test(`${kind}: an error that the agent reports in an event is not reported twice`, async () => {
    scriptNow = whole(first[kind], data({error: kind === 'openai' ? {message: 'out of luck'} : 'out of luck'}));
    const client = post(gateway, sessionPath());
    assert.equal(await client.ended(), 'last-chunk');
    assert.equal(client.events.length, 2);
    assert.match(client.events[1].data, /out of luck/);
    assert.doesNotMatch(client.events[1].data, /run failed/);
  });

  test(`${kind}: an error that is the first event, or that comes as bare text, is reported`, async () => {
    scriptNow = whole(data({error: {message: 'at once'}}));
    const early = post(gateway, sessionPath());
    assert.equal(await early.ended(), 'last-chunk');
    assert.equal(early.events.length, 1);
    assert.match(early.events[0].data, /at once/);
    scriptNow = whole(first[kind], '{"error":{"message":"bare"}}\n');
    const bare = post(gateway, sessionPath());
    assert.equal(await bare.ended(), 'last-chunk');
    assert.equal(bare.events.length, 2);
    assert.match(errorOf[kind](bare.events[1]).message, /^run failed: upstream_error: .*bare/);
  });
}

test('an agent\'s own run.start and run.end go as they are, to followers and from the cache as well', async () => {
  scriptNow = whole('event: run.start\ndata: 1\n\n', 'event: run.end\ndata: 2\n\n', 'event: error2\ndata: 3\n\n');
  const expected = [['run.start', '1'], ['run.end', '2'], ['error2', '3']];
  const message = `question ${++question}`;
  const session = sessionPath();
  const said = ({events}) => events.map(({type, data: text}) => [type, text]);
  const waiting = await gateways.sse.follow(session, '?events=agent');
  const client = post(gateways.sse, session, message);
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(said(client), expected);
  await follow(gateways.sse, session, client);
  await waiting.until(() => waiting.events.length === 3, 'three events');
  assert.deepEqual(said(waiting), expected);
  waiting.leave();
  const cached = post(gateways.sse, sessionPath(), message);
  assert.equal(await cached.ended(), 'last-chunk');
  assert.deepEqual(said(cached), expected);
  const native = await gateways.sse.follow(session, '?until=run');
  assert.equal(await native.ended(), 'last-chunk');
  assert.deepEqual(native.types, ['run.start', 'upstream.run.start', 'upstream.run.end', 'error2', 'run.end']);
  const {json: history} = await gateways.sse.get(`${session}/history`);
  assert.deepEqual(history.events.map(({source}) => source), ['gateway', 'agent', 'agent', 'agent', 'gateway']);
});

test('a run that is cancelled is reported as an error of the kind', async () => {
  let began;
  const hold = new Promise((resolve) => { began = resolve; });
  scriptNow = async (exchange) => {
    await exchange.head();
    await exchange.chunk(first.openai);
    began();
    await exchange.gone;
  };
  const session = sessionPath();
  const client = post(gateways.openai, session);
  await hold;
  await client.messages(1);
  await gateways.openai.delete(`${session}/run`);
  assert.equal(await client.ended(), 'last-chunk');
  assert.equal(errorOf.openai(client.events[1]).code, 'cancelled');
  assert.ok(!client.data.includes('[DONE]'));
});

test('another value of events is refused', async () => {
  for (const path of [`${sessionPath()}/run?events=none`, `${sessionPath()}/run?events=`]) {
    const {status, json} = await gateways.sse.get(path);
    assert.equal(status, 400);
    assert.equal(json.error.code, 'invalid_query');
  }
});

// The error's event was held back and dropped for the fallback, which refuses: then no event says that the run failed.
test('an error that was held back for a fallback that takes no calls is reported all the same', async (t) => {
  const failing = await startUpstream(t, whole(data({error: {message: 'held back'}})));
  const config = temporaryFile(t, 'sluice.yaml', `upstreams:
  - {name: first, upstream: "${failing.url}", upstream_kind: sse, upstream_apps: "demo", upstream_fallback: second}
  - {name: second, upstream: "http://127.0.0.1:1", upstream_kind: sse, upstream_apps: "other", breaker_failure_percent: 50, breaker_calls_min: 1, breaker_recovery_ms: 60000}
`);
  const gateway = await startSluice(t, {config});
  const opened = await gateway.runStream(sessionPath(undefined, {app: 'other'}), {text: 'x'});
  assert.equal(await opened.ended(), 'last-chunk');
  const client = new SseClient(gateway.url, `${sessionPath()}/run?events=agent`, {method: 'POST', body: '{"text":"x"}', headers: {Accept: 'text/event-stream'}});
  assert.equal(await client.ended(), 'last-chunk');
  assert.equal(client.events.length, 1);
  assert.match(errorOf.sse(client.events[0]).message, /^run failed: upstream_error: .*held back/);
});
