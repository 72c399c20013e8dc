// What a gateway is asked while something is scarce, and what must hold for each answer and when there is enough again.
import assert from 'node:assert/strict';
import {readdirSync} from 'node:fs';
import {asked, answerAsAsked, checkRuns} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {idBefore, SseClient} from '../support/sse_client.mjs';

const closings = /ECONNRESET|EPIPE|socket hang up/;
const agentAnswer = answerAsAsked(new Map());

/** The agent: passed-through paths, and runs that do what their message says. */
export const agent = async (exchange) => (exchange.method === 'GET' ? exchange.answer(200, '["demo"]') : agentAnswer(exchange));

/** An answer, or undefined if the connection was closed instead. Nothing else may come, and not late. */
async function answer(promise) {
  try {
    const got = await promise;
    if (got.status >= 400 && got.json) assert.match(got.json.error.code, /^[a-z_]+$/);
    return got;
  } catch (error) {
    if (!closings.test(`${error.code} ${error.message}`)) throw error;
    return undefined;
  }
}

class Scenario {
  constructor(sluice, session) {
    Object.assign(this, {sluice, session, clients: [], tasks: [], logged: sluice.program.lines.stderr.length});
  }

  ask(method, path, options) { return answer(this.sluice.request(method, path, options)); }

  /** Asks until it is answered and was not refused for want of anything. */
  insist(method, path) {
    return until(async () => {
      const got = await this.ask(method, path);
      return got && got.status < 500 && got;
    }, `${method} ${path} is answered`);
  }

  /** A stream, or what came instead of one; it has its head, or is closed. */
  async stream(path, options) {
    const client = new SseClient(this.sluice.url, path, options);
    this.clients.push(client);
    await this.reaches(client, () => client.status, 'a head');
    return client;
  }

  /** Waits until `condition` holds or the stream is no more. */
  async reaches(client, condition, what) {
    const over = () => client.closed || client.end || (client.status && client.status !== 200);
    await client.until(() => condition() || over() || undefined, what).catch((error) => {
      if (!client.closed || client.failure) throw error;
    });
  }

  /** Starts a run; if it was taken, its id. */
  async run(message, gateway, headers) {
    const got = await this.ask('POST', `${this.session}/run`, {body: {message, ...(gateway && {gateway})}, headers});
    if (got?.status !== 200) return undefined;
    this.tasks.push(got.json.task_id);
    return got.json.task_id;
  }

  /** A run that was taken ends, and its end is told to whoever is still there. */
  async ends(taskId, client) {
    if (!taskId) return;
    const got = await this.ask('GET', `/tasks/${taskId}?wait_ms=8000`);
    if (got?.status === 200) assert.doesNotMatch(got.json.status, /pending|running/, `${taskId} ends`);
    await this.reaches(client, () => client.events.some(({type, data}) => type === 'run.end' && data.includes(taskId)), `the end of ${taskId}`);
  }

  async start() {
    await this.ask('POST', this.session, {body: {}});
    this.follower = await this.stream(`${this.session}/run?from=start`);
    const headers = {'Idempotency-Key': 'once'};
    this.first = await this.run('count=3', undefined, headers);
    await this.ends(this.first, this.follower);
    await this.ask('POST', `${this.session}/run`, {body: {message: 'count=3'}, headers});
  }

  async resume() {
    const {events} = this.follower;
    if (events.length === 0) return;
    const client = await this.stream(`${this.session}/run?until=run`, {headers: {'Last-Event-ID': events[0].id}});
    await this.reaches(client, () => client.end, 'the end of the run');
    assert.ok(client.events.every(({id, type}) => type === 'gap' || idBefore(events[0].id, id)), 'nothing twice');
  }

