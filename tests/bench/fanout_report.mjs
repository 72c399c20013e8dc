// What the rounds of fanout.mjs say: ratios first, each beside its target, then rates, processor time, latency and memory.
import {barsSvg} from '../support/bars.mjs';
import {summary} from './measuring.mjs';
import {count, ratio, span, table, targetCell} from './tables.mjs';

const ceilingTarget = 0.95;
const nchanTargets = {1: 1.3, 16: 8};
const idleTargetBytes = 1024;
const sharedOne = 'sluice, 1 worker, shared cores';
const sharedTwo = 'sluice, 2 workers, shared cores';

const eventSize = (size) => (size < 1000 ? `${size} B` : `${size / 1024} KB`);
const inFlight = (window) => (window === 1 ? 'single' : `${window}`);

const distinct = (values) => [...new Set(values)];

/** The values of one server in one setting, one a round, at the round's place. */
function byRound({rows, rounds}, server, at, field) {
  const values = Array(rounds).fill(undefined);
  for (const row of rows) {
    if (row.server === server && row.subscribers === at.subscribers && row.size === at.size && row.window === at.window) values[row.round] = field(row);
  }
  return values;
}

const rate = (row) => row.deliveries_per_s;
const cpu = (row) => row.server_cpu_s_per_million;

function settings({rows}) {
  const all = distinct(rows.map(({subscribers, size, window}) => `${subscribers} ${size} ${window}`));
  return all.map((text) => {
    const [subscribers, size, window] = text.split(' ').map(Number);
    return {subscribers, size, window};
  }).sort((a, b) => a.size - b.size || a.window - b.window || a.subscribers - b.subscribers);
}

const settingCells = (at) => [count(at.subscribers), eventSize(at.size), inFlight(at.window)];
const settingHeads = ['subscribers', 'event', 'in flight'];

function ratioTable(result) {
  const others = result.servers.filter((name) => !['sluice', 'limit', 'nchan', sharedOne, sharedTwo].includes(name));
  const heads = [...settingHeads, `Sluice / ceiling (at least ${ceilingTarget})`, 'CPU, Sluice / ceiling', 'Sluice / nchan (at least 1.3 single, 8 in flight)', ...others.map((name) => `Sluice / ${name}`)];
  return table(heads, settings(result).map((at) => {
    const of = (name, field = rate) => byRound(result, name, at, field);
    return [...settingCells(at), targetCell(ratio(of('sluice'), of('limit')), ceilingTarget),
      targetCell(ratio(of('sluice', cpu), of('limit', cpu))), targetCell(ratio(of('sluice'), of('nchan')), nchanTargets[at.window]),
      ...others.map((name) => targetCell(ratio(of('sluice'), of(name))))];
  }));
}

/** `cell` makes the text of one server in one setting from a function that gives a field's summary. */
function serverTable(result, cell) {
  const servers = result.servers.filter((name) => ![sharedOne, sharedTwo].includes(name));
  return table([...settingHeads, ...servers], settings(result).map((at) =>
    [...settingCells(at), ...servers.map((name) => cell((field) => summary(byRound(result, name, at, field))))]));
}

const rateAndCpu = (of) => `${span(of(rate))}<br>${span(of(cpu), 2)} s`;

function sharedTable(result) {
  return table([...settingHeads, 'two workers / one (at least 1)', 'one worker, deliveries/s', 'two workers, deliveries/s', 'one worker, CPU s per million', 'two workers, CPU s per million'],
    settings(result).map((at) => {
      const of = (name, field) => byRound(result, name, at, field);
      return [...settingCells(at), targetCell(ratio(of(sharedTwo, rate), of(sharedOne, rate)), 1), span(summary(of(sharedOne, rate))), span(summary(of(sharedTwo, rate))),
        span(summary(of(sharedOne, cpu)), 2), span(summary(of(sharedTwo, cpu)), 2)];
    }));
}

