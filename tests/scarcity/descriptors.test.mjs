// No descriptors left (EMFILE): on accept, for the agent, for a stream's hand-over; and all is well when they come back.
import assert from 'node:assert/strict';
import {readdirSync, readFileSync} from 'node:fs';
import http from 'node:http';
import {after, test} from 'node:test';
import {assertError} from '../support/expect.mjs';
import {rawRequest} from '../support/http.mjs';
import {pause, stretched, until, within} from '../support/limits.mjs';
import {run} from '../support/program.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {agent, descriptors, recovers} from './scenario.mjs';

const upstream = await startUpstream({after}, agent);
const flags = {upstream: upstream.url, workers: 1, upstream_keepalive_ms: 0};

/** Sets the soft limit of a running gateway. */
async function limit({program}, count) {
  const {code, stderr} = await run('prlimit', ['--pid', String(program.pid), `--nofile=${count}:`]);
  assert.equal(code, 0, stderr);
}

/** From now on the gateway can open `count` descriptors and not one more; gives the way back. */
async function leave(sluice, count) {
  const list = () => readdirSync(`/proc/${sluice.program.pid}/fd`).map(Number);
  let taken;
  do { // what was just handed over or closed is let go first
    taken = new Set(list());
    await pause(stretched(50));
  } while (list().length !== taken.size);
  const before = /Max open files\s+(\d+)/.exec(readFileSync(`/proc/${sluice.program.pid}/limits`, 'latin1'))[1];
  let most = 0;
  for (let free = count; taken.has(most) || free-- > 0;) most++;
  await limit(sluice, most);
  return () => limit(sluice, before);
}

/** A connection that the gateway has taken already: what is asked on it takes no descriptor by itself. */
class Kept {
  constructor(t, sluice) {
    this.agent = new http.Agent({keepAlive: true, maxSockets: 1});
    this.port = sluice.port;
    t.after(() => this.agent.destroy());
  }

  /** {status, headers, text, json}, or null if the connection was closed instead of an answer. */
  ask(method, path, body, more = {}) {
    const bytes = body && JSON.stringify(body);
    const headers = {...(bytes && {'content-type': 'application/json', 'content-length': bytes.length}), ...more};
    return within(new Promise((resolve) => {
      const outgoing = http.request({port: this.port, host: '127.0.0.1', method, path, headers, agent: this.agent}, (incoming) => {
        let text = '';
        incoming.on('data', (part) => { text += part; });
        incoming.on('error', () => resolve(null));
        incoming.on('end', () => {
          let json;
          try { json = JSON.parse(text); } catch { /* not JSON */ }
          resolve({status: incoming.statusCode, headers: incoming.headers, text, json});
        });
      });
      outgoing.on('error', () => resolve(null));
      outgoing.end(bytes);
    }), 10000, `an answer to ${method} ${path}`);
  }
}

async function kept(t, sluice) {
  sluice.descriptors = descriptors(sluice);
  const connection = new Kept(t, sluice);
  assert.equal((await connection.ask('GET', '/healthz')).status, 200);
  return connection;
}

/** Waits until the gateway has `count` descriptors more than before kept(): one that was handed over is closed later. */
const holds = (sluice, count) => until(() => descriptors(sluice) === sluice.descriptors + count, `${count} descriptors more`);

const processorTicks = ({program}) => {
  const fields = readFileSync(`/proc/${program.pid}/stat`, 'latin1').split(') ')[1].split(' ');
  return Number(fields[11]) + Number(fields[12]);
};

