// Visitors of a gateway as a soak needs them: each visit is one session with runs, swaps, subscribers and resumes, and
// holds what it saw to what must be.
import assert from 'node:assert/strict';
import {checkRuns, marked, asked} from './expect.mjs';
import {pause} from './limits.mjs';
import {sessionPath} from './sluice.mjs';

const upTo = (most) => Math.floor(Math.random() * most);

/** The upstream's answer: `count` marked events, `delay` ms between them. */
export async function answerVisitor(exchange) {
  const text = asked(exchange);
  const [, count, delay] = /count=(\d+) delay=(\d+)/.exec(text);
  await exchange.head();
  for (let number = 1; number <= Number(count) && exchange.open; number++) {
    await exchange.chunk(number % 8 ? marked(text, number) : `data: ${JSON.stringify({of: text, number, padding: 'x'.repeat(upTo(4000))})}\n\n`);
    if (delay !== '0') await pause(Number(delay));
  }
  await exchange.lastChunk();
}

const message = () => `count=${1 + upTo(40)} delay=${upTo(2) * upTo(8)}`;

const visits = {
  /** Some read the session, one its run alone; all of them see the same. */
  async watched(sluice, session) {
    const clients = await Promise.all(Array.from({length: 1 + upTo(4)}, () => sluice.follow(session, '?until=run')));
    await sluice.run(session, message());
    for (const client of clients) {
      assert.equal(await client.ended(), 'last-chunk');
      checkRuns(client.events);
    }
  },

  /** A run replaces the one before, which ends exactly once. */
  async swapped(sluice, session) {
    const first = await sluice.runStream(session, 'count=60 delay=5');
    await first.messages(1);
    const second = await sluice.runStream(session, message());
    await Promise.all([first.ended(), second.ended()]);
    assert.equal(first.json('run.end').status, 'replaced');
    assert.equal(second.json('run.end').status, 'completed');
    const all = await sluice.follow(session, '?from=start&until=run');
    await all.ended();
    assert.equal(checkRuns(all.events).size, 2);
  },

  /** One leaves in the middle and comes back for the rest: nothing twice, nothing lost. */
  async resumed(sluice, session) {
    const early = await sluice.follow(session);
    await sluice.run(session, 'count=30 delay=2');
    await early.messages(1 + upTo(20));
    early.leave(Math.random() < 0.5);
    const late = await sluice.follow(session, '?until=run', {'Last-Event-ID': early.lastId});
    const end = await late.ended();
    if (late.status === 204) assert.equal(early.types.at(-1), 'run.end', 'only who has seen the end gets 204');
    else assert.equal(end, 'last-chunk');
    checkRuns([...early.events, ...late.events]);
  },

  async cancelled(sluice, session) {
    const client = await sluice.follow(session, '?until=run');
    await sluice.run(session, 'count=200 delay=5');
    await client.messages(1);
    assert.equal((await sluice.delete(`${session}/run`)).status, 200);
    assert.equal(await client.ended(), 'last-chunk');
    checkRuns(client.events);
    assert.equal(client.json('run.end').status, 'cancelled');
  },

  /** It is deleted while others read it and it runs. */
  async deleted(sluice, session) {
    const client = await sluice.follow(session);
    await sluice.run(session, 'count=200 delay=5');
    await client.messages(1);
    assert.ok((await sluice.delete(session)).status < 300);
    assert.equal(await client.ended(), 'last-chunk');
    assert.equal(client.types.at(-1), 'session.end');
  },
};

/** One visit of a random kind. */
export async function visit(sluice) {
  const kinds = Object.keys(visits);
  const kind = kinds[upTo(kinds.length)];
  try {
    await visits[kind](sluice, sessionPath());
  } catch (error) {
    throw new Error(`a visit that was ${kind}: ${error.message}`);
  }
}
