// Well-behaved clients on the gateway that is fuzzed, so that states mix: replays of long logs, sessions with runs, swaps,
// queues, delays and cancels, resumed and slow readers.
import {pause} from './gateway.mjs';
import {Truth, askJson, readStream} from './readers.mjs';

/** Numbers of events in a long log: with run.start and run.end near the 16 times 64 that one turn writes to a reader, or near
 *  the log's own limit. */
const longCounts = [958, 959, 960, 961, 980, 998, 1000, 1020, 1021, 1022, 1023, 1024, 1025, 1100];

// ---- long logs ----

/** A session with a long log that several readers share. */
class LongLog {
  constructor(random, gateway, session) {
    Object.assign(this, {random, gateway, session, filled: null, filling: null});
  }

  /** {task, count} of the run that fills the log; null if it could not be had. */
  ready() {
    if (this.filled) return this.filled;
    this.filling ??= this.fill().finally(() => { this.filling = null; });
    return this.filling;
  }

  async fill() {
    const count = this.random.pick(longCounts);
    const size = this.random.chance(20) ? ` size=${this.random.from(1, 300)}` : '';
    const answer = await askJson(this.gateway, 'POST', `${this.session}/run`, {message: `count=${count}${size}`});
    if (answer?.status !== 200) return null;
    const ended = await askJson(this.gateway, 'GET', `/tasks/${answer.json.task_id}?wait_ms=3000`);
    this.filled = ended?.json?.status === 'completed' ? {count, task: answer.json.task_id} : null;
    return this.filled;
  }

  /** Checks a reading, {events, whole, gaps}: without a gap it holds the complete run. Another run may have come. */
  check({task, count}, {events, whole, gaps}) {
    if (!whole) return;
    const end = events.findLast(({type}) => type === 'run.end');
    const numbers = events.filter(({type}) => type === 'message').length;
    if (end?.json.task_id !== task) this.filled = null;
    else if (gaps === 0 && numbers !== count) this.gateway.findings.add(`a reader of ${this.session} got ${numbers} of ${count} events, and no gap`, {unrelated: true});
  }
}

/** Reads a long log again and again: whole, slowly, a part, from a place in the middle. */
async function readLong(random, gateway, goesOn, log) {
  const {session} = log;
  while (goesOn() && gateway.alive) {
    const filled = await log.ready();
    if (!filled) {
      await pause(100);
      continue;
    }
    if (random.chance(1)) log.filled = null;
    const how = random.weighted([[60, 'whole'], [10, 'slow'], [5, 'stuck'], [15, 'part'], [15, 'resumed']]);
    const query = random.pick(['?until=run', '?until=run', '?from=start&until=run', '?from=run&until=run']);
    const first = await readStream(gateway, `${session}/run${query}`, {how: how === 'slow' || how === 'stuck' ? how : 'answers', lifeMs: random.from(800, 3000),
      cutAfter: how === 'part' || how === 'resumed' ? random.from(1, 1000) : Infinity});
    if (!query.includes('start')) log.check(filled, first);
    if (first.events.length === 0) await pause(20); // it was refused
    if (how !== 'resumed' || first.events.length === 0) continue;
    const {id} = first.events.at(-1);
    const rest = await readStream(gateway, `${session}/run?until=run`, {lastEventId: id, lifeMs: 3000});
    const truth = new Truth(session, gateway);
    truth.add(first, null);
    truth.add(rest, id);
    truth.check();
    if (!query.includes('start')) log.check(filled, {...rest, gaps: rest.gaps + first.gaps, events: [...first.events, ...rest.events]});
  }
}

/** Fills one log after another, until memory is short. */
async function hoard(random, gateway, goesOn) {
  for (let i = 0; goesOn() && gateway.alive; i++) {
    const session = `/apps/demo/users/hoarder/sessions/hoard${i % 12}`;
    const answer = await askJson(gateway, 'POST', `${session}/run`, {message: `count=${random.from(20, 60)} size=${random.from(20000, 60000)}`});
    if (answer?.status === 200) await askJson(gateway, 'GET', `/tasks/${answer.json.task_id}?wait_ms=2000`);
    else await pause(50);
  }
}

// ---- visitors ----

const messages = (random) => `count=${random.from(0, 40)}${random.chance(50) ? ` delay=${random.from(1, 15)}` : ''}${random.chance(8) ? ' hold' : ''}${random.chance(5) ? ' fail' : ''}`;

function options(random) {
  return {on_conflict: random.pick(['replace', 'replace', 'enqueue', 'reject']), ...(random.chance(20) && {delay_ms: random.from(1, 200)}), ...(random.chance(15) && {timeout_ms: random.from(20, 500)}),
    ...(random.chance(10) && {on_disconnect: 'cancel'}), ...(random.chance(20) && {priority: random.from(1, 10)})};
}

