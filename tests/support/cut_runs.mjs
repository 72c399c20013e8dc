// Runs of 200 events, followed by a client through a proxy that cuts its connections; and what such a client must have seen.
// SEED draws other places.
import assert from 'node:assert/strict';
import {createHash} from 'node:crypto';
import {startCuttingProxy} from './cutting_proxy.mjs';
import {pause, within} from './limits.mjs';
import {startUpstream} from './scripted_upstream.mjs';
import {sessionPath, startSluice} from './sluice.mjs';

const seed = Number(process.env.SEED ?? 20261130);
const count = 200;
const cutsOfARun = 5;

/** The agent's n-th event: {type, data}; some have a type, several lines, or characters of several bytes. */
function agentEvent(n) {
  const text = JSON.stringify({n, text: 'wörter, 言葉, 🌊 '.repeat(1 + (n % 3))});
  return {type: n % 7 === 0 ? 'delta' : 'message', data: n % 10 === 0 ? `${text}\nline two` : text};
}

const agentEvents = Array.from({length: count}, (_, i) => agentEvent(i + 1));
const frameOf = ({type, data}) => `${type === 'message' ? '' : `event: ${type}\n`}data: ${data.replaceAll('\n', '\ndata: ')}\n\n`;

/** Numbers below `n`, the same for the same name. */
function drawing(name) {
  let drawn = 0;
  return (n) => createHash('sha256').update(`${seed} ${name} ${drawn++}`).digest().readUInt32BE() % n;
}

/** Five cuts, each so many events after the one before: between events and within one, by FIN and by RST. The place after the line of the id
 *  is left out. */
export function drawCuts(name) {
  const draw = drawing(name);
  const inside = (length) => 1 + draw(length - 2);
  const kinds = [['close', 0], ['reset', 0], ['close', inside], ['reset', inside], [['close', 'reset'][draw(2)], inside]];
  const cuts = [];
  while (kinds.length) {
    const [[how, bytes]] = kinds.splice(draw(kinds.length), 1);
    cuts.push({events: draw(count / cutsOfARun), bytes, how});
  }
  return cuts;
}

/** Cuts after the line of the id and before the empty line, by FIN, so that the client has read all of it. */
export const cutsAfterIds = Array.from({length: cutsOfARun}, (_, i) => ({events: 5 + i, bytes: (length) => length - 1, how: 'close'}));

class CutRuns {
  constructor(gateway) {
    this.gateway = gateway;
    this.plans = new Map(); // {cuts, asked, first} by the path of a session
  }

  /** Where the answer of this request is cut. */
  choose(request) {
    const plan = this.plans.get(request.path.replace(/\/run(\?.*)?$/, ''));
    if (!plan) return undefined;
    plan.asked.push(request);
    plan.first();
    return plan.cuts.shift();
  }

  /** What the client saw of a run in a session of its own: {name, session, seen, asked, left}. `follow` gets
   *  {url, session, see}, calls see({type, data, id}) for each event, and gives when the client has stopped by itself. With `starts` the
   *  client starts the run, by a POST. */
  async watch(name, follow, {cuts = drawCuts(name), query = '?until=run', starts = false} = {}) {
    const session = sessionPath();
    const seen = [];
    const plan = {cuts: [...cuts], asked: []};
    const asked = new Promise((resolve) => { plan.first = resolve; });
    this.plans.set(session, plan);
    const stopped = follow({url: `${this.proxy.url}${session}/run${query}`, session, see: (event) => seen.push(event)});
    stopped.catch(() => {});
    if (!starts) {
      await within(Promise.race([asked, stopped]), 20000, `${name} asks for the stream`);
      await this.gateway.run(session, {of: session});
    }
    await within(stopped, 30000, `${name} stops by itself; it saw ${seen.length} events, and asked for ${JSON.stringify(plan.asked)}`);
    return {name, session, seen, asked: plan.asked, left: plan.cuts.length};
  }

  /** How often the agent was asked to run for this session. */
  startsOf(session) { return this.upstream.runs.filter(({json}) => json.of === session).length; }
}

/** An agent, a gateway in front of it, and a proxy in front of that. */
export async function startCutRuns(context) {
  const upstream = await startUpstream(context, async (exchange) => {
    await exchange.head();
    for (const event of agentEvents) {
      await exchange.chunk(frameOf(event));
      await pause(2); // the run is long enough to be cut while it goes on
    }
    await exchange.lastChunk();
  });
  const gateway = await startSluice(context, {upstream: upstream.url, upstream_kind: 'sse', retry_ms: 20, demo: true});
  const runs = new CutRuns(gateway);
  runs.upstream = upstream;
  runs.proxy = await startCuttingProxy(context, gateway.url, (request) => runs.choose(request), {eventEnd: '\n\n'});
  return runs;
}

/** Holds what a client saw to the run, each event once and in order, and nothing else; and its requests to the cuts. `last` says whether it
 *  asks once more after the end, to be answered 204. */
export function assertExact({name, seen, asked, left}, {last}) {
  const what = `${name}, SEED=${seed}`;
  assert.equal(left, 0, `${what}: all cuts were made`);
  assert.deepEqual(seen.filter(({data}) => !data), [], `${what}: no empty messages`);
  assert.deepEqual(seen.map(({type}) => type), ['run.start', ...agentEvents.map(({type}) => type), 'run.end'], what);
  assert.deepEqual(seen.slice(1, -1).map(({data}) => data), agentEvents.map(({data}) => data), what);
  assert.equal(JSON.parse(seen.at(-1).data).status, 'completed', what);
  assert.equal(asked.length, cutsOfARun + 1 + (last ? 1 : 0), `${what}: ${JSON.stringify(asked)}`);
}

/** Holds what a client saw to the run where the client hands over what was cut off as an event: {halves, again}, `halves` being
 *  how often it did, and `again` how many events came more than once. All came whole, in order, and it has stopped. */
export function assertComplete({name, seen, left}) {
  const what = `${name}, SEED=${seed}`;
  const places = new Map(agentEvents.map(({type, data}, i) => [`${type} ${data}`, i]));
  const numbers = seen.slice(0, -1).filter(({type}) => type !== 'run.start').map(({type, data}) => places.get(`${type} ${data}`));
  const whole = numbers.filter((number) => number !== undefined);
  assert.equal(left, 0, `${what}: all cuts were made`);
  assert.deepEqual([...new Set(whole)], agentEvents.map((_, i) => i), what);
  assert.equal(JSON.parse(seen.at(-1).data).status, 'completed', what);
  return {halves: numbers.length - whole.length, again: whole.length - count};
}

/** How many of the agent's events the client did not see; none twice, and those that it saw in order. */
export function lostOf({name, seen}) {
  const numbers = seen.filter(({type}) => ['message', 'delta'].includes(type)).map(({data}) => JSON.parse(data.split('\n')[0]).n);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b), name);
  return count - numbers.length;
}
