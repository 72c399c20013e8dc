// Start, configuration, signals and the end of the process.
import assert from 'node:assert/strict';
import {writeFileSync} from 'node:fs';
import net from 'node:net';
import {after, test} from 'node:test';
import {asked, answerMarked, checkRuns, holdAfterOne, marked} from '../support/expect.mjs';
import {pause, slow, stretched, until, within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, sluiceSays, startSluice, temporaryFile} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';


const upstream = await startUpstream({after}, async (exchange) => {
  if (/hold/.test(asked(exchange))) return holdAfterOne(exchange);
  const count = /^count=(\d+)$/.exec(asked(exchange))?.[1];
  if (!/slow/.test(asked(exchange))) return answerMarked(Number(count ?? 3))(exchange);
  await exchange.head();
  for (let number = 1; number <= 10; number++) {
    await exchange.chunk(marked(asked(exchange), number));
    await pause(stretched(50));
  }
  await exchange.lastChunk();
});

/** How long `ended` takes in ms, and with which status. */
async function endsAfter(sluice, signal = 'SIGTERM') {
  const from = Date.now();
  sluice.program.signal(signal);
  const {code} = await within(sluice.program.ended, 15000, 'the end');
  return {code, ms: Date.now() - from};
}

for (const signal of ['SIGTERM', 'SIGINT'])
  test(`${signal} with nothing to do ends at once with status 0`, async (t) => {
    const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 30000});
    await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
    const {code, ms} = await endsAfter(sluice, signal);
    assert.equal(code, 0);
    assert.ok(ms < stretched(1000), `${ms} ms`);
  });

test('the listening line is told whatever the log level is', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, log_level: 'error'});
  assert.equal((await sluice.get('/healthz')).status, 200);
});

test('memory over the threshold is warned of at clean-up, and told in /stats', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, cleanup_interval_ms: 100, memory_warn_bytes: 1000});
  await sluice.taskEnded((await sluice.run(sessionPath())).task_id);
  const {memory} = (await sluice.get('/stats')).json;
  const {bytes, log_bytes} = await sluice.logged({event: 'memory_high', log_bytes: memory.log_bytes});
  assert.ok(bytes > 1000 && log_bytes > 0);
  assert.equal(memory.warn_bytes, 1000);
  assert.ok(memory.accounted_bytes >= log_bytes && memory.rss_bytes > memory.accounted_bytes);
});

test('SIGTERM lets runs go on to their end within drain_ms', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 20000});
  const session = sessionPath();
  const client = await sluice.follow(session);
  await sluice.run(session, 'slow');
  await client.messages(2);
  const {code} = await endsAfter(sluice);
  assert.equal(code, 0);
  assert.equal(client.json('run.end').status, 'completed');
  assert.equal(client.data.length, 10, 'all of it was told');
  assert.equal(client.end, 'last-chunk');
});

test('SIGTERM ends runs after drain_ms and tells their subscribers', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 300});
  const session = sessionPath();
  const clients = await Promise.all(Array.from({length: 5}, () => sluice.follow(session)));
  const idle = await sluice.follow(sessionPath());
  await sluice.run(session, 'hold');
  for (const client of clients) await client.messages(1);
  const retries = clients.map((client) => client.retries.length);
  const {code, ms} = await endsAfter(sluice);
  assert.equal(code, 0);
  assert.ok(ms >= 250 && ms < stretched(3000), `${ms} ms with drain_ms 300`);
  for (const [i, client] of clients.entries()) {
    await client.disconnected();
    assert.deepEqual(client.types, ['run.start', 'message', 'server.drain', 'run.end']);
    assert.equal(client.json('run.end').status, 'cancelled');
    assert.equal(client.end, 'last-chunk');
    assert.ok(client.retries.length > retries[i], 'server.drain says when to come back');
  }
  await idle.disconnected();
  assert.deepEqual(idle.types, ['server.drain']);
  await until(() => upstream.open === 0, 'the upstream is left');
});

test('drain_ms 0 ends runs at once', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 0});
  const client = await sluice.runStream(sessionPath(), 'hold');
  await client.messages(1);
  const {code, ms} = await endsAfter(sluice);
  assert.equal(code, 0);
  assert.ok(ms < stretched(1000), `${ms} ms`);
  assert.equal(client.json('run.end').status, 'cancelled');
});

