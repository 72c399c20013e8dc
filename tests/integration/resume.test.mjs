// Coming back: resume by id, gaps, where a stream begins, and subscribers that are cut or fall behind.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {answerAsAsked, assertSameEvents, checkRuns, marked, runEnd} from '../support/expect.mjs';
import {slow} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const scripts = new Map(); // message -> what an upstream run does
const upstream = await startUpstream({after}, answerAsAsked(scripts));
const sluice = await startSluice({after}, {upstream: upstream.url});

test('resume by header and by query gives everything after the id, once', async () => {
  const {session, client} = await sluice.finishedRun(10);
  for (const [i, {id}] of client.events.slice(0, -1).entries()) {
    const byHeader = i % 2 === 0;
    const rest = await sluice.follow(session, byHeader ? '?until=run' : `?until=run&last_event_id=${id}`, byHeader ? {'Last-Event-ID': id} : {});
    await rest.ended();
    assert.deepEqual(rest.ids, client.ids.slice(i + 1), `after event ${i}`);
  }
});

test('the Last-Event-ID of a reconnecting EventSource wins over the query it was made with', async () => {
  const {session, client} = await sluice.finishedRun(4);
  const rest = await sluice.follow(session, `?until=run&last_event_id=${client.ids[0]}`, {'Last-Event-ID': client.ids[3]});
  await rest.ended();
  assert.deepEqual(rest.ids, client.ids.slice(4));
});

test('resume goes on live with no seam', async () => {
  const session = sessionPath();
  const whole = await sluice.follow(session);
  const {task_id} = await sluice.run(session, 'count=60 delay=5');
  await whole.messages(5);
  const resumed = await sluice.follow(session, '', {'Last-Event-ID': whole.ids[2]});
  await runEnd(whole, task_id);
  await runEnd(resumed, task_id);
  assert.deepEqual(resumed.ids, whole.ids.slice(3));
  whole.leave();
  resumed.leave();
});

test('an id that was never given gets a gap, then what is retained after it', async () => {
  const {session, client} = await sluice.finishedRun(4);
  const [time, number] = client.ids[0].split('-').map(Number);
  const rest = await sluice.follow(session, `?until=run&last_event_id=${time - 1000}-${number}`);
  await rest.ended();
  assert.equal(rest.types[0], 'gap');
  const gap = JSON.parse(rest.events[0].data);
  assert.deepEqual(Object.keys(gap).sort(), ['from', 'reason', 'to']);
  assert.equal(gap.to, rest.events[0].id);
  assert.deepEqual(rest.ids.slice(1), client.ids);
});

test('-1 and garbage count as no id', async () => {
  const {session, client} = await sluice.finishedRun(3);
  for (const id of ['-1', 'garbage', '1-2-3', '99999999999999999999999-1', '12x-1', '%F0%9F%98%80', ' ', '0x10-1']) {
    const again = await sluice.follow(session, `?until=run&last_event_id=${encodeURIComponent(id)}`);
    await again.ended();
    assertSameEvents(again, client, `last_event_id=${id}`);
  }
  const byHeader = await sluice.follow(session, '?until=run', {'Last-Event-ID': '-1'});
  await byHeader.ended();
  assertSameEvents(byHeader, client);
});

test('a log that overflowed tells a gap first', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, log_events_max: 10});
  const session = sessionPath();
  const live = await gateway.follow(session);
  const {task_id} = await gateway.run(session, 'count=50 delay=2');
  await runEnd(live, task_id);
  assert.ok(!live.types.includes('gap'), 'who keeps up sees no gap');
  checkRuns(live.events);
  for (const query of ['?until=run', '?until=run&from=start', `?until=run&last_event_id=${live.ids[3]}`]) {
    const late = await gateway.follow(session, query);
    await late.ended();
    assert.equal(late.types[0], 'gap', query);
    assert.equal(JSON.parse(late.events[0].data).to, late.events[0].id, 'resuming from the gap itself loses nothing more');
    assert.deepEqual(late.ids.slice(1), live.ids.slice(-(late.ids.length - 1)), query);
    assert.ok(late.ids.length >= 9 && late.ids.length <= 11, `${late.ids.length} events of a log of 10`);
    assert.equal(late.types.at(-1), 'run.end');
  }
  const recent = await gateway.follow(session, `?until=run&last_event_id=${live.ids.at(-4)}`);
  await recent.ended();
  assert.deepEqual(recent.ids, live.ids.slice(-3), 'no gap where nothing is missing');
  live.leave();
});

test('a burst of more events than the log holds reaches who keeps up without a gap', async () => {
  const count = 5000;
  scripts.set('burst', async (exchange) => exchange.stream(Array.from({length: count}, (_, i) => marked('burst', i + 1)).join('')));
  const session = sessionPath();
  const live = await sluice.follow(session);
  const {task_id} = await sluice.run(session, 'burst');
  await runEnd(live, task_id);
  assert.deepEqual(live.types.filter((type) => type === 'gap'), []);
  assert.equal(live.data.length, count);
  checkRuns(live.events);
  live.leave();
});

