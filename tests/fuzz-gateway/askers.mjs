// Clients of the gateway whose upstream is fuzzed. Each asks for one case, and checks the answer: it must be well-formed
// for any answer of the upstream, and complete where the upstream's answer was.
import {stretched} from '../support/limits.mjs';
import {pause} from './gateway.mjs';
import {Truth, askJson, readStream} from './readers.mjs';
import {caseIn, smuggled} from './answer_grammar.mjs';

/** The gateway's run_timeout_ms. */
export const runTimeoutMs = 3000;
const runBoundMs = runTimeoutMs + stretched(3000);

const isOver = (status) => !['pending', 'running'].includes(status);

/** No event of a client of case `number` may belong to another case, or come from bytes after an answer. */
function checkOwner(gateway, number, {events}) {
  for (const {data} of events) {
    const other = caseIn(data);
    if (other !== undefined && other !== number) gateway.findings.add(`an event of case ${other} came to a client of case ${number}`, {unrelated: true});
    if (data.includes(smuggled)) gateway.findings.add(`what an upstream sent after an answer came to a client of case ${number}`, {unrelated: true});
  }
}

/** A run's events, against those that the upstream sent if it is known that these are all. */
function checkEvents(asker, reading) {
  const {gateway, number, sent, isKnown} = asker;
  const end = reading.events.findLast(({type}) => type === 'run.end')?.json;
  const known = sent.get(number);
  if (!end || !isKnown || reading.gaps > 0 || end.canned || !known?.expected || known.attempts > 1) return;
  const data = reading.events.filter(({type}) => type === 'message').map((event) => event.data);
  const same = data.length === known.expected.length && data.every((text, i) => text === known.expected[i]);
  if (end.status === 'completed' && !same) gateway.findings.add(`case ${number}: ${data.length} events came, ${known.expected.length} were sent: ${JSON.stringify(data.find((text, i) => text !== known.expected[i]))}`, {unrelated: true});
  if (end.status === 'failed' && known.sentMs && performance.now() - known.sentMs > 100 && !['upstream_idle', 'limit', 'circuit_open', 'upstream_limited', 'upstream_connect'].includes(end.reason)) {
    gateway.findings.add(`case ${number} was whole, and ended as ${JSON.stringify(end)}`, {unrelated: true});
  }
}

/** A stream that ends with its run: it must come to its end in time, and hold one run.end, or one of each of `runs`. */
async function readRun(asker, target, {runs = 1, ...options} = {}) {
  const {gateway, number} = asker;
  const reading = await readStream(gateway, target, {lifeMs: runBoundMs, ...options});
  if (reading.error || !reading.answer?.stream && reading.events.length === 0) return reading;
  checkOwner(gateway, number, reading);
  const ends = reading.events.filter(({type}) => type === 'run.end').length;
  if (ends < 1 || ends > runs || !reading.whole) await gateway.missing(`case ${number}: the stream of a run had ${ends} run.end and ${reading.whole ? 'ended' : 'did not end'} within ${runBoundMs} ms: ${JSON.stringify(reading.events.at(-1))}`);
  return reading;
}

// ---- what they do ----

/** Further members of a body, which are part of the key in the cache. */
const extras = [{}, {}, {}, {stateDelta: {b: [1, 2.5e3, -0, null, true, {}], a: '\u00e9\n"\\'}}, {extra: [[[]], {}]}, {x: 'y'.repeat(2000)}];

const body = ({number, random}, more = {}) => ({message: `case=${number}`, ...random.pick(extras), ...(random.chance(15) && {gateway: {timeout_ms: random.from(20, 400)}}), ...more});

/** Starts a run and gives its task id, or undefined if it was refused. */
async function startRun(asker, more) {
  const answer = await askJson(asker.gateway, 'POST', `${asker.session}/run`, body(asker, more));
  return answer?.status === 200 ? answer.json.task_id : undefined;
}

