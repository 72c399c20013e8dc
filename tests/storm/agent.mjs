// The upstream of a storm: plays the script of each run, and keeps of each POST what it did with it.
import {pause} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {attemptAt, eventsOf, frameOf} from './script.mjs';

/** The tag of the run that is asked for, in whatever body its kind has. */
export function tagOf(json) {
  return json.newMessage?.parts[0].text ?? json.message ?? json.messages?.at(-1).content;
}

/** What became of one POST. `writes`: {at, sent} of each, with how many events were whole before it. `isWhole`: all of the
 *  attempt was written while the gateway was there. `isLate`: it came on a connection that was being closed already, so
 *  nothing can answer it. */
class Post {
  constructor(tag, number, attempt, isLate) {
    Object.assign(this, {tag, number, attempt, isLate, nextPart: 0, askedAgain: [], cameAt: Date.now(), writes: [], sent: 0, isWhole: false});
  }
}

/** Sends `text` in one write, or in two that part it anywhere. */
async function write(exchange, post, text, asChunk) {
  const bytes = Buffer.from(text);
  const middle = post.attempt.torn ? Math.floor(bytes.length / 2) : 0;
  for (const part of [bytes.subarray(0, middle), bytes.subarray(middle)]) {
    post.writes.push({at: Date.now(), sent: post.sent});
    if (part.length && !await (asChunk ? exchange.chunk(part) : exchange.send(part))) return false;
  }
  return true;
}

/** The events of the attempt. False: the gateway has left. */
async function sendEvents(exchange, post, events, asChunks) {
  const {burst, pause: ms} = post.attempt;
  for (let from = 0; from < events.length; from += burst) {
    const some = events.slice(from, from + burst);
    if (!exchange.open || !await write(exchange, post, some.map(frameOf).join(''), asChunks)) return false;
    post.sent += some.length;
    if (ms && from + burst < events.length) await pause(ms); // after the last one the gateway may know the end already
  }
  return exchange.open;
}

/** The beginning of an event. */
const torso = 'data: {"this":"is never';

const chunkOf = (bytes) => `${Buffer.byteLength(bytes).toString(16)}\r\n${bytes}\r\n`;

/** Everything in one write, and a reset: what the kernel has not sent by then would be lost. */
async function sendAndReset(exchange, post, events, {isPolite = false, isWhole, place = '', within = post.attempt.within}) {
  const head = `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${place}${isPolite ? 'Connection: close\r\n' : ''}Transfer-Encoding: chunked\r\n\r\n`;
  const text = `${events.map(frameOf).join('')}${within ? torso : ''}`;
  const body = text ? chunkOf(text) : '';
  post.writes.push({at: Date.now(), sent: post.sent});
  const wasSent = await exchange.send(`${head}${body}${isWhole ? chunkOf('') : ''}`);
  if (post.attempt.how !== 'parts') Object.assign(post, {isWhole: wasSent, sent: events.length});
  exchange.reset();
}

const plays = {
  async well(exchange, post, events) {
    const {framing, after, isPolite} = post.attempt;
    if (after !== 'keep') post.agent.hasClosedKept ||= !isPolite;
    if (after === 'rst') return sendAndReset(exchange, post, events, {isPolite, isWhole: true});
    const length = events.reduce((sum, event) => sum + Buffer.byteLength(frameOf(event)), 0);
    const headers = {'Content-Type': 'text/event-stream', ...(isPolite && {Connection: 'close'})};
    await exchange.head({headers, framing, length});
    const stays = await sendEvents(exchange, post, events, framing === 'chunked');
    // By its length, or by its end marker, the gateway knows the end before we do.
    const endsItself = framing === 'length' || events.at(-1)?.data === '[DONE]';
    const hasEnded = stays && framing === 'chunked' && await exchange.lastChunk();
    post.isWhole = endsItself ? post.sent === events.length : hasEnded;
    if (!stays) return;
    if (after === 'fin') exchange.close();
  },

  async error(exchange, post, events) {
    await exchange.head();
    if (await sendEvents(exchange, post, events, true)) post.isWhole = await exchange.lastChunk();
  },

  async cut(exchange, post, events) {
    await exchange.head();
    if (!await sendEvents(exchange, post, events, true)) return;
    if (post.attempt.within) await exchange.chunk(torso);
    post.isWhole = true;
    exchange.close();
  },

  reset(exchange, post, events) { return sendAndReset(exchange, post, events, {isWhole: false}); },

  async unframed(exchange, post, events) {
    await exchange.head({framing: 'close'});
    if (!await sendEvents(exchange, post, events, false)) return;
    post.isWhole = true;
    exchange.close();
  },

  async status(exchange, post) {
    const {status, retryAfter} = post.attempt;
    const body = JSON.stringify({detail: `refused ${post.tag}`});
    const headers = {'Content-Type': 'application/json', ...(retryAfter !== undefined && {'Retry-After': retryAfter})};
    await exchange.head({status, headers, framing: 'length', length: body.length});
    post.isWhole = await exchange.send(body);
  },

  wordless(exchange, post) {
    post.isWhole = true;
    if (post.attempt.rudely) exchange.reset();
    else exchange.close();
  },

  async stall(exchange, post, events) {
    if (post.attempt.hasHead) await exchange.head();
    if (!await sendEvents(exchange, post, events, true)) return;
    post.isWhole = true;
    await exchange.gone;
  },

  async foreign(exchange, post) {
    await exchange.answer(200, JSON.stringify({hello: post.tag}));
    post.isWhole = true;
  },

  parts: (exchange, post, events) => playPart(exchange, post, events, 0),
};
plays.stale = plays.error;