test('while it drains, it takes no new connection, and refuses new runs on old ones', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 20000});
  const session = sessionPath();
  const client = await sluice.follow(session);
  await sluice.run(session, 'hold');
  await client.messages(1);
  const kept = net.connect(sluice.port, '127.0.0.1');
  t.after(() => kept.destroy());
  let said = '';
  kept.on('data', (bytes) => { said += bytes; });
  const ask = async (text, expected) => {
    said = '';
    kept.write(text);
    await until(() => expected.test(said), `${expected} after ${text.split('\r')[0]}: ${said}`);
  };
  await ask('GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n', /^HTTP\/1\.1 200 /);
  sluice.program.signal('SIGTERM');
  await client.event('server.drain');
  await ask('GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n', /^HTTP\/1\.1 503 /);
  const body = '{"message":"late"}';
  await ask(`POST ${session}/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`, /^HTTP\/1\.1 503 [^]*Retry-After/i);
  await until(() => sluice.get('/healthz').then(() => false, (error) => /ECONNREFUSED|ECONNRESET|hang up/.test(error.code ?? error.message)), 'the listener is closed');
  await ask(`DELETE ${session}/run HTTP/1.1\r\nHost: localhost\r\n\r\n`, /^HTTP\/1\.1 20[02] /);
  kept.end();
  assert.equal((await within(sluice.program.ended, 10000, 'its end, once nothing runs any more')).code, 0);
});

test('a second signal ends it at once with status 1', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 60000});
  sluice.expectedEnd = {code: 1, signal: null};
  const client = await sluice.runStream(sessionPath(), 'hold');
  await client.messages(1);
  sluice.program.signal('SIGTERM');
  await client.event('server.drain');
  const {code, ms} = await endsAfter(sluice);
  assert.equal(code, 1);
  assert.ok(ms < stretched(1000), `${ms} ms`);
});

/** Clients that read the whole run of `session` over and over until they are stopped, and the events of each stream that
 *  came to its proper end. */
function readInALoop(context, sluice, session, clients) {
  const wholes = [];
  let isOver = false;
  const loops = Array.from({length: clients}, async () => {
    while (!isOver) {
      const client = new SseClient(sluice.url, `${session}/run?until=run`);
      const end = await client.ended().catch(() => null);
      assert.ifError(client.failure);
      if (end === 'last-chunk') wholes.push(client.events);
      client.leave();
    }
  });
  const stop = () => { isOver = true; return Promise.all(loops); };
  context.after(stop);
  return {wholes, stop};
}

// The pump of a subscriber rests after 16 times 64 frames: with 961 to 1024 of them, before the last chunk.
for (const clients of [1, 12])
  test(`SIGTERM while ${clients} clients read a log of 980 events over and over`, async (t) => {
    for (let attempt = 0; attempt < (slow ? 2 : 4); attempt++) {
      const sluice = await startSluice(t, {upstream: upstream.url});
      const session = sessionPath();
      await sluice.taskEnded((await sluice.run(session, 'count=978')).task_id);
      const readers = readInALoop(t, sluice, session, clients);
      await until(() => readers.wholes.length >= 3 * clients, 'some have read all of it');
      const {code} = await endsAfter(sluice);
      await readers.stop();
      assert.equal(code, 0);
      for (const events of readers.wholes) {
        const ours = events.filter(({type}) => type !== 'server.drain');
        assert.equal(ours.length, 980);
        checkRuns(ours);
      }
    }
  });

test('heartbeats and reloads while clients read a log of 980 events over and over', async (t) => {
  const text = (heartbeat) => `upstream: ${upstream.url}\nheartbeat_ms: ${heartbeat}\n`;
  const path = temporaryFile(t, 'sluice.yaml', text(10));
  const sluice = await startSluice(t, {}, {args: ['--config', path]});
  const session = sessionPath();
  await sluice.taskEnded((await sluice.run(session, 'count=978')).task_id);
  const readers = readInALoop(t, sluice, session, 12);
  for (let reload = 1; reload <= 20; reload++) {
    writeFileSync(path, text(reload % 2 ? 20 : 10));
    sluice.program.signal('SIGHUP');
    const before = readers.wholes.length;
    await until(() => readers.wholes.length >= before + 5, 'they go on');
  }
  await readers.stop();
  for (const events of readers.wholes) {
    assert.equal(events.length, 980);
    checkRuns(events);
  }
});

