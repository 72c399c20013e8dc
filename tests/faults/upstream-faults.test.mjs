// Upstreams that stall in each phase, break off, talk nonsense or never stop: each ends its run truthfully and leaves nothing behind.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {asked, marked} from '../support/expect.mjs';
import {inParallel, long, startForgetful, turn} from '../support/faults.mjs';
import {within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath} from '../support/sluice.mjs';
import {leavesNoTrace} from '../support/vitals.mjs';

const scripts = new Map();
const upstream = await startUpstream({after}, (exchange) => scripts.get(asked(exchange))(exchange));
const sluice = await startForgetful({after}, upstream, {event_bytes_max: 50000, run_timeout_ms: 4000});

const times = long ? 50 : 4;

/** Runs each case's script several times, all of them side by side: every run fails for one of the case's reasons and with
 *  so many events. Case: [what, script, reasons, events]. */
function everyRunFails(cases, {closes = false, width = 64, ...options} = {}) {
  const runs = Array.from({length: times}).flatMap(() => cases);
  for (const [what, script] of cases) scripts.set(what, script);
  return leavesNoTrace(sluice, upstream, async () => {
    const from = upstream.runs.length;
    await inParallel(runs, width, async ([what, , reasons, events]) => {
      const client = await sluice.runStream(sessionPath(), what);
      assert.equal(await client.ended(20000), 'last-chunk', what);
      const end = client.json('run.end');
      assert.match(`${end.status} ${end.reason ?? ''}`.trim(), reasons, `${what}: ${JSON.stringify(end)}`);
      if (events !== undefined) assert.deepEqual([end.events, client.data.length], [events, events], what);
    });
    // One that the upstream has closed by itself may stay in the pool until it is looked at for the next run.
    if (!closes) for (const exchange of upstream.runs.slice(from)) await within(exchange.gone, 5000, 'the upstream is left');
  }, options);
}

const idle = /^failed upstream_idle$/;
const brokenOff = /^failed upstream_(truncated|protocol|connect)$/;

/** How far an answer gets before something happens to it: [phase, bytes, whole events in them]. */
const event = marked('any', 1);
const chunk = `${Buffer.byteLength(event).toString(16)}\r\n${event}\r\n`;
const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n';
const phases = [
  ['before the status line', '', 0],
  ['in the status line', 'HTTP/1.1 20', 0],
  ['in a header', 'HTTP/1.1 200 OK\r\nContent-Ty', 0],
  ['after the head', head, 0],
  ['in a chunk line', `${head}4`, 0],
  ['in an event', head + chunk.slice(0, 20), 0],
  ['between the two line ends of an event', head + chunk.slice(0, -3), 0],
  ['between an event and the end of its chunk', head + chunk.slice(0, -2), 1],
  ['between events', head + chunk + chunk, 2],
  ['in the last chunk', `${head}${chunk}0\r\n`, 1],
];

test('a stall in any phase is upstream_idle', () => everyRunFails(phases.map(([phase, bytes, events]) => [`stall ${phase}`, async (exchange) => {
  await exchange.send(bytes);
  await exchange.gone;
}, idle, events])));

test('a reset in any phase is told as a failure', () => everyRunFails(phases.map(([phase, bytes]) => [`reset ${phase}`, async (exchange) => {
  await exchange.send(bytes);
  exchange.reset();
}, brokenOff])));

test('a close in any phase is told as a failure, after all events that were whole', () => everyRunFails(phases.map(([phase, bytes, events]) => [`close ${phase}`, async (exchange) => {
  await exchange.send(bytes);
  exchange.close();
}, brokenOff, events]), {closes: true}));

test('an upstream that takes connections and reads nothing is upstream_idle', async (t) => {
  const deaf = await startUpstream(t, () => {});
  deaf.server.on('connection', (socket) => socket.pause());
  const gateway = await startForgetful(t, deaf);
  await leavesNoTrace(gateway, deaf, () => inParallel(Array.from({length: 4 * times}), 50, async () => {
    const client = await gateway.runStream(sessionPath(), {message: 'x'.repeat(900000)});
    assert.equal(await client.ended(15000), 'last-chunk');
    assert.match(client.json('run.end').reason, /^upstream_(idle|connect)$/);
  }), {growthMax: 8 << 20});
});

test('a stall of the request that creates the session ends the run', async (t) => {
  const stalling = await startUpstream(t, (exchange) => exchange.gone, {onSession: 'script'});
  const gateway = await startForgetful(t, stalling);
  await leavesNoTrace(gateway, stalling, () => inParallel(Array.from({length: 4 * times}), 50, async () => {
    const client = await gateway.runStream(sessionPath());
    assert.equal(await client.ended(15000), 'last-chunk');
    assert.equal(client.json('run.end').status, 'failed');
  }));
});

const nonsense = ['zzz\r\n', '-5\r\nhello\r\n', 'ffffffffffffffffffff\r\nx', '\r\n\r\n', '\0\0\0\0\r\n', '+5\r\nhello\r\n', '5\r\nhello world, longer than said\r\n',
  '5\r\nhelloXX5\r\nhello', 'G\r\n', ' \r\n', 'HTTP/1.1 200 OK\r\n\r\n', '7fffffffffffffff\r\nx', '\xff\xfe\xfd'];
test('nonsense where a chunk should be fails the run, after the events before it', () => everyRunFails(nonsense.map((bytes) => [`nonsense ${JSON.stringify(bytes)}`, async (exchange) => {
  await exchange.send(head + chunk);
  await exchange.send(Buffer.from(bytes, 'latin1'));
  exchange.close();
}, brokenOff, 1]), {closes: true}));

// ---- what never ends ----

/** Sends `piece` again and again until the gateway leaves. */
const endlessly = (start, piece) => async (exchange) => {
  await exchange.send(start);
  while (await exchange.send(piece)) await turn();
};

const open = `${head}ffffff\r\n`; // a chunk that takes 16 MiB
const filler = 'x'.repeat(16384);
const limited = /^failed (limit|upstream_idle|upstream_protocol|upstream_truncated)$|^timeout/;
const endless = [
  ['data line', `${open}data: `, filler, /^failed limit$/],
  ['event of many lines', open, `data: ${'x'.repeat(100)}\n`.repeat(100), /^failed limit$/],
  ['field name', open, filler, limited],
  ['event name', `${open}event: `, filler, limited],
  ['id', `${open}id: `, filler, limited],
  ['comment', `${open}: `, filler, limited],
  // libcurl calls a header line over its limit "out of memory".
  ['header', 'HTTP/1.1 200 OK\r\nX-Long: ', filler, /^failed (limit|internal|upstream_protocol)$/],
  ['list of headers', 'HTTP/1.1 200 OK\r\n', 'X-One-More: and more\r\n'.repeat(100), limited],
  ['chunk extension', `${head}5;`, filler, limited],
  ['list of trailers', `${head}${chunk}0\r\n`, 'X-One-More: and more\r\n'.repeat(100), limited],
  ['row of 100 Continue', '', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100), limited],
  ['trailer', `${head}${chunk}0\r\nX-Trailer: `, filler, limited],
];
for (const [what, start, piece, reasons] of endless)
  test(`an endless ${what} ends the run, in bounded memory`, () =>
    everyRunFails([[`endless ${what}`, endlessly(start, piece), reasons]], {width: 4, growthMax: 6 << 20}));
