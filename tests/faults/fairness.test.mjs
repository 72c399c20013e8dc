// A slow subscriber costs the others nothing: 100 fast ones beside it are as fast as without it.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {crowd, flood, long, startForgetful} from '../support/faults.mjs';
import {slow} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath} from '../support/sluice.mjs';
import {leavesNoTrace} from '../support/vitals.mjs';

const fast = 100;
const count = long ? 20000 : 8000;
const size = 200;
const rounds = long ? 15 : 5;
// The promise is 10 %. A few short rounds on a machine that does other things measure no better than this.
const atMost = long ? 1.1 : 1.25;

const upstream = await startUpstream({after}, flood);
const sluice = await startForgetful({after}, upstream, {log_events_max: 40000, log_bytes_max: 64 << 20, session_ttl_ms: 100});

/** How long 100 readers take for a flood in ms, with a subscriber beside them that stopped reading or without. */
async function flooded(withSlow) {
  const session = sessionPath();
  const sleeper = await sluice.follow(session);
  if (withSlow) sleeper.socket.pause();
  else sleeper.leave();
  const readers = crowd('read', sluice.port, `${session}/run?until=run`, fast);
  await readers.line('stdout', (line) => line === 'ready');
  await sluice.run(session, `events=${count} size=${size}`);
  const [, bytes, ms, clean] = await readers.line('stdout', (line) => /^read (\d+) (\d+) (\d+)$/.exec(line), 60000);
  assert.equal(Number(clean), fast, 'all of them saw the end');
  assert.ok(Number(bytes) > fast * count * size, 'and everything before it');
  sleeper.leave(true);
  return Number(ms);
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

test(`${fast} fast subscribers are as fast beside a slow one as without it`, async (t) => {
  await leavesNoTrace(sluice, upstream, async (round) => {
    if (round === 1) return flooded(true);
    const ratios = [];
    const times = [];
    for (let i = 0; i < rounds; i++) {
      const pair = {};
      for (const withSlow of i % 2 ? [true, false] : [false, true]) pair[withSlow] = await flooded(withSlow);
      ratios.push(pair.true / pair.false);
      times.push(pair.false);
    }
    const ratio = median(ratios);
    t.diagnostic(`${rounds} pairs of rounds: ${ratio.toFixed(3)} times as long (median; ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}); ` +
      `${Math.round((fast * count) / (median(times) / 1000))} events a second go out`);
    assert.ok(ratio <= atMost || slow, `${ratio} times as long: ${ratios}`);
  }, {growthMax: 32 << 20});
});
