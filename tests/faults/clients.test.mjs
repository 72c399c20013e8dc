// Clients that stop reading, vanish, say nothing, or come and go in crowds: nobody else is delayed, and nothing is left of them.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {asked, checkRuns, marked} from '../support/expect.mjs';
import {crowd, flood, inParallel, long, startForgetful} from '../support/faults.mjs';
import {request} from '../support/http.mjs';
import {pause, stretched, until, within} from '../support/limits.mjs';
import {Program} from '../support/program.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath} from '../support/sluice.mjs';
import {leavesNoTrace, residentBytes} from '../support/vitals.mjs';

const upstream = await startUpstream({after}, async (exchange) => {
  const [, count, delay] = /count=(\d+) delay=(\d+)/.exec(asked(exchange)) ?? [];
  if (!count) return flood(exchange);
  await exchange.head();
  for (let number = 1; number <= Number(count) && exchange.open; number++) {
    await exchange.chunk(marked(asked(exchange), number));
    await pause(Number(delay));
  }
  await exchange.lastChunk();
});

const MiB = 1 << 20;
const start = (context, flags) => startForgetful(context, upstream, {stall_timeout_ms: stretched(1000), request_timeout_ms: stretched(1000),
  send_buffer_bytes: 65536, ...flags});

/** How long a request of somebody else takes, in ms. */
async function served(sluice) {
  const from = performance.now();
  assert.equal((await request(sluice.url, 'GET', '/healthz')).status, 200);
  return performance.now() - from;
}

test('100 000 events at full speed with nobody reading are all taken, in bounded memory', async (t) => {
  const sluice = await start(t, {});
  await leavesNoTrace(sluice, upstream, async () => {
    const session = sessionPath();
    const before = residentBytes(sluice.program.pid);
    const sleeper = await sluice.follow(session);
    sleeper.socket.pause();
    const {task_id} = await sluice.run(session, 'events=100000 size=150');
    await until(async () => (await sluice.stats()).runs === 0, 'the end of the flood', 30000);
    const after = residentBytes(sluice.program.pid);
    assert.ok(after - before < 16 * MiB || stretched(1) > 1, `${((after - before) / MiB).toFixed(1)} MiB more`);
    const late = await sluice.follow(session, '?until=run');
    await late.ended();
    const end = late.json('run.end');
    assert.deepEqual([end.task_id, end.status, end.events], [task_id, 'completed', 100000]);
    sleeper.leave(true);
  }, {growthMax: 6 * MiB});
});

test('a stopped curl is closed after stall_timeout_ms and delays nobody', async (t) => {
  const sluice = await start(t, {});
  const stalled = () => sluice.stats().then(({counters}) => counters.sluice_subscribers_stalled_total);
  await leavesNoTrace(sluice, upstream, async (round) => {
    const session = sessionPath();
    const witness = await sluice.follow(session, '?until=run');
    const curls = Array.from({length: 4}, () => new Program('curl', ['--silent', '--no-buffer', '--output', '/dev/null', `${sluice.url}${session}/run`]));
    try {
      await until(async () => (await sluice.stats()).subscribers === 5, 'four curls and the witness');
      for (const curl of curls) curl.signal('SIGSTOP');
      await sluice.run(session, 'events=20000 size=1000');
      assert.equal(await witness.ended(30000), 'last-chunk');
      assert.equal(witness.json('run.end').status, 'completed');
      assert.ok((await served(sluice)) < stretched(500));
      await until(async () => (await stalled()) === 4 * round, 'all four closed', 10000);
      assert.equal((await sluice.stats()).subscribers, 0);
    } finally {
      for (const curl of curls) curl.signal('SIGKILL');
      for (const curl of curls) await curl.ended;
    }
  }, {growthMax: 6 * MiB});
});

test('one that stops reading and goes on before the timeout is told of its gap, and loses nothing else', async (t) => {
  const sluice = await start(t, {stall_timeout_ms: 60000});
  await leavesNoTrace(sluice, upstream, async () => {
    const session = sessionPath();
    const client = await sluice.follow(session, '?until=run');
    client.socket.pause();
    await sluice.run(session, 'events=20000 size=1000');
    await until(async () => (await sluice.stats()).runs === 0, 'the end of the run', 20000);
    client.socket.resume();
    assert.equal(await client.ended(20000), 'last-chunk');
    assert.equal(client.json('run.end').events, 20000);
    let expected = 1;
    let gaps = 0;
    for (const {type, data} of client.events) {
      if (type === 'gap') gaps++;
      if (type !== 'message') continue;
      const number = JSON.parse(data).number;
      assert.ok(number === expected || (gaps > 0 && number > expected), `${number} after ${expected - 1}`);
      if (number !== expected) gaps--;
      expected = number + 1;
    }
    assert.equal(expected, 20001, 'the last event came');
    assert.ok(client.types.includes('gap'));
  }, {growthMax: 6 * MiB});
});

