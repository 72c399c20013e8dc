// What the tests of faults share: a gateway that forgets quickly, so that it can be seen to give everything back.
import {dirname, join} from 'node:path';
import {asked} from './expect.mjs';
import {stretched} from './limits.mjs';
import {Program} from './program.mjs';
import {sluiceBinary, startSluice} from './sluice.mjs';

/** Whether this is the long form. */
export const long = Boolean(process.env.FAULTS_LONG);

/** Ended runs and unused sessions are forgotten at once; idle connections to the upstream are few. */
export const forgetful = {session_ttl_ms: 300, cleanup_interval_ms: 50, tasks_kept: 0, upstream_connections_max: 8, log_level: 'error'};

export const startForgetful = (context, upstream, flags = {}) =>
  startSluice(context, {upstream: upstream.url, upstream_idle_timeout_ms: stretched(500), upstream_first_byte_timeout_ms: stretched(500),
    ...forgetful, ...flags});

/** Does `work(item)` for all items, `width` at a time. */
export async function inParallel(items, width, work) {
  const left = [...items].reverse();
  await Promise.all(Array.from({length: width}, async () => {
    while (left.length) await work(left.pop());
  }));
}

/** Lets everything else in this process have its turn: a write that succeeds at once does not. */
export const turn = () => new Promise((resolve) => { setImmediate(resolve); });

/** A script: `events=N size=BYTES` of them as fast as the gateway takes them, many in a chunk, and a clean end. */
export async function flood(exchange) {
  const [, count, size] = /events=(\d+) size=(\d+)/.exec(asked(exchange)).map(Number);
  const padding = 'x'.repeat(size);
  await exchange.head();
  const perChunk = Math.max(1, Math.floor(65536 / size));
  for (let number = 1; number <= count;) {
    let text = '';
    for (let i = 0; i < perChunk && number <= count; i++) text += `data: {"number":${number++},"padding":"${padding}"}\n\n`;
    if (!await exchange.chunk(text)) return;
    await turn();
  }
  await exchange.lastChunk();
}

/** tests/support/crowd.c with these arguments. */
export const crowd = (...args) => new Program(join(dirname(sluiceBinary), 'crowd'), args.map(String));
