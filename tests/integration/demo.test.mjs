// What a newcomer runs first: scripts/run-demo.sh, and the demo agent behind it.
import assert from 'node:assert/strict';
import {mkdtempSync, readFileSync, rmSync, symlinkSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, resolve} from 'node:path';
import {test} from 'node:test';
import {adkText, demoAgentBinary, startDemoAgent} from '../support/agents.mjs';
import {curl} from '../support/http.mjs';
import {until, within} from '../support/limits.mjs';
import {Program} from '../support/program.mjs';
import {projectPath, sluiceBinary, startSluice, sessionPath} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const running = (pid) => {
  try { return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')); } catch { return false; }
};
const childrenOf = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);

/** The script with the programs under test, listening on a free port; {program, say}. */
async function startDemo(t, env = {}) {
  const build = mkdtempSync(join(tmpdir(), 'sluice-build-'));
  symlinkSync(resolve(sluiceBinary), join(build, 'sluice'));
  symlinkSync(resolve(demoAgentBinary), join(build, 'demo-agent'));
  const program = new Program('/bin/sh', [projectPath('scripts/run-demo.sh')], {env: {BUILD: build, LISTEN: '127.0.0.1:0', ...env}});
  t.after(async () => {
    if (program.running) await program.stop();
    rmSync(build, {recursive: true});
  });
  await program.line('stdout', (line) => /Ctrl-C ends it/.test(line), 20000);
  const say = (what) => program.stdout.split('\n').find((line) => line.trim().startsWith(what)).trim().slice(what.length).trim();
  return {program, say};
}

/** The curl command of a printed line, run. */
const runLine = (line) => curl(...line.split(/ (?=(?:[^']*'[^']*')*[^']*$)/).slice(1).map((word) => word.replaceAll("'", '')));

for (const signal of ['SIGINT', 'SIGTERM'])
  test(`run-demo.sh shows lines that work, and ${signal} ends all of it with status 0`, async (t) => {
    const {program, say} = await startDemo(t);
    const demo = await curl('-f', say('Demo page'));
    assert.match(demo.stdout, /<!doctype html>/);
    const started = await runLine(say('Start a run').replace('hello', 'hello steps=5 delay=10'));
    assert.equal(JSON.parse(started.stdout).success, true, started.stdout + started.stderr);
    const followed = await curl(`${say('Follow it').split(' ').at(-1)}?until=run`);
    assert.match(followed.stdout, /event: run\.start[^]*hello[^]*"status":"completed"/);
    assert.match((await runLine(say('Its state'))).stdout, /"tasks"/);

    const children = childrenOf(program.pid);
    assert.ok(children.length >= 2);
    program.signal(signal);
    assert.equal((await within(program.ended, 10000, 'the end')).code, 0);
    await until(() => !children.some(running), 'no orphan is left');
  });

test('run-demo.sh ends with a run under way', async (t) => {
  const {program, say} = await startDemo(t);
  await runLine(say('Start a run').replace('hello', 'hang=1'));
  const children = childrenOf(program.pid);
  program.signal('SIGTERM');
  assert.equal((await within(program.ended, 10000, 'the end')).code, 0);
  await until(() => !children.some(running), 'no orphan is left');
});

test('run-demo.sh takes an agent that is already there', async (t) => {
  const agent = await startDemoAgent(t);
  const {program, say} = await startDemo(t, {UPSTREAM: agent.url});
  assert.ok(program.stdout.includes(`the agent is ${agent.url}`));
  await runLine(say('Start a run'));
  await until(async () => (await agent.runs()).started === 1, 'the run came to it');
});

test('the demo agent holds hundreds of streams, and each ends with the whole of its words', async (t) => {
  const agent = await startDemoAgent(t);
  const sluice = await startSluice(t, {upstream: agent.url});
  const clients = await Promise.all(Array.from({length: 300}, (_, i) => sluice.runStream(sessionPath(), `number ${i} steps=5 delay=20`)));
  for (const [i, client] of clients.entries()) {
    await client.ended(30000);
    assert.equal(client.json('run.end').status, 'completed');
    const partial = client.data.slice(0, -1).map((data) => JSON.parse(data).content.parts[0].text).join('');
    assert.ok(partial.includes(`number ${i}\u201d`));
    assert.equal(JSON.parse(client.data.at(-1)).content.parts[0].text, partial);
    assert.equal(adkText(client.data), partial);
  }
});

test('the demo agent stops when its client leaves', async (t) => {
  const agent = await startDemoAgent(t);
  const path = '/apps/demo/users/u/sessions/s';
  await agent.request('POST', path, {body: {}});
  const body = JSON.stringify({appName: 'demo', userId: 'u', sessionId: 's', newMessage: {role: 'user', parts: [{text: 'hang=1 steps=1 delay=1'}]}});
  const client = new SseClient(agent.url, '/run_sse', {method: 'POST', body, ids: false});
  await client.messages(1);
  assert.deepEqual(await agent.runs(), {started: 1, running: 1});
  client.leave();
  await until(async () => (await agent.runs()).running === 0, 'the answer is given up');
});
