// The answers of a hostile upstream: heads, framings and event streams of each kind, right and wrong ones, and the way
// in which the connection goes on or ends.
import {gzipSync} from 'node:zlib';
import {cutUp, mutate} from './mutate.mjs';
import {forged} from './stream_checker.mjs';

/** A mark in bytes that an upstream sends after the end of an answer. No client may ever see it. */
export const smuggled = 'SMUGGLED-ANSWER';

// ---- events ----

/** Names a case so that no change of its bytes makes another one of it. */
const mark = (number) => `"${number}.${(Math.imul(number, 2654435761) >>> 0).toString(36)}"`;

/** The case that the data of an event names, or undefined. */
export function caseIn(data) {
  const [, text, number] = /"case":("(\d+)\.\w+")/.exec(data) ?? [];
  return number !== undefined && mark(Number(number)) === text ? Number(number) : undefined;
}

const adkData = (number, i) => `{"content":{"role":"model","parts":[{"text":"t${i} "}]},"author":"a","partial":true,"case":${mark(number)},"n":${i}}`;
const openaiData = (number, i) => `{"id":"x","choices":[{"index":0,"delta":{"content":"t${i} "},"finish_reason":null}],"case":${mark(number)},"n":${i}}`;
const sseData = (number, i) => `{"case":${mark(number)},"n":${i}}`;
const dataOf = {adk: adkData, openai: openaiData, sse: sseData};

const reservedNames = ['run.start', 'run.end', 'run.retry', 'gap', 'session.end', 'session.state', 'server.drain', 'auth.expired', 'run.', 'RUN.END', 'run.end ', ' gap', 'upstream.gap'];

/** [weight, block]: an event, or something that looks like one. */
const blocks = [
  [40, (random, kind, number, i) => `data: ${dataOf[kind](number, i)}\n\n`],
  [8, (random, kind, number, i) => `event: ${random.pick(['a', 'message', 'x y', 'é', 'e'.repeat(random.from(1, 5000))])}\ndata: ${dataOf[kind](number, i)}\n\n`],
  [10, (random) => `event: ${random.pick(reservedNames)}\ndata: {"task_id":"${forged}","status":"completed","reason":null,"events":0,"bytes":0,"duration_ms":0,"from":null,"to":"1-1"}\n\n`],
  [4, (random) => `id: ${random.pick(['1', '7-7', 'a\0b', '', 'x'.repeat(5000), '1700000000000-5'])}\ndata: ${random.below(100)}\n\n`],
  [3, (random) => `retry: ${random.pick(['0', '1', '99999999999999999999', 'x', '-1'])}\n\n`],
  [4, (random) => `:${'c'.repeat(random.pick([0, 3, 5000, 70000]))}\n`],
  [5, (random) => `${'data: x\n'.repeat(random.from(2, 50))}\n`],
  [1, (random) => `${'data:\n'.repeat(random.pick([10, 5000, 60000]))}\n`],
  [2, (random) => `data: ${'h'.repeat(random.pick([1000, 60000, 66000, 300000, 1200000]))}\n\n`],
  [3, (random) => `data: ${random.bytes(random.from(1, 40)).toString('latin1')}\n\n`],
  [3, (random) => random.pick(['data: a\rdata: b\r\r', 'data: a\r\ndata: b\r\n\r\n', 'data\n\n', 'data\n', '\xef\xbb\xbfdata: bom\n\n', 'data: \0\n\n', '\n\n\n', 'data:a\n data: b\n\n', 'event: x\n\n', '<html>\n', 'nofield\n\n', 'data: \xff\xfe\n\n', 'data: \u2028\n\n'])],
  [3, (random) => `data: ${random.pick(['{"error":"it failed"}', '{"error":{"message":"it failed","code":5}}', '{"error":null}', '{"errorCode":"x"}', '[DONE]', '[done]', '{"choices":[{"finish_reason":"stop","delta":{}}]}', '{"usageMetadata":{"totalTokenCount":1e300}}', '{"usage":{"total_tokens":-5}}', '{', 'null', '[]', `${'['.repeat(3000)}`])}\n\n`],
];

const endOf = {adk: '', sse: '', openai: 'data: [DONE]\n\n'};

function stream(random, kind, number) {
  const count = random.weighted([[60, random.below(12)], [30, random.from(12, 120)], [4, random.from(900, 1100)], [3, 5000]]);
  const wild = count < 900;
  let text = '';
  for (let i = 1; i <= count; i++) text += (wild ? random.weighted(blocks) : blocks[0][1])(random, kind, number, i);
  return Buffer.from(text + (random.chance(80) ? endOf[kind] : ''), 'latin1');
}

/** {body, expected}: a stream, and the data of its events. */
function knownStream(random, kind, number) {
  const count = random.weighted([[70, random.from(1, 20)], [20, random.from(20, 200)], [5, random.from(900, 1100)], [3, 3000]]);
  const expected = Array.from({length: count}, (_, i) => dataOf[kind](number, i + 1));
  return {body: Buffer.from(expected.map((data) => `data: ${data}\n\n`).join('') + endOf[kind]), expected: kind === 'openai' ? [...expected, '[DONE]'] : expected};
}

