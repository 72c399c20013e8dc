// GET /tasks/{id}/result: its text is what a person reads of the stream, in whatever form the upstream sends it and
// wherever it cuts the text.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

let framesNow;
const upstream = await startUpstream({after}, (exchange) => exchange.stream(...framesNow));
const gateways = {};
for (const kind of ['adk', 'openai', 'sse']) gateways[kind] = await startSluice({after}, {upstream: upstream.url, upstream_kind: kind});

async function resultOf(kind, frames) {
  framesNow = frames;
  const {task_id} = await gateways[kind].run(sessionPath());
  await gateways[kind].taskEnded(task_id);
  return (await gateways[kind].get(`/tasks/${task_id}/result`)).json;
}

// ---- generated: the same text, cut anywhere ----

/** Numbers from 0 to below `bound`, the same ones for the same seed. */
function randomFrom(seed) {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * bound);
  };
}

const letters = ['a', 'Z', ' ', '\n', '"', '\\', '\0', '\u001f', 'é', '€', '\uFFFD', '😀', '𝔸', '👨‍👩‍👧', 'NaN', '\\ud83d', '\u2028'];
const textOf = (random, length) => Array.from({length}, () => letters[random(letters.length)]).join('');

/** Cuts between any two UTF-16 units, as JavaScript's upstreams do: so within a surrogate pair, too. */
function piecesOf(random, text) {
  const pieces = [];
  for (let at = 0; at < text.length;) {
    const length = random(4) === 0 ? 0 : 1 + random(6);
    pieces.push(text.slice(at, at + length));
    at += length;
  }
  return pieces;
}