/** The next part of a stream that breaks off, after the event with the id `last`. */
async function playPart(exchange, post, events, last) {
  const {parts, last: lastly} = post.attempt;
  const {to, how, within, repeatsFirst} = parts[post.nextPart++] ?? {to: events.length, how: lastly};
  if (how === 'wordless') return exchange.close();
  if (how === '503') return exchange.answer(503, '{}');
  if (how === 'gone') {
    post.isWhole = true;
    return exchange.answer(404, '{}');
  }
  const rest = events.slice(repeatsFirst && last > 0 ? last - 1 : last, to); // with or without the event that has the id
  if (how === 'nothing more' && rest.length === 0 && last > 0) {
    post.isWhole = true;
    return exchange.head({status: 204, framing: 'none'});
  }
  const place = {'Content-Type': 'text/event-stream', Location: `/parts/${post.tag}/${post.number}`};
  if (how === 'reset') {
    const sending = sendAndReset(exchange, post, rest, {place: `Location: ${place.Location}\r\n`, within});
    post.sent = Math.max(post.sent, to); // the write has noted what was sent before it
    return sending;
  }
  await exchange.head({headers: place});
  const sentBefore = post.sent;
  const stays = await sendEvents(exchange, post, rest, true);
  post.sent = Math.max(sentBefore, stays ? to : last);
  if (!stays) return undefined;
  if (how === 'cut') {
    if (within) await exchange.chunk(torso);
    return exchange.close();
  }
  post.isWhole = await exchange.lastChunk();
  return undefined;
}

/** The run that a GET, or a POST with Last-Event-ID, asks to go on with. */
function postToGoOn(ledger, exchange, last) {
  const [, tag, number] = /^\/parts\/([^/]+)\/(\d+)$/.exec(exchange.path) ?? [];
  if (tag !== undefined) return ledger.postsOf(tag)[number];
  return last > 0 ? ledger.postsOf(tagOf(exchange.json)).findLast(({attempt}) => attempt.how === 'parts') : undefined;
}

/** Starts one that plays the scripts of the `ledger`. */
export async function startAgent(context, kind, ledger) {
  const agent = await startUpstream(context, async (exchange) => {
    const last = Number(exchange.headers['last-event-id'] ?? 0);
    const parted = postToGoOn(ledger, exchange, last);
    if (parted) {
      if (exchange.method === 'POST') parted.askedAgain.push(last); // a GET may be sent again unseen
      if (exchange.socket.writableEnded) return undefined;
      return playPart(exchange, parted, eventsOf(kind, parted.tag, parted.attempt, parted.number), last);
    }
    if (exchange.method !== 'POST') return exchange.answer(200, '["demo"]');
    const tag = tagOf(exchange.json);
    const posts = ledger.postsOf(tag);
    const attempt = attemptAt(ledger.scriptOf(tag), posts.length);
    const post = new Post(tag, posts.length, attempt, exchange.socket.writableEnded || exchange.socket.destroyed);
    posts.push(post);
    post.agent = agent;
    if (post.isLate) return;
    await plays[attempt.how](exchange, post, eventsOf(kind, tag, attempt, post.number));
  });
  return agent;
}