const deeds = {
  /** The run's own stream. */
  async stream(asker) {
    checkEvents(asker, await readRun(asker, `${asker.session}/run`, {post: JSON.stringify(body(asker))}));
  },

  /** Two readers of one run, then its status. */
  async watch(asker) {
    const {gateway, session, number} = asker;
    const task = await startRun(asker);
    if (!task) return;
    const other = `/tasks/${task}/events`;
    const readings = await Promise.all([readRun(asker, `${session}/run?until=run`), asker.random.chance(20) ? readStream(gateway, other, {how: 'slow', lifeMs: 1500}) : readRun(asker, other)]);
    const truth = new Truth(session, gateway);
    for (const reading of readings) truth.add(reading, null);
    truth.check();
    const told = (await askJson(gateway, 'GET', `/tasks/${task}?wait_ms=1000`))?.json;
    const end = readings[0].events.find(({type}) => type === 'run.end')?.json;
    if (end && told?.status && (told.status !== end.status || told.reason !== end.reason)) gateway.findings.add(`case ${number} ended as ${JSON.stringify(end)} and is told as ${JSON.stringify(told)}`, {unrelated: true});
    await askJson(gateway, 'GET', `/tasks/${task}/result`);
    await askJson(gateway, 'GET', `${session}/history`);
  },

  /** The agent's events alone: in ADK's own framing, or asked for. */
  async agentFraming(asker) {
    const native = `${asker.session}/run?events=agent`;
    if (asker.random.chance(50)) {
      checkOwner(asker.gateway, asker.number, await readStream(asker.gateway, native, {post: JSON.stringify(body(asker)), lifeMs: runBoundMs}));
      checkOwner(asker.gateway, asker.number, await readStream(asker.gateway, `${native}&until=run`, {lifeMs: runBoundMs}));
      return;
    }
    const post = JSON.stringify({appName: 'adk', userId: 'u', sessionId: asker.name, newMessage: {role: 'user', parts: [{text: `case=${asker.number}`}]}, streaming: true});
    const reading = await readStream(asker.gateway, '/run_sse', {post, lifeMs: runBoundMs});
    checkOwner(asker.gateway, asker.number, reading);
    if (!reading.error && reading.answer === undefined) await asker.gateway.missing(`case ${asker.number}: /run_sse was not answered within ${runBoundMs} ms`);
  },

  /** The same question several times at once, and again: where there is a cache, they share one call, then its recording. */
  async crowd(asker) {
    const sessions = ['a', 'b', 'c', 'd'].map((each) => `${asker.session}${each}`);
    const ask = (session) => readRun(asker, `${session}/run`, {post: JSON.stringify({message: `case=${asker.number}`})});
    const readings = await Promise.all(sessions.slice(0, 3).map(ask));
    for (const reading of [...readings, await ask(sessions[3])]) checkEvents(asker, reading);
    await Promise.all(sessions.map((session) => askJson(asker.gateway, 'DELETE', session)));
  },

  /** Leaves, cancels or swaps while the upstream speaks. */
  async leave(asker) {
    await readStream(asker.gateway, `${asker.session}/run`, {post: JSON.stringify(body(asker, {gateway: {on_disconnect: 'cancel'}})), how: 'stay', lifeMs: asker.random.from(1, 120)});
  },
  async cancel(asker) {
    const task = await startRun(asker);
    await pause(asker.random.from(0, 80));
    if (task) await askJson(asker.gateway, 'DELETE', asker.random.pick([`/tasks/${task}`, `${asker.session}/run`, asker.session]));
    const told = task && (await askJson(asker.gateway, 'GET', `/tasks/${task}?wait_ms=4000`))?.json;
    if (told?.status && !isOver(told.status)) await asker.gateway.missing(`case ${asker.number} is ${told.status} after it was cancelled`);
  },
  async swap(asker) {
    const {gateway, random, session} = asker;
    const tasks = [await startRun(asker), await startRun(asker, {gateway: {on_conflict: random.pick(['replace', 'enqueue'])}})];
    await readRun(asker, `${session}/run?until=run&from=start`, {runs: 2});
    for (const task of tasks.filter(Boolean)) {
      const told = (await askJson(gateway, 'GET', `/tasks/${task}?wait_ms=${runBoundMs}`))?.json;
      if (told?.status && !isOver(told.status)) await gateway.missing(`case ${asker.number}: the run ${task} has not ended`);
    }
  },

  /** Reads that are passed through: the answer must be well-formed, whatever the upstream says. */
  async read({gateway, random, number}) {
    const method = random.pick(['GET', 'GET', 'GET', 'HEAD']);
    const target = random.pick([`/apps/adk/case-${number}`, `/apps/adk/users/u/sessions/case-${number}/artifacts/a`, `/apps/adk/users/u${number}/sessions`, `/apps/adk/users/u/sessions/case-${number}`]);
    const {answer} = await gateway.ask(`${method} ${target} HTTP/1.1\r\nHost: ${gateway.host}\r\nConnection: close\r\n\r\n`, {foreign: true, mayBeHead: method === 'HEAD', lifeMs: runBoundMs});
    if (answer) checkPassed(gateway, number, answer);
  },

  async sessions({gateway, random, session, number}) {
    for (const method of ['POST', 'GET', 'DELETE'].filter(() => random.chance(60))) {
      const text = method === 'POST' ? 'Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}' : '\r\n';
      const {answer} = await gateway.ask(`${method} ${session} HTTP/1.1\r\nHost: ${gateway.host}\r\nConnection: close\r\n${text}`, {foreign: true, lifeMs: runBoundMs});
      if (answer) checkPassed(gateway, number, answer);
    }
  },
};

