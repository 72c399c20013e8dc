// A strict reader of the gateway's answers on one connection (RFC 9112): each byte must belong to a well-formed answer,
// each error must have the contract's form, and each event stream must pass stream_checker.mjs.
import {StreamChecker} from './stream_checker.mjs';

const headMax = 64 * 1024;
const keptBody = 1 << 20;

/** Headers that an answer may have once at most. */
const single = new Set(['content-length', 'content-type', 'transfer-encoding', 'location', 'retry-after', 'date', 'connection', 'allow',
  'cache-control', 'x-content-type-options', 'content-security-policy']);

const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const valuePattern = /^[\t\x20-\x7e\x80-\xff]*$/;

/** The pages that libmicrohttpd sends by itself, before any handler runs. */
const libraryPage = /^<html><head><title>[^<]*<\/title><\/head><body>.*<\/body><\/html>$/s;
const libraryStatuses = new Set([400, 413, 414, 431, 500, 501, 505]);

const quoted = (bytes) => JSON.stringify(bytes.toString('latin1', 0, 200));

export class AnswerReader {
  /** `mayBeHead`: a HEAD may be among the requests, whose answer has no body whatever its headers say. `foreign`: bodies may be
   *  an upstream's, of which nothing is known. `agentFraming`: see stream_checker.mjs. */
  constructor({mayBeHead = false, foreign = false, agentFraming = false, onAnswer = () => {}, onEvent = () => {}} = {}) {
    Object.assign(this, {mayBeHead, foreign, agentFraming, onAnswer, onEvent});
    this.pending = Buffer.alloc(0);
    this.answers = [];
    this.interim = 0;
    this.current = null;
    this.bytes = 0;
  }

  /** Takes the bytes that came; throws an Error at the first wrong one. */
  take(bytes) {
    this.bytes += bytes.length;
    this.pending = this.pending.length > 0 ? Buffer.concat([this.pending, bytes]) : bytes;
    while (this.current ? this.takeBody() : this.takeHead()) { /* as long as there is something whole */ }
  }

  /** The gateway ended the connection, in order or by a reset. */
  end(reset) {
    const {current} = this;
    if (current?.framing === 'close') return this.complete();
    if (current && this.mayBeHead && current.received === 0) return this.complete();
    if (current?.stream) current.stream.cut();
    if (reset || this.foreign) return;
    if (!current && this.pending.length > 0) throw new Error(`the connection ended within a head: ${quoted(this.pending)}`);
    if (current?.framing === 'length') throw new Error(`the body of a ${current.status} ended after ${current.received} of ${current.length} bytes`);
    // A chunked answer without its last chunk says that it is not whole: a stream that stalled, an upstream that broke off.
    if (current && current.type !== 'text/event-stream' && current.status !== 200) throw new Error(`a ${current.status} ended without its last chunk`);
  }

  // ---- heads ----

