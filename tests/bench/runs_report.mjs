// What runs.mjs and footprint.mjs measured, each figure beside its target.
import {count, number, span, table, targetCell} from './tables.mjs';

const atMost = {atMost: true};

/** [what, the figure, what is asked]: only those that were measured. */
function targetRows(result) {
  const {acceptance, swapsAtMost, idleSessions, idleSubscribers, upstreamStreams, starting, endingIdle, endingFull} = result;
  const rows = [];
  const add = (measured, make) => measured && rows.push(...make(measured));
  add(acceptance, (each) => [
    [`runs at ${count(each.rate)}/s: accepted, 99 %, µs`, targetCell(each.accepted_p99_us, 1000, {...atMost, digits: 0}), 'at most 1 000'],
    [`runs at ${count(each.rate)}/s: accepted to sent to the agent, 99 %, µs`, targetCell(each.execution_delay_p99_us, 2000, {...atMost, digits: 0}), 'at most 2 000'],
  ]);
  add(swapsAtMost, (each) => [['swaps of one session, per second', targetCell(each.swaps_per_s, 5000, {digits: 0}), 'at least 5 000']]);
  add(idleSessions, (each) => [[`bytes per idle session, of ${count(each.count)}`, targetCell(each.resident_bytes_each, 1024, {...atMost, digits: 0}), 'at most 1 024']]);
  add(idleSubscribers, (each) => [[`bytes per idle subscriber, of ${count(each.count)}`, targetCell(each.resident_bytes_each, 1024, {...atMost, digits: 0}), 'at most 1 024']]);
  add(upstreamStreams, (each) => [
    [`bytes per upstream stream, of ${count(each.count)}, events one by one`, targetCell(each.resident_bytes_each, 24576, {...atMost, digits: 0}), 'at most 24 576'],
    [`bytes per upstream stream, of ${count(each.count)}, after a burst`, targetCell(each.after_burst_bytes_each, 24576, {...atMost, digits: 0}), 'at most 24 576'],
  ]);
  add(starting, (each) => [['start to the first answer, ms', targetCell(each.first_answer_ms, 20, {...atMost, digits: 1}), 'at most 20']]);
  add(endingIdle, (each) => [['SIGTERM to the end, idle, ms', targetCell(each.end_ms, 50, {...atMost, digits: 1}), 'at most 50']]);
  add(endingFull, (each) => [[`SIGTERM to the end, ${count(each.subscribers)} subscribers, ms`, targetCell(each.end_ms, 1000, {...atMost, digits: 0}), 'at most 1 000']]);
  return rows;
}

function parserTable(cases) {
  return table(['event', 'parser, GB/s', 'parser, events/s', 'encoder, GB/s', 'encoder, events/s', 'parser / memchr', 'encoder / memchr'], cases.map((each) => [
    each.case, targetCell(each.parser_gb_per_s, each.data_bytes >= 65536 ? 1 : undefined), targetCell(each.parser_events_per_s, each.data_bytes <= 256 ? 1e7 : undefined, {digits: 0}),
    targetCell(each.encoder_gb_per_s, each.data_bytes >= 65536 ? 1 : undefined), targetCell(each.encoder_events_per_s, each.data_bytes <= 256 ? 1e7 : undefined, {digits: 0}),
    number(each.parser_to_memchr, 3), number(each.encoder_to_memchr, 3),
  ]));
}

/** What an event costs as something grows: that it does not is what is asked. */
const growth = (costs, what) => table([what, 'CPU per event, µs', 'to the first'], Object.entries(costs).map(([size, cost], i, [[, first]]) =>
  [count(Number(size)), span(cost, 2), i ? number(cost.median / first.median, 2) : '1']));

const stalledTable = (rows) => table(['send_buffer_bytes', 'held for the server, bytes', 'held for the client, bytes'],
  Object.entries(rows).map(([setting, held]) => [setting, count(held.server_bytes), count(held.client_bytes)]));

const details = ({acceptance, swaps}) => [
  ...(acceptance ? [`CPU per run: ${span(acceptance.cpu_us_per_run, 1)} µs; the client itself was late by ${span(acceptance.client_late_p99_us)} µs (99 %).`] : []),
  ...(swaps ? [`Swaps of one session at ${count(swaps.rate)}/s: accepted within ${span(swaps.accepted_p99_us)} µs (99 %), ${span(swaps.cpu_us_per_swap, 1)} µs of CPU a swap; ` +
    `${span(swaps.share_that_reached_the_agent, 2)} of them reached the agent before the next one came.`] : []),
];

/** The figures that have a target, for the terminal. */
export const runsRatios = (result) => [
  table(['what', 'median (lowest–highest)', 'target'], targetRows(result)), '',
  ...(result.failures ?? []).map(({name, why}) => `- ${name} gave no numbers: ${why}`), '',
].join('\n');

export function runsReport(result) {
  const {parser, costBySessions, costByLog, stalledClient} = result;
  const section = (measured, heading, text) => (measured ? [`### ${heading}`, '', text(measured), ''] : []);
  return [
    '**Bold**: the target is missed.', '', runsRatios(result), '', ...details(result), '',
    ...section(parser, 'SSE parser and frame encoder', (cases) => ['Asked: 1 GB/s on large events, 10 million small events a second, on one core.', '', parserTable(cases)].join('\n')),
    ...section(costBySessions, 'An event with so many sessions in existence', (costs) => growth(costs, 'sessions')),
    ...section(costByLog, 'An event with a log that is full at so many events', (costs) => growth(costs, 'events in the log')),
    ...section(stalledClient, 'What the kernels hold for a client that reads nothing', stalledTable),
  ].join('\n');
}
