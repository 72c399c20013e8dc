// Runs: how soon they are accepted and reach the agent, swaps, and that an event costs the same whatever else there is.
// Standalone it prints everything; footprint.mjs measures memory, start and end.
import {fileURLToPath} from 'node:url';
import {run} from '../support/program.mjs';
import {until} from '../support/limits.mjs';
import {request} from '../support/http.mjs';
import {cpuNs, createSessions, load, withPrograms} from './gateway.mjs';
import {buildPath, clientCore, keepResult, rotated, summary} from './measuring.mjs';
import {footprint} from './footprint.mjs';

const session = (name) => `/apps/bench/users/u/sessions/${name}`;
const message = '{"message":"t0={t0}"}'; // sse_source takes the time from it
const expect = '"task_id"';
const quiet = {log_level: 'warn'}; // at two lines a run the reader of the log, this script, would be measured, too

/** Counters of /stats by their names without "sluice_" and "_total". */
async function counters(gateway) {
  const {counters: all} = await gateway.stats();
  return Object.fromEntries(Object.entries(all).map(([name, count]) => [name.replace(/^sluice_|_total$/g, ''), count]));
}

const nothingRuns = (gateway) => until(async () => (await gateway.stats()).runs === 0, 'the end of all runs', 20000);

/** Runs at `rate` a second, spread over `sessions` sessions that are known upstream, for `seconds`. */
export async function acceptance({rounds = 5, rate = 2000, sessions = 1000, seconds = 3} = {}) {
  const rows = [];
  for (let round = 0; round < rounds; round++) {
    rows.push(await withPrograms(async (start) => {
      const source = await start.source({rate: 0, events: 1});
      const all = sessions + rate * seconds;
      const gateway = await start.gateway(source, {tasks_kept: all, ...quiet});
      const path = `${session('a{n}')}/run`;
      await load(gateway, {path, body: '{"message":"first"}', expect, sessions, requests: sessions, rate: 1000});
      await nothingRuns(gateway);
      const before = cpuNs(gateway.program.pid);
      const loaded = await load(gateway, {path, body: message, expect, sessions, requests: rate * seconds, rate});
      await nothingRuns(gateway);
      const cpu = cpuNs(gateway.program.pid) - before;
      const {request_delay_us: delay} = (await request(source.url, 'GET', '/source-stats')).json;
      const {completed = 0, replaced = 0, ...others} = await endings(gateway); // replaced: the session's turn came again too soon
      if (completed + replaced !== all || Object.keys(others).length) throw new Error(`of ${all} runs: ${JSON.stringify({completed, replaced, ...others})}`);
      return {accepted: loaded.accepted_us, late: loaded.late_us, delay, completed: completed / all, cpuUs: cpu / 1e3 / (rate * seconds)};
    }));
  }
  return {
    rate, seconds, sessions, rounds,
    accepted_p50_us: summary(rows.map((row) => row.accepted.p50)),
    accepted_p99_us: summary(rows.map((row) => row.accepted.p99)),
    client_late_p99_us: summary(rows.map((row) => row.late.p99)),
    execution_delay_p50_us: summary(rows.map((row) => row.delay.p50)),
    execution_delay_p99_us: summary(rows.map((row) => row.delay.p99)),
    share_completed: summary(rows.map((row) => row.completed)),
    cpu_us_per_run: summary(rows.map((row) => row.cpuUs)),
    targets: {accepted_p99_us: 1000, execution_delay_p99_us: 2000},
  };
}

/** How the runs that are tracked ended: {replaced: 999, cancelled: 1}. */
async function endings(gateway) {
  const counts = {};
  for (let cursor = ''; cursor !== null;) {
    const {tasks, next_cursor: next} = (await gateway.get(`/tasks?limit=1000${cursor}`)).json;
    for (const {status} of tasks) counts[status] = (counts[status] ?? 0) + 1;
    cursor = next ? `&cursor=${next}` : null;
  }
  return counts;
}

/** Each run of one session replaced by the next: at `rate` a second, or with 0 as fast as they are accepted. All but the
 *  last must have ended as replaced, and each must have one end in the log. */
export async function swaps({rounds = 5, rate = 5000, requests = 10000} = {}) {
  const rows = [];
  for (let round = 0; round < rounds; round++) {
    rows.push(await withPrograms(async (start) => {
      const source = await start.source({rate: 1, events: 1000});
      const gateway = await start.gateway(source, {...quiet, tasks_kept: 2 * requests, log_events_max: 10 * requests, log_bytes_max: '512MiB'});
      const path = `${session('swapped')}/run`;
      await load(gateway, {path, body: '{"message":"first"}', expect, requests: 1});
      const before = cpuNs(gateway.program.pid);
      const loaded = await load(gateway, {path, body: message, expect, requests, rate});
      const cpu = cpuNs(gateway.program.pid) - before;
      await gateway.delete(path);
      await nothingRuns(gateway);
      const ended = await endings(gateway);
      if (ended.replaced !== requests || ended.cancelled !== 1) throw new Error(`ended: ${JSON.stringify(ended)}`);
      await eachEndedOnce(gateway, path, requests + 1);
      const {streams} = (await request(source.url, 'GET', '/source-stats')).json;
      return {perS: loaded.per_s, accepted: loaded.accepted_us, late: loaded.late_us, reached: streams / (requests + 1), cpuUs: cpu / 1e3 / requests};
    }));
  }
  return {
    rate, requests, rounds,
    swaps_per_s: summary(rows.map((row) => row.perS)),
    accepted_p50_us: summary(rows.map((row) => row.accepted.p50)),
    accepted_p99_us: summary(rows.map((row) => row.accepted.p99)),
    client_late_p99_us: summary(rows.map((row) => row.late.p99)),
    share_that_reached_the_agent: summary(rows.map((row) => row.reached)),
    cpu_us_per_swap: summary(rows.map((row) => row.cpuUs)),
    targets: {swaps_per_s: 5000},
  };
}

