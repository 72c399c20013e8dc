// Fan-out, side by side: one stream of events to 100, 1 000 and 10 000 subscribers, through the gateway, the ceiling and
// the peers, round by round, each server started anew.
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {until, within} from '../support/limits.mjs';
import {run} from '../support/program.mjs';
import {projectPath} from '../support/sluice.mjs';
import {anyCore, buildPath, clientCore, endedCleanly, freePort, inTemporaryDirectory, listening, processes, rotated, serverCore, startOn, versionOf} from './measuring.mjs';

const peer = (file) => projectPath(`tests/bench/peers/${file}`);
const debianPython = '/usr/bin/python3';
const nchanModule = '/usr/lib/nginx/modules/ngx_nchan_module.so';
const session = '/apps/bench/users/u/sessions/s';

/** What sse_load must be told of a server that reads its events from sse_load. */
const reads = (path, more = []) => ({port, sourcePort}) =>
  ['--subscribe', `http://127.0.0.1:${port}${path}`, '--source-port', String(sourcePort), ...more.map((each) => each.replace('@PORT@', port))];

const sluice = (workers) => ({
  endsCleanly: true,
  command: ({port, sourcePort}) => [buildPath('sluice'), '--config', peer('sluice.yaml'), '--listen', `127.0.0.1:${port}`,
    '--upstream', `http://127.0.0.1:${sourcePort}`, '--workers', String(workers)],
  load: reads(`${session}/run`, ['--run', `http://127.0.0.1:@PORT@${session}/run`, '--run-body', '{"message":"go"}']),
});

const ceiling = (threads) => ({
  command: ({port, sourcePort}) => [buildPath('tests/bench/limit'), '--port', String(port), '--upstream', String(sourcePort), '--threads', String(threads)],
  load: reads('/'),
});

const nchan = {
  processes: 2, // the master and its worker
  missing: () => !existsSync(nchanModule) && 'Debian\'s nginx and libnginx-mod-nchan are not installed',
  version: () => [versionOf('nginx', ['-v']), versionOf('dpkg-query', ['-W', '-f', 'libnginx-mod-nchan ${Version}', 'libnginx-mod-nchan'])].filter(Boolean).join(', '),
  command: ({port, sourcePort, directory}) => {
    const file = join(directory, 'nginx.conf');
    writeFileSync(file, readFileSync(peer('nchan.conf'), 'utf8').replaceAll('@PORT@', port).replaceAll('@PUBLISH_PORT@', sourcePort).replaceAll('@DIR@', directory));
    return ['nginx', '-e', 'stderr', '-p', directory, '-c', file];
  },
  load: ({port, sourcePort}) => ['--subscribe', `http://127.0.0.1:${port}/subscribe`, '--first-path', '/ready', '--publish', `http://127.0.0.1:${sourcePort}/publish`],
};

const onNode = (file, more = {}) => ({
  ...more,
  command: ({port, sourcePort}) => [process.execPath, peer(file), String(port), String(sourcePort)],
  load: reads('/'),
});

const node = onNode('node.mjs', {version: () => process.version});

const betterSsePackage = projectPath('tests/bench/node_modules/better-sse/package.json');
const betterSse = onNode('better-sse.mjs', {
  missing: () => !existsSync(betterSsePackage) && 'the npm package better-sse is not installed',
  version: () => JSON.parse(readFileSync(betterSsePackage)).version,
});

const fastapiVersions = 'import fastapi, httptools, uvicorn, uvloop; ' +
  'print(*(f"{each.__name__} {each.__version__}" for each in (fastapi, uvicorn, uvloop, httptools)), sep=", ")';
const fastapi = {
  missing: () => !versionOf(debianPython, ['-c', fastapiVersions]) && 'Debian\'s python3-fastapi, uvicorn, python3-uvloop and python3-httptools are not installed',
  version: () => versionOf(debianPython, ['-c', fastapiVersions]),
  command: ({port}) => [debianPython, '-m', 'uvicorn', '--app-dir', projectPath('tests/bench/peers'), 'fastapi_app:app', '--host', '127.0.0.1',
    '--port', String(port), '--loop', 'uvloop', '--http', 'httptools', '--no-access-log', '--log-level', 'warning', '--backlog', '4096'],
  env: ({sourcePort}) => ({SOURCE_PORT: String(sourcePort), PYTHONDONTWRITEBYTECODE: '1'}),
  load: reads('/events'),
};

const pinned = {serverCore, clientCore};
const sharing = {serverCore: anyCore, clientCore: anyCore};

/** What a second thread does to the ceiling itself: less of it, for it is there to be compared with. */
const inBrief = {crowds: [100, 10000], brevity: 0.5};

