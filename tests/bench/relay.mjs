// Streams one to one, side by side: the latency of each event, what an event costs a relay, and what a stream holds;
// straight to the source, through the gateway and through the peers, round by round, each server started anew.
//
//     node tests/bench/relay.mjs [ROUNDS [SECONDS]]        # prints a table; quick: 3 rounds of 2 seconds
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {until} from '../support/limits.mjs';
import {run} from '../support/program.mjs';
import {projectPath} from '../support/sluice.mjs';
import {buildPath, clientCore, endedCleanly, freePort, inTemporaryDirectory, listening, processes, rotated, serverCore, startOn, versionOf} from './measuring.mjs';
import {relayRatios} from './relay_report.mjs';

const rate = 50; // events a second of each stream
const size = 150; // bytes of an event's data

const peer = (file) => projectPath(`tests/bench/peers/${file}`);
const adkBody = '{"appName":"bench","userId":"u","sessionId":"s%d","streaming":true,' +
  '"newMessage":{"role":"user","parts":[{"text":"go"}]}}';
const asAdk = {path: '/run_sse', body: adkBody};

function filledIn(file, {port, sourcePort, directory}) {
  const filled = join(directory, file);
  writeFileSync(filled, readFileSync(peer(file), 'utf8')
    .replaceAll('@PORT@', port).replaceAll('@UPSTREAM@', sourcePort).replaceAll('@DIR@', directory));
  return filled;
}

const sluice = {
  endsCleanly: true,
  command: ({port, sourcePort}) => [buildPath('sluice'), '--config', peer('sluice.yaml'), '--listen', `127.0.0.1:${port}`,
    '--upstream', `http://127.0.0.1:${sourcePort}`, '--workers', '1', '--log-level', 'warn'],
  request: asAdk,
};

const direct = {name: 'direct', request: asAdk};

const servers = [
  direct,
  {name: 'sluice', ...sluice},
  {name: 'sluice, S/run', ...sluice, request: {path: '/apps/bench/users/u/sessions/s%d/run', body: '{"message":"go"}'}},
  {
    name: 'nginx', request: asAdk,
    processes: 2, // the master and its worker
    version: () => versionOf('nginx', ['-v']),
    missing: () => !versionOf('nginx', ['-v']) && "Debian's nginx is not installed",
    command: (place) => ['nginx', '-e', 'stderr', '-p', place.directory, '-c', filledIn('nginx-relay.conf', place)],
  },
  {
    name: 'haproxy', request: asAdk,
    version: () => versionOf('haproxy', ['-v']),
    missing: () => !versionOf('haproxy', ['-v']) && "Debian's haproxy is not installed",
    command: (place) => ['haproxy', '-db', '-f', filledIn('haproxy.cfg', place)],
  },
];

async function startSource(events) {
  const source = startOn(clientCore, buildPath('tests/bench/sse_source'),
    ['--port', '0', '--rate', String(rate), '--size', String(size), '--events', String(events)]);
  const {listening: port} = await source.line('stdout', (line) => JSON.parse(line));
  return {source, port};
}

async function startServer(server, place) {
  if (server === direct) return undefined;
  const [command, ...args] = server.command(place);
  const program = startOn(serverCore, command, args);
  await listening(program, place.port);
  await until(() => processes(program.pid).length >= (server.processes ?? 1), `the processes of ${server.name}`);
  return program;
}

async function stop(program) {
  await program?.stop('SIGTERM', 5000).catch(() => {}); // it is killed if it does not end
}

/** What relay_load printed for one server. Fails if an event was lost, doubled or disordered. */
async function measure(server, streams, seconds) {
  // The streams begin up to some seconds apart, and none may end while it is measured.
  const events = rate * (seconds + 2 + Math.ceil(streams / 250));
  return inTemporaryDirectory(async (directory) => {
    const {source, port: sourcePort} = await startSource(events);
    const place = {port: server === direct ? sourcePort : await freePort(), sourcePort, directory};
    let program;
    try {
      program = await startServer(server, place);
      const {code, stdout, stderr} = await run('taskset', ['-c', clientCore, buildPath('tests/bench/relay_load'),
        '--url', `http://127.0.0.1:${place.port}${server.request.path}`, '--body', server.request.body,
        '--streams', String(streams), '--size', String(size), '--events', String(events), '--seconds', String(seconds),
        '--source-pid', String(source.pid), ...(program ? ['--server-pid', processes(program.pid).join(',')] : [])],
      {ms: (seconds + 60) * 1000});
      if (code !== 0) throw new Error(stderr.trim().split('\n').at(-1) || `relay_load ended with status ${code}`);
      if (server.endsCleanly) await endedCleanly(program);
      return JSON.parse(stdout);
    } finally {
      await stop(program);
      await stop(source);
    }
  });
}

/** All rounds: {rate, size, rounds, absent: [{name, why}], versions, rows: one a measurement, failures} */
export async function relayRounds({rounds = 5, streams = [1, 100, 1000], seconds = 4, only, log = () => {}} = {}) {
  const wanted = servers.filter(({name}) => !only || name === direct.name || only.includes(name));
  const absent = wanted.map(({name, missing}) => ({name, why: missing?.()})).filter(({why}) => why);
  for (const {name, why} of absent) log(`relay: ${name} is left out: ${why}`);
  const present = wanted.filter(({name}) => !absent.some((each) => each.name === name));
  const rows = [], failures = [];
  for (let round = 0; round < rounds; round++) {
    for (const count of streams) {
      for (const server of rotated(present, round)) {
        const about = {server: server.name, round};
        try {
          rows.push({...about, ...await measure(server, count, seconds)});
        } catch (error) {
          failures.push({...about, streams: count, why: error.message.split('\n')[0]});
          log(`relay: ${server.name} with ${count} streams, round ${round + 1}: ${error.message}`);
        }
      }
      log(`relay: round ${round + 1} of ${rounds}, ${count} streams`);
    }
  }
  return {
    rate, size, rounds, seconds, absent, rows, failures,
    versions: Object.fromEntries(present.filter(({version}) => version).map(({name, version}) => [name, version()])),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [rounds = 3, seconds = 2] = process.argv.slice(2).map(Number);
  const result = await relayRounds({rounds, seconds, log: (line) => console.error(line)});
  console.log(relayRatios(result));
  process.exitCode = result.failures.length > 0 ? 1 : 0;
}
