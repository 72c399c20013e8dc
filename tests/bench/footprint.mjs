// What the gateway takes: memory for each idle session, subscriber and upstream stream, what the kernel holds for a client
// that stopped reading, and the time to start and to end.
import {readFileSync} from 'node:fs';
import net from 'node:net';
import {request} from '../support/http.mjs';
import {pause, until} from '../support/limits.mjs';
import {run} from '../support/program.mjs';
import {buildPath, clientCore, freePort, rotated, serverCore, summary} from './measuring.mjs';
import {createSessions, gatewayArguments, load, residentBytes, withPrograms} from './gateway.mjs';

const session = (name) => `/apps/bench/users/u/sessions/${name}`;

/** Resident bytes that `grow` adds, for each of `count`, after the gateway has done a little of everything. */
async function grownBy(gateway, count, grow) {
  const {pid} = gateway.program;
  const before = residentBytes(pid);
  await grow();
  return (residentBytes(pid) - before) / count;
}

const repeat = async (rounds, measure) => {
  const values = [];
  for (let i = 0; i < rounds; i++) values.push(await measure());
  return summary(values);
};

/** Bytes for each of `count` sessions that nobody uses. */
export const idleSessions = async ({rounds = 5, count = 20000} = {}) => ({
  count, target: 1024,
  resident_bytes_each: await repeat(rounds, () => withPrograms(async (start) => {
    const gateway = await start.gateway(await start.source({rate: 0, events: 1}));
    await createSessions(gateway, 'first', 16);
    return grownBy(gateway, count, async () => {
      await createSessions(gateway, 'idle', count);
      const {sessions} = await gateway.stats();
      if (sessions !== count + 16) throw new Error(`${sessions} sessions`);
    });
  })),
});

/** Bytes for each of `count` subscribers of one session that wait. */
export const idleSubscribers = async ({rounds = 5, count = 15000} = {}) => ({
  count, target: 1024,
  resident_bytes_each: await repeat(rounds, () => withPrograms(async (start) => {
    const gateway = await start.gateway();
    await start.crowd(gateway, `${session('watched')}/run`, 1);
    return grownBy(gateway, count, async () => {
      await start.crowd(gateway, `${session('watched')}/run`, count);
      const {subscribers} = await gateway.stats();
      if (subscribers !== count + 1) throw new Error(`${subscribers} subscribers`);
    });
  })),
});

/** `sessions` sessions of one gateway, `subscribers` of them with a subscriber that waits, all at once: how much it grew by
 *  them, and how much it is then. */
export async function heldAtOnce({rounds = 5, sessions = 20000, subscribers = 15000} = {}) {
  const rows = [];
  for (let i = 0; i < rounds; i++) rows.push(await withPrograms((start) => holdAtOnce(start, sessions, subscribers)));
  return {
    sessions, subscribers, target: 1024 * (sessions + subscribers),
    grown_bytes: summary(rows.map(({grown}) => grown)),
    resident_bytes: summary(rows.map(({resident}) => resident)),
  };
}

async function holdAtOnce(start, sessions, subscribers) {
  const gateway = await start.gateway(await start.source({rate: 0, events: 1}));
  const {pid} = gateway.program;
  const before = residentBytes(pid);
  await createSessions(gateway, 'held', sessions);
  await start.watchers(gateway, `${session('held{n}')}/run`, subscribers);
  const resident = residentBytes(pid);
  const stats = await gateway.stats();
  if (stats.sessions !== sessions || stats.subscribers !== subscribers) throw new Error(`${stats.sessions} sessions, ${stats.subscribers} subscribers`);
  return {resident, grown: resident - before};
}

/** Bytes for each of `count` streams that are open upstream, with its run: as events come one by one, and after more than a
 *  buffer's worth came at once. Sessions and logs are counted by themselves. */
export async function upstreamStreams({rounds = 5, count = 1000} = {}) {
  const rows = [];
  for (let i = 0; i < rounds; i++) rows.push(await withPrograms((start) => openStreams(start, count)));
  return {
    count, target: 24 * 1024,
    resident_bytes_each: summary(rows.map(([steady]) => steady)),
    after_burst_bytes_each: summary(rows.map(([, afterBurst]) => afterBurst)),
  };
}

