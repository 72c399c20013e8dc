// A recorded answer of the real ADK server, cut off after every single byte: what had come is told, and that it broke off.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {after, test} from 'node:test';
import {asked} from '../support/expect.mjs';
import {inParallel, startForgetful} from '../support/faults.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {projectPath, sessionPath} from '../support/sluice.mjs';
import {leavesNoTrace} from '../support/vitals.mjs';

const recorded = readFileSync(projectPath('tests/data/adk-streams/tool-state-unicode.http'));
const headLength = recorded.indexOf('\r\n\r\n') + 4;
const eventEnds = []; // after how many bytes the n-th event is whole
const events = [];
for (let at = headLength; ;) {
  const lineEnd = recorded.indexOf('\r\n', at);
  const length = parseInt(recorded.toString('latin1', at, lineEnd), 16);
  if (length === 0) break;
  events.push(recorded.toString('utf8', lineEnd + 2 + 'data: '.length, lineEnd + 2 + length - 2));
  eventEnds.push(lineEnd + 2 + length);
  at = lineEnd + 2 + length + 2;
}

const upstream = await startUpstream({after}, async (exchange) => {
  const [, cut, how] = /^(\d+) (\w+)$/.exec(asked(exchange));
  await exchange.send(recorded.subarray(0, Number(cut)));
  if (how === 'reset') exchange.reset();
  else exchange.close();
});
const sluice = await startForgetful({after}, upstream);

/** The events that came and the end that was told. */
async function cutAt(cut, how) {
  const client = await sluice.runStream(sessionPath(), `${cut} ${how}`);
  assert.equal(await client.ended(20000), 'last-chunk', 'the end is told in the stream, which itself is whole');
  const end = client.json('run.end');
  assert.equal(end.events, client.data.length);
  assert.equal(client.types.filter((type) => type === 'run.end').length, 1);
  return {data: client.data, end};
}

// Without the very last byte, the LF behind the last chunk, libcurl takes the answer as whole; nothing can be lost by it.
const everyCut = Array.from({length: recorded.length - 1}, (_, cut) => cut);

test('the recording has what it should', () => {
  assert.equal(events.length, 5);
  assert.ok(recorded.subarray(-5).equals(Buffer.from('0\r\n\r\n')));
  for (const event of events) JSON.parse(event);
});

test('whole, it is completed', async () => {
  const {data, end} = await cutAt(recorded.length, 'close');
  assert.deepEqual(data, events);
  assert.equal(end.status, 'completed');
});

test('a close between the last CR and LF is no loss', async () => {
  const {data, end} = await cutAt(recorded.length - 1, 'close');
  assert.deepEqual(data, events);
  assert.match(end.status, /^(completed|failed)$/);
});

test(`closed after each of ${everyCut.length} bytes, exactly the whole events come, and it is told that it broke off`, () =>
  leavesNoTrace(sluice, upstream, (round) => inParallel(everyCut.filter((cut) => round === 2 || cut % 4 === 0), 32, async (cut) => {
    const {data, end} = await cutAt(cut, 'close');
    const whole = eventEnds.filter((at) => at <= cut).length;
    assert.deepEqual(data, events.slice(0, whole), `cut after ${cut} bytes`);
    assert.equal(end.status, 'failed', `cut after ${cut} bytes`);
    if (cut >= headLength) assert.equal(end.reason, 'upstream_truncated', `cut after ${cut} bytes`);
    else assert.match(end.reason, /^upstream_(truncated|protocol|connect)$/, `cut after ${cut} bytes, in the head`);
  })));

test(`reset after each of ${everyCut.length} bytes, no event comes that was not whole, and it is told that it broke off`, () =>
  leavesNoTrace(sluice, upstream, (round) => inParallel(everyCut.filter((cut) => round === 2 || cut % 4 === 0), 32, async (cut) => {
    const {data, end} = await cutAt(cut, 'reset');
    const whole = eventEnds.filter((at) => at <= cut).length;
    assert.deepEqual(data, events.slice(0, data.length), `reset after ${cut} bytes`);
    assert.ok(data.length <= whole, `reset after ${cut} bytes: ${data.length} events of ${whole}`);
    assert.equal(end.status, 'failed', `reset after ${cut} bytes`);
    assert.match(end.reason, /^upstream_(truncated|protocol|connect)$/, `reset after ${cut} bytes`);
  })));
