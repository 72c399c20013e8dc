// The real proxy of LiteLLM, by its own mocks and in front of a scripted provider: whole answers, errors and cuts.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {startLiteLlm} from '../support/agents.mjs';
import {stretched, within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const delta = (content, finish = null) => `data: ${JSON.stringify({id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{index: 0, delta: {content}, finish_reason: finish}]})}\n\n`;
const failure = 'data: {"error":{"message":"overloaded","type":"server_error","code":529}}\n\n';
const begun = async (exchange) => {
  await exchange.head();
  await exchange.chunk(delta('a'));
};

// What the provider does when it is asked so.
const scripts = {
  whole: (exchange) => exchange.stream(delta('a'), delta('b'), delta('', 'stop'), 'data: [DONE]\n\n'),
  'no [DONE]': (exchange) => exchange.stream(delta('a'), delta('', 'length')),
  'no end': (exchange) => exchange.stream(delta('a'), delta('b')),
  'an error': (exchange) => exchange.stream(delta('a'), failure),
  'an error first': (exchange) => exchange.stream(failure),
  refuse: (exchange) => exchange.answer(503, '{"error":{"message":"no room"}}'),
  close: async (exchange) => {
    await begun(exchange);
    exchange.close();
  },
  hold: async (exchange) => {
    await begun(exchange);
    await exchange.gone;
  },
};
const provider = await startUpstream({after}, (exchange) => {
  if (exchange.method !== 'POST') return exchange.answer(404, '{}'); // it asks for a list of models
  return scripts[exchange.json.messages.at(-1).content](exchange);
});
const models = {talker: {mock_response: 'Hello from a mock.'}, refuser: {mock_response: 'litellm.RateLimitError'}, broken: {mock_response: 'litellm.InternalServerError'},
  provider: {api_base: `${provider.url}/v1`}};
const agent = await startLiteLlm({after}, models);
const gateway = await startSluice({after}, {upstream: `${agent.url}/v1`, upstream_kind: 'openai', upstream_authorization: `Bearer ${agent.key}`, cache: true});
const ask = (model, message) => gateway.runStream(sessionPath(), {message, model, stream_options: {include_usage: true}});

/** What came of a run: {end, text}. The same question once more is answered from the cache exactly if it was complete. */
async function outcomeOf(model, message) {
  const client = await ask(model, message);
  assert.equal(await client.ended(stretched(20000)), 'last-chunk');
  const end = client.json('run.end');
  const again = await ask(model, message);
  await again.ended(stretched(20000));
  assert.equal(again.json('run.end').cached ?? false, end.status === 'completed');
  return {end, text: (await gateway.get(`/tasks/${end.task_id}/result`)).json.text};
}

test('a mock answer of LiteLLM is whole, with its finish_reason and usage', async () => {
  const {end, text} = await outcomeOf('talker', 'hi');
  assert.deepEqual([end.status, end.reason, end.finish_reason, end.warning, text], ['completed', null, 'stop', undefined, 'Hello from a mock.']);
  assert.equal(end.usage.total_tokens, end.usage.input_tokens + end.usage.output_tokens);
  assert.ok(end.usage.input_tokens > 0 && end.usage.output_tokens > 0);
});

for (const [model, status, name] of [['refuser', 429, 'RateLimitError'], ['broken', 500, 'InternalServerError']]) {
  test(`the mock error ${name} of LiteLLM is told with its status and words`, async () => {
    const {end} = await outcomeOf(model, 'hi');
    assert.deepEqual([end.status, end.reason, end.upstream_status], ['failed', 'upstream_status', status]);
    assert.match(end.message, new RegExp(`^The upstream answered ${status}: litellm\\.${name}: this is a mock`));
  });
}

const ends = [
  ['whole', 'completed', null, 'ab', 'stop'],
  ['no [DONE]', 'completed', null, 'a', 'length'],
  ['no end', 'completed', null, 'ab', 'stop'], // LiteLLM makes an end of its own: nobody behind it can tell
  ['an error', 'failed', 'upstream_error', 'a', /overloaded$/],
  ['an error first', 'failed', 'upstream_status', '', /overloaded$/],
  ['refuse', 'failed', 'upstream_status', '', /no room$/],
  ['close', 'failed', 'upstream_error', 'a', /Connection error\.$/],
];
for (const [script, status, reason, text, more] of ends) {
  test(`a provider behind LiteLLM that does "${script}" makes the run ${status} ${reason ?? ''}`, async () => {
    const outcome = await outcomeOf('provider', script);
    assert.deepEqual([outcome.end.status, outcome.end.reason, outcome.text], [status, reason, text], JSON.stringify(outcome.end));
    if (status === 'completed') assert.equal(outcome.end.finish_reason, more);
    else assert.match(outcome.end.message, more);
  });
}

test('a cancel reaches the provider through LiteLLM', async () => {
  const path = sessionPath();
  const {task_id} = await gateway.run(path, {message: 'hold', model: 'provider'});
  const client = await gateway.follow(path);
  await client.messages(1);
  const exchange = provider.runs.findLast(({method, body}) => method === 'POST' && body.includes('hold'));
  assert.equal((await gateway.delete(`${path}/run`)).status, 200);
  assert.equal((await gateway.taskEnded(task_id)).status, 'cancelled');
  await within(exchange.gone, 20000, 'LiteLLM leaves the provider');
  client.leave();
});

test('a LiteLLM that dies in the middle of an answer leaves the run truncated', async () => {
  const client = await ask('provider', 'hold');
  await client.messages(1);
  await agent.kill();
  await client.ended();
  const end = client.json('run.end');
  assert.deepEqual([end.status, end.reason, client.data.length], ['failed', 'upstream_truncated', 1], JSON.stringify(end));
  const next = await ask('talker', 'are you there');
  await next.ended();
  assert.deepEqual([next.json('run.end').status, next.json('run.end').reason], ['failed', 'upstream_connect']);
});