function idleTable(result) {
  const crowds = distinct(result.idle.map(({subscribers}) => subscribers)).sort((a, b) => a - b);
  const largest = crowds.at(-1);
  const heads = ['server', ...crowds.map((crowd) => `${count(crowd)} subscribers`), `kernel, at ${count(largest)}`];
  return table(heads, result.servers.map((server) => {
    const of = (subscribers, field) => summary(result.idle.filter((row) => row.server === server && row.subscribers === subscribers).map(field));
    const resident = crowds.map((crowd) => of(crowd, (row) => row.rss_bytes_each));
    const cells = resident.map((each, i) => (server === 'sluice' && crowds[i] === largest ? targetCell(each, idleTargetBytes, {atMost: true, digits: 0}) : span(each)));
    return [server, ...cells, span(of(largest, (row) => row.kernel_bytes_each))];
  }));
}

/** How far apart the rounds of the ceiling were, which does the same each time. */
function noise(result) {
  const spreads = settings(result).flatMap((at) => {
    const all = summary(byRound(result, 'limit', at, rate));
    return all ? [{at, spread: (all.max - all.min) / all.median}] : [];
  }).sort((a, b) => a.spread - b.spread);
  if (!spreads.length) return '';
  const percent = ({spread}) => `${(spread * 100).toFixed(0)} %`;
  const worst = spreads.at(-1);
  return `Noise: the ceiling does the same work each time, and its rounds were ${percent(spreads[0])} to ${percent(worst)} of their median apart, ` +
    `${percent(spreads[spreads.length >> 1])} in the middle; most with ${settingCells(worst.at).join(', ')}.`;
}

function troubles({absent, failures}) {
  const lines = [...absent.map(({name, why}) => `- ${name} is left out: ${why}.`),
    ...failures.map(({server, subscribers, round, why}) => `- ${server} with ${count(subscribers)} subscribers, round ${round + 1}, gave no numbers: ${why}`)];
  return lines.length ? ['What is missing:', '', ...lines, ''] : [];
}

/** The ratios alone, for the terminal. */
export const fanoutRatios = (result) => [ratioTable(result), '', sharedTable(result), '', noise(result), '', ...troubles(result)].join('\n');

export function fanoutReport(result) {
  return [
    'One stream of events goes to all subscribers; event *k + in flight* is published when all of them have event *k*. "Ceiling" is `tests/bench/limit.c`:',
    'raw epoll, no HTTP library, one shared framed event, and what arrived in one read leaves in one `sendmsg`. Each subscriber must get each event once and',
    'in order, or there is no number. Ratios are those of the medians; in parentheses the lowest and the highest of the rounds\' own ratios. **Bold**: the target is missed.',
    '', ratioTable(result), '', noise(result), '', ...troubles(result),
    '![Deliveries per second](benchmarks-fanout.svg)', '',
    '### Deliveries per second, and CPU seconds of the server per million deliveries', '',
    'The CPU seconds are the steadier figure where the client binds.', '', serverTable(result, rateAndCpu), '',
    '### Time to the last subscriber, median, µs', '', serverTable(result, (of) => span(of((row) => row.last_us?.p50))), '',
    '### Latency of all deliveries, 99 %, µs', '', serverTable(result, (of) => span(of((row) => row.latency_us?.p99))), '',
    '### Two workers, client and server on the same cores', '', sharedTable(result), '',
    '### Resident bytes of the process per idle subscriber', '',
    `At most ${idleTargetBytes} for Sluice with the largest crowd, where what is there only once counts least; "kernel" is what the machine's kernel took more, both ends of each socket.`, '', idleTable(result), '',
  ].join('\n');
}

/** {name of the file: SVG} */
export function fanoutPlots(result) {
  const crowds = distinct(result.rows.map(({subscribers}) => subscribers)).sort((a, b) => a - b);
  const servers = result.servers.filter((name) => ![sharedOne, sharedTwo].includes(name));
  const kinds = distinct(settings(result).map(({size, window}) => `${size} ${window}`)).map((text) => text.split(' ').map(Number));
  const panels = kinds.map(([size, window]) => ({
    title: `${eventSize(size)}, ${inFlight(window)}${window === 1 ? '' : ' in flight'}`,
    groups: crowds.map((crowd) => `${count(crowd)} subscribers`),
    series: servers.map((name) => ({name, values: crowds.map((subscribers) => summary(byRound(result, name, {subscribers, size, window}, rate)))})),
  }));
  return {'benchmarks-fanout.svg': barsSvg('Fan-out: deliveries per second, median of the rounds, lowest and highest', panels)};
}
