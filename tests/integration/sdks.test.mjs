// SDKs that know their agent's protocol and nothing else, as they are, on `POST S/run?events=agent`: a whole answer is read, and
// a broken one is an error. Two of them do not ask for an event stream in Accept.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {HttpAgent} from '@ag-ui/client';
import {Chat} from '@ai-sdk/react';
import {DefaultChatTransport} from 'ai';
import OpenAI from 'openai';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const frame = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;

let events = [];
let isBroken = false; // the connection breaks off before the last event
const upstream = await startUpstream({after}, async (exchange) => {
  await exchange.head();
  for (const event of isBroken ? events.slice(0, -1) : events) await exchange.chunk(frame(event));
  if (isBroken) exchange.reset();
  else await exchange.lastChunk();
});
const gateways = {};
for (const kind of ['openai', 'sse']) gateways[kind] = await startSluice({after}, {upstream: upstream.url, upstream_kind: kind});
const urlOf = (kind, session = sessionPath()) => `${gateways[kind].url}${session}/run?events=agent`;

/** Lets the agent answer with these events, whole or broken. */
function answer(all, broken) {
  events = all;
  isBroken = broken;
}

// ---- AG-UI ----

const agUi = (input) => [
  {type: 'RUN_STARTED', threadId: input.threadId, runId: input.runId},
  {type: 'TEXT_MESSAGE_START', messageId: 'm1', role: 'assistant'},
  {type: 'TEXT_MESSAGE_CONTENT', messageId: 'm1', delta: 'Hel'},
  {type: 'TEXT_MESSAGE_CONTENT', messageId: 'm1', delta: 'lo 🌊'},
  {type: 'TEXT_MESSAGE_END', messageId: 'm1'},
  {type: 'RUN_FINISHED', threadId: input.threadId, runId: input.runId},
];

async function askAgUi(broken) {
  const agent = new HttpAgent({url: urlOf('sse'), threadId: 't1', initialMessages: [{id: 'u1', role: 'user', content: 'hello'}]});
  answer(agUi({threadId: 't1', runId: 'r1'}), broken);
  const {newMessages} = await agent.runAgent({runId: 'r1'});
  return newMessages.map(({content}) => content);
}

test('@ag-ui/client', async () => {
  assert.deepEqual(await askAgUi(false), ['Hello 🌊']);
  await assert.rejects(askAgUi(true), /the frame carries no event type/);
});

// ---- the AI SDK ----

const uiMessage = [{type: 'start', messageId: 'm1'}, {type: 'text-start', id: 't'}, {type: 'text-delta', id: 't', delta: 'Hel'},
  {type: 'text-delta', id: 't', delta: 'lo 🌊'}, {type: 'text-end', id: 't'}, {type: 'finish'}, '[DONE]'];

/** A chat as useChat has it: {status, error, text}. */
async function askChat(broken) {
  answer(uiMessage, broken);
  const api = urlOf('sse');
  const chat = new Chat({transport: new DefaultChatTransport({api})});
  await chat.sendMessage({text: 'hello'});
  const {status, error, lastMessage} = chat;
  return {status, error, text: lastMessage.role === 'assistant' ? lastMessage.parts.map((part) => part.text ?? '').join('') : undefined};
}

test('useChat of the AI SDK', async () => {
  const whole = await askChat(false);
  assert.deepEqual(whole, {status: 'ready', error: undefined, text: 'Hello 🌊'});
  const broken = await askChat(true);
  assert.equal(broken.status, 'error');
  assert.match(broken.error.message, /upstream_truncated/);
});

// ---- openai ----

const piece = (delta, finish_reason = null) => ({id: 'c1', object: 'chat.completion.chunk', created: 1, model: 'any', choices: [{index: 0, delta, finish_reason}]});
const completion = [piece({role: 'assistant', content: 'Hel'}), piece({content: 'lo 🌊'}), piece({}, 'stop'), '[DONE]'];

async function askOpenAi(broken) {
  answer(broken ? completion.slice(0, 3) : completion, broken); // finish_reason is the end, so it breaks off before that
  const client = new OpenAI({baseURL: `${gateways.openai.url}${sessionPath()}`, apiKey: 'none', maxRetries: 0, defaultQuery: {events: 'agent'}});
  const stream = await client.post('/run', {body: {model: 'any', messages: [{role: 'user', content: 'hello'}], stream: true}, stream: true});
  let text = '';
  for await (const {choices} of stream) text += choices[0].delta.content ?? '';
  return text;
}

test('the SDK of OpenAI', async () => {
  assert.equal(await askOpenAi(false), 'Hello 🌊');
  await assert.rejects(askOpenAi(true), {name: 'Error', code: 'upstream_truncated'});
});
