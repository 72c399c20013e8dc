// What the rounds of fanout.mjs say: ratios first, each beside its target, then rates, processor time, latency and memory.
import {barsSvg} from '../support/bars.mjs';
import {summary} from './measuring.mjs';
import {count, noiseOf, ratio, span, table, targetCell} from './tables.mjs';

const ceilingTarget = 0.95;
const nchanTargets = {1: 1.3, 16: 8};
const idleTargetBytes = 1024;
const sharedOne = 'sluice, 1 worker, shared cores';
const sharedTwo = 'sluice, 2 workers, shared cores';
const ceilingOne = 'limit, 1 thread, shared cores';
const ceilingTwo = 'limit, 2 threads, shared cores';
const sharesCores = (name) => name.endsWith('shared cores');

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
const serverShare = (row) => row.server_cpu_share;
const clientShare = (row) => row.client_cpu_share;

/** A core that is busy for this share of the time is what binds. */
const bindingShare = 0.9;

/** Whose core was busy, the server's or that of the client and the source. */
function whoBinds(server, client) {
  if (!server || !client) return 'not measured';
  const [serverBinds, clientBinds] = [server, client].map(({median}) => median >= bindingShare);
  const who = serverBinds ? (clientBinds ? 'both' : 'Sluice') : clientBinds ? 'the client' : 'neither';
  return `${who}: ${span(server, 2)}, ${span(client, 2)}`;
}

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
  const others = result.servers.filter((name) => !['sluice', 'limit', 'nchan'].includes(name) && !sharesCores(name));
  const heads = [...settingHeads, `Sluice / ceiling (at least ${ceilingTarget})`, 'CPU, Sluice / ceiling', 'Sluice / nchan (at least 1.3 single, 8 in flight)', ...others.map((name) => `Sluice / ${name}`), 'who binds: Sluice\'s core, the client\'s core'];
  return table(heads, settings(result).map((at) => {
    const of = (name, field = rate) => byRound(result, name, at, field);
    return [...settingCells(at), targetCell(ratio(of('sluice'), of('limit')), ceilingTarget),
      targetCell(ratio(of('sluice', cpu), of('limit', cpu))), targetCell(ratio(of('sluice'), of('nchan')), nchanTargets[at.window]),
      ...others.map((name) => targetCell(ratio(of('sluice'), of(name)))),
      whoBinds(summary(of('sluice', serverShare)), summary(of('sluice', clientShare)))];
  }));
}

/** `cell` makes the text of one server in one setting from a function that gives a field's summary. */
function serverTable(result, cell) {
  const servers = result.servers.filter((name) => !sharesCores(name));
  return table([...settingHeads, ...servers], settings(result).map((at) =>
    [...settingCells(at), ...servers.map((name) => cell((field) => summary(byRound(result, name, at, field))))]));
}

const rateAndCpu = (of) => `${span(of(rate))}<br>${span(of(cpu), 2)} s<br>${[serverShare, clientShare].map((share) => of(share)?.median.toFixed(2) ?? '–').join(', ')}`;

/** What a second one does, {sluice, ceiling}: the ceiling's is undefined where it was not measured. */
function secondOne(result, at) {
  const of = (two, one) => ratio(byRound(result, two, at, rate), byRound(result, one, at, rate));
  return {sluice: of(sharedTwo, sharedOne), ceiling: of(ceilingTwo, ceilingOne)};
}