/** JSON as some servers write it: all but ASCII in escapes, or only what must be, which is half a pair. */
function json(random, value) {
  const text = JSON.stringify(value);
  return random(2) ? text : text.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const frame = (random, value, more = '') => `data: ${json(random, value).slice(0, -1)}${more}}\n\n`;
const numbers = [',"avgLogprobs":NaN', ',"x":[-Infinity,Infinity,1e3]', '', ''];
const choice = (random, members, index = 0) => frame(random, {choices: [{index, ...members}]}, numbers[random(4)]);
const done = 'data: [DONE]\n\n';
const finish = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n';

/** How one piece of an answer is written, by the name of the form. */
const openaiForms = {
  'delta.content': (random, piece) => choice(random, {delta: {content: piece}}),
  'blocks': (random, piece) => choice(random, {delta: {content: [{type: 'text', text: piece}]}}),
  'several blocks': (random, piece) => {
    const middle = random(piece.length + 1);
    return choice(random, {delta: {content: [{type: 'text', text: piece.slice(0, middle)}, {type: 'thinking', thinking: [{type: 'text', text: 'hm'}]}, piece.slice(middle)]}});
  },
  'message.content': (random, piece) => choice(random, {message: {role: 'assistant', content: piece}}),
  'text': (random, piece) => choice(random, {text: piece}),
};
const noise = (random) => [choice(random, {delta: {content: 'other'}}, 1), choice(random, {text: 'other'}, 2), choice(random, {delta: {role: 'assistant', content: ''}}),
  choice(random, {delta: {reasoning_content: 'hm'}}), choice(random, {delta: {tool_calls: [{index: 0, function: {arguments: '{"a":'}}]}}), ': comment\n\n'][random(6)];

/** Frames of a text in one form, with others in between that are not of the answer. */
function framesOf(random, form, text, unrelated) {
  return piecesOf(random, text).flatMap((piece) => [...(random(3) === 0 ? [unrelated(random)] : []), form(random, piece)]);
}

const textsEach = 30;

for (const [name, form] of Object.entries(openaiForms)) {
  test(`openai: a text that is cut anywhere is whole in the form of ${name}`, async () => {
    for (let seed = 1; seed <= textsEach; seed++) {
      const random = randomFrom(seed);
      const text = textOf(random, random(40));
      const result = await resultOf('openai', [...framesOf(random, form, text, noise), ...(random(2) ? [finish, done] : [done])]);
      assert.deepEqual([result.text, result.complete, result.status], [text.toWellFormed(), true, 'completed'], `seed ${seed}`);
    }
  });
}

test('openai: pieces and then the whole message are not doubled', async () => {
  for (let seed = 1; seed <= textsEach; seed++) {
    const random = randomFrom(seed);
    const text = textOf(random, 1 + random(20));
    const pieces = framesOf(random, openaiForms['delta.content'], text, noise);
    let soFar = '';
    const both = piecesOf(random, text).map((piece) => choice(random, {delta: {content: piece}, message: {content: (soFar += piece)}}));
    for (const frames of [[...pieces, openaiForms['message.content'](random, text)], [...both, choice(random, {delta: {content: ''}, message: {content: text}})], both]) {
      const result = await resultOf('openai', [...frames, done]);
      assert.deepEqual([result.text, result.complete], [text, true], `seed ${seed}`);
    }
  }
});

// ---- adk ----

const adkEvent = (random, parts, more = {}) => frame(random, {content: {role: 'model', parts}, author: 'a', ...more}, numbers[random(4)]);
const adkNoise = (random) => [adkEvent(random, [{functionCall: {name: 'f', args: {text: 'x\ud83d'}}}]), adkEvent(random, [{text: 'hm', thought: true}], {partial: true}),
  frame(random, {content: {role: 'user', parts: [{functionResponse: {name: 'f', response: {text: 'x'}}}]}}), frame(random, {actions: {stateDelta: {text: 'x'}}})][random(4)];

/** A message of the model: its pieces, marked partial, and the whole of them, or events that are whole each. */
function adkMessage(random, text) {
  const pieces = framesOf(random, (_, piece) => adkEvent(random, [{text: piece}], {partial: true}), text, adkNoise);
  const parts = piecesOf(random, text).flatMap((piece) => [{text: piece}, ...(random(3) ? [] : [{text: 'hm', thought: true}])]);
  switch (random(3)) {
    case 0: return [...pieces, adkEvent(random, [{text: 'thought', thought: true}, {text}])];
    case 1: return [...pieces, adkEvent(random, [{functionCall: {name: 'f'}}]), adkEvent(random, parts)];
    default: return framesOf(random, (_, piece) => adkEvent(random, [{text: piece}]), text, adkNoise);
  }
}

test('adk: a text that is cut anywhere is whole, and said once', async () => {
  for (let seed = 1; seed <= 2 * textsEach; seed++) {
    const random = randomFrom(seed);
    const texts = Array.from({length: 1 + random(3)}, () => textOf(random, 1 + random(15)));
    const result = await resultOf('adk', texts.flatMap((text) => adkMessage(random, text)));
    assert.deepEqual([result.text, result.complete], [texts.join('').toWellFormed(), true], `seed ${seed}`);
  }
});

test('adk: pieces whose whole did not come are the text', async () => {
  for (let seed = 1; seed <= textsEach; seed++) {
    const random = randomFrom(seed);
    const [first, second] = [textOf(random, 5), textOf(random, 1 + random(15))];
    const result = await resultOf('adk', [...adkMessage(random, first), ...framesOf(random, (_, piece) => adkEvent(random, [{text: piece}], {partial: true}), second, adkNoise)]);
    assert.deepEqual([result.text, result.complete], [(first + second).toWellFormed(), true], `seed ${seed}`);
  }
});

// ---- the rest ----

test('sse: the text is the data of each event, a line each', async () => {
  const result = await resultOf('sse', ['data: a😀\n\n', 'event: x\ndata: {"t":"\\ud83d"}\n\n', 'data: b\ndata: c\n\n']);
  assert.deepEqual([result.text, result.complete], ['a😀\n{"t":"\\ud83d"}\nb\nc\n', true]);
});

test('half a pair that stays alone is U+FFFD, as the end of the text, too', async () => {
  const half = (text) => `data: {"choices":[{"index":0,"delta":{"content":"${text}"}}]}\n\n`;
  for (const [halves, expected] of [[['a\\ud83d', 'b'], 'a\uFFFDb'], [['\\ude00', '\\ud83d'], '\uFFFD\uFFFD'], [['\\ud83d', '', '\\ude00'], '😀'], [['\\ud83d', '\\ud83d', '\\ude00'], '\uFFFD😀']]) {
    const result = await resultOf('openai', [...halves.map(half), done]);
    assert.deepEqual([result.text, result.complete], [expected, true], halves.join());
  }
});

test('a result is not complete if an event could not be read', async () => {
  const zeros = `"zeros":[${'0,'.repeat(20000)}0]`;
  for (const [kind, frames, text] of [
    ['openai', [finish, `data: {"choices":[{"index":0,"delta":{"content":"b"}}],${zeros}}\n\n`, done], ''],
    ['openai', [openaiForms.text(randomFrom(1), 'a'), 'data: {"choices":[{"index":0,"delta":{"content":"b"}\n\n', done], 'a'],
    ['adk', [adkEvent(randomFrom(1), [{text: 'a'}]), `data: {"content":{"parts":[{"text":"b"}]},${zeros}}\n\n`], 'a'],
  ]) {
    const result = await resultOf(kind, frames);
    assert.deepEqual([result.text, result.complete, result.status], [text, false, 'completed']);
    assert.equal(result.output.length, result.events, 'the events themselves are all there');
  }
});
