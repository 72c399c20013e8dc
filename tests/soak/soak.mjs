// Churn for MINUTES: sessions, runs, swaps, subscribers, resumes, and in the end the question whether anything grew.
//     node tests/soak/soak.mjs MINUTES PLOT.svg
import {writeFileSync} from 'node:fs';
import {pause} from '../support/limits.mjs';
import {plotSvg} from '../support/plot.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {backTo, vitals} from '../support/vitals.mjs';
import {answerVisitor, visit} from '../support/visitors.mjs';

const minutes = Number(process.argv[2] ?? 10);
const plotFile = process.argv[3];
const visitors = 40;
const tasksKept = 500;
// A short soak sees the allocator still settle: 2 % is asked of those that take minutes.
const growthMax = minutes >= 5 ? 0.02 : 0.15;
const duration = minutes * 60000;
const warmUp = Math.max(10000, duration * 0.2);

const cleanUps = [];
const context = {after: (cleanUp) => cleanUps.unshift(cleanUp)};
const upstream = await startUpstream(context, answerVisitor);
const sluice = await startSluice(context, {upstream: upstream.url, log_level: 'error', cleanup_interval_ms: 250, tasks_kept: tasksKept,
  session_ttl_ms: Math.min(20000, warmUp * 0.4), upstream_connections_max: 32});
upstream.on('run', () => { if (upstream.runs.length > 100) upstream.runs.length = 0; }); // a soak remembers nothing

const before = await vitals(sluice, upstream);
const samples = [];
const errors = [];
let visited = 0;
let latencies = [];
const began = performance.now();
const elapsed = () => performance.now() - began;
const goesOn = () => elapsed() < duration;

async function visitAgainAndAgain() {
  while (goesOn()) {
    try {
      await visit(sluice);
      visited++;
    } catch (error) {
      errors.push(error.message);
      if (errors.length > 20) return;
    }
    await pause(200 + Math.random() * 600);
  }
}

/** From the request of a run to its first event, through gateway and upstream and back. */
async function probe() {
  while (goesOn()) {
    const from = performance.now();
    try {
      const client = await sluice.runStream(sessionPath(), 'count=1 delay=0');
      await client.messages(1);
      latencies.push(performance.now() - from);
      await client.ended();
    } catch (error) {
      errors.push(error.message);
    }
    await pause(50);
  }
}

const quantile = (values, part) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))];
const median = (values) => quantile(values, 0.5);

async function sample() {
  while (goesOn()) {
    await pause(1000);
    const taken = latencies;
    latencies = [];
    samples.push({at: elapsed(), ...await vitals(sluice, upstream), p50: median(taken), p99: quantile(taken, 0.99), taken});
  }
}

await Promise.all([...Array.from({length: visitors}, visitAgainAndAgain), probe(), sample()]);

// ---- the verdict ----

const warm = samples.filter(({at}) => at >= warmUp);
const first = warm.slice(0, Math.ceil(warm.length / 4));
const last = warm.slice(-Math.ceil(warm.length / 4));
const change = (value) => [median(first.map(value)), median(last.map(value))];
const MiB = 1 << 20;
let passed = 0;
let failed = 0;

function check(good, what) {
  console.log(`${good ? 'ok' : 'not ok'} - ${what}`);
  if (good) passed++;
  else failed++;
}

check(errors.length === 0 && visited > 0, `${visited} visits, ${errors.length} of them went wrong${errors.slice(0, 3).map((error) => `\n  ${error}`).join('')}`);

const [memoryFirst, memoryLast] = change(({residentBytes}) => residentBytes / MiB);
check(memoryLast <= memoryFirst * (1 + growthMax), `memory after the warm-up: from ${memoryFirst.toFixed(2)} to ${memoryLast.toFixed(2)} MiB ` +
  `(${((memoryLast / memoryFirst - 1) * 100).toFixed(2)} %, at most ${growthMax * 100} %)`);

// What is open without being a client's: nothing of that kind may pile up.
const [openFirst, openLast] = change(({descriptors}) => descriptors);
check(openLast <= openFirst + 1, `descriptors beside those of clients: from ${openFirst} to ${openLast}`);
const threads = new Set(samples.map((each) => each.threads));
check(Math.max(...threads) <= before.threads + 4, `threads: ${[...threads]} (with at most 4 resolvers beside the ${before.threads})`);

const typical = (part) => median(part.flatMap(({taken}) => taken));
const [latencyFirst, latencyLast] = [typical(first), typical(last)];
check(latencyLast <= latencyFirst * 1.5 + 1, `latency of a first event: from ${latencyFirst.toFixed(2)} to ${latencyLast.toFixed(2)} ms (median)`);

try {
  const {accounted_bytes: _accounted, tasks: _tasks, ...expected} = before; // ended runs are remembered, as many as may be
  const now = await backTo(expected, sluice, upstream, {idleMax: 64, ms: 60000});
  check(now.tasks <= tasksKept, `sessions, subscribers, logs, descriptors and threads are back where they were; ${now.tasks} runs are remembered`);
} catch (error) {
  check(false, error.message);
}

if (plotFile) {
  const series = (name, value) => ({name, values: samples.map(value)});
  writeFileSync(plotFile, plotSvg(`Soak of ${minutes} minutes: ${visited} visits by ${visitors} visitors at once`, samples.map(({at}) => at / 1000), [
    {title: 'Memory, MiB', series: [series('resident (anonymous)', (each) => each.residentBytes / MiB), series('accounted for', (each) => each.accounted_bytes / MiB)]},
    {title: 'Sessions', series: [series('sessions', (each) => each.sessions)]},
    {title: 'Descriptors and subscribers', series: [series('descriptors', (each) => each.descriptors + each.clientConnections + each.upstreamConnections), series('subscribers', (each) => each.subscribers)]},
    {title: 'From a run to its first event, ms', series: [series('median', (each) => each.p50), series('99 %', (each) => each.p99)]},
  ]));
}

for (const cleanUp of cleanUps) {
  try {
    await cleanUp();
  } catch (error) {
    check(false, error.message);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