test('a client that reads nothing does not hold up the end', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 100, send_buffer_bytes: 32768});
  const session = sessionPath();
  const client = await sluice.follow(session);
  client.socket.pause();
  await sluice.run(session, 'hold');
  const {code, ms} = await endsAfter(sluice);
  assert.equal(code, 0);
  assert.ok(ms < stretched(5000), `${ms} ms`);
});

test('what was acknowledged before the end is in the stream', async (t) => {
  const sluice = await startSluice(t, {upstream: upstream.url, drain_ms: 0});
  const sessions = Array.from({length: 20}, () => sessionPath());
  const clients = await Promise.all(sessions.map((session) => sluice.follow(session)));
  const runs = await Promise.all(sessions.map((session) => sluice.run(session, 'hold')));
  await endsAfter(sluice);
  for (const [i, client] of clients.entries()) {
    await client.disconnected();
    assert.equal(client.json('run.end')?.task_id, runs[i].task_id);
    checkRuns(client.events.filter(({type}) => type !== 'server.drain'));
  }
});

test('SIGHUP reloads the file: what can change changes, what cannot is named, a bad file changes nothing', async (t) => {
  const text = (more) => `upstream: ${upstream.url}\nheartbeat_ms: 60000\n${more}`;
  const path = temporaryFile(t, 'sluice.yaml', text('runs_max: 100\n'));
  const sluice = await startSluice(t, {}, {args: ['--config', path]});
  const client = await sluice.follow(sessionPath());
  await client.until(() => client.comments.length === 1, 'the first comment');

  writeFileSync(path, text('runs_max: 100\n').replace('60000', '100') + 'cors_origins: ["https://new.example"]\n');
  sluice.program.signal('SIGHUP');
  const fresh = await until(async () => {
    const {headers} = await sluice.get('/healthz', {headers: {Origin: 'https://new.example'}});
    return headers['access-control-allow-origin'] === 'https://new.example';
  }, 'the new origin is allowed');
  assert.ok(fresh);
  const beating = await sluice.follow(sessionPath());
  await beating.until(() => beating.comments.length >= 3, 'heartbeats every 100 ms');

  const lines = sluice.program.lines.stderr.length;
  writeFileSync(path, text('listen: 127.0.0.1:1\nupstream_connections_max: 5\n'));
  sluice.program.signal('SIGHUP');
  await until(() => sluice.program.lines.stderr.slice(lines).some((line) => /upstream_connections_max/.test(line)), 'a line names what cannot change');
  assert.equal((await sluice.get('/healthz')).status, 200);

  const before = sluice.program.lines.stderr.length;
  writeFileSync(path, 'no_such_key: 1\n');
  sluice.program.signal('SIGHUP');
  await until(() => sluice.program.lines.stderr.slice(before).some((line) => /no_such_key/.test(line)), 'a line names the unknown key');
  assert.equal((await sluice.get('/healthz')).status, 200, 'it goes on with what it had');
  client.leave();
  beating.leave();
});

test('--check-config says whether a file is fine and starts nothing', async (t) => {
  const good = temporaryFile(t, 'good.yaml', 'listen: 127.0.0.1:8123\nupstream_kind: sse\nworkers: 3\ncors_origins: ["https://a.example"]\n');
  assert.equal((await sluiceSays(['--config', good, '--check-config'])).code, 0);
  const bad = temporaryFile(t, 'bad.yaml', 'listen: 127.0.0.1:8123\nworkers: many\n');
  const {code, stderr} = await sluiceSays(['--config', bad, '--check-config']);
  assert.equal(code, 2);
  assert.match(stderr, /workers/);
});

