// memory_max_bytes: what is trimmed near it, what is refused at it, and that the process stays near it.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {answerAsAsked, asked} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const KiB = 1 << 10;
const MiB = 1 << 20;
const LIMIT = 16 * MiB;

/** "fill": a run of 1 MiB in events of 8 KiB, or as many as "fill=N" says. */
const event = `data: ${'x'.repeat(8 * KiB)}\n\n`;
const answer = async (exchange) => {
  const text = asked(exchange);
  if (!/fill/.test(text)) return answerAsAsked(new Map())(exchange);
  await exchange.head();
  for (let left = Number(/fill=(\d+)/.exec(text)?.[1] ?? 128); left > 0 && exchange.open; left--) await exchange.chunk(event);
  if (/hold/.test(text)) await exchange.gone;
  else await exchange.lastChunk();
};

async function start(t, flags = {}) {
  const upstream = await startUpstream(t, answer);
  const sluice = await startSluice(t, {upstream: upstream.url, memory_max_bytes: LIMIT, ...flags});
  return {upstream, sluice};
}

/** A session with a full log of a run that has ended. */
async function filled(sluice, session = sessionPath()) {
  const {task_id} = await sluice.run(session, 'fill');
  assert.equal((await sluice.taskEnded(task_id)).status, 'completed');
  return session;
}

const retained = async (sluice, session) => (await sluice.get(`${session}/history?limit=1000`)).json.events.length;

test('near the limit the logs of idle sessions are trimmed, those that were not used for longest first', async (t) => {
  const {sluice} = await start(t);
  const sessions = [];
  for (let i = 0; i < 40; i++) {
    sessions.push(await filled(sluice));
    const {memory} = await sluice.stats();
    assert.ok(memory.accounted_bytes < LIMIT, `${memory.accounted_bytes} bytes with ${i + 1} sessions`);
    assert.equal(memory.max_bytes, LIMIT);
  }
  const trimmed = await sluice.logged({event: 'memory_trimmed'});
  assert.ok(trimmed.events > 0 && trimmed.max_bytes === LIMIT);
  const left = [];
  for (const session of sessions) left.push(await retained(sluice, session));
  const first = left.findIndex((count) => count > 0);
  assert.ok(first > 20 && first < 35, `trimmed: ${left}`);
  assert.ok(left.slice(first + 1).every((count) => count === 130), `all of the younger ones is there: ${left}`);
  const client = await sluice.follow(sessions[0], '?from=start&until=run');
  assert.equal(await client.ended(), 'last-chunk');
  assert.deepEqual(client.events.map(({type}) => type), ['gap']);
  const {from, reason} = JSON.parse(client.events[0].data);
  assert.deepEqual([from, reason], [null, 'trimmed']);
});
