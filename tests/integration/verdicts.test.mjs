// What the upstream's stream says decides how its run ends: kinds x ways to end, listed and generated. Each is run
// with the cache on: nothing wrong is ever kept.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {stretched} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

let scriptNow;
const upstream = await startUpstream({after}, (exchange) => scriptNow(exchange));
const limits = {upstream_idle_timeout_ms: stretched(400), upstream_first_byte_timeout_ms: stretched(400), cache: true};
const gateways = {};
for (const kind of ['adk', 'openai', 'sse']) gateways[kind] = await startSluice({after}, {upstream: upstream.url, upstream_kind: kind, ...limits});
gateways.strict = await startSluice({after}, {upstream: upstream.url, upstream_doubt_fails: true, ...limits});
gateways.ending = await startSluice({after}, {upstream: upstream.url, upstream_kind: 'sse', upstream_end_events: 'bye, message_stop, [DONE]', ...limits});
gateways.lenient = await startSluice({after}, {upstream: upstream.url, upstream_kind: 'sse', upstream_error_events: 'oops', ...limits});
gateways.silent = await startSluice({after}, {upstream: upstream.url, upstream_kind: 'sse', upstream_error_events: '', ...limits});

let question = 0;

/** What a run against `script` came to: {end, task, data}; `again` is the same question once more. */
async function outcomeOf(gateway, script, body = `question ${++question}`) {
  scriptNow = script;
  const client = await gateway.runStream(sessionPath(), body);
  assert.equal(client.status, 200, client.body?.toString());
  assert.equal(await client.ended(15000), 'last-chunk');
  const end = client.json('run.end');
  const task = await gateway.task(end.task_id);
  for (const key of ['status', 'reason']) assert.equal(task[key], end[key]);
  for (const key of ['finish_reason', 'usage', 'warning']) assert.deepEqual(task[key], end[key] ?? null, key);
  return {end, task, data: client.data, events: client.events.length - 2, body};
}

/** A whole stream that ends well as HTTP. */
const stream = (...frames) => async (exchange) => {
  await exchange.head();
  if (frames.length) await exchange.chunk(frames.join(''));
  await exchange.lastChunk();
};
const data = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const adk = (text, more = {}) => data({content: {role: 'model', parts: [{text}]}, author: 'a', ...more});
const delta = (content, {index = 0, finish = null, ...more} = {}) => data({object: 'chat.completion.chunk', choices: [{index, delta: {content}, finish_reason: finish}], ...more});
const role = data({choices: [{index: 0, delta: {role: 'assistant', content: ''}, finish_reason: null}]});
const done = data('[DONE]');

const completed = {status: 'completed', reason: null};
const cut = {status: 'failed', reason: 'upstream_truncated'};
const said = (message) => ({status: 'failed', reason: 'upstream_error', message});
const usage = (input_tokens, output_tokens, total_tokens) => ({input_tokens, output_tokens, total_tokens});

