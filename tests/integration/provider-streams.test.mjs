// Recorded streams of providers, ended anywhere: by a last chunk, by FIN and by RST. What each run came to is held against
// a reading of the bytes that shares nothing with the gateway. SEED draws other places.
import assert from 'node:assert/strict';
import {readFileSync, readdirSync} from 'node:fs';
import {after, test} from 'node:test';
import {slow} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {projectPath, sessionPath, startSluice} from '../support/sluice.mjs';

const seed = Number(process.env.SEED ?? 20261130);
const directory = projectPath('tests/data/provider-streams');
const files = readdirSync(directory).filter((name) => name.endsWith('.txt')).sort();
const endEvents = ['message_stop', 'response.completed', 'response.incomplete'];

let scriptNow;
const upstream = await startUpstream({after}, (exchange) => scriptNow(exchange));
const gateways = {
  openai: await startSluice({after}, {upstream: upstream.url, upstream_kind: 'openai'}),
  sse: await startSluice({after}, {upstream: upstream.url, upstream_kind: 'sse'}),
  ending: await startSluice({after}, {upstream: upstream.url, upstream_kind: 'sse', upstream_end_events: endEvents.join()}),
};

/** A random number below `n`, the same for the same seed. */
let state = seed >>> 0;
const draw = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};

/** JSON, or undefined. */
const parsed = (text) => { try { return JSON.parse(text); } catch { return undefined; } };

