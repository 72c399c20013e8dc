// What must hold for the events of a session, however they came about.
import assert from 'node:assert/strict';
import {pause} from './limits.mjs';

/** What a scripted upstream was asked: the text of the message. */
export const asked = (exchange) => exchange.json.newMessage.parts[0].text;

/** Event `number` of a run that was asked `text`, for checkRuns(). */
export const marked = (text, number) => `data: ${JSON.stringify({of: text, number})}\n\n`;

/** A script that answers every run with `count` marked events and a clean end. */
export const answerMarked = (count) => async (exchange) => {
  await exchange.head();
  for (let number = 1; number <= count; number++) await exchange.chunk(marked(asked(exchange), number));
  await exchange.lastChunk();
};

/** A script that sends one marked event and then nothing until the gateway leaves. */
export const holdAfterOne = async (exchange) => {
  await exchange.head();
  await exchange.chunk(marked(asked(exchange), 1));
  await exchange.gone;
};

/** A script that does what the message says: `count=N` events, `delay=MS` between them, `hold` at the end; or the
 *  script that `scripts` has under the message. */
export const answerAsAsked = (scripts) => async (exchange) => {
  const text = asked(exchange);
  if (scripts.has(text)) return scripts.get(text)(exchange);
  const count = Number(/count=(\d+)/.exec(text)?.[1] ?? 1);
  const delay = Number(/delay=(\d+)/.exec(text)?.[1] ?? 0);
  await exchange.head();
  for (let number = 1; number <= count && exchange.open; number++) {
    await exchange.chunk(marked(text, number));
    if (delay) await pause(delay);
  }
  if (/hold/.test(text)) await exchange.gone;
  else await exchange.lastChunk();
};

/** Each run of these events begins at most once and ends exactly once, nothing of it comes after its end or from
 *  beside it, and its marked events are whole and in order. Gives the ends by task id. */
export function checkRuns(events, {open = 0} = {}) {
  const started = new Set();
  const ends = new Map();
  let current = null;
  let seen = 0;
  let of = null;
  for (const event of events) {
    const data = JSON.parse(event.data);
    if (event.type === 'run.start') {
      assert.ok(!started.has(data.task_id), `${data.task_id} starts once`);
      assert.equal(current, null, `${data.task_id} starts when ${current} has ended`);
      started.add(data.task_id);
      current = data.task_id;
      seen = 0;
      of = null;
    } else if (event.type === 'run.end') {
      assert.ok(!ends.has(data.task_id), `${data.task_id} ends once`);
      assert.ok(data.task_id === current || !started.has(data.task_id), `${data.task_id} ends, current is ${current}`);
      if (data.task_id === current) {
        assert.equal(data.events, seen, `run.end of ${data.task_id} counts its events`);
        current = null;
      }
      ends.set(data.task_id, data);
    } else if (event.type === 'message') {
      assert.notEqual(current, null, `an event outside of any run: ${event.data}`);
      of ??= data.of;
      assert.equal(data.of, of, 'an event of another run');
      assert.equal(data.number, ++seen, `event ${seen} of ${of}`);
    }
  }
  const unended = [...started].filter((id) => !ends.has(id));
  assert.equal(unended.length, open, `runs without an end: ${unended}`);
  return ends;
}

/** The events of two clients are the same from and to wherever both saw. */
export function assertSameEvents(client, other, what = 'both clients saw the same') {
  const plain = ({events}) => events.map(({id, type, data}) => ({id, type, data}));
  assert.deepEqual(plain(client), plain(other), what);
}

/** The run.end of this run, once it has come. */
export async function runEnd(client, taskId, ms) {
  const event = await client.event(({type, data}) => type === 'run.end' && JSON.parse(data).task_id === taskId, ms);
  return JSON.parse(event.data);
}

/** An error answer in the contract's form. */
export function assertError(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers['content-type'], /^application\/json/);
  assert.deepEqual(Object.keys(answer.json), ['error']);
  assert.match(answer.json.error.code, code ?? /^[a-z]+(_[a-z]+)*$/);
  assert.match(answer.json.error.message, /\S \S.*[.?!]?$/, 'a sentence for people');
  assert.ok(!/<|at 0x|\.c:\d/.test(answer.text), 'no HTML and no stack trace');
}
