// The gateway as it is measured, alone on its core, and the programs that load it on the other one.
import {readFileSync, readdirSync} from 'node:fs';
import {run} from '../support/program.mjs';
import {Sluice, flagList, projectPath} from '../support/sluice.mjs';
import {buildPath, clientCore, freePort, listening, serverCore, startOn} from './measuring.mjs';

/** The flags of a gateway on a free port, with the settings of all benchmarks and these. */
export const gatewayArguments = (flags) =>
  ['--config', projectPath('tests/bench/peers/sluice.yaml'), ...flagList({workers: 1, ...flags})];

/** Starts programs that all end with `use`, however that ends: use({gateway, source, crowd}). */
export async function withPrograms(use) {
  const programs = [];
  const start = (core, name, args) => {
    const program = startOn(core, buildPath(name), args.map(String));
    programs.push(program);
    return program;
  };
  const started = {
    /** A gateway in front of `source`. */
    async gateway(source, flags = {}) {
      const port = await freePort();
      const sluice = new Sluice(start(serverCore, 'sluice', gatewayArguments({listen: `127.0.0.1:${port}`, ...(source && {upstream: source.url}), ...flags})));
      Object.assign(sluice, {port, url: `http://127.0.0.1:${port}`});
      await listening(sluice.program, port);
      return sluice;
    },
    /** An agent whose streams have `events` events of `size` bytes, `rate` a second. */
    async source({rate, size = 150, events}) {
      const port = await freePort();
      const program = start(clientCore, 'tests/bench/sse_source', ['--port', port, '--rate', rate, '--size', size, '--events', events]);
      await listening(program, port);
      return {program, port, url: `http://127.0.0.1:${port}`};
    },
    /** `count` subscribers of `path` that read until the stream ends or they are stopped; all have come. */
    async crowd(gateway, path, count) {
      const program = start(clientCore, 'crowd', ['read', gateway.port, path, count]);
      await program.line('stdout', (line) => line === 'ready', 60000);
      return program;
    },
    /** `count` subscribers that stay, each of a path of its own: the first has 0 for the {n} of `path`. All have come. */
    async watchers(gateway, path, count) {
      const program = start(clientCore, 'tests/bench/watchers', ['--port', gateway.port, '--path', path, '--count', count]);
      await program.line('stdout', (line) => line === 'ready', 60000);
      return program;
    },
  };
  try {
    return await use(started);
  } finally {
    await Promise.all(programs.map((program) => program.stop('SIGKILL')));
  }
}

/** What run_load.c measured. */
export async function load(gateway, options) {
  const args = Object.entries({port: gateway.port, ...options}).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const {code, stdout, stderr} = await run('taskset', ['-c', clientCore, buildPath('tests/bench/run_load'), ...args], {ms: 120000});
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** Makes the sessions named `name`0, `name`1 ... as far as `count` says. */
export const createSessions = (gateway, name, count) => load(gateway, {path: `/apps/bench/users/u/sessions/${name}{n}`, body: '{}', requests: count, sessions: count});

/** Processor time of all threads of a process so far, in ns. */
export function cpuNs(pid) {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]), 0);
}

/** Resident memory of a process. */
export const residentBytes = (pid) => 1024 * Number(/^Rss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]);