  takeHead() {
    const end = this.pending.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.pending.length > headMax) throw new Error(`a head without an end: ${quoted(this.pending)}`);
      if (this.pending.length > 0 && !'HTTP/1.'.startsWith(this.pending.toString('latin1', 0, 7).slice(0, 7))) throw new Error(`no status line: ${quoted(this.pending)}`);
      return false;
    }
    const text = this.pending.toString('latin1', 0, end);
    this.pending = this.pending.subarray(end + 4);
    const answer = readHead(text);
    if (answer.status < 200) {
      if (answer.status !== 100) throw new Error(`an unexpected interim answer ${answer.status}`);
      this.interim++;
      return true;
    }
    if (this.answers.at(-1)?.last) throw new Error(`an answer after the last one of the connection: ${text.slice(0, 200)}`);
    answer.headText = text;
    this.begin(answer);
    return true;
  }

  begin(answer) {
    Object.assign(answer, {parts: [], received: 0, type: answer.headers.get('content-type'), last: answer.headers.get('connection') === 'close'});
    const chunked = answer.headers.get('transfer-encoding');
    const length = answer.headers.get('content-length');
    if (chunked !== undefined && length !== undefined) throw new Error('both Content-Length and Transfer-Encoding');
    if (chunked !== undefined && chunked !== 'chunked') throw new Error(`Transfer-Encoding: ${chunked}`);
    if (length !== undefined && !/^\d{1,15}$/.test(length)) throw new Error(`Content-Length: ${length}`);
    answer.length = Number(length);
    answer.framing = chunked ? 'chunked' : length !== undefined ? 'length' : 'close';
    if (answer.status === 204 || answer.status === 304) answer.framing = 'none';
    if (answer.framing === 'close' && !answer.last) throw new Error(`an answer without a length on a connection that stays: ${answer.headText}`);
    if (answer.type === 'text/event-stream' && answer.status === 200 && answer.framing !== 'length' && !this.foreign) answer.stream = new StreamChecker({onEvent: this.onEvent, agentFraming: this.agentFraming});
    this.current = answer;
  }

  // ---- bodies ----

  takeBody() {
    const {current} = this;
    if (current.framing === 'none') return this.complete();
    if (current.received === 0 && this.pending.length > 0 && this.startsAnew()) return true;
    if (current.framing === 'length') return this.takeLength();
    if (current.framing === 'chunked') return this.takeChunk();
    this.deliver(this.pending.subarray(0));
    this.pending = Buffer.alloc(0);
    return false;
  }

  /** Instead of a body there is another head: after the answer to a HEAD, or where libmicrohttpd repeats itself. */
  startsAnew() {
    const text = this.pending.toString('latin1', 0, this.current.headText.length);
    if (!text.startsWith('HTTP/1.1 ')) return false;
    // libmicrohttpd sends the head twice after a Content-Length that is no number: docs/security.md.
    if (this.current.type === undefined && text === this.current.headText) {
      this.pending = this.pending.subarray(text.length + 4);
      return false;
    }
    if (!this.mayBeHead) throw new Error(`a head instead of a body: ${quoted(this.pending)}`);
    return this.complete();
  }

  takeLength() {
    const {current} = this;
    const left = current.length - current.received;
    if (left > 0 && this.pending.length === 0) return false;
    if (left > 0) this.deliver(this.pending.subarray(0, left));
    this.pending = this.pending.subarray(left);
    return current.received === current.length ? this.complete() : false;
  }

  takeChunk() {
    const lineEnd = this.pending.indexOf('\r\n');
    if (lineEnd < 0) {
      if (this.pending.length > 20) throw new Error(`no chunk line: ${quoted(this.pending)}`);
      return false;
    }
    const line = this.pending.toString('latin1', 0, lineEnd);
    if (!/^[0-9a-fA-F]{1,8}$/.test(line)) throw new Error(`bad chunk line ${JSON.stringify(line.slice(0, 80))}`);
    const length = parseInt(line, 16);
    const end = lineEnd + 2 + length;
    if (this.pending.length < end + 2) return false;
    if (this.pending[end] !== 13 || this.pending[end + 1] !== 10) throw new Error(`a chunk without its CRLF: ${quoted(this.pending.subarray(end))}`);
    const body = this.pending.subarray(lineEnd + 2, end);
    this.pending = this.pending.subarray(end + 2);
    this.current.received ||= 1; // it has a body, even if an empty one
    if (length === 0) return this.complete();
    this.deliver(body);
    return true;
  }

  deliver(bytes) {
    const {current} = this;
    current.received += bytes.length;
    if (current.stream) current.stream.take(bytes);
    else if (current.received <= keptBody) current.parts.push(Buffer.from(bytes));
    else current.partial = true;
  }

  // ---- whole answers ----

  complete() {
    const answer = this.current;
    this.current = null;
    answer.body = Buffer.concat(answer.parts);
    answer.whole = true;
    answer.stream?.finish(answer.framing === 'chunked');
    const bodiless = answer.framing === 'none' || (this.mayBeHead && answer.received === 0);
    if (!bodiless && !answer.partial && !this.foreign) checkBody(answer);
    this.answers.push(answer);
    this.onAnswer(answer);
    return true;
  }
}

function readHead(text) {
  const [statusLine, ...lines] = text.split('\r\n');
  const match = /^HTTP\/1\.[01] (\d{3}) [\x20-\x7e]+$/.exec(statusLine);
  if (!match) throw new Error(`bad status line ${JSON.stringify(statusLine.slice(0, 200))}`);
  const headers = new Map();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '');
    if (colon < 1 || !tokenPattern.test(name)) throw new Error(`bad header line ${JSON.stringify(line.slice(0, 200))}`);
    if (!valuePattern.test(value)) throw new Error(`bad header value ${JSON.stringify(line.slice(0, 200))}`);
    if (single.has(name) && headers.has(name)) throw new Error(`the header ${name} twice`);
    headers.set(name, headers.has(name) ? `${headers.get(name)}, ${value}` : value);
  }
  return {status: Number(match[1]), headers};
}

/** Checks a complete answer that has a body. */
function checkBody(answer) {
  const {status, headers, type} = answer;
  if (status >= 400 && type === undefined) {
    if (!libraryStatuses.has(status) || !libraryPage.test(answer.body.toString('latin1'))) throw new Error(`a ${status} without a type: ${quoted(answer.body)}`);
    if (!answer.last) throw new Error(`libmicrohttpd's ${status} leaves the connection open`);
    return;
  }
  if (status === 405 && !headers.has('allow')) throw new Error('a 405 without Allow');
  if ((status === 429 || status === 503) && !headers.has('retry-after') && !/"status":"critical"/.test(answer.body.toString())) throw new Error(`a ${status} without Retry-After: ${quoted(answer.body)}`);
  if (type !== 'application/json') return;
  answer.json = parseJson(answer);
  if (status >= 400) checkError(answer);
}

function parseJson(answer) {
  const text = answer.body.toString('utf8');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`a ${answer.status} that is no JSON (${error.message}): ${text.slice(0, 300)}`);
  }
}

/** The contract's form of an error. */
export function checkError({json, status}) {
  const {code, message} = json?.error ?? {};
  const isReport = typeof json?.status === 'string' && status === 503; // of /health and /readyz
  if (isReport) return;
  if (!/^[a-z]+(_[a-z0-9]+)*$/.test(code ?? '') || typeof message !== 'string' || message.length < 5) throw new Error(`a ${status} without the form of an error: ${JSON.stringify(json).slice(0, 300)}`);
}
