// What a gateway holds when nothing is left to do: nothing but what it held in the beginning.
import assert from 'node:assert/strict';
import {until} from '../support/limits.mjs';

/** What must be zero by /stats, by name. */
function counted(stats) {
  const {sessions, sessions_awaited, subscribers, subscribers_waiting, runs, runs_queued, runs_delayed, tasks, log_events, log_bytes, queue} = stats;
  const upstreams = stats.upstreams.flatMap(({name, phases, requests, limiter}) => [...Object.entries(phases), ['requests_active', requests.active],
    ['requests_waiting', requests.waiting], ...(limiter ? [['slots_used', limiter.slots_used], ['limiter_waiting', limiter.waiting]] : [])]
    .map(([what, value]) => [`${name}.${what}`, value]));
  return {sessions, sessions_awaited, subscribers, subscribers_waiting, runs, runs_queued, runs_delayed, tasks, log_events, log_bytes,
    running: queue.running, queued: queue.queued, delayed: queue.delayed, waiting: queue.waiting, flights: stats.cache.flights, ...Object.fromEntries(upstreams)};
}

/**
 * What need not be the same to the byte. The answer of /stats is counted by itself, and is a little longer when its numbers
 * are. libcurl's tables keep the room that they had, and idle connections stay open; one lost with each run would be megabytes.
 */
const slack = {'memory.answers': 4096, 'memory.upstream_connections': 256 * 1024};

/** Waits until everything counts zero, and each kind of memory what it counted `before`. Recordings are kept on purpose. */
export async function zero(world, before) {
  let left;
  const isBack = async () => {
    const stats = await world.sluice.stats();
    const {recordings: _recordings, ...kinds} = stats.memory.kinds;
    const grown = Object.entries(kinds).map(([kind, bytes]) => [`memory.${kind}`, bytes - before.memory.kinds[kind]]);
    const memory = grown.filter(([kind, bytes]) => Math.abs(bytes) > (slack[kind] ?? 0));
    left = Object.fromEntries([...Object.entries(counted(stats)).filter(([, value]) => value !== 0), ...memory,
      ...(stats.connections > 1 ? [['connections', stats.connections]] : [])]);
    return Object.keys(left).length === 0;
  };
  await until(isBack, 'everything is given back', 15000).catch((error) => assert.fail(`${error.message}; left: ${JSON.stringify(left)}`));
}
