// What every measurement needs: numbers of rounds put together, ports, programs on a core of their own, the machine's name.
import {spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {connect, createServer} from 'node:net';
import {cpus, release, tmpdir} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {Program} from '../support/program.mjs';
import {until} from '../support/limits.mjs';
import {projectPath} from '../support/sluice.mjs';

/** Where the programs are that `make` built. */
export const buildPath = (name) => resolve(process.env.BUILD ?? projectPath('build'), name);
export const resultFile = (part) => buildPath(`bench/${part}.json`);

export const serverCore = '0';
export const clientCore = '1';
/** No pinning: for what is measured with client and server on the same cores. */
export const anyCore = undefined;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** {median, min, max} of the rounds' values, or undefined if there are none. */
export function summary(values) {
  const numbers = values.filter(Number.isFinite);
  return numbers.length ? {median: median(numbers), min: Math.min(...numbers), max: Math.max(...numbers)} : undefined;
}

/** The same things, in another order each round: each one's place changes, and what runs before it, too. */
export function rotated(things, round) {
  const shifted = things.map((_, i) => things[(i + round) % things.length]);
  return round % 2 ? shifted.reverse() : shifted;
}

/** A port that nobody listens on now. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const answers = (port) => new Promise((resolve) => {
  const socket = connect({port, host: '127.0.0.1'});
  socket.on('connect', () => resolve(true)).on('error', () => resolve(false)).on('close', () => resolve(false));
  socket.on('connect', () => socket.destroy());
});

/** A program on `core`. */
export function startOn(core, command, args, options) {
  return core === anyCore ? new Program(command, args, options) : new Program('taskset', ['-c', core, command, ...args], options);
}

/** Waits until `program` takes connections on `port`. */
export async function listening(program, port, ms = 20000) {
  await until(async () => {
    if (!program.running) throw new Error(`${program.child.spawnargs.join(' ')} ended:\n${program.stderr.slice(-2000)}`);
    return answers(port);
  }, `a listener on port ${port}`, ms);
}

/** Ends a program that must do so with status 0: what was measured of one that does not is no result. */
export async function endedCleanly(program) {
  const {code, signal} = await program.stop('SIGTERM', 5000);
  if (code !== 0) throw new Error(`${program.child.spawnargs.join(' ')} ended with ${signal ?? `status ${code}`} after SIGTERM`);
}

/** The process and its children: a master of workers serves nothing itself. */
export function processes(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return [pid, ...(children ? children.split(' ').map(Number) : [])];
}

/** Gives `use` a directory that is gone afterwards. */
export async function inTemporaryDirectory(use) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  try {
    return await use(directory);
  } finally {
    rmSync(directory, {recursive: true, force: true});
  }
}

/** The first line that a program says of itself, on whichever stream; undefined if it is not there. */
export function versionOf(command, args = ['--version']) {
  const {status, stdout, stderr} = spawnSync(command, args, {encoding: 'utf8'});
  return status === 0 ? `${stdout}${stderr}`.trim().split('\n')[0] : undefined;
}

export const machine = () => ({processor: cpus()[0].model.trim(), cores: cpus().length, kernel: release()});

export function keepResult(part, result) {
  mkdirSync(dirname(resultFile(part)), {recursive: true});
  writeFileSync(resultFile(part), `${JSON.stringify({date: new Date().toISOString().slice(0, 10), machine: machine(), ...result}, null, 1)}\n`);
}

export const keptResult = (part) => (existsSync(resultFile(part)) ? JSON.parse(readFileSync(resultFile(part), 'utf8')) : undefined);