/** Only with `crowds`, if it has any; its phases are `brevity` times as long. `shared`: not pinned, client and server share the cores. */
const servers = [
  {name: 'limit', ...ceiling(1), ...pinned},
  {name: 'sluice', ...sluice(1), ...pinned},
  {name: 'nchan', ...nchan, ...pinned},
  {name: 'node', ...node, ...pinned},
  {name: 'better-sse', ...betterSse, ...pinned},
  {name: 'fastapi', ...fastapi, ...pinned},
  {name: 'sluice, 1 worker, shared cores', ...sluice(1), ...sharing},
  {name: 'sluice, 2 workers, shared cores', ...sluice(2), ...sharing},
  {name: 'limit, 1 thread, shared cores', ...ceiling(1), ...sharing, ...inBrief},
  {name: 'limit, 2 threads, shared cores', ...ceiling(2), ...sharing, ...inBrief},
];

/** What is not counted: programs that are compiled while they run are slow at first. */
const warmUp = {size: 150, window: 4, seconds: 1};

/** A large crowd gets few events a second: it is watched for longer. */
const phases = ({brevity = 1}, subscribers, {quick}) => [[150, 1], [150, 16], [2048, 1], [2048, 16]].map(([size, window]) =>
  ({size, window, seconds: brevity * (quick ? 0.3 : 1) * (subscribers >= 10000 ? 2 : 1)}));

/** One server, one crowd, all phases: what sse_load printed. Fails if an event was lost, doubled or disordered. */
async function measure(server, subscribers, options) {
  return inTemporaryDirectory(async (directory) => {
    const place = {port: await freePort(), sourcePort: await freePort(), directory};
    const [command, ...args] = server.command(place);
    const program = startOn(server.serverCore, command, args, {env: server.env?.(place)});
    try {
      await listening(program, place.port);
      await until(() => processes(program.pid).length >= (server.processes ?? 1), `the processes of ${server.name}`);
      const load = [...server.load(place), '--subscribers', String(subscribers), '--server-pid', processes(program.pid).join(','),
        ...[warmUp, ...phases(server, subscribers, options)].flatMap(({size, window, seconds}) => ['--phase', `${size},${window},${seconds}`])];
      const pinning = server.clientCore === anyCore ? [] : ['taskset', '-c', server.clientCore];
      const [client, ...clientArgs] = [...pinning, buildPath('tests/bench/sse_load'), ...load];
      const {code, stdout, stderr} = await run(client, clientArgs, {ms: 180000});
      if (code !== 0) throw new Error(stderr.trim().split('\n').at(-1) || `sse_load ended with status ${code}`);
      const lines = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line));
      if (server.endsCleanly) await endedCleanly(program);
      return {idle: lines.filter((line) => line.idle), phases: lines.filter((line) => line.phase).slice(1)};
    } finally {
      await within(program.stop('SIGTERM', 5000).catch(() => program.stop('SIGKILL', 5000)), 12000, `the end of ${server.name}`).catch(() => {});
    }
  });
}

/** All rounds: {rounds, versions, absent: [{name, why}], servers, rows: [{server, round, subscribers, size, window, ...}], idle: [...], failures: [...]} */
export async function fanoutRounds({rounds = 5, quick = false, crowds = quick ? [100, 1000] : [100, 1000, 10000], only, log = () => {}} = {}) {
  const wanted = servers.filter(({name}) => !only || only.includes(name));
  const absent = wanted.map(({name, missing}) => ({name, why: missing?.()})).filter(({why}) => why);
  for (const {name, why} of absent) log(`fanout: ${name} is left out: ${why}`);
  const present = wanted.filter(({name}) => !absent.some((each) => each.name === name));
  const versions = Object.fromEntries(present.filter(({version}) => version).map(({name, version}) => [name, version()]));
  const result = {rounds, versions, absent, servers: present.map(({name}) => name), rows: [], idle: [], failures: []};
  for (let round = 0; round < rounds; round++) {
    for (const subscribers of crowds) {
      for (const server of rotated(present.filter(({crowds: own}) => !own || own.includes(subscribers)), round)) {
        const about = {server: server.name, round, subscribers};
        try {
          const measured = await measure(server, subscribers, {quick});
          result.idle.push(...measured.idle.map(({idle}) => ({...about, ...idle})));
          result.rows.push(...measured.phases.map(({phase, ...row}) => ({...about, ...row, ...phase})));
        } catch (error) {
          result.failures.push({...about, why: error.message.split('\n')[0]});
          log(`fanout: ${server.name} with ${subscribers} subscribers, round ${round + 1}: ${error.message}`);
        }
      }
      log(`fanout: round ${round + 1} of ${rounds}, ${subscribers} subscribers`);
    }
  }
  return result;
}