const documents = ['{}', '[]', '{"id":"s","events":[]}', '["a","b"]', '', 'no json', '<html><script>alert(1)</script></html>', '\0\x01\x02', `{"x":"${'y'.repeat(200000)}"}`, '{"error":{"code":"x"}}'];

// ---- framing ----

function chunk(random, body, strict) {
  const parts = [];
  for (let at = 0; at < body.length;) {
    const size = Math.min(body.length - at, random.chance(70) ? random.from(1, 300) : random.from(300, 60000));
    const line = strict || random.chance(97) ? size.toString(16) : random.pick([`${size.toString(16)};a=b`, `${size.toString(16)};${'e'.repeat(5000)}`, `000${size.toString(16)}`, 'zz', '-1', 'ffffffffffffffffff', `${(size + 1).toString(16)}`, '']);
    parts.push(Buffer.from(`${line}\r\n`), body.subarray(at, at + size), Buffer.from(strict || random.chance(99) ? '\r\n' : random.pick(['\n', '', 'X\r\n'])));
    at += size;
    if (parts.length > 6000) at = body.length;
  }
  if (strict) parts.push(Buffer.from('0\r\n\r\n'));
  else if (random.chance(88)) parts.push(Buffer.from(`0\r\n${random.pick(['', '', '', 'T: x\r\n', 'Content-Length: 5\r\n', 'T: x\r\n'.repeat(2000), 'bad\r\n', `T: ${'t'.repeat(120000)}\r\n`])}\r\n`));
  return Buffer.concat(parts);
}

/** {fields, body} of a body in some framing. */
function framed(random, body, strict) {
  const framing = random.weighted([[60, 'chunked'], [25, 'length'], [15, 'close'], [strict ? 0 : 10, 'odd']]);
  if (framing === 'chunked') return {fields: ['Transfer-Encoding: chunked'], body: chunk(random, body, strict)};
  if (framing === 'length') return {fields: [`Content-Length: ${body.length + (strict || random.chance(90) ? 0 : random.from(-3, 3))}`], body};
  if (framing === 'close') return {fields: ['Connection: close'], body, close: true};
  return {fields: random.pick([['Content-Length: 5', 'Content-Length: 6'], ['Content-Length: -1'], ['Content-Length: 99999999999999999999'], ['Transfer-Encoding: gzip, chunked'],
    ['Transfer-Encoding: chunked', 'Content-Length: 3'], ['Transfer-Encoding: identity'], ['Transfer-Encoding: chunked, chunked'], ['Content-Length: 5, 5'], ['Content-Length: x']]), body};
}

// ---- heads ----

const statusLines = [
  [70, () => 'HTTP/1.1 200 OK'],
  [12, (random) => `HTTP/1.1 ${random.pick([201, 202, 204, 206, 304, 400, 401, 404, 409, 410, 429, 429, 500, 502, 503, 503, 504, 599])} Any`],
  [4, (random) => `HTTP/1.1 ${random.pick([301, 302, 303, 307, 308])} Moved`],
  [4, (random) => random.pick(['HTTP/1.0 200 OK', 'HTTP/1.1 200', 'HTTP/1.1 200 ', 'HTTP/2 200', 'HTTP/3 200 OK', 'HTTP/1.1 000 Zero', 'HTTP/1.1 999 Nine', 'HTTP/1.1 20 Short', 'ICY 200 OK', 'HTTP/1.1  200 OK', `HTTP/1.1 200 ${'R'.repeat(3000)}`, 'http/1.1 200 OK', '', 'garbage', 'HTTP/1.1 200 \0'])],
];

