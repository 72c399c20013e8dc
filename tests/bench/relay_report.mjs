// What the rounds of relay.mjs say: the gateway beside those that only copy bytes, ratios first.
import {barsSvg} from '../support/bars.mjs';
import {count, span, table, targetCell} from './tables.mjs';

const cpuTarget = 1.05;
const latencyTarget = 1;

const distinct = (values) => [...new Set(values)];

function ratioTable({ratios}) {
  const judged = (other, target) => (other === 'nginx' ? target : undefined);
  const heads = ['streams', 'of', 'CPU per event (nginx: at most 1.05)', 'added latency, median (nginx: at most 1)', 'added latency, 99 % (nginx: at most 1)', 'memory per stream'];
  return table(heads, ratios.map(({server, other, streams, ...row}) => [
    count(streams), `${server} / ${other}`,
    targetCell(row.cpu_per_event, judged(other, cpuTarget), {atMost: true}),
    targetCell(row.added_p50, judged(other, latencyTarget), {atMost: true}),
    targetCell(row.added_p99, judged(other, latencyTarget), {atMost: true}),
    span(row.rss_each, 2),
  ]));
}

function figures({table: rows}) {
  return table(['streams', 'server', 'CPU per event, µs', 'added latency, median, µs', 'added latency, 99 %, µs', 'memory per stream, bytes', 'events/s', 'cores of the client and the source'],
    rows.map((row) => [count(row.streams), row.server, span(row.cpu_us_per_event, 1), span(row.added_p50_us, 0), span(row.added_p99_us, 0), span(row.rss_bytes_each),
      span(row.events_per_s), span(row.client_core_share, 2)]));
}

const directTable = ({direct}) => table(['streams', 'median, µs', '99 %, µs'], direct.map((row) => [count(row.streams), span(row.p50_us), span(row.p99_us)]));

function troubles({absent, failures}) {
  const lines = [...absent.map(({name, why}) => `- ${name} is left out: ${why}.`),
    ...failures.map(({server, streams, round, why}) => `- ${server} with ${count(streams)} streams, round ${round + 1}, gave no numbers: ${why}`)];
  return lines.length ? ['What is missing:', '', ...lines, ''] : [];
}

export const relayRatios = (result) => [ratioTable(result), '', ...troubles(result)].join('\n');

export function relayReport(result) {
  return [
    `Each stream has its own request and run, and brings ${result.rate} events of ${result.size} B a second. Added latency is what is above that of the same round`,
    'without a relay; nginx and HAProxy copy bytes and parse nothing. Ratios are medians of the rounds\' own ratios, in parentheses the lowest and the highest.',
    '"sluice" is `POST /run_sse`, ADK\'s own path. **Bold**: the target is missed.',
    '', ratioTable(result), '', ...troubles(result),
    '![CPU per event](benchmarks-relay.svg)', '', figures(result), '', 'Without a relay:', '', directTable(result), '',
  ].join('\n');
}

/** {name of the file: SVG} */
export function relayPlots({table: rows}) {
  const servers = distinct(rows.map(({server}) => server));
  const streams = distinct(rows.map((row) => row.streams));
  const of = (server, count, field) => rows.find((row) => row.server === server && row.streams === count)?.[field];
  const panel = (title, field) => ({title, groups: streams.map((each) => `${count(each)} streams`), series: servers.map((name) => ({name, values: streams.map((each) => of(name, each, field))}))});
  return {'benchmarks-relay.svg': barsSvg('Streams one to one: median of the rounds, lowest and highest', [
    panel('CPU per event, µs', 'cpu_us_per_event'), panel('Added latency, 99 %, µs', 'added_p99_us'),
  ])};
}