/** Reads the session from its start: each run began once and ended once, in this order. */
async function eachEndedOnce(gateway, path, runs) {
  const client = await gateway.follow(path.replace(/\/run$/, ''), '?from=start&until=run');
  await client.ended(60000);
  const open = new Set();
  const seen = new Set();
  for (const {type, data} of client.events) {
    const {task_id: id} = type.startsWith('run.') ? JSON.parse(data) : {};
    if (type === 'gap' || (type === 'run.start' && seen.has(id)) || (type === 'run.end' && !open.delete(id))) throw new Error(`${type} of ${id}`);
    if (type === 'run.start') seen.add(id) && open.add(id);
  }
  if (seen.size !== runs || open.size !== 0) throw new Error(`${seen.size} runs of ${runs} began, ${open.size} did not end`);
}

/** Processor time for each event of one stream with one subscriber, at a steady pace: in `settings` by name, in turns, with
 *  the rounds' own values. Each setting is {sessions, flags}. */
async function costPerEvent(settings, {rounds, rate = 5000, events = 12500}) {
  return withPrograms(async (start) => {
    const source = await start.source({rate, events});
    const cases = [];
    for (const {name, sessions, flags} of settings) {
      const gateway = await start.gateway(source, {...quiet, ...flags});
      if (sessions > 1) await createSessions(gateway, 'other', sessions - 1);
      const crowd = await start.crowd(gateway, `${session('measured')}/run`, 1);
      cases.push({name, gateway, crowd, values: []});
    }
    const oneRun = async ({gateway, values}, counts) => {
      const {events_out: outBefore} = await counters(gateway);
      const before = cpuNs(gateway.program.pid);
      await gateway.taskEnded((await gateway.run(session('measured'), 'measured')).task_id);
      const cpu = cpuNs(gateway.program.pid) - before;
      const {events_out: outAfter} = await counters(gateway); // asks all sessions: not to be counted
      if (outAfter - outBefore !== events + 2) throw new Error(`${outAfter - outBefore} events of ${events + 2} were delivered`);
      if (counts) values.push(cpu / 1e3 / events);
    };
    for (const each of cases) await oneRun(each, false); // fills the log
    for (let round = 0; round < rounds; round++) for (const each of rotated(cases, round)) await oneRun(each, true);
    return Object.fromEntries(cases.map(({name, values}) => [name, {...summary(values), rounds: values}]));
  });
}

/** Microseconds for each event with so many sessions in existence. */
export const costBySessions = ({rounds = 5, counts = [1, 1000, 20000], ...rest} = {}) =>
  costPerEvent(counts.map((sessions) => ({name: sessions, sessions})), {rounds, ...rest});

/** Microseconds for each event with a log that is full at so many events. */
export const costByLog = ({rounds = 5, lengths = [100, 1000, 10000], ...rest} = {}) =>
  costPerEvent(lengths.map((events) => ({name: events, sessions: 1, flags: {log_events_max: events, log_bytes_max: '64MiB'}})), {rounds, ...rest});

/** Parser and encoder: the lines of parser_bench.c. */
export async function parser({rounds = 5} = {}) {
  const {code, stdout, stderr} = await run('taskset', ['-c', clientCore, buildPath('tests/bench/parser_bench'), '--rounds', String(rounds)], {ms: 120000});
  if (code !== 0) throw new Error(stderr);
  return stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

/** All of it, by name, in so many rounds; `which` names some. What fails has no numbers, and is among `failures`: [{name, why}]. */
export async function measureRuns({which = [], rounds = 5, log = () => {}} = {}) {
  const all = {acceptance, swaps, swapsAtMost: (options) => swaps({...options, rate: 0}), costBySessions, costByLog, parser, ...footprint};
  const result = {rounds, failures: []};
  for (const [name, measure] of Object.entries(all)) {
    if (which.length && !which.includes(name)) continue;
    try {
      result[name] = await measure({rounds});
      log(`runs: ${name}`);
    } catch (error) {
      result.failures.push({name, why: error.message.split('\n')[0]});
      log(`runs: ${name}: ${error.message}`);
    }
  }
  return result;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const result = await measureRuns({which: process.argv.slice(2), log: (line) => console.error(line)});
  if (process.argv.length === 2) keepResult('runs', result);
  console.log(JSON.stringify(result, null, 1));
  process.exitCode = result.failures.length ? 1 : 0;
}
