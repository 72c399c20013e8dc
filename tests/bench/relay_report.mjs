// What the rounds of relay.mjs say: the gateway beside those that only copy bytes, ratios first.
import {barsSvg} from '../support/bars.mjs';
import {summary} from './measuring.mjs';
import {count, noiseOf, ratio, span, table, targetCell} from './tables.mjs';

const cpuTarget = 1.05;
const direct = 'direct'; // straight to the source, without a relay

const distinct = (values) => [...new Set(values)];
const streamsOf = ({rows}) => distinct(rows.map(({streams}) => streams)).sort((a, b) => a - b);
const order = ['sluice', 'sluice, S/run', 'nginx', 'haproxy'];
const relaysOf = ({rows}) => order.filter((name) => rows.some(({server}) => server === name));

/** The values of one server with so many streams, one a round, at the round's place. */
function byRound({rows, rounds}, server, streams, field) {
  const values = Array(rounds).fill(undefined);
  for (const row of rows) if (row.server === server && row.streams === streams) values[row.round] = field(row);
  return values;
}

const named = (streams) => `${count(streams)} ${streams === 1 ? 'stream' : 'streams'}`;

const cpu = (row) => row.server_cpu_us_per_event;
const p50 = (row) => row.latency_us.p50;
const p99 = (row) => row.latency_us.p99;

/** What a relay adds to a latency, round by round. Noise can make it negative: such values are compared, never divided. */
function added(result, server, streams, latency) {
  const without = byRound(result, direct, streams, latency);
  return byRound(result, server, streams, latency).map((value, round) => value - without[round]);
}

/** Both medians; the gateway's is bold if it is above that of a peer it must not be above. */
function addedCell(result, server, other, streams, latency) {
  const [mine, theirs] = [server, other].map((name) => summary(added(result, name, streams, latency)));
  if (!mine || !theirs) return '–';
  return `${targetCell(mine, other === 'nginx' ? theirs.median : undefined, {atMost: true, digits: 1})} : ${span(theirs, 1)}`;
}

function ratioTable(result) {
  const relays = relaysOf(result);
  const isSluice = (name) => name.startsWith('sluice');
  const pairs = relays.filter(isSluice).flatMap((name) => relays.filter((other) => !isSluice(other)).map((other) => [name, other]));
  const heads = ['streams', 'of', `CPU per event, ratio (nginx: at most ${cpuTarget})`, 'added latency, median, µs (at most nginx\'s)', 'added latency, 99 %, µs (at most nginx\'s)'];
  return table(heads, streamsOf(result).flatMap((streams) => pairs.map(([server, other]) => [
    count(streams), `${server} : ${other}`,
    targetCell(ratio(byRound(result, server, streams, cpu), byRound(result, other, streams, cpu)), other === 'nginx' ? cpuTarget : undefined, {atMost: true}),
    addedCell(result, server, other, streams, p50), addedCell(result, server, other, streams, p99),
  ])));
}

/** The share of the time that a core was busy. */
const serverShare = (row) => row.server_cpu_share;
const clientShare = (row) => row.client_cpu_share + row.source_cpu_share;

function figures(result) {
  const heads = ['streams', 'server', 'CPU per event, µs', 'added latency, median, µs', 'added latency, 99 %, µs', 'events/s',
    'the server\'s core busy', 'the client\'s and the source\'s core busy', 'memory per stream at the end, bytes'];
  return table(heads, streamsOf(result).flatMap((streams) => relaysOf(result).map((server) => {
    const of = (field) => summary(byRound(result, server, streams, field));
    const memory = of((row) => row.rss_at_end?.bytes_each);
    return [count(streams), server, span(of(cpu), 1), span(summary(added(result, server, streams, p50)), 1), span(summary(added(result, server, streams, p99)), 1),
      span(of((row) => row.events_per_s)), span(of(serverShare), 2), span(of(clientShare), 2), memory ? span(memory) : 'not measured'];
  })));
}

/** Memory at the end holds what the gateway keeps of each stream. */
function aboutMemory(result) {
  const events = summary(result.rows.map((row) => row.rss_at_end?.events_each));
  const own = 'What a stream itself takes is told under "Runs, memory, start and end".';
  return events ? `Memory is read at the end, when each stream had brought some ${count(events.median)} events: Sluice keeps them in a log, the others keep nothing. ${own}` : own;
}

const directTable = (result) => table(['streams', 'median, µs', '99 %, µs'], streamsOf(result).map((streams) =>
  [count(streams), ...[p50, p99].map((latency) => span(summary(byRound(result, direct, streams, latency))))]));

const noise = (result) => noiseOf('the work is the same each time; without a relay the rounds\' median latencies, and with one their CPU per event, were', streamsOf(result).flatMap((streams) => [
  {name: `${named(streams)}, without a relay`, values: summary(byRound(result, direct, streams, p50))},
  ...relaysOf(result).map((server) => ({name: `${named(streams)}, CPU of ${server}`, values: summary(byRound(result, server, streams, cpu))})),
]));

function troubles({absent, failures}) {
  const lines = [...absent.map(({name, why}) => `- ${name} is left out: ${why}.`),
    ...failures.map(({server, streams, round, why}) => `- ${server} with ${named(streams)}, round ${round + 1}, gave no numbers: ${why}`)];
  return lines.length ? ['What is missing:', '', ...lines, ''] : [];
}

export const relayRatios = (result) => [ratioTable(result), '', noise(result), '', ...troubles(result)].join('\n');

export function relayReport(result) {
  const fewest = Math.min(...streamsOf(result));
  const samples = result.rate * result.seconds * fewest;
  return [
    `Each stream has its own request and run, and brings ${result.rate} events of ${result.size} B a second, for ${result.seconds} s a round. Added latency is what is above that of the`,
    'same round without a relay, and where the relay adds less than the noise it can be below 0: so the medians stand side by side, Sluice\'s first. Ratios of CPU are those of',
    'the medians; in parentheses the lowest and the highest of the rounds. nginx and HAProxy copy bytes and parse no events.',
    '"sluice" is `POST /run_sse`, ADK\'s own path. Sluice runs with `upstream_connect_timeout_ms` at 1000 in place of its default of 10000 (why: `tests/bench/peers/sluice.yaml`).',
    `With ${named(fewest)} a round has ${count(samples)} events, so that its 99 % rests on the slowest ${count(Math.max(1, samples / 100))} of them. **Bold**: the target is missed.`,
    '', ratioTable(result), '', noise(result), '', ...troubles(result),
    '![CPU per event](benchmarks-relay.svg)', '', aboutMemory(result), '', figures(result), '', 'Without a relay:', '', directTable(result), '',
  ].join('\n');
}

/** {name of the file: SVG} */
export function relayPlots(result) {
  const streams = streamsOf(result);
  const panel = (title, values) => ({title, groups: streams.map((each) => named(each)),
    series: relaysOf(result).map((name) => ({name, values: streams.map((each) => summary(values(name, each)))}))});
  return {'benchmarks-relay.svg': barsSvg('Streams one to one: median of the rounds, lowest and highest', [
    panel('CPU per event, µs', (name, each) => byRound(result, name, each, cpu)), panel('Added latency, 99 %, µs', (name, each) => added(result, name, each, p99)),
  ])};
}