test('the bytes of a log are bounded too', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, log_bytes_max: 100000, event_bytes_max: 50000});
  scripts.set('fat', async (exchange) => exchange.stream(...Array.from({length: 50}, (_, i) => `data: ${i} ${'x'.repeat(10000)}\n\n`)));
  const session = sessionPath();
  await gateway.taskEnded((await gateway.run(session, 'fat')).task_id);
  const late = await gateway.follow(session, '?until=run');
  await late.ended();
  assert.equal(late.types[0], 'gap');
  assert.ok(late.data.length >= 5 && late.data.length <= 10, `${late.data.length} events of 10 kB in a log of 100 kB`);
  assert.ok(late.data.at(-1).startsWith('49 '));
});

test('from=start, from=run and from=now begin where they say', async () => {
  const session = sessionPath();
  const whole = await sluice.follow(session);
  await runEnd(whole, (await sluice.run(session, 'count=2')).task_id);
  await runEnd(whole, (await sluice.run(session, 'count=3')).task_id);
  const seen = {};
  for (const from of ['start', 'run', 'now', '']) seen[from] = await sluice.follow(session, from && `?from=${from}`);
  await seen.start.until(() => seen.start.ids.length === whole.ids.length, 'all');
  for (const from of ['run', '']) await seen[from].until(() => seen[from].ids.length === 5, 'the newest run');
  const third = await sluice.run(session, 'count=1');
  for (const client of [whole, ...Object.values(seen)]) await runEnd(client, third.task_id);
  assert.deepEqual(seen.start.ids, whole.ids);
  assert.deepEqual(seen.run.ids, whole.ids.slice(4));
  assert.deepEqual(seen[''].ids, whole.ids.slice(4));
  assert.deepEqual(seen.now.ids, whole.ids.slice(9));
  for (const client of [whole, ...Object.values(seen)]) client.leave();
});

test('a subscriber that falls out of the log is told by gap and goes on from the oldest retained event', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, stall_timeout_ms: 60000, send_buffer_bytes: 32768, log_events_max: 20});
  scripts.set('fast', async (exchange) => {
    await exchange.head();
    for (let number = 1; number <= 400; number++) await exchange.chunk(`data: ${JSON.stringify({of: 'fast', number, padding: 'x'.repeat(40000)})}\n\n`);
    await exchange.lastChunk();
  });
  const session = sessionPath();
  const sleeper = await gateway.follow(session);
  sleeper.socket.pause();
  const {task_id} = await gateway.run(session, 'fast');
  await gateway.taskEnded(task_id);
  sleeper.socket.resume();
  await runEnd(sleeper, task_id);
  const gaps = sleeper.events.filter(({type}) => type === 'gap');
  assert.ok(gaps.length >= 1, 'it was told');
  // Between gaps nothing is missing, and at a gap something is.
  let last = 0;
  let afterGap = false;
  for (const {type, data} of sleeper.events) {
    if (type === 'gap') afterGap = true;
    if (type !== 'message') continue;
    const {number} = JSON.parse(data);
    if (afterGap) assert.ok(number > last + 1, `a gap before ${number}, after ${last}`);
    else assert.equal(number, last + 1);
    last = number;
    afterGap = false;
  }
  assert.equal(last, 400);
  sleeper.leave();
});

test('subscribers cut at random and resumed see every event once, in order', async () => {
  const session = sessionPath();
  const whole = await sluice.follow(session);
  const runs = slow ? 3 : 6;
  const hasItAll = (events) => events.at(-1)?.type === 'run.end' && /count=1 final/.test(events.at(-2)?.data);
  const lives = Array.from({length: 12}, async (_, seed) => {
    const events = [];
    let random = seed * 7919 + 13;
    const next = (limit) => (random = (random * 1103515245 + 12345) % 2147483648) % limit;
    for (;;) {
      const lastId = events.at(-1)?.id;
      const client = await sluice.follow(session, lastId ? '' : '?from=start', lastId ? {'Last-Event-ID': lastId} : {});
      const many = 1 + next(40);
      await client.until(() => client.events.length >= many || hasItAll([...events, ...client.events]), 'more events', 30000);
      events.push(...client.events);
      client.leave(next(2) === 0);
      if (hasItAll(events)) return events;
    }
  });
  for (let run = 0; run < runs; run++) await runEnd(whole, (await sluice.run(session, `count=${slow ? 40 : 80} delay=4`)).task_id, 30000);
  await runEnd(whole, (await sluice.run(session, 'count=1 final')).task_id);
  for (const events of await Promise.all(lives))
    assert.deepEqual(events.map(({id, data}) => [id, data]), whole.events.map(({id, data}) => [id, data]));
  assert.ok(whole.events.length < 1000, 'all of it fits the log, so no gap was due');
  whole.leave();
});
