// What a stream's address can ask for: the id to go on after, not to wait, heartbeats that scripts can see.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {answerAsAsked} from '../support/expect.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const upstream = await startUpstream({after}, answerAsAsked(new Map()));
const sluice = await startSluice({after}, {upstream: upstream.url, heartbeat_ms: 200});

test('lastEventId in the query is another name of last_event_id', async () => {
  const {session, task_id, client} = await sluice.finishedRun(5);
  const id = client.ids[2];
  for (const path of [`${session}/run?until=run&`, `/tasks/${task_id}/events?`]) {
    for (const query of [`lastEventId=${id}`, `last_event_id=${id}`, `lastEventId=${id}&last_event_id=${id}`]) {
      const again = new SseClient(sluice.url, path + query);
      assert.equal(await again.ended(), 'last-chunk');
      assert.deepEqual(again.ids, client.ids.slice(3), path + query);
    }
    const end = new SseClient(sluice.url, `${path}lastEventId=${client.lastId}`);
    await end.opened();
    assert.equal(end.status, 204);
    const both = new SseClient(sluice.url, `${path}lastEventId=${id}`, {headers: {'Last-Event-ID': client.ids[3]}});
    assert.equal(await both.ended(), 'last-chunk');
    assert.deepEqual(both.ids, client.ids.slice(4), 'the header wins');
    for (const headers of [{}, {'Last-Event-ID': id}]) {
      const {status, json} = await sluice.get(`${path}lastEventId=${id}&last_event_id=${client.ids[1]}`, {headers});
      assert.equal(status, 400);
      assert.equal(json.error.code, 'invalid_query');
      assert.match(json.error.message, /last_event_id.*lastEventId/);
    }
  }
});

test('wait=false answers 204 where nothing runs and nothing is retained', async () => {
  const session = sessionPath();
  const statusOf = async (query) => {
    const client = await sluice.follow(session, query);
    client.leave();
    return client.status;
  };
  assert.equal(await statusOf('?wait=false'), 204);
  assert.equal(await statusOf('?wait=false&until=run&events=agent'), 204);
  assert.equal((await sluice.get(`${session}/history`)).status, 404, 'it opened no session');
  await sluice.post(session, {});
  assert.equal(await statusOf('?wait=false'), 204);
  assert.equal(await statusOf('?wait=true'), 200);
  const {task_id} = await sluice.run(session, 'hold');
  assert.equal(await statusOf('?wait=false'), 200);
  await sluice.delete(`/tasks/${task_id}`);
  const client = await sluice.follow(session, '?wait=false&until=run');
  assert.equal(await client.ended(), 'last-chunk');
  assert.equal((await sluice.get(`${session}/run?wait=no`)).status, 400);
});

test('heartbeat=event sends pings, which scripts can see', async () => {
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'hold');
  const asked = [await sluice.follow(session, '?heartbeat=event'), await new SseClient(sluice.url, `/tasks/${task_id}/events?heartbeat=event`).opened(),
    await sluice.follow(session, '?heartbeat=event&events=agent')];
  for (const client of asked) {
    await client.event('ping');
    const ping = client.events.find(({type}) => type === 'ping');
    assert.deepEqual([ping.id, ping.data], [undefined, '{}']);
    assert.deepEqual(client.comments, [' sluice']);
  }
  const plain = await sluice.follow(session, '?heartbeat=comment');
  await plain.until(() => plain.comments.length > 1, 'a comment');
  assert.ok(!plain.types.includes('ping'));
  const body = JSON.stringify({message: 'hold'});
  const own = new SseClient(sluice.url, `${sessionPath()}/run?heartbeat=event`, {method: 'POST', body, headers: {Accept: 'text/event-stream'}});
  await own.event('ping');
  for (const client of [...asked, plain, own]) client.leave();
  assert.equal((await sluice.get(`${session}/run?heartbeat=yes`)).status, 400);
});

test('a POST that asks for a form of the stream is answered by it, whatever it accepts', async () => {
  for (const [query, type] of [['?events=agent', 'text/event-stream'], ['?heartbeat=event', 'text/event-stream'], ['', 'application/json'], ['?events=all', 'application/json']]) {
    for (const headers of [{}, {Accept: 'application/json'}, {Accept: '*/*'}]) {
      const {status, headers: answered} = await sluice.post(`${sessionPath()}/run${query}`, {message: 'count=2'}, {headers});
      assert.equal(status, 200);
      assert.equal(answered['content-type'].split(';')[0], type, query);
    }
  }
});
