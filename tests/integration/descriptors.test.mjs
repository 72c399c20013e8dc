// Fewer descriptors than subscribers: whoever gets a 200 gets a stream.
import assert from 'node:assert/strict';
import {readdirSync} from 'node:fs';
import {after, test} from 'node:test';
import {holdAfterOne} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {run} from '../support/program.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const upstream = await startUpstream({after}, holdAfterOne);
const clientCount = 60;

test('of more subscribers than descriptors each has a stream that lives, or 503, or waits', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, workers: 1});
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'hold');
  await until(async () => (await sluice.task(task_id)).events === 1, 'an event');
  const {pid} = sluice.program;
  const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let most = 0;
  for (let free = 20; open.has(most) || free-- > 0;) most++;
  const setLimit = async (count) => assert.equal((await run('prlimit', ['--pid', String(pid), `--nofile=${count}:`])).code, 0);
  await setLimit(most);
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
  await setLimit(1000);
  await until(() => answered().length === clients.length, 'an answer for each client');
  for (const client of streams()) {
    await client.until(() => client.data.length > 0, 'an event');
    assert.ok(!client.closed && !client.end, 'a stream that began was closed');
  }
  await sluice.delete(`/tasks/${task_id}`);
  for (const client of streams()) await client.until(() => client.types.includes('run.end'), 'the end of the run');
  for (const client of clients) client.leave();
});