/** Headers by which an upstream would speak for the gateway's origin or to a proxy in front of it. */
const neverPassed = ['set-cookie', 'alt-svc', 'strict-transport-security', 'access-control-allow-origin', 'access-control-allow-credentials', 'x-accel-redirect', 'x-sendfile', 'refresh'];

function checkPassed(gateway, number, answer) {
  const passed = neverPassed.filter((name) => answer.headers.has(name));
  if (passed.length > 0) gateway.findings.add(`case ${number}: the upstream's ${passed} was passed on`, {unrelated: true});
  if (answer.headers.get('x-content-type-options') !== 'nosniff') gateway.findings.add(`case ${number}: a ${answer.status} without nosniff: ${answer.headText}`, {unrelated: true});
  if (/html/i.test(answer.type ?? '')) gateway.findings.add(`case ${number}: the upstream's ${answer.type} is served`, {unrelated: true});
  if (answer.body.includes(smuggled)) gateway.findings.add(`what an upstream sent after an answer came to a client of case ${number}`, {unrelated: true});
}

const habits = [[30, 'stream'], [18, 'watch'], [9, 'crowd'], [8, 'leave'], [8, 'cancel'], [6, 'swap'], [16, 'read'], [6, 'sessions'], [8, 'agentFraming']];

/** One client that asks for case `number`. `sent`: the upstream's answers so far, by case; `isTrusted`: the cache holds no changed values. */
export async function askCase({random, gateway, number, sent, isTrusted}) {
  const app = !isTrusted && random.chance(60) ? 'cached' : random.pick(['adk', 'adk', 'sse', 'openai', 'cached']);
  const name = `case-${number}`;
  const asker = {random, gateway, number, sent, isKnown: isTrusted || app !== 'cached', name, session: `/apps/${app}/users/u/sessions/${name}`};
  await deeds[app === 'cached' && random.chance(50) ? 'crowd' : random.weighted(habits)](asker);
  if (random.chance(70) && !gateway.excused) await askJson(gateway, 'DELETE', `${asker.session}`);
  sent.delete(number);
}
