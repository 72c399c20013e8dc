// One round of a storm: a gateway, its upstreams, its clients; the oracle's judgement; and SIGTERM under all of it.
import assert from 'node:assert/strict';
import {renameSync, writeFileSync} from 'node:fs';
import {inParallel} from '../support/faults.mjs';
import {pause, until} from '../support/limits.mjs';
import {Random} from '../fuzz-gateway/random.mjs';
import {startRedis} from '../support/redis_server.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';
import {idBefore} from '../support/sse_client.mjs';
import {Actor} from './actors.mjs';
import {startAgent} from './agent.mjs';
import {Ledger} from './ledger.mjs';
import {findProblems} from './oracle.mjs';
import {drawScript} from './script.mjs';
import {follow, witness} from './viewers.mjs';
import {zero} from './rest.mjs';

const actorsOfSession = 2;
const tasksKeptMax = 10000;

/** What the actors and the oracle share. */
class World {
  constructor(variant, random) {
    Object.assign(this, {variant, random, kind: variant.kind, ledger: new Ledger(variant.kind), sessions: new Set(), witnesses: new Map(), following: [],
      tags: [], phase: 'storm', deadline: Infinity});
    for (let i = 0; i < variant.tags; i++) {
      this.tags.push(`t${i}`);
      this.ledger.addScript(`t${i}`, drawScript(random.fork('tag', i), variant));
    }
  }

  isOver() { return this.phase !== 'storm' || Date.now() > this.deadline; }
  isQuiet() { return this.phase === 'quiet' || this.isEnding(); }
  isEnding() { return Date.now() >= this.ledger.terminatedAt; }

  /** Follows a stream until the world is quiet. */
  watch(viewer, random) { this.following.push(follow(this, viewer, random)); }
}

/** The settings that a reload changes: those that change nothing which the oracle knows of. */
function settingsOf(world, random, tasksKept = tasksKeptMax) {
  const {agents, variant} = world;
  const drawn = {tasks_kept: tasksKept, heartbeat_ms: random.from(10, 200), retry_ms: random.from(10, 500), cleanup_interval_ms: random.from(20, 80),
    upstream_connections_max: random.from(1, 16), upstream_idle_timeout_ms: variant.idleMs, upstream_first_byte_timeout_ms: variant.idleMs};
  const chain = variant.chain > 1 && agents.map(({url}, i) => ({name: `u${i}`, upstream: url, upstream_weight: i === 0 ? 1 : 0,
    ...(i + 1 < agents.length ? {upstream_fallback: `u${i + 1}`} : {upstream_canned_answer: 'Please try again later.'})}));
  return JSON.stringify({...drawn, ...(chain && {upstreams: chain})}); // which is YAML, too
}

function reload(world, random, tasksKept) {
  writeFileSync(`${world.file}.new`, settingsOf(world, random, tasksKept));
  renameSync(`${world.file}.new`, world.file);
  world.sluice.program.signal('SIGHUP');
}

/** From now on so many runs that have ended are remembered. */
async function remember(world, tasksKept) {
  reload(world, world.random.fork('remember', tasksKept), tasksKept);
  await until(async () => (await world.sluice.stats()).limits.tasks_kept === tasksKept, 'the reload');
}

async function begin(context, variant, random) {
  const world = new World(variant, random);
  world.agents = [];
  for (let i = 0; i < variant.chain; i++) world.agents.push(await startAgent(context, variant.kind, world.ledger));
  const redis = variant.redis ? {redis: (await startRedis(context)).address} : {};
  world.file = temporaryFile(context, 'sluice.yaml', '');
  writeFileSync(world.file, settingsOf(world, random.fork('settings')));
  world.sluice = await startSluice(context, {config: world.file, ...(variant.chain === 1 && {upstream: world.agents[0].url}), upstream_kind: variant.kind,
    workers: variant.workers, log_level: 'error', drain_ms: random.pick([0, 150, 600]), upstream_settle_ms: 10, idempotency_keys_per_session_max: 20, ...redis, ...variant.flags});
  return world;
}

/** The actors of a phase, on `count` sessions with a witness each, and a reload now and then. */
async function startActors(world, phase, {sessions, steps, ms}, onStarted = () => {}) {
  const {random} = world;
  world.phase = 'storm';
  const names = Array.from({length: sessions}, (_, i) => sessionPath(`s${i}`, {user: `u${i % 2}`}));
  for (const [i, name] of names.entries()) {
    world.sessions.add(name);
    if (world.variant.expires && i % 2 === 1) continue; // with a witness it would stay
    world.following.push(witness(world, name));
    await world.witnesses.get(name).opened();
  }
  world.deadline = Date.now() + ms;
  onStarted();
  const actors = names.flatMap((name, i) => Array.from({length: actorsOfSession}, (_, k) => new Actor(world, random.fork(phase, `${i}.${k}`), name)));
  const reloads = (async () => {
    const drawn = random.fork(phase, 'reload');
    while (!world.isOver()) {
      await pause(drawn.from(50, 400));
      if (!world.isOver()) reload(world, drawn);
    }
  })();
  const working = Promise.all(actors.map((actor) => actor.go(steps))).then(() => { if (world.phase === 'storm') world.phase = 'done'; });
  return Promise.all([working, reloads]);
}

