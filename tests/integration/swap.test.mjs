// The swap under load: whatever races, each run starts at most once, ends exactly once, and nothing comes after its end.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {answerMarked, asked, assertSameEvents, checkRuns, marked, runEnd} from '../support/expect.mjs';
import {pause, slow, until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

/** Ten events with pauses between them, so that most runs are replaced in the middle; the last one is quick. */
const chatty = async (exchange) => {
  if (asked(exchange) === 'last') return answerMarked(10)(exchange);
  await exchange.head();
  for (let number = 1; number <= 10 && exchange.open; number++) {
    await exchange.chunk(marked(asked(exchange), number));
    await pause(number % 3);
  }
  if (exchange.open) await exchange.lastChunk();
};

const swaps = slow ? 96 : 400;

test('hundreds of swaps from several connections at once: one start, one end each, and the last run whole', async (t) => {
  const upstream = await startUpstream(t, chatty);
  const sluice = await startSluice(t, {upstream: upstream.url, log_events_max: 100000, log_bytes_max: 64 << 20});
  const session = sessionPath();
  const clients = await Promise.all(Array.from({length: 5}, () => sluice.follow(session)));
  const ids = [];
  await Promise.all(Array.from({length: 8}, async (_, connection) => {
    for (let i = 0; i < swaps / 8; i++) ids.push((await sluice.run(session, `${connection}/${i}`)).task_id);
  }));
  const {task_id: last} = await sluice.run(session, 'last');
  for (const client of clients) await runEnd(client, last, 30000);

  const ends = checkRuns(clients[0].events);
  assert.equal(new Set(ids).size, swaps);
  for (const id of ids) assert.match(ends.get(id)?.status ?? 'none', /^(replaced|completed)$/, id);
  assert.equal(ends.get(last).status, 'completed');
  assert.equal(ends.get(last).events, 10);
  for (const client of clients.slice(1)) assertSameEvents(client, clients[0]);
  for (const client of clients) client.leave();
  await until(() => upstream.open === 0, 'no replaced run is left at the upstream');
  assert.equal((await sluice.get('/task-status')).json.running_tasks, 0);
});

test('swaps, cancels and ends that race leave exactly one end a run, the same for the tasks and the stream', async (t) => {
  const upstream = await startUpstream(t, chatty);
  const sluice = await startSluice(t, {upstream: upstream.url, log_events_max: 100000, log_bytes_max: 64 << 20});
  const sessions = Array.from({length: 4}, () => sessionPath());
  const clients = await Promise.all(sessions.map((session) => sluice.follow(session)));
  const ids = sessions.map(() => []);
  await Promise.all(Array.from({length: 8}, async (_, connection) => {
    for (let i = 0; i < swaps / 8; i++) {
      const which = (connection + i) % sessions.length;
      const {task_id} = await sluice.run(sessions[which], `${connection}/${i}`);
      ids[which].push(task_id);
      if (i % 3 === 0) await sluice.delete(`/tasks/${task_id}`);
      if (i % 5 === 0) await sluice.delete(`${sessions[which]}/run`);
    }
  }));
  for (const [which, session] of sessions.entries()) {
    const {task_id: last} = await sluice.run(session, 'last');
    assert.equal((await runEnd(clients[which], last, 30000)).status, 'completed');
    const ends = checkRuns(clients[which].events);
    for (const id of ids[which]) {
      const end = ends.get(id);
      assert.match(end?.status ?? 'none', /^(replaced|completed|cancelled)$/, id);
      assert.equal((await sluice.task(id)).status, end.status, 'the task tells the same end as the stream');
    }
    clients[which].leave();
  }
  await until(() => upstream.open === 0, 'nothing is left at the upstream');
});

test('swaps race with the deletion of their session', async (t) => {
  const upstream = await startUpstream(t, chatty);
  const sluice = await startSluice(t, {upstream: upstream.url});
  const session = sessionPath();
  for (let round = 0; round < (slow ? 5 : 25); round++) {
    const client = await sluice.follow(session);
    const answers = await Promise.all([sluice.post(`${session}/run`, {message: 'a'}), sluice.delete(session), sluice.post(`${session}/run`, {message: 'b'})]);
    for (const {status, text} of answers) assert.ok(status < 500, `${status} ${text}`);
    await sluice.delete(session);
    assert.match(await client.ended(), /last-chunk/, 'the subscriber was ended');
    assert.equal(client.types.at(-1), 'session.end');
    checkRuns(client.events.filter(({type}) => type !== 'session.end'));
  }
  await until(async () => (await sluice.get('/task-status')).json.running_tasks === 0, 'nothing runs');
  await until(() => upstream.open === 0, 'nothing is left at the upstream');
});