function sharedTable(result) {
  return table([...settingHeads, 'two workers / one (at least 1)', 'ceiling, two threads / one', 'one worker, deliveries/s', 'two workers, deliveries/s', 'one worker, CPU s per million', 'two workers, CPU s per million',
    'one worker, cores busy: server, client', 'two workers, cores busy: server, client', 'ceiling, one thread, deliveries/s', 'ceiling, two threads, deliveries/s'],
    settings(result).map((at) => {
      const of = (name, field) => byRound(result, name, at, field);
      const {sluice, ceiling} = secondOne(result, at);
      return [...settingCells(at), targetCell(sluice, 1), targetCell(ceiling), span(summary(of(sharedOne, rate))), span(summary(of(sharedTwo, rate))),
        span(summary(of(sharedOne, cpu)), 2), span(summary(of(sharedTwo, cpu)), 2),
        ...[sharedOne, sharedTwo].map((name) => [serverShare, clientShare].map((share) => summary(of(name, share))?.median.toFixed(2) ?? '–').join(', ')),
        ...[ceilingOne, ceilingTwo].map((name) => span(summary(of(name, rate))))];
    }));
}

/** Where two workers are slower than one: whether the ceiling loses as much by a second thread. */
function sharedVerdict(result) {
  const all = settings(result).map((at) => ({at, ...secondOne(result, at)})).filter(({sluice}) => sluice);
  const slower = all.filter(({sluice}) => sluice.median < 1);
  const compared = slower.filter(({ceiling}) => ceiling);
  const losesAsMuch = ({sluice, ceiling}) => ceiling.median < 1 && sluice.median >= ceilingTarget * ceiling.median;
  const kinds = [
    ['the ceiling loses as much by a second thread, or more: so it is the limit of two cores that the client shares', losesAsMuch],
    ['the ceiling loses, too, but less: the rest is Sluice\'s own, or noise', (each) => each.ceiling.median < 1 && !losesAsMuch(each)],
    ['the ceiling loses nothing: it is Sluice\'s own, or noise', ({ceiling}) => ceiling.median >= 1],
  ];
  const figures = ({at, sluice, ceiling}) => `${settingCells(at).join(', ')}: ${sluice.median.toFixed(2)}, ceiling ${ceiling.median.toFixed(2)}`;
  const found = kinds.map(([what, is]) => [what, compared.filter(is)]).filter(([, some]) => some.length);
  return all.length ? [`Two workers were slower than one in ${slower.length} of ${all.length} settings; the ceiling was measured in ${compared.length} of those (ratios within ${Math.round(100 * (1 - ceilingTarget))} % count as alike):`, '',
    ...found.map(([what, some]) => `- In ${some.length}, ${what} (${some.map(figures).join('; ')}).`), ''] : [];
}

function idleTable(result) {
  const crowds = distinct(result.idle.map(({subscribers}) => subscribers)).sort((a, b) => a - b);
  const largest = crowds.at(-1);
  const heads = ['server', ...crowds.map((crowd) => `${count(crowd)} subscribers`), `kernel, at ${count(largest)}`];
  return table(heads, result.servers.map((server) => {
    const of = (subscribers, field) => summary(result.idle.filter((row) => row.server === server && row.subscribers === subscribers).map(field));
    const resident = crowds.map((crowd) => of(crowd, (row) => row.rss_bytes_each));
    const cells = resident.map((each, i) => (server === 'sluice' && crowds[i] === largest ? targetCell(each, idleTargetBytes, {atMost: true, digits: 0}) : span(each)));
    return [server, ...cells, span(of(largest, (row) => row.kernel_bytes_each + row.kernel_slab_bytes_each))];
  }));
}

const noise = (result) => noiseOf('the ceiling does the same work each time, and its rounds were',
  settings(result).map((at) => ({name: settingCells(at).join(', '), values: summary(byRound(result, 'limit', at, rate))})));

/** Where nchan's sockets keep Nagle's delay, events wait for a delayed ACK, some 40 ms, while nobody works. */
const isAckDelay = (us) => us >= 38e3 && us <= 50e3;
const waitsForAcks = (row) => row.server_cpu_share < 0.7 && (isAckDelay(row.last_us.p50) || isAckDelay(row.latency_us.p99));