const habits = [[30, 'run'], [5, 'runTwice'], [15, 'stream'], [10, 'cancel'], [15, 'resume'], [10, 'look'], [10, 'wait']];

const actions = {
  async run({random, gateway, session}) {
    return (await askJson(gateway, 'POST', `${session}/run`, {message: messages(random), gateway: options(random)}))?.json?.task_id;
  },
  async runTwice({random, gateway, session}) {
    const body = {message: messages(random)};
    const key = `Idempotency-Key: ${random.text(8)}\r\n`;
    const answers = await Promise.all([1, 2].map(() => askJson(gateway, 'POST', `${session}/run`, body, key)));
    const [first, second] = answers.map((answer) => (answer?.status === 200 ? answer.json.task_id : undefined));
    if (first && second && first !== second) gateway.findings.add(`one idempotency key gave the runs ${first} and ${second}`, {unrelated: true});
  },
  async stream({random, gateway, session, truth}) {
    const body = JSON.stringify({message: messages(random), gateway: options(random)});
    const reading = await readStream(gateway, `${session}/run`, {post: body, lifeMs: 1500, cutAfter: random.chance(20) ? random.from(1, 10) : Infinity});
    if (reading.whole && ![...reading.answer.stream.runs.values()].includes('ended')) await gateway.missing(`the stream of a run of ${session} ended without run.end`);
    for (const event of reading.events) truth.note(event);
  },
  async cancel({gateway, session}) { await askJson(gateway, 'DELETE', `${session}/run`); },
  async resume({random, gateway, session, truth}) {
    const ids = [...truth.byId.keys()];
    if (ids.length === 0) return;
    const id = random.pick(ids);
    const reading = await readStream(gateway, `${session}/run`, {lastEventId: id, how: random.pick(['stay', 'slow']), lifeMs: random.from(30, 300)});
    truth.add(reading, id);
  },
  async look({random, gateway, session}) { await askJson(gateway, 'GET', random.pick([`${session}/history?limit=20`, `${session}/task-status`, '/tasks?limit=5', '/task-status', session])); },
  wait: ({random}) => pause(random.from(1, 150)),
};

/** One visit: a session of its own, a follower of all its events, some actions, and a complete reading in the end. */
async function visit(random, gateway, goesOn, session) {
  const truth = new Truth(session, gateway);
  const leavers = new Set();
  const following = readStream(gateway, `${session}/run?from=start`, {lifeMs: 60000, leavers, onEvent: (event) => truth.note(event)});
  const visitor = {random, gateway, session, truth};
  const taken = await actions.run(visitor);
  for (let left = random.from(2, 7); taken && left > 0 && goesOn(); left--) await actions[random.weighted(habits)](visitor);
  if (!gateway.excused) await askJson(gateway, 'DELETE', `${session}/run`);
  truth.add(await readStream(gateway, `${session}/run?from=start`, {how: 'stay', lifeMs: 150}), null);
  const deleted = gateway.excused ? undefined : await askJson(gateway, 'DELETE', session);
  if (!taken || !(deleted?.status < 300)) for (const leave of leavers) leave();
  const followed = await following;
  truth.add(followed, null);
  const isRefused = followed.answer !== undefined && !followed.answer.stream; // for want of places
  if (taken && deleted?.status < 300 && !isRefused && !followed.error && !followed.whole) await gateway.missing(`the follower of ${session} was not ended by its deletion: ${JSON.stringify(followed.events.at(-1))}`);
  truth.check();
}

// ---- all of it ----

/** Does it as long as `goesOn()`; resolves when all have left. `longSessions`: paths of sessions with long logs that others
 *  know, too;
 *  `hoards`: whether memory is to become short. */
export async function makeTraffic(random, gateway, goesOn, longSessions, {hoards}) {
  const own = Array.from({length: 3}, (_, i) => `/apps/demo/users/long/sessions/${random.text(8)}${i}`);
  const logs = [...own, ...longSessions].map((session, i) => new LongLog(random.fork('log', i), gateway, session));
  const readers = Array.from({length: 12}, (_, i) => readLong(random.fork('reader', i), gateway.from(`127.0.1.${1 + i}`), goesOn, logs[i % logs.length]));
  const visitors = Array.from({length: 4}, async (_, i) => {
    const choices = random.fork('visitor', i);
    const ours = gateway.from(`127.0.2.${1 + i}`);
    while (goesOn() && gateway.alive) await visit(choices, ours, goesOn, `/apps/demo/users/guest/sessions/${choices.text(10)}`);
  });
  const hoarder = hoards ? hoard(random.fork('hoarder'), gateway.from('127.0.3.1'), goesOn) : undefined;
  await Promise.all([...readers, ...visitors, hoarder]);
}
