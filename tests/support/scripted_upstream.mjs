// An upstream whose every byte a test decides: a raw TCP server that reads HTTP requests and leaves the answer to
// the test's script. Session requests are answered by itself unless the script wants them.
import http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import {EventEmitter} from 'node:events';
import {within} from './limits.mjs';

/** One request, and the means to answer it with any bytes at any pace. */
class Exchange extends EventEmitter {
  constructor(socket, {method, path, headers, body}, number) {
    super();
    Object.assign(this, {socket, method, path, headers, body, number});
    this.open = true;
    this.gone = new Promise((resolve) => socket.once('close', resolve));
    this.gone.then(() => { this.open = false; });
  }

  get json() { return JSON.parse(this.body); }

  /** Any bytes; gives once they are handed to the kernel, so that a flood is bounded by its reader. */
  send(bytes) {
    return new Promise((resolve) => {
      if (this.socket.destroyed) return resolve(false);
      const done = () => resolve(!this.socket.destroyed);
      this.socket.once('close', done);
      this.socket.write(bytes, () => {
        this.socket.off('close', done);
        done();
      });
    });
  }

  head({status = 200, headers = {'Content-Type': 'text/event-stream'}, framing = 'chunked', length} = {}) {
    const all = {...headers, ...(framing === 'chunked' && {'Transfer-Encoding': 'chunked'}),
      ...(framing === 'length' && {'Content-Length': length}), ...(framing === 'close' && {Connection: 'close'})};
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join('');
    return this.send(`HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? 'Odd'}\r\n${lines}\r\n`);
  }

  chunk(bytes) {
    const body = Buffer.from(bytes);
    return this.send(Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')]));
  }

  lastChunk() { return this.send('0\r\n\r\n'); }

  /** A whole answer. */
  async answer(status, body, type = 'application/json') {
    await this.head({status, headers: {'Content-Type': type}, framing: 'length', length: Buffer.byteLength(body)});
    await this.send(body);
  }

  /** A whole clean stream of these chunks. */
  async stream(...chunks) {
    await this.head();
    for (const chunk of chunks) await this.chunk(chunk);
    await this.lastChunk();
  }

  /** The connection ends in order (FIN), or not (RST). */
  close() { this.socket.end(); }
  reset() { this.socket.resetAndDestroy(); }
}

class ScriptedUpstream extends EventEmitter {
  constructor(script, certificate) {
    super();
    this.script = script;
    this.runs = []; // exchanges handed to the script
    this.sessions = []; // 'METHOD path' of session requests
    this.connections = 0;
    this.sockets = new Set();
    const serve = (socket) => this.serve(socket);
    this.server = certificate ? tls.createServer({noDelay: true, key: certificate.key, cert: certificate.cert}, serve) : net.createServer({noDelay: true}, serve);
  }

  /** Runs under way. */
  get open() { return this.runs.filter((exchange) => exchange.open && !exchange.done).length; }

  /** The n-th run, 0 being the first, once it has come. */
  run(number, ms = 5000) {
    const come = new Promise((resolve) => {
      const check = () => this.runs[number] && resolve(this.runs[number]);
      this.on('run', check);
      check();
    });
    return within(come, ms, `run ${number} at the upstream`);
  }

  serve(socket) {
    this.connections++;
    this.sockets.add(socket);
    socket.setMaxListeners(0); // each request of the connection waits for its end
    let pending = Buffer.alloc(0);
    let busy = Promise.resolve();
    socket.on('error', () => {});
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('data', (bytes) => {
      pending = Buffer.concat([pending, bytes]);
      for (let request; (request = takeRequest(pending)); pending = request.rest) {
        const taken = request;
        busy = busy.then(() => this.answer(socket, taken));
      }
    });
  }

  async answer(socket, request) {
    const isSession = /^\/apps\/[^/]+\/users\/[^/]+\/sessions(\/[^/]+)?$/.test(request.path);
    const exchange = new Exchange(socket, request, this.runs.length);
    if (isSession && this.onSession !== 'script') {
      this.sessions.push(`${request.method} ${request.path}`);
      return exchange.answer(200, '{"id":"any","events":[]}');
    }
    this.runs.push(exchange);
    this.emit('run');
    try {
      await this.script(exchange);
    } finally {
      exchange.done = true;
    }
  }
}

/** The first whole request in `bytes` and what follows it, or null. */
function takeRequest(bytes) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const [line, ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const [method, path] = line.split(' ');
  const headers = Object.fromEntries(lines.map((each) => {
    const colon = each.indexOf(':');
    return [each.slice(0, colon).toLowerCase(), each.slice(colon + 1).trim()];
  }));
  const length = Number(headers['content-length'] ?? 0);
  if (bytes.length < end + 4 + length) return null;
  return {method, path, headers, body: bytes.toString('utf8', end + 4, end + 4 + length), rest: bytes.subarray(end + 4 + length)};
}

/** Starts one on a free port; `script` is called with each Exchange and may be asynchronous. With a `certificate`, a {key,
 *  cert}, it speaks TLS. */
export async function startUpstream(context, script, {onSession, certificate} = {}) {
  const upstream = new ScriptedUpstream(script, certificate);
  upstream.onSession = onSession;
  await new Promise((resolve) => upstream.server.listen(0, '127.0.0.1', resolve));
  upstream.url = `${certificate ? 'https' : 'http'}://127.0.0.1:${upstream.server.address().port}`;
  context.after(() => {
    upstream.server.close();
    for (const socket of upstream.sockets) socket.destroy();
  });
  return upstream;
}

/** An address of this machine that refuses connections: no port that others might be given meanwhile. */
export const refusingAddress = async () => 'http://127.0.0.1:1';

/** An ADK event as a frame. */
export const adkFrame = (text, extra = {}) => `data: ${adkData(text, extra)}\n\n`;
export const adkData = (text, extra = {}) => JSON.stringify({content: {role: 'model', parts: [{text}]}, author: 'scripted', ...extra});