function delayedAcks(result) {
  const where = settings(result).filter((at) => {
    const waits = byRound(result, 'nchan', at, waitsForAcks).filter((each) => each !== undefined);
    return waits.filter(Boolean).length * 2 > waits.length;
  });
  if (!where.length) return [];
  const settled = where.map((at) => `${count(at.subscribers)} subscribers, ${eventSize(at.size)}, ${inFlight(at.window)}`).join('; ');
  return [`nchan waited for delayed ACKs of some 40 ms with ${settled} (nginx keeps Nagle's delay until a connection is kept alive behind its first request): ` +
    'there the ratio of rates says little; compare the CPU.', ''];
}

function troubles({absent, failures}) {
  const lines = [...absent.map(({name, why}) => `- ${name} is left out: ${why}.`),
    ...failures.map(({server, subscribers, round, why}) => `- ${server} with ${count(subscribers)} subscribers, round ${round + 1}, gave no numbers: ${why}`)];
  return lines.length ? ['What is missing:', '', ...lines, ''] : [];
}

/** The ratios alone, for the terminal. */
export const fanoutRatios = (result) => [ratioTable(result), '', sharedTable(result), '', ...sharedVerdict(result), noise(result), '', ...delayedAcks(result), ...troubles(result)].join('\n');

export function fanoutReport(result) {
  return [
    'One stream of events goes to all subscribers; event *k + in flight* is published when all of them have event *k*. "Ceiling" is `tests/bench/limit.c`:',
    'raw epoll, no HTTP library, one shared framed event, and what arrived in one read leaves in one `send`. Each subscriber must get each event once and',
    'in order, or there is no number. Ratios are those of the medians; in parentheses the lowest and the highest of the rounds\' own ratios. **Bold**: the target is missed.',
    `"Who binds" is who keeps a core busy for at least ${bindingShare} of the time; where neither does, they wait for each other, or the machine had something else to do.`,
    '', ratioTable(result), '', noise(result), '', ...delayedAcks(result), ...troubles(result),
    '![Deliveries per second](benchmarks-fanout.svg)', '',
    '### Deliveries per second, and CPU seconds of the server per million deliveries', '',
    'The CPU seconds are the steadier figure where the client binds. The third line is the share of the time that the server\'s core was busy, and the client\'s.', '', serverTable(result, rateAndCpu), '',
    '### Time to the last subscriber, median, µs', '', serverTable(result, (of) => span(of((row) => row.last_us?.p50))), '',
    '### Latency of all deliveries, 99 %, µs', '', serverTable(result, (of) => span(of((row) => row.latency_us?.p99))), '',
    '### Two workers, client and server on the same cores', '',
    'Neither is pinned. The ceiling does the same with one thread and with two, each with its own listener, epoll instance and subscribers, in the same rounds, with phases half as long.', '',
    ...sharedVerdict(result), sharedTable(result), '',
    '### Resident bytes of the process per idle subscriber', '',
    `At most ${idleTargetBytes} for Sluice with the largest crowd, where what is there only once counts least; "kernel" is what the machine's kernel took more: its objects (slab) and socket buffers, of both ends of each connection.`, '', idleTable(result), '',
  ].join('\n');
}

/** {name of the file: SVG} */
export function fanoutPlots(result) {
  const crowds = distinct(result.rows.map(({subscribers}) => subscribers)).sort((a, b) => a - b);
  const servers = result.servers.filter((name) => !sharesCores(name));
  const kinds = distinct(settings(result).map(({size, window}) => `${size} ${window}`)).map((text) => text.split(' ').map(Number));
  const panels = kinds.map(([size, window]) => ({
    title: `${eventSize(size)}, ${inFlight(window)}${window === 1 ? '' : ' in flight'}`,
    groups: crowds.map((crowd) => `${count(crowd)} subscribers`),
    series: servers.map((name) => ({name, values: crowds.map((subscribers) => summary(byRound(result, name, {subscribers, size, window}, rate)))})),
  }));
  return {'benchmarks-fanout.svg': barsSvg('Fan-out: deliveries per second, median of the rounds, lowest and highest', panels)};
}