/** All runs have ended, each witness has seen all. Gives what the gateway says of each run. */
async function calmDown(world) {
  const {sluice, ledger, witnesses} = world;
  const tasks = new Map();
  await inParallel([...ledger.byTask.keys()], 16, async (id) => {
    const {status, json} = await sluice.get(`/tasks/${id}?wait_ms=20000`, {ms: 25000});
    assert.equal(status, 200, `the run ${id} is remembered`);
    tasks.set(id, json);
  });
  await inParallel([...witnesses], 4, async ([session, client]) => {
    const {json} = await sluice.get(`${session}/history?limit=1`);
    const newest = json?.events?.at(-1)?.id;
    const hasSeen = () => client.lastId !== undefined && !idBefore(client.lastId, newest);
    if (newest) await until(() => client.closed || hasSeen() || world.witnesses.get(session) !== client,
      `the event ${newest} at the witness of ${session}`, 10000);
  });
  world.phase = 'quiet';
  return tasks;
}

/** Each run that was taken has ended once, by the gateway's own count. */
async function checkCounts(world, tasks) {
  const {runs_ended: ended, counters} = await world.sluice.stats();
  const expected = Object.fromEntries(Object.keys(ended).map((status) => [status, [...tasks.values()].filter((task) => task.status === status).length]));
  assert.deepEqual(ended, expected, 'runs by how they ended, by /stats and by /tasks');
  assert.equal(counters.sluice_runs_accepted_total, tasks.size, 'runs that were taken, by /stats and by their clients');
}

async function leaveAll(world) {
  for (const client of world.witnesses.values()) if (!client.closed) client.leave();
  await Promise.all(world.following);
  world.following = [];
}

/** A breaker or a limiter may refuse it for a while. A witness without events waits for a session that is not open. */
async function deleteSession(world, session) {
  const {sluice, ledger, witnesses} = world;
  const ask = () => ledger.act('delete', session, () => sluice.delete(session));
  const {status} = await until(async () => {
    const answer = await ask();
    return answer.status !== 503 && answer;
  }, `${session} is deleted`);
  const client = witnesses.get(session);
  if (status >= 300 || client?.events.length === 0) client?.leave();
}

/** Lets the gateway forget all runs: it does so when the next one ends. */
async function forgetRuns(world) {
  const {sluice, ledger} = world;
  await remember(world, 0);
  const session = sessionPath('last');
  ledger.addScript('last', [{how: 'well', count: 1, after: 'keep', framing: 'chunked', burst: 1, pause: 0}]);
  const client = await until(async () => {
    const tried = await sluice.runStream(session, 'last');
    if (tried.status !== 200) tried.leave();
    return tried.status === 200 && tried;
  }, 'the last run is taken');
  await client.ended();
  ledger.posts.delete('last');
  await deleteSession(world, session);
}

/** The first half: a storm, its calm, and everything is given back. */
async function stormAndCalm(world, size, before) {
  await startActors(world, 'calm', size);
  const tasks = await calmDown(world);
  for (const session of world.sessions) await deleteSession(world, session);
  await until(() => [...world.witnesses.values()].every((client) => client.closed || client.left), 'the witnesses see the ends of their sessions', 10000);
  await leaveAll(world);
  const problems = findProblems(world, tasks);
  if (problems.length > 0) return {problems, tasks};
  await checkCounts(world, tasks);
  await forgetRuns(world);
  await zero(world, before);
  await remember(world, tasksKeptMax);
  return {problems, tasks};
}

/** The second half: SIGTERM in the middle. Everything that was taken still has its end. */
async function stormAndEnd(world, size, tasks) {
  const {random, sluice, ledger} = world;
  let working;
  await new Promise((resolve, reject) => {
    working = startActors(world, 'end', {...size, steps: 1000}, resolve);
    working.catch(reject);
  });
  await pause(random.from(50, 700));
  ledger.terminatedAt = Date.now();
  await sluice.stop();
  world.phase = 'quiet';
  await working;
  await Promise.all(world.following);
  return findProblems(world, tasks);
}

/** Runs round `number` of `seed` over this variant. Gives {problems, runs, events, posts}. */
export async function runRound(variant, seed, size) {
  const cleanUps = [];
  const context = {after: (cleanUp) => cleanUps.unshift(cleanUp)};
  let problems = [];
  let world;
  try {
    world = await begin(context, variant, new Random(seed, variant.name));
    const before = await world.sluice.stats();
    const calm = await stormAndCalm(world, size, before);
    problems = calm.problems;
    if (problems.length === 0) problems = await stormAndEnd(world, {...size, ms: 20000}, calm.tasks);
  } catch (error) {
    problems = [...problems, `${error.stack}\n${world?.sluice?.program.stderr.slice(-2000) ?? ''}`];
  }
  for (const cleanUp of cleanUps) await Promise.resolve(cleanUp()).catch((error) => problems.push(error.message));
  const events = world?.ledger.viewers.reduce((sum, {client}) => sum + (client?.events.length ?? 0), 0) ?? 0;
  return {problems: [...new Set(problems)], runs: world?.ledger.byTask.size ?? 0, events, world};
}
