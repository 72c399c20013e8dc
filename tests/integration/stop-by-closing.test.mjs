// Clients of ADK stop a run by closing POST /run_sse; and the options that such a request may have.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {asked, assertError, holdAfterOne} from '../support/expect.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const upstream = await startUpstream({after}, async (exchange) => {
  stopped.set(asked(exchange), exchange.gone);
  await holdAfterOne(exchange);
});
const stopped = new Map(); // by the message: when the agent saw the end of its connection
const flags = {upstream: upstream.url, disconnect_grace_ms: 50};
const sluice = await startSluice({after}, flags);

let number = 0;
const nextName = () => `stop-${++number}`;
const bodyOf = (session, more = '') =>
  `{"appName":"demo","userId":"u1","sessionId":"${session}","n":12345678901234567890${more},"newMessage":{"role":"user","parts":[{"text":"${session}"}]}}`;

/** A client of POST /run_sse that has its first event. */
async function watch(gateway, session, {more, headers} = {}) {
  const client = await new SseClient(gateway.url, '/run_sse', {method: 'POST', body: bodyOf(session, more), headers}).opened();
  await client.messages(1);
  return client;
}

const taskOf = (client) => client.headers.location.replace('/tasks/', '');

/** Whether the run goes on although all that could end it is over: another run, started and stopped later, is. */
async function goesOn(gateway, client) {
  const session = nextName();
  const other = await watch(gateway, session, {headers: {'Sluice-On-Disconnect': 'cancel'}});
  other.leave();
  assert.equal((await gateway.taskEnded(taskOf(other))).status, 'cancelled');
  return (await gateway.task(taskOf(client))).status === 'running';
}

test('closing POST /run_sse stops the run, and the agent sees it', async () => {
  const session = nextName();
  const client = await watch(sluice, session);
  client.leave();
  const {status, reason} = await sluice.taskEnded(taskOf(client));
  assert.equal(status, 'cancelled');
  assert.equal(reason, 'disconnected');
  await stopped.get(session);
});

test('a client that comes back in time keeps the run, and a viewer of the session does, too', async (t) => {
  const gateway = await startSluice(t, {...flags, disconnect_grace_ms: 3600000});
  const client = await watch(gateway, nextName());
  client.leave();
  const again = await new SseClient(gateway.url, `/tasks/${taskOf(client)}/events`).opened();
  await again.messages(1);
  assert.equal((await gateway.task(taskOf(client))).status, 'running');
  const session = nextName();
  const viewer = await sluice.follow(sessionPath(session));
  const other = await watch(sluice, session);
  other.leave();
  assert.ok(await goesOn(sluice, other));
  viewer.leave();
  assert.equal((await sluice.taskEnded(taskOf(other))).reason, 'disconnected');
});

test('a header, an option and a key let the run go on', async (t) => {
  const going = {headers: {'Sluice-On-Disconnect': 'continue'}};
  for (const options of [going, {more: ',"gateway":{"on_disconnect":"continue"}'}, {headers: {'Sluice-On-Disconnect': 'cancel'}, more: ',"gateway":{"on_disconnect":"continue"}'}]) {
    const client = await watch(sluice, nextName(), options);
    client.leave();
    assert.ok(await goesOn(sluice, client), JSON.stringify(options));
  }
  const gateway = await startSluice(t, {...flags, run_sse_on_disconnect: 'continue'});
  const client = await watch(gateway, nextName());
  client.leave();
  assert.ok(await goesOn(gateway, client));
});

test('POST S/run goes on by default, and stops with the header', async () => {
  const [message, other] = [nextName(), nextName()];
  const client = await sluice.runStream(sessionPath(message), message);
  await client.messages(1);
  client.leave();
  assert.ok(await goesOn(sluice, client));
  const stopping = await sluice.runStream(sessionPath(other), other, undefined, {headers: {'Sluice-On-Disconnect': 'cancel'}});
  await stopping.messages(1);
  stopping.leave();
  assert.equal((await sluice.taskEnded(taskOf(stopping))).status, 'cancelled');
});

test('gateway options of POST /run_sse count, and are not passed on: all else is, byte for byte', async (t) => {
  const session = nextName();
  const client = await watch(sluice, session, {more: ',"gateway":{"label":"a \\"label\\"},{","priority":7},"x":1.0'});
  assert.equal((await sluice.task(taskOf(client))).label, 'a "label"},{');
  assert.equal(upstream.runs.at(-1).body.toString(), bodyOf(session, ',"x":1.0'));
  client.leave();
  for (const gateway of ['{"on_disconnect":"weep"}', '{"unknown":1}', '[]', '{"label":"a","label":"b"}'])
    assertError(await sluice.post('/run_sse', bodyOf(nextName(), `,"gateway":${gateway}`)), 400, /_option$/);
  assertError(await sluice.post('/run_sse', bodyOf(nextName()), {headers: {'Sluice-On-Disconnect': 'weep'}}), 400, /^invalid_option$/);
  const usual = await startSluice(t, {...flags, default_app: 'usual'});
  const rest = `"gateway":{"label":"l"},${bodyOf(nextName()).slice('{"appName":"demo",'.length)}`;
  const other = await new SseClient(usual.url, '/run_sse', {method: 'POST', body: ` {${rest}`}).opened();
  await other.messages(1);
  assert.equal((await usual.task(taskOf(other))).label, 'l');
  assert.equal(upstream.runs.at(-1).body.toString(), `{"appName":"usual",${rest.slice('"gateway":{"label":"l"},'.length)}`);
  other.leave();
});