test('without descriptors connections wait, those at hand are served, and all is taken when there are some again', async (t) => {
  const sluice = await startSluice(t, flags);
  const connection = await kept(t, sluice);
  const session = sessionPath();
  const follower = await sluice.follow(session);
  await sluice.run(session, 'count=1000 delay=20');
  await follower.messages(1);
  await holds(sluice, 3);
  const giveBack = await leave(sluice, 0);
  const waiting = Array.from({length: 40}, () => rawRequest(sluice.port, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'));
  await sluice.logged({event: 'accept_failed'});
  await follower.messages(follower.data.length + 5);
  const ticks = processorTicks(sluice);
  await pause(500);
  assert.ok(processorTicks(sluice) - ticks < 20, 'it does not spin');
  assert.equal((await connection.ask('GET', '/healthz')).status, 200);
  assert.equal((await connection.ask('DELETE', `${session}/run`)).status, 200);
  assert.equal(sluice.logs.filter(({event}) => event === 'accept_failed').length, 1, 'told once');
  await giveBack();
  for (const answer of await Promise.all(waiting)) assert.match(answer, /^HTTP\/1\.1 200 /);
  follower.leave();
  await recovers(sluice, session);
});

test('without a descriptor for the agent a run fails and says so, and the next one is well', async (t) => {
  const sluice = await startSluice(t, flags);
  const connection = await kept(t, sluice);
  const session = sessionPath();
  await holds(sluice, 1);
  const giveBack = await leave(sluice, 0);
  const {json} = await connection.ask('POST', `${session}/run`, {message: 'count=3'});
  const {json: end} = await connection.ask('GET', `/tasks/${json.task_id}?wait_ms=8000`);
  assert.deepEqual([end.status, end.reason], ['failed', 'limit']);
  assert.match((await sluice.logged({event: 'run_ended', task_id: json.task_id})).message, /no descriptor/);
  assertError(await connection.ask('GET', '/list-apps'), 503, /^no_descriptors$/);
  await giveBack();
  await recovers(sluice, session);
});

test('without a descriptor for the hand-over a stream is refused, and the run goes on', async (t) => {
  const sluice = await startSluice(t, flags);
  const connection = await kept(t, sluice);
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'count=3 hold');
  await until(async () => (await sluice.task(task_id)).events === 3, 'three events');
  await holds(sluice, 2);
  const giveBack = await leave(sluice, 0);
  const refused = await connection.ask('GET', `${session}/run`);
  assertError(refused, 503, /^no_descriptors$/);
  assert.ok(Number(refused.headers['retry-after']) > 0);
  assert.equal(refused.headers.connection, 'close', 'which gives a descriptor back');
  await giveBack();
  assert.equal((await sluice.task(task_id)).status, 'running');
  assert.equal((await sluice.stats()).subscribers, 0);
  await recovers(sluice, session);
});

test('without a descriptor for its stream a run is not started', async (t) => {
  const sluice = await startSluice(t, flags);
  const connection = await kept(t, sluice);
  const session = sessionPath();
  const asked = upstream.runs.length;
  const giveBack = await leave(sluice, 0);
  assertError(await connection.ask('POST', `${session}/run`, {message: 'count=3'}, {accept: 'text/event-stream'}), 503, /^no_descriptors$/);
  await giveBack();
  assert.equal(upstream.runs.length, asked);
  assert.equal((await sluice.get('/tasks')).json.tasks.length, 0);
  await recovers(sluice, session);
});

test('whichever descriptor is the one too many: an answer or a closed connection, and none is lost', async (t) => {
  const sluice = await startSluice(t, flags);
  await recovers(sluice, sessionPath());
  const before = descriptors(sluice);
  const outcomes = new Set();
  for (let count = 0; count <= 8; count++) {
    const connection = new Kept(t, sluice);
    assert.equal((await connection.ask('GET', '/healthz')).status, 200);
    const session = sessionPath();
    const giveBack = await leave(sluice, count);
    await connection.ask('POST', session, {});
    const answer = await connection.ask('POST', `${session}/run`, {message: 'count=3'});
    if (answer?.status === 200) {
      const ended = await connection.ask('GET', `/tasks/${answer.json.task_id}?wait_ms=8000`);
      outcomes.add(`${ended.json.status} ${ended.json.reason ?? ''}`);
    }
    await connection.ask('GET', `${session}/run?until=run`);
    await giveBack();
    connection.agent.destroy();
    await recovers(sluice, session);
    await until(() => descriptors(sluice) <= before + 1, `${before} descriptors, not ${descriptors(sluice)}`);
  }
  assert.deepEqual([...outcomes].sort(), ['completed ', 'failed limit']);
});
