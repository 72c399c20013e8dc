// What runs.mjs and footprint.mjs measured, each figure beside its target.
import {count, noiseOf, number, ratio, span, table, targetCell} from './tables.mjs';

const atMost = {atMost: true};
/** A paced client that is a little late is not the gateway's miss. */
const paceTolerance = 0.99;
/** An event costs the same if it costs no more than this times what it costs with the least of all else. */
const growthTarget = 1.1;

const percent = (share) => `${(share * 100).toFixed(share < 0.01 ? 2 : 0)} %`;
const reached = ({share_that_reached_the_agent: share}) => (share ? percent(share.median) : 'an unmeasured share');

const inKib = (bytes) => Object.fromEntries(Object.entries(bytes).map(([name, value]) => [name, value / 1024]));

/** [what, the figure, what is asked]: only those that were measured. */
function targetRows(result) {
  const {acceptance, swaps, swapsAtMost, idleSessions, idleSubscribers, heldAtOnce, upstreamStreams, starting, endingIdle, endingFull} = result;
  const rows = [];
  const add = (measured, make) => measured && rows.push(...make(measured));
  add(acceptance, (each) => [
    [`runs at ${count(each.rate)}/s, sessions known upstream: accepted, 99 %, µs`, targetCell(each.accepted_p99_us, 1000, {...atMost, digits: 0}), 'at most 1 000'],
    [`runs at ${count(each.rate)}/s, sessions known upstream: from the client's send to the whole request's arrival at the agent, 99 %, µs`, targetCell(each.execution_delay_p99_us, 2000, {...atMost, digits: 0}), 'at most 2 000'],
  ]);
  add(swaps, (each) => [[`swaps of one session, ${count(each.rate)}/s asked, per second; ${reached(each)} reached the agent before the next came`,
    targetCell(each.swaps_per_s, 5000 * paceTolerance, {digits: 0}), 'at least 5 000, to 1 %']]);
  add(swapsAtMost, (each) => [[`swaps of one session, as fast as they are accepted, per second; ${reached(each)} reached the agent before the next came`,
    span(each.swaps_per_s), 'none']]);
  add(idleSessions, (each) => [[`bytes per idle session that never had a run, of ${count(each.count)}`, targetCell(each.resident_bytes_each, 1024, {...atMost, digits: 0}), 'at most 1 024']]);
  add(idleSubscribers, (each) => [[`bytes per idle subscriber, of ${count(each.count)}`, targetCell(each.resident_bytes_each, 1024, {...atMost, digits: 0}), 'at most 1 024']]);
  add(heldAtOnce, (each) => [[`KiB that one process grew by ${count(each.sessions)} sessions and ${count(each.subscribers)} subscribers, held at the same time`,
    targetCell(inKib(each.grown_bytes), each.target / 1024, {...atMost, digits: 0}), `at most ${count(each.target / 1024)}`]]);
  add(upstreamStreams, (each) => [
    [`bytes per upstream stream with its run, without session and log, of ${count(each.count)}, events one by one`, targetCell(each.resident_bytes_each, 24576, {...atMost, digits: 0}), 'at most 24 576'],
    [`bytes per upstream stream with its run, without session and log, of ${count(each.count)}, after a burst`, targetCell(each.after_burst_bytes_each, 24576, {...atMost, digits: 0}), 'at most 24 576'],
  ]);
  add(starting, (each) => [['start to the first answer, 1 worker, no demo, ms', targetCell(each.first_answer_ms, 20, {...atMost, digits: 1}), 'at most 20']]);
  add(endingIdle, (each) => [['SIGTERM to the end, 1 worker, no demo, idle, ms', targetCell(each.end_ms, 50, {...atMost, digits: 1}), 'at most 50']]);
  add(endingFull, (each) => [[`SIGTERM to the end, 1 worker, no demo, ${count(each.subscribers)} subscribers, ms`, targetCell(each.end_ms, 1000, {...atMost, digits: 0}), 'at most 1 000']]);
  return rows;
}

function parserTable(cases) {
  return table(['event', 'parser, GB/s', 'parser, events/s', 'encoder, GB/s', 'encoder, events/s', 'parser / memchr', 'encoder / memchr'], cases.map((each) => [
    each.case, targetCell(each.parser_gb_per_s, each.data_bytes >= 65536 ? 1 : undefined), targetCell(each.parser_events_per_s, each.data_bytes <= 256 ? 1e7 : undefined, {digits: 0}),
    targetCell(each.encoder_gb_per_s, each.data_bytes >= 65536 ? 1 : undefined), targetCell(each.encoder_events_per_s, each.data_bytes <= 256 ? 1e7 : undefined, {digits: 0}),
    number(each.parser_to_memchr, 3), number(each.encoder_to_memchr, 3),
  ]));
}

