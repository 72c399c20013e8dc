// An independent and strict SSE client over a raw socket: it parses HTTP, chunks and events by itself, keeps every
// byte, and fails at whatever a gateway must never send.
import {EventEmitter} from 'node:events';
import net from 'node:net';
import {within} from './limits.mjs';

const idParts = (id) => id.split('-').map(Number);

/** Whether event id `a` comes before `b`. */
export function idBefore(a, b) {
  const [aTime, aNumber] = idParts(a);
  const [bTime, bNumber] = idParts(b);
  return aTime < bTime || (aTime === bTime && aNumber < bNumber);
}

export class SseClient extends EventEmitter {
  /** Options: method, headers, body, version ('1.0' or '1.1'), ids (false: events may come without an id). */
  constructor(base, path, {method = 'GET', headers = {}, body, version = '1.1', ids = true} = {}) {
    super();
    this.setMaxListeners(0);
    this.what = `${method} ${path}`;
    this.needsIds = ids;
    this.status = 0;
    this.headers = {};
    this.events = [];
    this.comments = [];
    this.retries = [];
    this.arrivals = []; // {at, kind} of every event and comment
    this.raw = [];
    this.body = Buffer.alloc(0); // of an answer that is not an event stream
    this.end = null; // 'last-chunk', 'length', 'close', 'truncated', 'reset'
    this.closed = false; // the server closed the connection
    this.failure = null;
    this.pending = Buffer.alloc(0); // HTTP bytes not yet parsed
    this.text = Buffer.alloc(0); // SSE bytes not yet parsed
    this.block = null;
    this.parse = this.parseHead;
    const {hostname, port} = new URL(base);
    const lines = Object.entries({Host: `${hostname}:${port}`, ...(method === 'GET' && {Accept: 'text/event-stream'}),
      ...(body !== undefined && {'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body)}), ...headers});
    this.socket = net.connect({host: hostname, port: Number(port)});
    this.socket.write(`${method} ${path} HTTP/${version}\r\n${lines.map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n${body ?? ''}`);
    this.socket.on('data', (bytes) => this.take(bytes));
    this.socket.on('end', () => this.finish('end'));
    this.socket.on('error', () => this.finish('reset'));
    this.socket.on('close', () => this.finish('reset'));
  }

  // ---- waiting ----

  /** Waits until `condition()` gives something truthy, and gives it; looks after everything that arrives. */
  async until(condition, what = 'a condition', ms = 10000) {
    let check;
    const result = new Promise((resolve, reject) => {
      check = () => {
        if (this.failure) return reject(this.failure);
        const value = condition(this);
        if (value) return resolve(value);
        if (this.closed) reject(new Error(`${this.what} ended (${this.end}) before ${what}; status ${this.status} ${this.body}`));
      };
      this.on('change', check);
      check();
    });
    try {
      return await within(result, ms, `${what} on ${this.what}; status ${this.status}, ${this.events.length} events, the last ${JSON.stringify(this.events.at(-1)?.data.slice(0, 200))}`);
    } finally {
      this.off('change', check);
    }
  }

  /** The stream has begun: status and headers are there. */
  async opened() {
    await this.until(() => this.status, 'the head of the answer');
    return this;
  }

  /** The first event of this type (or for which the function is true), past ones included. */
  event(type, ms) {
    const match = typeof type === 'function' ? type : (event) => event.type === type;
    return this.until(() => this.events.find(match), `event ${type}`, ms);
  }

  /** At least `count` events of the agent. */
  messages(count, ms) {
    return this.until(() => this.data.length >= count, `${count} messages`, ms);
  }

  /** Its end: 'last-chunk', 'length', 'close', 'truncated' or 'reset'. */
  ended(ms) {
    return this.until(() => this.end, 'the end', ms);
  }

  /** The connection was closed by the server. */
  async disconnected(ms) {
    await this.until(() => this.closed, 'the close of the connection', ms);
    return this.end;
  }

  // ---- what came ----

  /** The data of the agent's events (type message). */
  get data() { return this.events.filter((event) => event.type === 'message').map((event) => event.data); }
  get types() { return this.events.map((event) => event.type); }
  get ids() { return this.events.map((event) => event.id); }
  get lastId() { return this.events.findLast((event) => event.id !== undefined)?.id; }
  get bytes() { return Buffer.concat(this.raw); }

  json(type) {
    const event = this.events.findLast((each) => each.type === type);
    return event && JSON.parse(event.data);
  }

  /** Leaves, without a farewell if `rudely`. */
  leave(rudely = false) {
    this.left = true;
    if (rudely) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  // ---- HTTP ----

  take(bytes) {
    if (this.left || this.failure) return;
    this.raw.push(bytes);
    this.pending = this.pending.length ? Buffer.concat([this.pending, bytes]) : bytes;
    try {
      while (this.parse()) { /* as long as there is something whole */ }
    } catch (error) {
      this.failure = new Error(`${this.what}: ${error.message}`);
      this.socket.destroy();
    }
    this.emit('change');
  }

  finish(how) {
    if (this.closed) return;
    this.closed = true;
    if (!this.end && !this.left) {
      const closeDelimited = this.parse === this.parseUntilClose;
      this.end = how === 'reset' ? 'reset' : closeDelimited ? 'close' : 'truncated';
    }
    this.socket.destroy();
    this.emit('change');
  }

  parseHead() {
    const end = this.pending.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const [statusLine, ...lines] = this.pending.toString('latin1', 0, end).split('\r\n');
    this.pending = this.pending.subarray(end + 4);
    const match = /^(HTTP\/1\.[01]) (\d{3}) /.exec(statusLine);
    if (!match) throw new Error(`bad status line ${statusLine}`);
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      if (colon < 1) throw new Error(`bad header line ${line}`);
      this.headers[name] = name in this.headers ? `${this.headers[name]}, ${line.slice(colon + 1).trim()}` : line.slice(colon + 1).trim();
    }
    this.isStream = /^text\/event-stream/.test(this.headers['content-type'] ?? '');
    this.lengthLeft = Number(this.headers['content-length'] ?? NaN);
    if (match[2] === '204' || this.what.startsWith('HEAD ')) this.parse = this.parseNothing;
    else if (/chunked/.test(this.headers['transfer-encoding'] ?? '')) this.parse = this.parseChunk;
    else if (!Number.isNaN(this.lengthLeft)) this.parse = this.parseLength;
    else this.parse = this.parseUntilClose;
    this.status = Number(match[2]);
    return true;
  }

  parseNothing() {
    if (this.pending.length) throw new Error('a body where none may be');
    this.end = 'length';
    return false;
  }

  parseChunk() {
    const lineEnd = this.pending.indexOf('\r\n');
    if (lineEnd < 0) return false;
    const line = this.pending.toString('latin1', 0, lineEnd);
    if (!/^[0-9a-fA-F]{1,8}$/.test(line)) throw new Error(`bad chunk line ${JSON.stringify(line.slice(0, 80))}`);
    const length = parseInt(line, 16);
    const end = lineEnd + 2 + length;
    if (this.pending.length < end + 2) return false;
    if (this.pending.toString('latin1', end, end + 2) !== '\r\n') throw new Error('a chunk without its CRLF');
    const bytes = this.pending.subarray(lineEnd + 2, end);
    this.pending = this.pending.subarray(end + 2);
    if (length === 0) {
      if (this.pending.length) throw new Error('bytes after the last chunk');
      if (this.text.length || this.block) throw new Error('the stream ends inside an event');
      this.end = 'last-chunk';
      return false;
    }
    this.deliver(bytes);
    return true;
  }

  parseLength() {
    const bytes = this.pending;
    this.pending = Buffer.alloc(0);
    this.lengthLeft -= bytes.length;
    if (bytes.length) this.deliver(bytes);
    if (this.lengthLeft < 0) throw new Error('more than Content-Length');
    if (this.lengthLeft === 0) this.end = 'length';
    return false;
  }

  parseUntilClose() {
    const bytes = this.pending;
    this.pending = Buffer.alloc(0);
    if (bytes.length) this.deliver(bytes);
    return false;
  }

  deliver(bytes) {
    if (this.isStream) this.parseEvents(bytes);
    else this.body = Buffer.concat([this.body, bytes]);
  }

  // ---- events ----

  parseEvents(bytes) {
    this.text = this.text.length ? Buffer.concat([this.text, bytes]) : bytes;
    let start = 0;
    for (let end; (end = this.text.indexOf(10, start)) >= 0; start = end + 1) this.parseLine(this.text.subarray(start, end));
    this.text = Buffer.from(this.text.subarray(start));
  }

  parseLine(line) {
    if (line.includes(13)) throw new Error('a CR in the stream');
    if (line.length === 0) return this.parseBlank();
    const text = line.toString('utf8');
    const colon = text.indexOf(':');
    if (colon === 0) {
      if (this.block) throw new Error('a comment inside an event');
      this.comments.push(text.slice(1));
      this.arrivals.push({at: Date.now(), kind: 'comment'});
      return;
    }
    const match = /^(id|event|data|retry):(?: (.*)|)$/s.exec(text);
    if (!match) throw new Error(`a line that is no field: ${JSON.stringify(text.slice(0, 80))}`);
    const [, field, value = ''] = match;
    if (field === 'retry') {
      if (!/^\d+$/.test(value)) throw new Error(`retry: ${value}`);
      if (this.block) throw new Error('a retry inside an event');
      this.retries.push(Number(value));
      return;
    }
    this.block ??= {data: []};
    if (this.block.id !== undefined) throw new Error(`${field} after the id`);
    if (field === 'event' && this.block.data.length) throw new Error('the type after the data');
    if (field === 'data') this.block.data.push(value);
    else if (this.block[field] !== undefined) throw new Error(`${field} twice in an event`);
    else this.block[field] = value;
  }

  parseBlank() {
    const {block} = this;
    if (!block) throw new Error('a blank line too many');
    this.block = null;
    const event = {id: block.id, type: block.event ?? 'message', data: block.data.join('\n'), at: Date.now()};
    this.checkId(event);
    if (block.data.length === 0) throw new Error(`event ${event.id} has no data line: no client would see it`);
    this.events.push(event);
    this.arrivals.push({at: event.at, kind: event.type});
  }

  checkId(event) {
    const isAgents = /^POST \/run_sse|[?&]events=agent/.test(this.what);
    const isOfOneConnection = !isAgents && /^(server\.drain|session\.state|auth\..*)$/.test(event.type);
    if (event.type === 'ping' && event.data === '{}' && event.id === undefined) return;
    if (this.needsIds && isOfOneConnection !== (event.id === undefined)) throw new Error(`event ${event.type} has the id ${event.id}`);
    if (event.id === undefined) return;
    if (!/^\d{10,16}-\d+$/.test(event.id ?? '')) throw new Error(`event ${event.type} has the id ${event.id}`);
    const last = this.events.findLast((each) => each.id !== undefined);
    if (last && !idBefore(last.id, event.id)) throw new Error(`id ${event.id} does not follow ${last.id}`);
  }
}
