// The n-th allocation fails, n = 1, 2, 3…, in the start, in a scenario, and in the stop of the gateway: nothing crashes,
// hangs or leaks, what is answered is true, and with memory back all is well. Needs the program of `make scarcity`.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {until, within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {flagList, projectPath, sessionPath, sluiceBinary, startSluice, temporaryFile} from '../support/sluice.mjs';
import {Program} from '../support/program.mjs';
import {agent, descriptors, play, recovers} from './scenario.mjs';
import {long, numbers, Scarcity, seed} from './scarce.mjs';

const upstream = await startUpstream({after}, agent);
const yaml = temporaryFile({after}, 'sluice.yaml',
  `workers: 2\nlog_level: info\nupstream: ${upstream.url}\ncors_origins:\n  - https://example.test\n`);
const flags = {config: yaml, upstream: upstream.url, upstream_keepalive_ms: 0};
const only = Number(process.env.SCARCE_ONLY ?? 0); // this n alone

/** What went wrong with which n. A problem does not keep the others from being found. */
class Findings {
  list = [];

  async add(n, scarcity, error) {
    const finding = `n = ${n}: ${error.message}\n    the allocation was asked for by\n    ${await scarcity.place()}`;
    this.list.push(finding);
    console.error(finding);
    assert.ok(this.list.length < 20, 'too many findings to go on');
  }

  check() { assert.equal(this.list.length, 0, `${this.list.length} findings:\n${this.list.join('\n')}`); }
}

/** Tries n = 1, 2, 3… with `attempt(n)`, which says whether an allocation failed, until none did. */
async function tryAll(t, {stride, ms}, scarcity, attempt) {
  const findings = new Findings();
  const began = Date.now();
  let tried = 0;
  let last = 0;
  let slowest = {ms: 0};
  const again = long || only ? '' : `; SCARCE_SEED=${seed} tries the same again`;
  for (const n of only ? [only] : numbers(stride)) {
    let failed = true;
    const from = Date.now();
    try {
      failed = await attempt(n);
    } catch (error) {
      scarcity.end();
      await findings.add(n, scarcity, error);
    }
    tried++;
    if (Date.now() - from > slowest.ms) slowest = {ms: Date.now() - from, n};
    last = n;
    if (!failed || (!long && Date.now() - began > ms)) break;
  }
  t.diagnostic(`${tried} numbers up to ${last} in ${Math.round((Date.now() - began) / 1000)} s; ${slowest.n} took longest, ${slowest.ms} ms${again}`);
  findings.check();
}

test('an allocation that fails while the gateway starts: it says so and ends, or it serves', async (t) => {
  const scarcity = new Scarcity(t);
  const started = flagList({listen: '127.0.0.1:0', drain_ms: 0, ...flags});
  const leaks = {LSAN_OPTIONS: `${process.env.LSAN_OPTIONS ?? ''}:print_suppressions=0:suppressions=${projectPath('tests/scarcity/lsan.supp')}`};
  await tryAll(t, {stride: 397, ms: 8000}, scarcity, async (n) => {
    scarcity.begin(n);
    const program = new Program(sluiceBinary, started, {env: {...scarcity.env, ...leaks}});
    const listening = await program.line('stderr', (line) => /"listening"/.test(line), 20000).catch(() => null);
    const failed = scarcity.end();
    const {code, signal} = await program.stop();
    assert.doesNotMatch(program.stderr, /Sanitizer|runtime error/, program.stderr);
    assert.equal(signal, null, program.stderr);
    if (listening) assert.equal(code, 0, program.stderr);
    else assert.ok([1, 2].includes(code) && program.stderr.length > 0, `${code}: ${program.stderr}`);
    return failed;
  });
});

/** A gateway that is started anew when one has died. */
class Phoenix {
  constructor(scarcity) { this.scarcity = scarcity; }

  async sluice() {
    if (this.current?.program.running) return this.current;
    const context = {after: (end) => { this.end = end; }};
    this.current = await startSluice(context, flags, {env: this.scarcity.env});
    for (let i = 0; i < 3; i++) await this.warmUp(this.current);
    this.descriptors = descriptors(this.current);
    return this.current;
  }

  async warmUp(sluice) {
    const session = sessionPath();
    await play(sluice, session);
    await recovers(sluice, session);
  }

  /** As many descriptors as before: but each worker may keep a connection to the agent. */
  checkDescriptors() {
    return until(() => descriptors(this.current) <= this.descriptors + 4, `${this.descriptors} descriptors, not ${descriptors(this.current)}`);
  }

  /** Ends it, and fails with what it said if that was not in order. */
  async stop() { await this.end?.(); }
}

for (const [width, what] of [[1, 'an allocation fails'], [25, '25 allocations in a row fail']])
  test(`${what} in a scenario: the request or the run fails, and all goes on`, async (t) => {
    const scarcity = new Scarcity(t);
    const phoenix = new Phoenix(scarcity);
    const attempt = async (n) => {
      const sluice = await phoenix.sluice();
      const session = sessionPath();
      try {
        scarcity.begin(n, width);
        await play(sluice, session);
        const failed = scarcity.end();
        await recovers(sluice, session);
        await phoenix.checkDescriptors();
        return failed;
      } catch (error) {
        scarcity.end();
        if (!sluice.program.running) throw new Error(`${error.message}\n${sluice.program.stderr.slice(-3000)}`);
        sluice.program.signal('SIGKILL'); // what it holds now says nothing about the next n
        await sluice.program.ended;
        throw error;
      }
    };
    try {
      await tryAll(t, {stride: 41, ms: 12000}, scarcity, attempt);
    } finally {
      await phoenix.stop(); // else the test would wait for it
    }
  });

test('an allocation that fails while the gateway stops: it stops, and each stream ends', async (t) => {
  const scarcity = new Scarcity(t);
  await tryAll(t, {stride: 5, ms: 8000}, scarcity, async (n) => {
    let end;
    const sluice = await startSluice({after: (stop) => { end = stop; }}, flags, {env: scarcity.env});
    const session = sessionPath();
    try {
      const client = await sluice.follow(session);
      await sluice.run(session, 'count=2 hold');
      await client.messages(2);
      scarcity.begin(n);
      sluice.program.signal('SIGTERM');
      await client.disconnected();
      await within(sluice.program.ended, 8000, 'the end of the gateway');
    } catch (error) {
      sluice.program.signal('SIGKILL');
      throw error;
    }
    await end();
    return scarcity.end();
  });
});
