// Fewer descriptors than subscribers: whoever gets a 200 gets a stream.
import assert from 'node:assert/strict';
import {readdirSync} from 'node:fs';
import http from 'node:http';
import {after, test} from 'node:test';
import {holdAfterOne} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {run} from '../support/program.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const upstream = await startUpstream({after}, holdAfterOne);
const clientCount = 60;

/** So many descriptors of the process are free from now on. */
async function leaveDescriptors({program: {pid}}, free) {
  const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let most = 0;
  while (open.has(most) || free-- > 0) most++;
  await setLimit(pid, most);
}

const setLimit = async (pid, count) => assert.equal((await run('prlimit', ['--pid', String(pid), `--nofile=${count}:`])).code, 0);

test('of more subscribers than descriptors each has a stream that lives, or 503, or waits', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, workers: 1});
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'hold');
  await until(async () => (await sluice.task(task_id)).events === 1, 'an event');
  const {pid} = sluice.program;
  await leaveDescriptors(sluice, 20);
  sluice.program.signal('SIGSTOP'); // so that all are there at once
  const clients = Array.from({length: clientCount}, () => new SseClient(sluice.url, `${session}/run`));
  await Promise.all(clients.map((client) => new Promise((resolve) => client.socket.once('connect', resolve))));
  sluice.program.signal('SIGCONT');
  const answered = () => clients.filter((client) => client.status);
  const streams = () => clients.filter((client) => client.status === 200);
  await until(() => answered().length >= 20 && streams().every((client) => client.data.length > 0), 'twenty answers, and of streams their event');
  for (const client of answered().filter((one) => one.status !== 200)) {
    assert.equal(client.status, 503);
    assert.ok(Number(client.headers['retry-after']) > 0);
    await client.until(() => client.closed, 'the end of a connection that takes a descriptor');
  }
  clients.push(await sluice.follow(session)); // one at a time there are enough
  // Those that wait are served when there are more.
  await setLimit(pid, 1000);
  await until(() => answered().length === clients.length, 'an answer for each client');
  for (const client of streams()) {
    await client.until(() => client.data.length > 0, 'an event');
    assert.ok(!client.closed && !client.end, 'a stream that began was closed');
  }
  await sluice.delete(`/tasks/${task_id}`);
  for (const client of streams()) await client.until(() => client.types.includes('run.end'), 'the end of the run');
  for (const client of clients) client.leave();
});

test('a run or request without a descriptor for its upstream fails as the gateway\'s own limit', async (t) => {
  const settings = {breaker_failure_percent: 1, breaker_calls_min: 1};
  const sluice = await startSluice(t, {upstream: upstream.url, workers: 1, ...settings});
  const agent = new http.Agent({keepAlive: true, maxSockets: 1});
  t.after(() => agent.destroy());
  const ask = (method, path, body) => new Promise((resolve, reject) => {
    const request = http.request(`${sluice.url}${path}`, {method, agent, headers: {'Content-Type': 'application/json'}}, async (answer) => {
      const json = JSON.parse(Buffer.concat(await answer.toArray()));
      resolve({status: answer.statusCode, json});
    });
    request.on('error', reject);
    request.end(body && JSON.stringify(body));
  });
  await ask('GET', '/healthz');
  await leaveDescriptors(sluice, 0);
  const {json: {task_id}} = await ask('POST', `${sessionPath()}/run`, {message: 'x'});
  const {json: task} = await ask('GET', `/tasks/${task_id}?wait_ms=10000`);
  assert.deepEqual([task.status, task.reason], ['failed', 'limit']);
  assert.match(task.message, /gateway has no descriptor/);
  const passed = await ask('GET', '/list-apps');
  assert.deepEqual([passed.status, passed.json.error.code], [503, 'no_descriptors']);
  await setLimit(sluice.program.pid, 1000);
  const {json: {upstreams: [{state}]}} = await ask('GET', '/stats');
  assert.equal(state, 'closed', 'the breaker, which one failure opens');
});
