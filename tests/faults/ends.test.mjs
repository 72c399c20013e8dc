// SIGTERM and SIGKILL while everything goes on at once.
import assert from 'node:assert/strict';
import {existsSync} from 'node:fs';
import net from 'node:net';
import {after, test} from 'node:test';
import {asked} from '../support/expect.mjs';
import {crowd, flood, long, startForgetful} from '../support/faults.mjs';
import {pause, stretched, until, within} from '../support/limits.mjs';
import {Program} from '../support/program.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, async (exchange) => {
  if (/events=/.test(asked(exchange))) return flood(exchange);
  if (/deaf/.test(asked(exchange))) return exchange.gone;
  await exchange.head();
  for (let number = 1; exchange.open; number++) {
    await exchange.chunk(`data: {"number":${number}}\n\n`);
    await pause(5);
  }
});

/** Everything that goes wrong, at once: floods, stalled upstreams, a crowd that comes and goes, stopped curls, silent connections. */
async function everything(t, sluice) {
  const session = sessionPath();
  const witness = await sluice.follow(session);
  await sluice.run(session, 'steady');
  for (let i = 0; i < 5; i++) await sluice.run(sessionPath(), i % 2 ? 'deaf' : 'events=10000000 size=200');
  const programs = [crowd('churn', sluice.port, `${session}/run`, long ? 2000 : 300, 60000, 500),
    ...Array.from({length: 3}, () => new Program('curl', ['--silent', '--no-buffer', '--output', '/dev/null', `${sluice.url}${session}/run`]))];
  const silent = Array.from({length: 20}, () => net.connect(sluice.port, '127.0.0.1').on('error', () => {}));
  t.after(async () => {
    for (const program of programs) program.signal('SIGKILL');
    for (const program of programs) await program.ended;
    for (const socket of silent) socket.destroy();
  });
  await programs[0].line('stdout', (line) => line === 'ready', 20000);
  for (const curl of programs.slice(1)) curl.signal('SIGSTOP');
  await witness.messages(20);
  return witness;
}

/** Nothing of the process is left, at either end of its connections. */
async function gone(sluice) {
  await until(() => !existsSync(`/proc/${sluice.program.pid}/stat`), 'the end of the process');
  await until(() => upstream.sockets.size === 0, 'all connections to the upstream closed', 10000);
}

test('SIGTERM under all that ends in time, with status 0, and each stream is told', async (t) => {
  for (let round = 0; round < (long ? 10 : 2); round++) {
    const sluice = await startForgetful(t, upstream, {drain_ms: 300});
    const witness = await everything(t, sluice);
    const from = performance.now();
    sluice.program.signal('SIGTERM');
    const {code, signal} = await within(sluice.program.ended, 15000, 'the end after SIGTERM');
    const ms = performance.now() - from;
    assert.deepEqual({code, signal}, {code: 0, signal: null}, sluice.program.stderr.slice(-4000));
    assert.ok(ms >= 250 && ms < stretched(4000), `it took ${ms} ms with drain_ms 300`);
    assert.equal(await witness.ended(), 'last-chunk');
    assert.ok(witness.types.includes('server.drain'), `${witness.types.slice(-3)}`);
    const end = witness.json('run.end');
    assert.deepEqual([end.status, end.reason], ['cancelled', 'shutdown']);
    await gone(sluice);
  }
});

test('SIGKILL under all that leaves nothing, and another one takes the port at once', async (t) => {
  let port = 0;
  for (let round = 0; round < (long ? 10 : 2); round++) {
    const sluice = await startForgetful(t, upstream, {listen: `127.0.0.1:${port}`});
    if (port) assert.equal(sluice.port, port, 'the port of the one that was killed');
    port = sluice.port;
    sluice.expectedEnd = {code: null, signal: 'SIGKILL'};
    const witness = await everything(t, sluice);
    sluice.program.signal('SIGKILL');
    await witness.disconnected();
    assert.match(witness.end, /^(truncated|reset)$/, 'a client can tell that it broke off');
    await gone(sluice);
  }
});