  async swapAndCancel() {
    const replaced = await this.stream(`${this.session}/run`, {method: 'POST', body: '{"message":"hold"}',
      headers: {Accept: 'text/event-stream'}});
    await this.reaches(replaced, () => replaced.data.length > 0, 'an event of the run that will be replaced');
    const held = await this.run('count=2 hold');
    if (held) await this.reaches(replaced, () => replaced.end, 'the end of the replaced run');
    await this.run('count=1', {on_conflict: 'enqueue'});
    await this.insist('DELETE', `${this.session}/run`);
    for (const task of this.tasks) await this.insist('DELETE', `/tasks/${task}`);
    for (const task of this.tasks) await this.ends(task, this.follower);
  }

  async adk() {
    const [, , appName, , userId, , sessionId] = this.session.split('/');
    const body = JSON.stringify({appName, userId, sessionId, streaming: true, newMessage: {role: 'user', parts: [{text: 'count=2'}]}});
    const client = await this.stream('/run_sse', {method: 'POST', body, ids: false});
    await this.reaches(client, () => client.end, 'its end');
  }

  async read() {
    const paths = ['/list-apps', '/tasks', '/task-status', '/stats', '/metrics', '/healthz', `${this.session}/history`,
      `${this.session}/task-status`, this.session];
    if (this.first) paths.push(`/tasks/${this.first}/result`);
    for (const path of paths) await this.ask('GET', path);
    if (!this.first) return;
    const client = await this.stream(`/tasks/${this.first}/events`);
    await this.reaches(client, () => client.end, 'its end');
  }

  async reload() {
    const {program} = this.sluice;
    const told = () => program.lines.stderr.filter((line) => /"event":"reload/.test(line)).length;
    const before = told();
    program.signal('SIGHUP');
    await until(() => told() > before || !program.running, 'the reload or its refusal');
  }

  /** What was seen is true, as far as it was told, and no request is called improper. */
  check() {
    const blamed = this.sluice.program.lines.stderr.slice(this.logged).filter((line) => line.includes('"request_refused"'));
    assert.deepEqual(blamed, []);
    for (const client of this.clients) {
      if (client.failure) throw client.failure;
      client.leave();
    }
    if (this.follower.events.some(({type}) => type === 'gap')) return;
    const ends = checkRuns(this.follower.events, {open: this.openRuns()});
    const first = ends.get(this.first);
    if (first?.status === 'completed') assert.equal(first.events, 3, 'a run that is completed is whole');
  }

  /** Runs whose end did not come, for the follower's connection was closed before. */
  openRuns() {
    const count = (wanted) => this.follower.events.filter(({type}) => type === wanted).length;
    return this.follower.closed || this.follower.end ? Math.max(0, count('run.start') - count('run.end')) : 0;
  }
}

/** All of it, in a session of its own. */
export async function play(sluice, session) {
  const scenario = new Scenario(sluice, session);
  await scenario.start();
  await scenario.resume();
  await scenario.swapAndCancel();
  await scenario.adk();
  await scenario.read();
  await scenario.reload();
  await scenario.insist('DELETE', session);
  await scenario.reaches(scenario.follower, () => scenario.follower.end, 'the end of the session');
  scenario.check();
}

/** With enough of everything, all is as it should be: a run is whole, nothing is left of what failed. */
export async function recovers(sluice, session) {
  await until(async () => [200, 404].includes((await sluice.delete(session)).status), 'the session can be deleted');
  const client = await sluice.runStream(`${session}-after`, 'count=3');
  assert.equal(await client.ended(), 'last-chunk');
  assert.equal(client.json('run.end').status, 'completed');
  assert.equal(client.data.length, 3);
  assert.equal((await sluice.delete(`${session}-after`)).status, 200);
  let stats;
  await until(async () => {
    stats = await sluice.stats();
    return stats.sessions + stats.subscribers + stats.runs + stats.runs_queued === 0;
  }, 'nothing is left').catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(stats)}`); });
}

export const descriptors = ({program}) => readdirSync(`/proc/${program.pid}/fd`).length;
