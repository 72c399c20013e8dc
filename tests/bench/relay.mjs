// Streams one to one, side by side: what a relay adds to the latency of each event, what an event costs it, and what a
// stream holds; straight to the source, through the gateway and through the peers, round by round, each server started anew.
//
//     node tests/bench/relay.mjs [ROUNDS [SECONDS]]        # prints a table; quick: 3 rounds of 2 seconds
import {spawnSync} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {until} from '../support/limits.mjs';
import {run} from '../support/program.mjs';
import {projectPath} from '../support/sluice.mjs';
import {buildPath, clientCore, freePort, inTemporaryDirectory, listening, processes, rotated, serverCore, startOn, summary} from './measuring.mjs';

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
  command: ({port, sourcePort}) => [buildPath('sluice'), '--config', peer('sluice.yaml'), '--listen', `127.0.0.1:${port}`,
    '--upstream', `http://127.0.0.1:${sourcePort}`, '--workers', '1', '--log-level', 'warn'],
  request: asAdk,
};

/** What a program says of itself first, wherever it says it; undefined: there is none. */
const versionOf = (command) => {
  const {stdout, stderr} = spawnSync(command, ['-v'], {encoding: 'utf8'});
  return (stdout || stderr)?.split('\n')[0].trim() || undefined;
};

const direct = {name: 'direct', request: asAdk};

const servers = [
  direct,
  {name: 'sluice', ...sluice},
  {name: 'sluice, S/run', ...sluice, request: {path: '/apps/bench/users/u/sessions/s%d/run', body: '{"message":"go"}'}},
  {
    name: 'nginx', request: asAdk,
    processes: 2, // the master and its worker
    version: () => versionOf('nginx'),
    missing: () => !versionOf('nginx') && "Debian's nginx is not installed",
    command: (place) => ['nginx', '-e', 'stderr', '-p', place.directory, '-c', filledIn('nginx-relay.conf', place)],
  },
  {
    name: 'haproxy', request: asAdk,
    version: () => versionOf('haproxy'),
    missing: () => !versionOf('haproxy') && "Debian's haproxy is not installed",
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
      return JSON.parse(stdout);
    } finally {
      await stop(program);
      await stop(source);
    }
  });
}

/** The rounds of one server with so many streams in one line; latency is what is above that of the same round without a relay. */
function tableRow(rows, server, streams) {
  const of = (name) => rows.filter((row) => row.server === name && row.streams === streams);
  const base = new Map(of(direct.name).map((row) => [row.round, row.latency_us]));
  const mine = of(server).filter(({round}) => base.has(round));
  const added = (what) => summary(mine.map((row) => row.latency_us[what] - base.get(row.round)[what]));
  return {
    server, streams, rounds: mine.length,
    added_p50_us: added('p50'), added_p99_us: added('p99'),
    cpu_us_per_event: summary(mine.map((row) => row.server_cpu_us_per_event)),
    rss_bytes_each: summary(mine.map((row) => row.server_rss_bytes_each)),
    events_per_s: summary(mine.map((row) => row.events_per_s)),
    client_core_share: summary(mine.map((row) => row.client_cpu_share + row.source_cpu_share)),
  };
}

/** Medians of the ratios of `server` to `other`, round by round: below 1 is better than the other one. */
function ratioRow(rows, server, other, streams) {
  const of = (name, round) => rows.find((row) => row.server === name && row.streams === streams && row.round === round);
  const rounds = [...new Set(rows.map(({round}) => round))].filter((round) => [direct.name, server, other].every((name) => of(name, round)));
  const added = (name, round, what) => of(name, round).latency_us[what] - of(direct.name, round).latency_us[what];
  const ratios = (value) => summary(rounds.map((round) => value(server, round) / value(other, round)));
  return {
    server, other, streams,
    added_p50: ratios((name, round) => added(name, round, 'p50')),
    added_p99: ratios((name, round) => added(name, round, 'p99')),
    cpu_per_event: ratios((name, round) => of(name, round).server_cpu_us_per_event),
    rss_each: ratios((name, round) => of(name, round).server_rss_bytes_each),
  };
}

/** All rounds: {rate, size, rounds, absent: [{name, why}], versions, rows: one a measurement, failures,
 *  table: one line a server and number of streams, ratios: the gateway's to nginx's and HAProxy's} */
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
  const relays = present.filter((server) => server !== direct).map(({name}) => name);
  const pairs = relays.filter((name) => name.startsWith('sluice'))
    .flatMap((name) => relays.filter((other) => !other.startsWith('sluice')).map((other) => [name, other]));
  return {
    rate, size, rounds, seconds, absent, rows, failures,
    versions: Object.fromEntries(present.filter(({version}) => version).map(({name, version}) => [name, version()])),
    direct: streams.map((count) => {
      const of = rows.filter((row) => row.server === direct.name && row.streams === count);
      return {streams: count, p50_us: summary(of.map((row) => row.latency_us.p50)), p99_us: summary(of.map((row) => row.latency_us.p99))};
    }),
    table: streams.flatMap((count) => relays.map((name) => tableRow(rows, name, count))),
    ratios: streams.flatMap((count) => pairs.map(([name, other]) => ratioRow(rows, name, other, count))),
  };
}

const shown = (value, digits = 1) => (value ? `${value.median.toFixed(digits)} (${value.min.toFixed(digits)}–${value.max.toFixed(digits)})` : '-');

function print(result) {
  console.log(`median (min–max) of ${result.rounds} rounds of ${result.seconds} s, ${result.rate} events/s a stream, ${result.size} B`);
  for (const row of result.ratios)
    console.log(`${row.streams} streams, ${row.server} / ${row.other}: cpu an event ${shown(row.cpu_per_event, 2)}, added p50 ${shown(row.added_p50, 2)}, ` +
      `added p99 ${shown(row.added_p99, 2)}, memory ${shown(row.rss_each, 2)}`);
  for (const row of result.direct) console.log(`${row.streams} streams, direct: p50 ${shown(row.p50_us)} us, p99 ${shown(row.p99_us)} us`);
  for (const row of result.table)
    console.log(`${row.streams} streams, ${row.server}: cpu an event ${shown(row.cpu_us_per_event)} us, added p50 ${shown(row.added_p50_us)} us, ` +
      `added p99 ${shown(row.added_p99_us)} us, ${shown(row.rss_bytes_each, 0)} B a stream, ${shown(row.events_per_s, 0)} events/s, ` +
      `client's core ${shown(row.client_core_share, 2)}`);
  for (const {server, streams, round, why} of result.failures) console.log(`FAILED: ${server}, ${streams} streams, round ${round + 1}: ${why}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [rounds = 3, seconds = 2] = process.argv.slice(2).map(Number);
  const result = await relayRounds({rounds, seconds, log: (line) => console.error(line)});
  print(result);
  process.exitCode = result.failures.length > 0 ? 1 : 0;
}