/** How much dearer than `first` an event is; the ratio of the medians alone if the rounds' own values were not kept. */
function growthCell(cost, first) {
  if (cost.rounds) return targetCell(ratio(cost.rounds, first.rounds), growthTarget, atMost);
  const grown = cost.median / first.median;
  return `${grown > growthTarget ? `**${number(grown, 2)}**` : number(grown, 2)} (rounds not kept)`;
}

/** What an event costs as something grows: that it does not is what is asked. */
const growth = (costs, what) => table([what, 'CPU per event, µs', `to the first (at most ${growthTarget})`], Object.entries(costs).map(([size, cost], i, [[, first]]) =>
  [count(Number(size)), span(cost, 2), i ? growthCell(cost, first) : '1']));

const held = (bytes) => (Number.isFinite(bytes) ? `${count(bytes)} (one round)` : span(bytes));
const stalledTable = (rows) => [
  '0 is the kernel\'s own tuning; the default is 128KiB, which the kernel doubles to have room for its own overhead.', '',
  table(['send_buffer_bytes', 'held for the server, bytes', 'held for the client, bytes'],
    Object.entries(rows).map(([setting, each]) => [setting, held(each.server_bytes), held(each.client_bytes)])),
].join('\n');

const details = ({acceptance, swaps, heldAtOnce}) => [
  ...(acceptance ? [`CPU per run: ${span(acceptance.cpu_us_per_run, 1)} µs; the client itself was late by ${span(acceptance.client_late_p99_us)} µs (99 %).`] : []),
  ...(swaps ? [`Swaps of one session at ${count(swaps.rate)}/s: accepted within ${span(swaps.accepted_p99_us)} µs (99 %), ${span(swaps.cpu_us_per_swap, 1)} µs of CPU a swap.`] : []),
  ...(heldAtOnce ? [`With ${count(heldAtOnce.sessions)} sessions and ${count(heldAtOnce.subscribers)} subscribers, each of a session of its own, both counted by /stats at the same moment, one process has ${span(inKib(heldAtOnce.resident_bytes))} KiB resident.`] : []),
];

/** Those figures of which all rounds do the same. */
const noise = ({acceptance, swaps, costBySessions, costByLog, starting, endingFull}) => noiseOf('all rounds of a figure do the same work, and they were', [
  {name: 'the acceptance of runs, 99 %', values: acceptance?.accepted_p99_us}, {name: 'the CPU of a run', values: acceptance?.cpu_us_per_run},
  {name: 'the acceptance of swaps, 99 %', values: swaps?.accepted_p99_us}, {name: 'the CPU of a swap', values: swaps?.cpu_us_per_swap},
  ...Object.entries(costBySessions ?? {}).map(([size, values]) => ({name: `the CPU of an event with ${count(Number(size))} sessions`, values})),
  ...Object.entries(costByLog ?? {}).map(([size, values]) => ({name: `the CPU of an event with ${count(Number(size))} events in the log`, values})),
  {name: 'the start', values: starting?.first_answer_ms}, {name: 'the end with all subscribers', values: endingFull?.end_ms},
]);

/** The figures that have a target, for the terminal. */
export const runsRatios = (result) => [
  table(['what', 'median (lowest–highest)', 'target'], targetRows(result)), '', noise(result), '',
  ...(result.failures ?? []).map(({name, why}) => `- ${name} gave no numbers: ${why}`), '',
].join('\n');

export function runsReport(result) {
  const {parser, costBySessions, costByLog, stalledClient} = result;
  const section = (measured, heading, text) => (measured ? [`### ${heading}`, '', text(measured), ''] : []);
  return [
    '**Bold**: the target is missed.', '', runsRatios(result), '', ...details(result), '',
    ...section(parser, 'SSE parser and frame encoder', (cases) => ['Asked: 1 GB/s on large events, 10 million small events a second, on one core. The data is ASCII.', '', parserTable(cases)].join('\n')),
    ...section(costBySessions, 'An event with so many sessions in existence', (costs) => growth(costs, 'sessions')),
    ...section(costByLog, 'An event with a log that is full at so many events', (costs) => growth(costs, 'events in the log')),
    ...section(stalledClient, 'What the kernels hold for a client that reads nothing', stalledTable),
  ].join('\n');
}