const interims = ['HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n', 'HTTP/1.1 102 Processing\r\n\r\n', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n', 'HTTP/1.1 199 X\r\n\r\n'];

const retryAfter = (random) => `Retry-After: ${random.weighted([[70, random.pick(['0', '1'])], [30, random.pick(['-1', 'x', '2', 'Wed, 21 Oct 2015 07:28:00 GMT', '1.5', ''])], [1, '99999999999']])}`;

/** [percent, fields]: further fields of a head. */
const extraFields = [
  [6, (random) => [`Location: ${random.pick(['/redirected', 'http://127.0.0.1:1/redirected', '//x/redirected', 'file:///etc/passwd'])}`]],
  [6, (random) => [retryAfter(random)]],
  [8, () => ['X-Accel-Redirect: /internal/secret', 'X-Sendfile: /etc/passwd', 'Set-Cookie: stolen=1', 'Access-Control-Allow-Origin: *', 'Alt-Svc: h2="evil:443"', 'Refresh: 0;url=http://evil.example']],
  [5, (random) => [`Content-Encoding: ${random.pick(['gzip', 'deflate', 'br', 'zstd', 'identity', 'x, gzip', 'gzip, gzip'])}`]],
  [4, () => ['X-A: b\r\n folded']],
  [4, (random) => [random.pick(['X-A: b\0c', 'X-A: b\rX-B: c', 'nocolon', ': empty', 'X A: b', 'X-A : b', 'X-A: \x01', 'X-\xe9: \xe9', 'Content-Type: text/html', 'Content-Type:'])]],
  [2, (random) => [`X-Long: ${'l'.repeat(random.pick([8000, 70000, 110000]))}`]],
  [2, (random) => Array.from({length: random.pick([50, 300, 1200])}, (_, i) => `X-${i}: ${i}`)],
  [4, (random) => [`Connection: ${random.pick(['close', 'keep-alive', 'X-Accel-Redirect', 'Content-Type', 'upgrade'])}`]],
];

const types = ['text/event-stream', 'text/event-stream;charset=utf-8', 'Text/Event-Stream', 'text/event-stream, x', 'text/html', 'application/json', 'application/x-ndjson', '', 'text/event-streams'];

function head(random, fields, interim) {
  const line = random.weighted(statusLines)(random);
  const more = extraFields.filter(([percent]) => random.chance(percent)).flatMap(([, make]) => make(random));
  const before = interim ? random.pick(interims).repeat(random.weighted([[80, 1], [15, 5], [5, 3000]])) : '';
  return `${before}${line}\r\n${[...fields, ...more].map((field) => `${field}\r\n`).join('')}${random.chance(98) ? '\r\n' : '\n'}`;
}

// ---- answers ----

/** The steps that send the bytes: in pieces, with pauses that are mostly shorter than the gateway's timeouts. */
function play(random, bytes, end) {
  const pieces = cutUp(random, bytes);
  const pace = pieces.length > 60 ? 0 : random.weighted([[75, 0], [20, random.from(1, 8)], [5, random.from(8, 80)]]);
  const ops = pieces.flatMap((piece, i) => (i > 0 && pace > 0 ? [{wait: pace}, {send: piece}] : [{send: piece}]));
  if (random.chance(20)) ops.unshift({wait: random.from(1, 60)});
  return end ? [...ops, end] : ops;
}

const ends = (random) => random.weighted([[50, null], [15, {fin: true}], [12, {reset: true}], [10, {stay: true}], [13, {send: random.pick([Buffer.from('x'), Buffer.from('\r\n\r\n'), random.bytes(20)])}]]);

/** Bytes that follow the end of an answer at once. If they came later, they could cross the next request on the wire, and no
 *  client could tell them from its answer. */
const smuggledAnswers = [`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: ${smuggled.length + 8}\r\n\r\ndata: ${smuggled}\n\n`, `data: ${smuggled}\n\n`, `11\r\ndata: ${smuggled}\n\n\r\n`];

function knownAnswer(random, kind, number) {
  const {body, expected} = knownStream(random, kind, number);
  const {fields, body: sent, close} = framed(random, body, true);
  const text = `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`;
  const isWhole = !close || kind === 'openai'; // without an end of its own it counts as broken off
  const more = !close && random.chance(15) ? random.pick(smuggledAnswers) : '';
  const bytes = Buffer.concat([Buffer.from(text), sent, Buffer.from(more)]);
  return {ops: more ? [{send: bytes}] : play(random, bytes, close ? {fin: true} : null), expected: isWhole ? expected : undefined};
}

/** {ops} of a complete plain answer to a request that is no run. */
function plainAnswer(random) {
  const body = '{"id":"any","events":[]}';
  return {ops: play(random, Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`), null)};
}

function wildAnswer(random, kind, number) {
  const isRun = kind in dataOf;
  let body = isRun && random.chance(90) ? stream(random, kind, number) : Buffer.from(random.pick(documents), 'latin1');
  const type = isRun && random.chance(88) ? types[0] : random.pick(types);
  const fields = [`Content-Type: ${type}`];
  if (random.chance(4)) {
    body = gzipSync(body);
    fields.push('Content-Encoding: gzip');
  }
  const {fields: more, body: sent, close} = framed(random, body, random.chance(60));
  const bytes = Buffer.concat([Buffer.from(head(random, [...fields, ...more], random.chance(8)), 'latin1'), sent]);
  const end = close && random.chance(80) ? {fin: true} : ends(random);
  return {ops: play(random, random.chance(35) ? mutate(random, bytes) : bytes, end)};
}

/** The answer to attempt `attempt` of case `number`: {ops, expected}. `kind`: adk, sse, openai, session, read or health. `expected`:
 *  the data of the events that must come, if they are known. */
export function makeAnswer(random, kind, number) {
  if (kind in dataOf) return random.chance(35) ? knownAnswer(random, kind, number) : wildAnswer(random, kind, number);
  if (kind === 'session' || kind === 'health') return random.chance(70) ? plainAnswer(random) : wildAnswer(random, kind, number);
  return random.chance(20) ? plainAnswer(random) : wildAnswer(random, kind, number);
}