test('resets in the middle of a write leave nothing behind, and the others get everything', async (t) => {
  const sluice = await start(t, {log_events_max: 20000, log_bytes_max: 32 * MiB}); // nobody falls out of the log
  await leavesNoTrace(sluice, upstream, async () => {
    const session = sessionPath();
    const witness = await sluice.follow(session, '?until=run');
    const leaving = await Promise.all(Array.from({length: long ? 200 : 40}, () => sluice.follow(session)));
    for (const [i, client] of leaving.entries()) {
      client.socket.removeAllListeners('data');
      let left = 1 + i * 20000;
      client.socket.on('data', (bytes) => {
        left -= bytes.length;
        if (left <= 0) client.leave(true);
      });
    }
    const {task_id} = await sluice.run(session, 'events=5000 size=500');
    assert.equal(await witness.ended(30000), 'last-chunk');
    assert.deepEqual([witness.json('run.end').task_id, witness.data.length], [task_id, 5000]);
    for (const client of leaving) client.leave(true);
  }, {growthMax: 6 * MiB});
});

test('those who connect and say nothing, or half a request, are closed, and the next one is served at once', async (t) => {
  const sluice = await start(t, {});
  await leavesNoTrace(sluice, upstream, async () => {
    const sayings = ['', 'G', 'GET /healthz HTTP/1.1\r\n', 'GET /healthz HTTP/1.1\r\nHost: a\r\nX-Half', 'POST /apps/a/users/b/sessions/c/run HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"mess'];
    const sockets = Array.from({length: long ? 2000 : 300}, (_, i) => {
      const socket = net.connect(sluice.port, '127.0.0.1', () => socket.write(sayings[i % sayings.length]));
      socket.on('error', () => {});
      socket.resume();
      return within(new Promise((resolve) => socket.once('close', resolve)), 20000, 'a silent connection is closed');
    });
    for (let i = 0; i < 10; i++) assert.ok((await served(sluice)) < stretched(500), 'served beside them');
    await Promise.all(sockets);
    // The allocator keeps some of the 32 KiB that each connection had, ever less with each round.
  }, {growthMax: (long ? 32 : 6) * MiB});
});

test('half-closed subscribers and those that vanish before their answer leave nothing behind', async (t) => {
  const sluice = await start(t, {});
  await leavesNoTrace(sluice, upstream, async () => {
    await inParallel(Array.from({length: long ? 3000 : 400}, (_, i) => i), 50, (i) => within(new Promise((resolve) => {
      const socket = net.connect(sluice.port, '127.0.0.1', () => {
        socket.write(`GET ${sessionPath(`v${i % 20}`)}/run HTTP/1.1\r\nHost: a\r\n\r\n`, () => {
          if (i % 3 === 0) socket.resetAndDestroy();
          else if (i % 3 === 1) socket.destroy();
          else socket.end(() => setTimeout(() => socket.destroy(), 20)); // half-closed for a while
        });
      });
      socket.resume();
      socket.on('error', () => {});
      socket.on('close', resolve);
    }), 10000, 'a connection that vanishes'));
  });
});

const crowdSize = long ? 5000 : 1000;
test(`${crowdSize} subscribers come and go while one reads on and on`, async (t) => {
  const sluice = await start(t, {});
  await leavesNoTrace(sluice, upstream, async (round) => {
    const session = sessionPath('crowded');
    const witness = await sluice.follow(session);
    const ms = long ? (round === 1 ? 15000 : 60000) : 3000;
    const come = crowd('churn', sluice.port, `${session}/run?from=now`, crowdSize, ms, long ? 5000 : 500);
    let over = false;
    const churned = come.line('stdout', (line) => /^churned (\d+) (\d+)$/.exec(line), ms + 60000).finally(() => { over = true; });
    let runs = 0;
    const times = [];
    while (!over) {
      const {task_id} = await sluice.run(session, 'count=20 delay=10');
      await witness.event(({type, data}) => type === 'run.end' && JSON.parse(data).task_id === task_id, 20000);
      runs++;
      times.push(await served(sluice));
    }
    const [, came, refused] = await churned;
    assert.ok(Number(came) > crowdSize, `${came} came`);
    assert.equal(Number(refused), 0, 'each had an answer');
    assert.equal(checkRuns(witness.events).size, runs);
    witness.leave();
    t.diagnostic(`${came} subscribers came and went, ${runs} runs; another client was served in ${times.sort((a, b) => a - b)[times.length >> 1].toFixed(1)} ms (median)`);
    assert.deepEqual(await come.ended, {code: 0, signal: null});
  }, {growthMax: 8 * MiB, ms: 30000});
});
