// A well-behaved ADK server that follows the message: `count=N` numbered events with `size=BYTES` of padding, `delay=MS`
// between them, then the end, or `hold` until the gateway leaves, or `fail`.
import {numbered} from './stream_checker.mjs';

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const number = (text, name) => Number(new RegExp(`\\b${name}=(\\d{1,7})`).exec(text)?.[1] ?? 0);

const streamHead = ['Content-Type: text/event-stream', 'Transfer-Encoding: chunked'];

async function answerRun(exchange, text) {
  const [count, delay, size] = ['count', 'delay', 'size'].map((each) => number(text, each));
  const padding = 'x'.repeat(size);
  await exchange.head(200, streamHead);
  let part = '';
  for (let i = 1; i <= count && exchange.open; i++) {
    part += numbered(exchange.number, i, padding);
    if (delay === 0 && i < count && part.length < 60000) continue;
    await exchange.chunk(part);
    part = '';
    if (delay > 0) await pause(delay);
  }
  if (/\bfail\b/.test(text)) await exchange.chunk('data: {"error":"as it was asked"}\n\n');
  if (/\bhold\b/.test(text)) await exchange.gone;
  else await exchange.send('0\r\n\r\n');
}

/** The three members that name the owner of a run must occur once each, in one spelling. */
function checkIdentity(text) {
  const folded = Object.keys(JSON.parse(text)).map((name) => name.replaceAll('_', '').normalize('NFKC').toLowerCase().replaceAll('\u017f', 's'));
  for (const name of ['appname', 'userid', 'sessionid']) {
    const count = folded.filter((each) => each === name).length;
    if (count !== 1) throw new Error(`${name} stands ${count} times in ${text.slice(0, 500)}`);
  }
}

/** A script for startUpstreamServer(). */
export async function behaveWell(exchange) {
  const {method, target} = exchange;
  if (method === 'POST' && target.endsWith('/run_sse')) {
    checkIdentity(exchange.body.toString());
    return answerRun(exchange, exchange.body.toString());
  }
  if (method === 'HEAD') return exchange.send('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n');
  return exchange.answer(200, '{"id":"any","events":[]}');
}