async function openStreams(start, count) {
  const source = await start.source({rate: 5, size: 1000, events: 100000});
  const gateway = await start.gateway(source, {log_level: 'warn', log_events_max: 1});
  const {pid} = gateway.program;
  await createSessions(gateway, 'streams', count);
  const before = residentBytes(pid);
  const each = async () => (residentBytes(pid) - before - (await gateway.stats()).log_bytes) / count;
  const eventsIn = async () => (await gateway.stats()).counters.sluice_events_in_total;
  await load(gateway, {path: `${session('streams{n}')}/run`, body: '{"message":"long"}', expect: '"task_id"', sessions: count, requests: count, rate: 500});
  await until(async () => (await request(source.url, 'GET', '/source-stats')).json.open === count, `${count} open streams`, 20000);
  await until(async () => await eventsIn() >= 2 * count, 'events of each stream', 20000);
  const steady = await each();
  gateway.program.signal('SIGSTOP'); // meanwhile 20 events of each stream wait in the kernel
  await pause(4000);
  gateway.program.signal('SIGCONT');
  const seen = await eventsIn();
  await until(async () => await eventsIn() >= seen + 20 * count, 'the burst', 20000);
  return [steady, await each()];
}

/** Bytes in the two queues of a connection: what the sender's kernel holds, and the receiver's. */
function queues(localPort, remotePort) {
  const port = (address) => parseInt(address.split(':')[1], 16);
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1)) {
    const [, local, remote, , both] = line.trim().split(/\s+/);
    if (local && port(local) === localPort && port(remote) === remotePort) return both.split(':').map((hex) => parseInt(hex, 16));
  }
  throw new Error('the connection is gone');
}

/** Bytes that the kernels hold for a client that reads nothing of a flood of `bytes`, with this send_buffer_bytes. */
const heldForStalled = (setting, {bytes, size}) => withPrograms(async (start) => {
  const gateway = await start.gateway(await start.source({rate: 0, size, events: bytes / size}), setting === undefined ? {} : {send_buffer_bytes: setting});
  const socket = net.connect(gateway.port, '127.0.0.1');
  socket.on('error', () => {});
  const asked = new Promise((resolve) => socket.once('data', resolve));
  socket.write(`GET ${session('stalled')}/run HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
  await asked;
  socket.pause();
  await gateway.taskEnded((await gateway.run(session('stalled'))).task_id);
  await pause(300); // what is on its way from queue to queue
  const [sending] = queues(gateway.port, socket.localPort);
  const [, received] = queues(socket.localPort, gateway.port);
  socket.destroy();
  return {sending, received};
});

/** The same for each of `settings`, in turns. */
export async function stalledClient({rounds = 5, settings = [undefined, 0, '64KiB', '256KiB'], bytes = 32 << 20, size = 2048} = {}) {
  const cases = settings.map((setting) => ({setting, held: []}));
  for (let round = 0; round < rounds; round++) for (const {setting, held} of rotated(cases, round)) held.push(await heldForStalled(setting, {bytes, size}));
  return Object.fromEntries(cases.map(({setting, held}) => [setting ?? 'default',
    {server_bytes: summary(held.map(({sending}) => sending)), client_bytes: summary(held.map(({received}) => received))}]));
}

/** What start_stop.c measures, in ms: from exec to the first answered request, or from SIGTERM to the end. */
async function startAndStop(which) {
  const port = await freePort();
  const gateway = ['taskset', '-c', serverCore, buildPath('sluice'), ...gatewayArguments({listen: `127.0.0.1:${port}`})];
  const {code, stdout, stderr} = await run('taskset', ['-c', clientCore, buildPath('tests/bench/start_stop'), String(port), ...gateway]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout)[which] / 1000;
}

export const starting = async ({rounds = 5} = {}) => ({target_ms: 20, first_answer_ms: await repeat(rounds, () => startAndStop('first_answer_us'))});

export const endingIdle = async ({rounds = 5} = {}) => ({target_ms: 50, end_ms: await repeat(rounds, () => startAndStop('end_us'))});

/** From SIGTERM to the end in ms, with `subscribers` of one session connected. */
export const endingFull = async ({subscribers = 10000, rounds = 5} = {}) => ({
  subscribers, target_ms: 1000,
  end_ms: await repeat(rounds, () => withPrograms(async (start) => {
    const gateway = await start.gateway();
    await start.crowd(gateway, `${session('ending')}/run`, subscribers);
    const {program} = gateway;
    const exited = new Promise((resolve) => program.child.once('exit', (code) => resolve({code, at: performance.now()})));
    const begun = performance.now();
    program.signal('SIGTERM');
    const {code, at} = await exited;
    if (code !== 0) throw new Error(`status ${code}`);
    return at - begun;
  })),
});

export const footprint = {idleSessions, idleSubscribers, heldAtOnce, upstreamStreams, stalledClient, starting, endingIdle, endingFull};