/** The events of `text` as {type, data}, what stands after the last of them as `rest`, and the first line that is none. */
function read(text) {
  const blocks = text.replaceAll('\r\n', '\n').replaceAll('\r', '\n').split('\n\n');
  const rest = blocks.pop();
  const eventOf = (block) => {
    const values = (name) => block.split('\n').filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).replace(/^ /, ''));
    return {type: values('event').at(-1) ?? 'message', data: values('data').join('\n'), hasData: values('data').length > 0};
  };
  const stray = text.split(/\r\n|\n|\r/).find((line) => /^\s*[{}\[\]"<]/.test(line));
  return {events: blocks.map(eventOf).filter(({hasData}) => hasData), rest, last: eventOf(rest), stray};
}

/** What a person would say of a stream of this kind that has ended `how` after `text`: {status, reason, warning, events}. */
function judge(kind, text, how) {
  const {events, rest, last, stray} = read(text);
  const completed = (more = 0, warning) => ({status: 'completed', reason: null, warning, events: events.length + more});
  const failed = (reason) => ({status: 'failed', reason, events: events.length});
  if (stray !== undefined) return failed(/"error"/.test(text) && parsed(text.slice(text.indexOf(stray))) ? 'upstream_error' : undefined);
  const isEnd = ({type, data}) => (kind === 'openai' ? data === '[DONE]' : kind === 'ending' && (endEvents.includes(type) || endEvents.includes(parsed(data)?.type)));
  if (events.some(isEnd)) return completed();
  if (isEnd(last) && (kind === 'openai' || parsed(last.data))) return completed(1);
  if (how !== 'lastChunk' || rest !== '' || kind === 'ending') return failed('upstream_truncated');
  if (kind === 'sse') return events.length ? completed() : completed(0, 'empty');
  return events.some(({data}) => parsed(data)?.choices?.[0]?.finish_reason) ? completed() : failed('upstream_truncated');
}

/** Where a stream of these bytes is ended: near its beginning and its end, around ends of events, and anywhere. */
function places(bytes) {
  const near = [0, 1, 5];
  for (let back = 0; back <= 16; back++) near.push(bytes.length - back);
  for (let i = 0; i < 4; i++) {
    const blank = bytes.indexOf('\n', draw(bytes.length));
    near.push(blank, blank + 1, blank + 2, blank + 3);
  }
  const anywhere = Array.from({length: 24}, () => draw(bytes.length));
  const all = [...new Set([...near, ...anywhere])].filter((at) => at >= 0 && at <= bytes.length);
  return slow ? all.filter((at, i) => i % 6 === draw(6) || at === bytes.length) : all;
}

async function outcomeOf(gateway, bytes, how) {
  scriptNow = async (exchange) => {
    await exchange.head();
    if (bytes.length) await exchange.chunk(bytes);
    await exchange[how]();
  };
  const client = await gateway.runStream(sessionPath(), 'hello');
  assert.equal(await client.ended(), 'last-chunk');
  return client.json('run.end');
}

for (const name of files) {
  const bytes = readFileSync(`${directory}/${name}`);
  const kinds = name.startsWith('openai-chat') ? ['openai', 'sse'] : name.startsWith('gemini') ? ['sse'] : ['sse', 'ending'];
  for (const kind of kinds) {
    test(`${name} as kind ${kind} is told as what it is, wherever it ends (seed ${seed})`, async () => {
      for (const at of places(bytes)) {
        for (const how of ['lastChunk', 'close', 'reset']) {
          const part = bytes.subarray(0, at);
          const expected = judge(kind, part.toString('latin1'), how);
          const end = await outcomeOf(gateways[kind], part, how);
          const what = `${how} after ${at} of ${bytes.length} bytes, ${JSON.stringify(part.subarray(-60).toString())}: ${JSON.stringify(end)}`;
          assert.deepEqual([end.status, end.warning], [expected.status, expected.warning], what);
          if (expected.reason !== undefined) assert.equal(end.reason, expected.reason, what);
          assert.equal(end.events, expected.events, what);
        }
      }
    });
  }
}

// ---- an error between two events ----

const said = 'The model is overloaded.';
const errorForms = {
  'openai-chat': [`data: {"error":{"message":"${said}","type":"server_error","code":null}}`, `data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"error"}],"error":{"code":502,"message":"${said}"}}`,
    `event: error\ndata: {"message":"${said}"}`],
  'openai-responses': [`event: response.failed\ndata: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"${said}"}}}`,
    `event: error\ndata: {"type":"error","code":"server_error","message":"${said}","param":null}`],
  anthropic: [`event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"${said}"}}`],
  gemini: [`data: {"error": {"code": 503,"message": "${said}","status": "UNAVAILABLE"}}`],
};

for (const name of files) {
  const bytes = readFileSync(`${directory}/${name}`);
  const boundaries = [...bytes.toString('latin1').matchAll(/\r?\n\r?\n/g)].map(({index, 0: blank}) => index + blank.length);
  const provider = Object.keys(errorForms).find((each) => name.startsWith(each));
  const kinds = provider === 'openai-chat' ? ['openai'] : provider === 'gemini' ? ['sse'] : ['sse', 'ending'];
  const doneAt = bytes.indexOf('data: [DONE]');
  for (const kind of boundaries.length ? kinds : []) {
    test(`${name} as kind ${kind}: an error between two events fails the run with its words (seed ${seed})`, async () => {
      for (const form of errorForms[provider]) {
        for (let i = 0; i < (slow ? 2 : 6); i++) {
          const at = boundaries[draw(boundaries.length)];
          if (doneAt >= 0 && at > doneAt) continue; // nothing counts after the end
          const goesOn = i % 2 === 1;
          const ending = ['lastChunk', 'close', 'reset'][i % 3];
          const part = Buffer.concat([bytes.subarray(0, at), Buffer.from(`${form}\n\n`), bytes.subarray(goesOn ? at : bytes.length)]);
          const end = await outcomeOf(gateways[kind], part, ending);
          const what = `${form} at ${at}, ${goesOn ? 'and the rest, ' : ''}${ending}: ${JSON.stringify(end)}`;
          assert.deepEqual([end.status, end.reason], ['failed', 'upstream_error'], what);
          assert.ok(end.message.includes(said), what);
        }
      }
    });
  }
}