const table = {
  adk: [
    ['a whole answer', [adk('a')], completed],
    ['pieces and the whole', [adk('a', {partial: true}), adk('ab', {finishReason: 'STOP', usageMetadata: {promptTokenCount: 7, candidatesTokenCount: 3, thoughtsTokenCount: 2, totalTokenCount: 12}})],
      {...completed, finish_reason: 'STOP', usage: usage(7, 5, 12)}],
    ['the usage of two calls of a model', [adk('a', {usageMetadata: {promptTokenCount: 1, candidatesTokenCount: 2, totalTokenCount: 3}}), adk('b', {partial: true, usageMetadata: {promptTokenCount: 90, totalTokenCount: 90}}),
      adk('b', {usageMetadata: {promptTokenCount: 10, candidatesTokenCount: 20, totalTokenCount: 30}})], {...completed, usage: usage(11, 22, 33)}],
    ['no event at all', [], {...completed, warning: 'empty'}],
    ['only a comment', [': hello\n\n'], {...completed, warning: 'empty'}],
    ['an error', [adk('a'), data({error: 'out of luck'})], said('out of luck')],
    ['the error of a new server', [data({error: 'StaleThing: too late', error_details: {type: 'StaleThing'}})], said('StaleThing: too late')],
    ['an error behind another member', [data({error_details: {}, error: {message: 'deep'}})], said('deep')],
    ['an error that was not escaped', ['data: {"error": "it said "no""}\n\n'], said("it said 'no'")],
    ['an error next to NaN', ['data: {"avgLogprobs":NaN,"error":"bad"}\n\n'], said('bad')],
    ['an error of null', [data({error: null}), adk('a')], completed],
    ['an error within the answer of a tool', [data({content: {parts: [{functionResponse: {response: {error: 'no such city'}}}]}}), adk('a')], completed],
    ['a code as the last word', [adk('a'), data({errorCode: 'SAFETY', errorMessage: 'blocked'})], {...completed, warning: 'SAFETY'}],
    ['a code next to NaN', ['data: {"errorCode":"MAX_TOKENS","avgLogprobs":-Infinity}\n\n'], {...completed, warning: 'MAX_TOKENS'}],
    ['a code and a code of null', [adk('a'), 'data: {"errorCode":"SAFETY","errorCode":null}\n\n'], {...completed, warning: 'SAFETY'}],
    ['a code in broken JSON', [adk('a'), 'data: {"errorMessage":"it said "no"","errorCode":"SAFETY"}\n\n'], {...completed, warning: 'SAFETY'}],
    ['a code, and an answer after it', [data({errorCode: 'MALFORMED_FUNCTION_CALL'}), adk('a')], completed],
    ['a code, and state after it', [data({errorCode: 'SAFETY'}), data({actions: {stateDelta: {a: 1}}})], {...completed, warning: 'SAFETY'}],
    ['a partial event without its whole one', [adk('a'), adk('b', {partial: true})], {...completed, warning: 'partial'}],
    ['a partial event, and state after it', [adk('b', {partial: true}), data({actions: {stateDelta: {}}})], {...completed, warning: 'partial'}],
  ],
  strict: [
    ['a code as the last word', [adk('a'), data({errorCode: 'SAFETY'})], said("The upstream's last event was not a complete answer: SAFETY.")],
    ['a partial event without its whole one', [adk('b', {partial: true})], said("The upstream's last event was not a complete answer: partial.")],
    ['a whole answer', [adk('b', {partial: true}), adk('b')], completed],
    ['no event at all', [], {...completed, warning: 'empty'}],
  ],
  openai: [
    ['[DONE]', [delta('a'), done], completed],
    ['[DONE] in another dress', [delta('a'), 'data:[DONE]\n\n'], completed],
    ['[DONE] with blanks', [delta('a'), 'data:   [DONE]  \n\n'], completed],
    ['[DONE] without its blank line', [delta('a'), 'data: [DONE]\n'], completed],
    ['[DONE] without its line end', [delta('a'), 'data: [DONE]'], completed],
    ['[DONE] alone', [done], {...completed, warning: 'empty'}],
    ['a finish_reason', [delta('a'), delta('', {finish: 'stop'})], {...completed, finish_reason: 'stop'}],
    ['a finish_reason and usage', [delta('a', {usage: null}), delta('', {finish: 'length'}), data({choices: [], usage: {prompt_tokens: 3, completion_tokens: 4, total_tokens: 7}}), done],
      {...completed, finish_reason: 'length', usage: usage(3, 4, 7)}],
    ['usage in each event', [delta('a', {usage: {prompt_tokens: 3, completion_tokens: 1, total_tokens: 4}}), delta('b', {finish: 'stop', usage: {prompt_tokens: 3, completion_tokens: 2, total_tokens: 5}})],
      {...completed, finish_reason: 'stop', usage: usage(3, 2, 5)}],
    ['a finish_reason for each choice', [delta('a'), delta('b', {index: 1}), delta('', {index: 1, finish: 'stop'}), delta('', {finish: 'tool_calls'})], {...completed, finish_reason: 'tool_calls'}],
    ['a finish_reason for one of two choices', [delta('a'), delta('b', {index: 1}), delta('', {finish: 'stop'})], cut],
    ['a choice that is none', [delta('a', {index: 1000}), delta('', {finish: 'stop'})], cut],
    ['tool calls with their own index', [data({choices: [{index: 0, delta: {tool_calls: [{index: 1, function: {arguments: '{}'}}]}}]}), delta('', {finish: 'tool_calls'})], {...completed, finish_reason: 'tool_calls'}],
    ['neither', [delta('a')], cut],
    ['no event at all', [], cut],
    ['only a comment', [': hi\n\n'], cut],
    ['an error first', [data({error: {message: 'overloaded', code: 529}}), done], said('overloaded')],
    ["an error next to choices", [delta('a'), data({id: 'x', choices: [{index: 0, delta: {content: ''}, finish_reason: 'error'}], error: {code: 502, message: 'provider died'}}), done], said('provider died')],
    ['a finish_reason of error', [delta('a', {finish: 'error'}), done], {status: 'failed', reason: 'upstream_error'}],
    ['an object called error', [data({object: 'error', message: 'context too long', code: 400})], said('context too long')],
    ['a list with an error', [data([{error: {code: 429, message: 'quota'}}])], said('quota')],
    ['an event called error', ['event: error\ndata: {"message":"gone"}\n\n'], said('gone')],
    ['an event called error, in plain text', ['event: error\ndata: gone for good\n\n'], said('gone for good')],
    ['an event called error with the data of the end', [delta('a'), 'event: error\ndata: [DONE]\n\n', done], {status: 'failed', reason: 'upstream_error'}],
    ['two finish reasons, one of them error', ['data: {"choices":[{"index":0,"delta":{},"finish_reason":"error","finish_reason":"stop"}]}\n\n', done], {status: 'failed', reason: 'upstream_error'}],
    ['an error in a choice', [data({choices: [{index: 0, delta: {}, finish_reason: null, error: {message: 'provider died'}}]}), done], {status: 'failed', reason: 'upstream_error', message: 'provider died'}],
    ['an error of null', [delta('a', {error: null}), done], completed],
    ['the word error in a text', [delta('say "error": now'), done], completed],
    ['an error in an argument of a tool', [data({choices: [{index: 0, delta: {tool_calls: [{index: 0, function: {arguments: '{"error":1}'}}]}}]}), done], completed],
  ],
  sse: [
    ['anything', [data('a'), 'event: token\ndata: b\n\n'], completed],
    ['no event at all', [], {...completed, warning: 'empty'}],
    ['an event called error', [data('a'), 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'], said('Overloaded')],
    ['the type error', [data({type: 'error', errorText: 'model died'})], said('model died')],
    ['response.failed', [data({type: 'response.created'}), 'event: response.failed\n' + data({type: 'response.failed', response: {error: {code: 'server_error', message: 'try later'}}})], said('try later')],
    ['an error after a tab', ['data: \t{"error":"agent died"}\n\n'], said('agent died')],
    ['an error after an empty line', ['data:\ndata: {"error":"agent died"}\n\n'], said('agent died')],
    ['RUN_ERROR after an empty line', ['data:\ndata: {"type":"RUN_ERROR","message":"agent died"}\n\n'], said('agent died')],
    ['RUN_ERROR', [data({type: 'RUN_STARTED'}), data({type: 'RUN_ERROR', message: 'agent died'})], said('agent died')],
    ['a member called error', [data({ok: 1, error: {message: 'no credit'}})], said('no credit')],
    ['an error of null', [data({type: 'x', error: null})], completed],
    ['a type below the outermost object', [data({item: {type: 'error'}})], completed],
    ['text with the word', [data('error')], said('error')],
    ['text that speaks of an error', [data('an error: {"error":1}')], completed],
  ],
  lenient: [
    ['an event called error', ['event: error\ndata: x\n\n'], completed],
    ['a member called error', [data({error: 'x'})], completed],
    ['its own', ['event: oops\ndata: {"message":"fell"}\n\n'], said('fell')],
    ['its own as a type', [data({type: 'oops', detail: 'fell'})], said('fell')],
  ],
  silent: [['an event called error', ['event: error\ndata: x\n\n'], completed], ['a member called error', [data({error: 'x'})], completed]],
  ending: [
    ['its end', [data('a'), 'event: bye\ndata: {}\n\n'], completed],
    ['its end as a type', [data('a'), data({type: 'message_stop'})], completed],
    ['its end as data', [data('a'), done], completed],
    ['its end, and one more event', [data('a'), data({type: 'message_stop'}), done], completed],
    ['its end without its blank line', [data('a'), 'event: message_stop\ndata: {"type":"message_stop" }\n'], completed],
    ['its end without its line end', [data('a'), 'event: message_stop\ndata: {"type":"message_stop"}'], completed],
    ['its end as data without its line end', [data('a'), 'data: [DONE]'], completed],
    ['the name of its end alone', [data('a'), 'event: bye\n'], cut],
    ['its end within its data', [data('a'), 'event: bye\ndata: {"x":{}'], cut],
    ['its end with text, which may go on', [data('a'), 'event: bye\ndata: good'], cut],
    ['a word that may go on', [data('a'), 'data: bye'], cut],
    ['no end', [data('a'), data('b')], cut],
    ['no event at all', [], cut],
    ['an error instead', [data({error: 'x'})], said('x')],
    ['an end that reports an error', [data('a'), 'event: bye\ndata: {"error":"x"}\n\n'], said('x')],
    ['an end and an error in one', [data('a'), data('{"type":"message_stop","type":"error","message":"x"}')], said('x')],
  ],
};

// However an error is written: each kind has the same.
const written = (ok, end) => [
  ...Object.entries({
    'cut off behind another member': '{"x":1,"error":"quota used up"',
    'behind a message that was not escaped': '{"x":"it said "no"","error":"quota used up"}',
    'behind text that lacks a quote': '{"x":"it said "no","error":"quota used up"}',
    'with an escape in its name': '{"\\u0065rror":"quota used up"}',
    'after an error of null': '{"error":null,"error":"quota used up"}',
    'before an error of null': '{"error":"quota used up","error":null}',
    'after a BOM': '\uFEFF{"error":"quota used up"}',
    'in an object called error': '{"object":"error","message":"quota used up"}',
    'after another object': '{"x":1}{"error":"quota used up"}',
  }).map(([name, text]) => [`an error ${name}`, [...ok, data(text), ...end], said('quota used up')]),
  ['an event called error with blanks', [...ok, 'event:  error \ndata: quota used up\n\n', ...end], said('quota used up')],
  ['an error that a BOM stands before, without a field', [...ok, '\uFEFF{"error":"quota used up"}\n\n', ...end], said('quota used up')],
  ['an error below other members', [...ok, data('{"x":{"error":"no such city"},"error":null}'), ...end], completed],
];
table.adk.push(...written([adk('a')], []));
table.sse.push(...written([data('a')], []));
table.openai.push(...written([delta('a')], [done]));

// What is no event: each kind has the same.
const odd = (kind, ok, end) => [
  ['bare JSON instead of events', ['{"error":"quota used up"}'], said('quota used up')],
  ['bare JSON on several lines', [...ok, '{\n  "error": {\n    "message": "quota used up"\n  }\n}\n'], said('quota used up')],
  ['bare JSON after events', [...ok, '{"error":{"message":"quota used up"}}\n', ...end], said('quota used up')],
  ['a field called error', [...ok, 'error: {"code":400,"message":"quota used up"}\n\n', ...end], said('quota used up')],
  ['plain text after events', [...ok, 'Internal Server Error\n', ...end], {status: 'failed', reason: 'upstream_protocol', message: 'Internal Server Error'}],
  ['plain text instead of events', ['timeout'], {status: 'failed', reason: 'upstream_protocol', message: 'timeout'}],
  ['a page', ['<html><body>502 Bad Gateway</body></html>\n'], {status: 'failed', reason: 'upstream_protocol', message: '502 Bad Gateway'}],
  ['an event after a BOM, which readers miss', [...ok, '\uFEFFdata: {"error":"quota used up"}\n\n', ...end], said('quota used up')],
  ['an event after a BOM at the beginning', ['\uFEFF', ...ok, ...end], completed],
  ['a field of the future', [...ok, 'priority: 5\nx_other\n\n', ...end], completed],
  ['comments and retry at the end', [...ok, ...end, ': bye\nretry: 100'], completed],
];
table.adk.push(...odd('adk', [adk('a')], []));
table.sse.push(...odd('sse', [data('a')], []));
table.openai.push(...odd('openai', [delta('a')], [done]));

const matches = (end, expected, name) => {
  const {message, ...rest} = expected;
  for (const [key, value] of Object.entries(rest)) assert.deepEqual(end[key], value, `${name}: ${key} in ${JSON.stringify(end)}`);
  for (const key of ['warning', 'finish_reason', 'usage']) if (!(key in rest) && expected.status === 'completed') assert.equal(end[key], undefined, `${name}: ${key} in ${JSON.stringify(end)}`);
  if (message !== undefined) assert.ok(end.message?.includes(message), `${name}: ${JSON.stringify(end.message)} lacks ${message}`);
};

/** A sound answer for each gateway. */
const sound = {adk: [adk('good')], openai: [delta('good'), done], sse: [data('good')], ending: [data('good'), data({type: 'message_stop'})]};
Object.assign(sound, {strict: sound.adk, lenient: sound.sse, silent: sound.sse});

/** What was wrong is not kept: the same question is answered anew, and that is kept. */
async function expectAnew(kind, body) {
  const anew = await outcomeOf(gateways[kind], stream(...sound[kind]), body);
  assert.deepEqual([anew.end.status, anew.end.cached], ['completed', undefined]);
  const kept = await outcomeOf(gateways[kind], (exchange) => exchange.reset(), body);
  assert.deepEqual([kept.end.status, kept.end.cached, kept.data], ['completed', true, anew.data]);
}

for (const [kind, cases] of Object.entries(table)) {
  for (const [name, frames, expected] of cases) {
    test(`${kind}: ${name} is ${expected.status} ${expected.reason ?? expected.warning ?? ''}`, async () => {
      const first = await outcomeOf(gateways[kind], stream(...frames));
      matches(first.end, expected, name);
      const again = await outcomeOf(gateways[kind], stream(...frames), first.body);
      const isSound = expected.status === 'completed' && !expected.warning;
      assert.equal(again.end.cached ?? false, isSound, 'only what was sound is kept');
      matches(again.end, expected, `${name}, again`);
      assert.deepEqual(again.data, first.data);
      if (!isSound) await expectAnew(kind, first.body);
    });
  }
}

test('an answer that is no event stream is told with what it says', async () => {
  for (const kind of ['adk', 'openai', 'sse']) {
    for (const [type, body, message] of [['application/json', '{"error":{"message":"bad key"}}', ': bad key'], ['text/plain', 'no\n', ': no'], ['text/html', '<html>x</html>', 'event stream (text/html): <html>x</html>'], ['application/json', '', 'event stream (application/json).']]) {
      const {end} = await outcomeOf(gateways[kind], (exchange) => exchange.answer(200, body, type));
      assert.deepEqual([end.status, end.reason], ['failed', 'upstream_protocol']);
      assert.ok(end.message.endsWith(message), end.message);
    }
  }
});

// ---- cut anywhere ----

/** The events of a stream that ends after `text`, whether it ends between two of them, and whether a line was begun. */
function readUpTo(text) {
  const blocks = text.split('\n\n');
  return {events: blocks.slice(0, -1), rest: blocks.at(-1)};
}

const recordings = {
  adk: [adk('a', {partial: true}), adk('ä', {partial: true}), adk('aä', {finishReason: 'STOP'})].join(''),
  openai: [role, delta('a'), delta('b', {finish: 'stop'}), done].join(''),
  sse: 'event: token\ndata: a\ndata: b\n\n: note\n\nid: 7\ndata: {"x":1}\n\n',
};

/** What a clean end after `text` is, by rules of its own. */
function expectedOf(kind, text) {
  const {events, rest} = readUpTo(text);
  const heard = events.filter((block) => block.includes('data:'));
  if (kind === 'openai') {
    if (heard.some((block) => block === 'data: [DONE]') || rest.split('\n')[0] === 'data: [DONE]') return completed;
    return rest === '' && heard.some((block) => block.includes('"finish_reason":"stop"')) ? completed : cut;
  }
  if (rest !== '' && !rest.startsWith(':')) return cut;
  if (heard.length === 0) return {...completed, warning: 'empty'};
  return kind === 'adk' && heard.at(-1).includes('"partial":true') ? {...completed, warning: 'partial'} : completed;
}

for (const [kind, text] of Object.entries(recordings)) {
  const bytes = Buffer.from(text);
  test(`${kind}: a stream that ends well after any of its ${bytes.length} bytes is told as what it is`, async () => {
    for (let length = 0; length <= bytes.length; length++) {
      const part = bytes.subarray(0, length);
      const {end} = await outcomeOf(gateways[kind], async (exchange) => {
        await exchange.head();
        if (length) await exchange.chunk(part);
        await exchange.lastChunk();
      });
      const expected = expectedOf(kind, part.toString('latin1').normalize());
      assert.deepEqual([end.status, end.warning], [expected.status, expected.warning], `after ${length} bytes: ${JSON.stringify(end)}`);
      if (expected.reason !== undefined) assert.equal(end.reason, expected.reason, `after ${length} bytes: ${JSON.stringify(end)}`);
    }
  });
  test(`${kind}: a stream that breaks off before its end marker is truncated, by FIN and by RST`, async () => {
    const marker = kind === 'openai' ? text.indexOf('data: [DONE]') : bytes.length;
    for (const how of ['close', 'reset']) {
      for (let length = 0; length < marker; length += 1 + (length % 7)) {
        const {end} = await outcomeOf(gateways[kind], async (exchange) => {
          await exchange.head();
          if (length) await exchange.chunk(bytes.subarray(0, length));
          exchange[how]();
        });
        assert.equal(end.status, 'failed', `${how} after ${length} bytes: ${JSON.stringify(end)}`);
      }
    }
  });
}

test('a stream that ended by its end event is complete, however its connection ends', async () => {
  const last = [data('a'), 'event: bye\ndata: {}\n\n'];
  for (const end of [(exchange) => exchange.close(), (exchange) => exchange.gone]) {
    const outcome = await outcomeOf(gateways.ending, async (exchange) => {
      await exchange.head();
      await exchange.chunk(last.join(''));
      await end(exchange);
    });
    assert.deepEqual([outcome.end.status, outcome.events], ['completed', 2], JSON.stringify(outcome.end));
  }
});

// ---- an error before anything visible ----

function withUpstreams(t, list, flags = {}) {
  const lines = list.map((item) => Object.entries(item).map(([key, value], i) => `${i ? '    ' : '  - '}${key}: ${JSON.stringify(value)}\n`).join(''));
  return startSluice(t, {config: temporaryFile(t, 'sluice.yaml', `upstreams:\n${lines.join('')}`), ...flags});
}

const firstErrors = {openai: [role, data({error: {message: 'overloaded'}})], adk: [data({error: 'overloaded'})], sse: [data({error: 'overloaded'})]};
const answers = {openai: [role, delta('good'), delta('', {finish: 'stop'}), done], adk: [adk('good')], sse: [data('good')]};

for (const kind of ['openai', 'adk', 'sse']) {
  test(`${kind}: an error before anything visible goes to the fallback, and nobody sees it`, async (t) => {
    const gateway = await withUpstreams(t, [{name: 'a', upstream: `${upstream.url}/a`, upstream_kind: kind, upstream_fallback: 'b'}, {name: 'b', upstream: `${upstream.url}/b`, upstream_kind: kind, upstream_weight: 0}]);
    const {end, data: seen} = await outcomeOf(gateway, (exchange) => stream(...(exchange.path.startsWith('/a') ? firstErrors : answers)[kind])(exchange));
    assert.equal(end.status, 'completed', JSON.stringify(end));
    assert.ok(!seen.join().includes('overloaded') && seen.join().includes('good'), seen.join());
    assert.equal(seen.length, answers[kind].length);
  });

  test(`${kind}: an error before anything visible is told if there is nothing else`, async (t) => {
    const gateway = await startSluice(t, {upstream: upstream.url, upstream_kind: kind});
    const {end, data: seen} = await outcomeOf(gateway, stream(...firstErrors[kind]));
    matches(end, said('overloaded'));
    assert.equal(seen.length, firstErrors[kind].length, 'the events are passed on as they are');
  });

  test(`${kind}: an error before anything visible is tried again by default only if calls have no effects`, async (t) => {
    for (const [setting, repeats] of [['by_kind', kind === 'openai'], ['on', true], ['off', false]]) {
      const gateway = await startSluice(t, {upstream: upstream.url, upstream_kind: kind, retry_attempts_max: 3, retry_base_ms: 10, retry_stream_errors: setting});
      let asked = 0;
      const {end} = await outcomeOf(gateway, (exchange) => stream(...(asked++ < 2 ? firstErrors : answers)[kind])(exchange));
      assert.deepEqual([end.status, asked], repeats ? ['completed', 3] : ['failed', 1], setting);
    }
  });

  test(`${kind}: an error after something visible is neither tried again nor hidden`, async (t) => {
    const gateway = await withUpstreams(t, [{name: 'a', upstream: `${upstream.url}/a`, upstream_kind: kind, upstream_fallback: 'b', retry_attempts_max: 3, retry_stream_errors: 'on'}, {name: 'b', upstream: `${upstream.url}/b`, upstream_kind: kind, upstream_weight: 0}]);
    let asked = 0;
    const visible = kind === 'openai' ? [role, delta('x')] : answers[kind];
    const {end, data: seen} = await outcomeOf(gateway, (exchange) => { asked += !exchange.path.includes('/sessions/'); return stream(...visible, ...firstErrors[kind])(exchange); });
    matches(end, said('overloaded'));
    assert.equal(asked, 1);
    assert.equal(seen.length, visible.length + firstErrors[kind].length);
  });
}

test('an answer that only opened is passed on whole when it ends well', async () => {
  const {end, data: seen} = await outcomeOf(gateways.openai, stream(role, done));
  assert.deepEqual([end.status, seen.length], ['completed', 2]);
});
