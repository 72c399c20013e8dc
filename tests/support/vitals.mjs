// What the gateway holds: its own account of itself (/stats) against the kernel's (/proc), and that it all comes back.
import assert from 'node:assert/strict';
import {readFileSync, readdirSync, readlinkSync} from 'node:fs';
import {until} from './limits.mjs';

const MiB = 1 << 20;

const listening = '0A'; // as a state in /proc/net/tcp

/** Ends of connections as the kernel names them: [{link, localPort, remotePort}] of this machine. */
function connections(pid) {
  const port = (address) => parseInt(address.split(':')[1], 16);
  return readFileSync(`/proc/${pid}/net/tcp`, 'utf8').split('\n').slice(1).filter(Boolean).map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] !== listening)
    .map((fields) => ({link: `socket:[${fields[9]}]`, localPort: port(fields[1]), remotePort: port(fields[2])}));
}

/** How many it has open: for clients, to the upstream, and beside these. */
function descriptors(pid, clientPort, upstreamPort) {
  const all = connections(pid);
  const linksOf = (which) => new Set(all.filter(which).map(({link}) => link));
  const toUpstream = linksOf(({remotePort}) => remotePort === upstreamPort);
  const toClients = linksOf(({localPort}) => localPort === clientPort);
  const links = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try { return [readlinkSync(`/proc/${pid}/fd/${fd}`)]; } catch { return []; } // closed in between
  });
  const upstream = links.filter((link) => toUpstream.has(link)).length;
  const clients = links.filter((link) => toClients.has(link)).length;
  return {own: links.length - upstream - clients, upstream, clients};
}

/** Resident bytes as the kernel counts them, without what is shared with files. */
export function residentBytes(pid) {
  return Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
}

/** What it holds now. Connections to the upstream count by themselves: idle ones are kept for the next run. */
export async function vitals(sluice, upstream) {
  const {sessions, subscribers, runs, runs_queued, tasks, connections, log_bytes, memory} = await sluice.stats();
  const {pid} = sluice.program;
  const {own, upstream: toUpstream, clients: toClients} = descriptors(pid, sluice.port, upstream && Number(new URL(upstream.url).port));
  return {sessions, subscribers, runs, runs_queued, tasks, connections, log_bytes,
    accounted_bytes: memory.accounted_bytes - memory.kinds.upstream_connections, // libcurl's tables keep the room that they had
    descriptors: own, threads: readdirSync(`/proc/${pid}/task`).length, upstreamConnections: toUpstream, clientConnections: toClients,
    residentBytes: residentBytes(pid)};
}

/** Does `fault` twice, the first time to warm up, and holds the gateway to be back where it was after each. Memory that the
 *  allocator keeps may grow by `growthMax` bytes from the first time to the second. */
export async function leavesNoTrace(sluice, upstream, fault, {growthMax = 3 * MiB, idleMax = 16, ms = 20000} = {}) {
  const before = await atRest(sluice, upstream);
  await fault(1);
  const first = await backTo(before, sluice, upstream, {idleMax, ms});
  await fault(2);
  const second = await backTo(before, sluice, upstream, {idleMax, ms});
  const grown = second.residentBytes - first.residentBytes;
  assert.ok(grown <= growthMax || isSanitized, `memory grew by ${(grown / MiB).toFixed(1)} MiB when it was done once more`);
  return {before, first, second};
}

const isSanitized = Number(process.env.SLUICE_TEST_SLOW ?? 1) > 1;

/** What it holds when it has nothing to do. */
export async function atRest(sluice, upstream) {
  let now;
  await until(async () => {
    const last = now;
    now = await vitals(sluice, upstream);
    return last?.descriptors === now.descriptors && ['sessions', 'subscribers', 'runs', 'runs_queued', 'tasks'].every((key) => now[key] === 0) && now.connections === 1;
  }, 'a gateway at rest', 20000);
  return now;
}

/** Waits until all that `/stats` and `/proc` count is as it was in `before`. */
export async function backTo(before, sluice, upstream, {idleMax = 16, ms = 20000} = {}) {
  let now;
  const {residentBytes: _r, upstreamConnections: _u, clientConnections: _c, ...exact} = before;
  const same = async () => {
    now = await vitals(sluice, upstream);
    return Object.keys(exact).every((key) => now[key] === exact[key]) && now.upstreamConnections <= idleMax && now.clientConnections <= 1; // the one of /stats
  };
  try {
    await until(same, 'everything given back', ms);
  } catch {
    assert.fail(`not back within ${ms} ms: before ${JSON.stringify(before)}\nnow ${JSON.stringify(now)}\n${sluice.program.stderr.slice(-2000)}`);
  }
  return now;
}
