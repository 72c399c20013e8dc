// Clients that send their POST again after a cut, with the id of the last event they saw, go on with their run.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {asked, holdAfterOne} from '../support/expect.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const goOn = new Map(); // by the message: lets the agent go on after its second event
const upstream = await startUpstream({after}, async (exchange) => {
  const text = asked(exchange);
  if (/hold/.test(text)) return holdAfterOne(exchange);
  const may = new Promise((resolve) => goOn.set(text, resolve));
  await exchange.head();
  await exchange.chunk(adkFrame('0') + adkFrame('1'));
  await may;
  await exchange.chunk(adkFrame('2') + adkFrame('3'));
  return exchange.lastChunk();
});
const sluice = await startSluice({after}, {upstream: upstream.url});

let number = 0;
const nextName = () => `repeat-${++number}`;
const runsOf = (text) => upstream.runs.filter((run) => asked(run) === text).length;
const textOf = (client) => client.events.filter((event) => event.type === 'message').map((event) => JSON.parse(event.data).content.parts[0].text).join('');

const routes = {
  'POST S/run': (session, text) => [`${sessionPath(session)}/run`, {message: text}],
  'POST S/run?events=agent': (session, text) => [`${sessionPath(session)}/run?events=agent`, {message: text}],
  'POST /run_sse': (session, text) => ['/run_sse', {appName: 'demo', userId: 'u1', sessionId: session, newMessage: {role: 'user', parts: [{text}]}}],
};

async function post(gateway, route, session, text, headers) {
  const [path, body] = routes[route](session, text);
  return new SseClient(gateway.url, path, {method: 'POST', body: JSON.stringify(body), headers: {Accept: 'text/event-stream', ...headers}}).opened();
}

for (const route of Object.keys(routes)) {
  for (const [name, key] of [['no key', {}], ['a key', {'Idempotency-Key': 'k1'}]]) {
    test(`${route} with ${name}: a repeated POST goes on with its run, and from its end it is empty`, async () => {
      const session = nextName();
      const first = await post(sluice, route, session, session, key);
      await first.messages(1);
      first.leave();
      const id = first.events.find((event) => event.type === 'message').id;
      const second = await post(sluice, route, session, session, {...key, 'Last-Event-ID': id});
      await second.messages(1);
      assert.equal(second.headers.location, first.headers.location);
      assert.equal(second.headers['idempotency-replayed'], 'Idempotency-Key' in key ? 'true' : undefined);
      goOn.get(session)();
      assert.equal(await second.ended(), 'last-chunk');
      assert.equal(textOf(second), '123');
      const third = await post(sluice, route, session, session, {...key, 'Last-Event-ID': second.lastId});
      await third.ended();
      assert.equal(third.status, 200);
      assert.equal(third.headers['content-type'], 'text/event-stream');
      assert.equal(third.events.length, 0);
      assert.equal(runsOf(session), 1);
    });
  }
}

test('another message, and an id of no run, start a run', async () => {
  const session = nextName();
  const first = await post(sluice, 'POST S/run', session, session);
  await first.messages(1);
  goOn.get(session)();
  await first.ended();
  const other = await post(sluice, 'POST S/run', session, `${session}-other`, {'Last-Event-ID': first.ids[1]});
  await other.messages(1);
  assert.notEqual(other.headers.location, first.headers.location);
  goOn.get(`${session}-other`)();
  await other.ended();
  let runs = 1;
  for (const id of ['-1', 'garbage', '1-1', '99999999999999-0', `${first.ids[0]}0`, '']) {
    const again = await post(sluice, 'POST S/run', session, session, {'Last-Event-ID': id});
    await again.messages(1);
    goOn.get(session)();
    await again.ended();
    assert.equal(textOf(again), '0123', id);
    assert.equal(runsOf(session), ++runs, id);
  }
});

test('a run that another one has replaced is told to its end, and the other one goes on', async () => {
  const [session, text] = [nextName(), `hold-${number}`];
  const first = await post(sluice, 'POST S/run', session, text);
  await first.messages(1);
  const {task_id: task} = first.json('run.start');
  first.leave();
  const {task_id: newer} = await sluice.run(sessionPath(session), 'hold the other');
  await sluice.taskEnded(task);
  const again = await post(sluice, 'POST S/run', session, text, {'Last-Event-ID': first.lastId});
  assert.equal(await again.ended(), 'last-chunk');
  assert.equal(again.json('run.end').status, 'replaced');
  assert.equal(again.json('run.end').task_id, task);
  assert.equal((await sluice.task(newer)).status, 'running');
  assert.equal(runsOf(text), 1);
});

test('what is no longer retained is a gap while the run goes on', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, log_events_max: 2});
  const session = nextName();
  const first = await post(gateway, 'POST S/run', session, session);
  await first.messages(2);
  const viewer = await gateway.follow(sessionPath(session));
  first.leave();
  goOn.get(session)();
  await viewer.event('run.end');
  const again = await post(gateway, 'POST S/run', session, session, {'Last-Event-ID': first.ids[0]});
  assert.equal(await again.ended(), 'last-chunk');
  assert.deepEqual(again.types, ['gap', 'message', 'run.end']);
  assert.equal(runsOf(session), 1);
});