const badFiles = {
  'an unknown key': ['listen: 127.0.0.1:0\nlisten_port: 3\n', /bad\.yaml:2.*listen_port/],
  'a number out of range': ['workers: 1000\n', /bad\.yaml:1.*workers.*256/],
  'text for a number': ['log_events_max: lots\n', /bad\.yaml:1.*log_events_max/],
  'an unknown kind': ['upstream_kind: soap\n', /bad\.yaml:1.*upstream_kind.*adk.*sse.*openai/],
  'a broken file': ['workers: [1\n', /bad\.yaml/],
  'credentials with any origin': ['cors_origins: ["*"]\ncors_credentials: true\n', /cors_/],
};
for (const [what, [text, message]] of Object.entries(badFiles))
  test(`${what} in the file is refused with one line and status 2`, async (t) => {
    const path = temporaryFile(t, 'bad.yaml', text);
    const {code, stderr, stdout} = await sluiceSays(['--config', path, '--listen', '127.0.0.1:0']);
    assert.equal(code, 2);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
    assert.equal(stdout, '');
  });

for (const [args, message] of [[['--no-such-flag', '1'], /no-such-flag/], [['--workers', 'x'], /workers/], [['--listen', 'nonsense'], /listen/], [['--upstream', 'ftp://x'], /upstream/],
  [['--config', '/does/not/exist.yaml'], /exist\.yaml/], [['--log-level'], /log-level/]])
  test(`${args.join(' ')} is refused with status 2`, async () => {
    const {code, stderr} = await sluiceSays(args);
    assert.equal(code, 2);
    assert.match(stderr, message);
  });

test('flags win over the environment, which wins over the file', async (t) => {
  const path = temporaryFile(t, 'sluice.yaml', `upstream: ${upstream.url}\nretry_ms: 300\nheartbeat_ms: 100\nlisten: 127.0.0.1:1\n`);
  const sluice = await startSluice(t, {}, {args: ['--config', path], env: {SLUICE_RETRY_MS: '50000', SLUICE_LISTEN: '127.0.0.1:2'}});
  const client = await sluice.follow(sessionPath());
  await client.until(() => client.retries.length && client.comments.length >= 3, 'retry, and heartbeats every 100 ms as the file says');
  assert.ok(client.retries[0] > 10000, 'the environment wins over the file');
  client.leave();
});

test('an unknown variable or a bad value in the environment is refused', async () => {
  const {code, stderr} = await sluiceSays([], {env: {SLUICE_WORKERS: 'x'}});
  assert.equal(code, 2);
  assert.match(stderr, /SLUICE_WORKERS|workers/);
});

test('an address that others can reach is refused without --allow-unauthenticated', async (t) => {
  const {code, stderr} = await sluiceSays(['--listen', '0.0.0.0:0']);
  assert.equal(code, 2);
  assert.match(stderr, /allow.unauthenticated/);
  const sluice = await startSluice(t, {listen: '0.0.0.0:0', allow_unauthenticated: true});
  assert.equal((await sluice.get('/healthz')).status, 200);
});

test('an address that is taken is said and ends with an error', async (t) => {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const {code, stderr} = await sluiceSays(['--listen', `127.0.0.1:${server.address().port}`]);
  assert.ok(code !== 0 && code !== null);
  assert.match(stderr, /in use|listen/i);
});

test('--version and --help say so and end with 0', async () => {
  const version = await sluiceSays(['--version']);
  assert.equal(version.code, 0);
  assert.match(version.stdout, /^sluice \d+\.\d+\.\d+/);
  const help = await sluiceSays(['--help']);
  assert.equal(help.code, 0);
  for (const flag of ['--listen', '--upstream', '--config', '--check-config', '--heartbeat-ms', '--stall-timeout-ms', '--log-events-max'])
    assert.ok(help.stdout.includes(flag), `${flag} in --help`);
});

test('logs are one JSON object a line, or readable text', async (t) => {
  const json = await startSluice(t, {upstream: upstream.url});
  await json.taskEnded((await json.run(sessionPath())).task_id);
  for (const line of json.program.lines.stderr) assert.doesNotThrow(() => JSON.parse(line), line);
  const text = await sluiceSays(['--config', temporaryFile(t, 'empty.yaml', ''), '--log-format', 'text', '--listen', '127.0.0.1:0', '--workers', 'none']);
  assert.ok(!text.stderr.startsWith('{'));
});
