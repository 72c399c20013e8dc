// An upstream that reads the gateway's requests strictly, and leaves each answer to a script. A malformed request of the
// gateway is a finding.
import net from 'node:net';
import {once} from 'node:events';

const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const targetPattern = /^\/[!$-;=?-Z\\[\]_a-z~^`{}|"<>@]*$/;

/** Headers that the gateway sends, or passes on, to an agent. */
const known = new Set(['host', 'accept', 'accept-language', 'accept-encoding', 'authorization', 'content-type', 'content-length', 'if-none-match', 'if-modified-since',
  'range', 'traceparent', 'tracestate', 'user-agent', 'last-event-id', 'cache-control', 'idempotency-key']);

/** One request, and the means to answer it. */
class Exchange {
  constructor(socket, request, number) {
    Object.assign(this, request, {socket, number, open: true});
    this.gone = new Promise((resolve) => socket.once('close', resolve)).then(() => { this.open = false; });
  }

  /** Resolves when the bytes are handed on, or to false when the gateway has left. */
  async send(bytes) {
    if (!this.open || this.socket.destroyed) return false;
    if (!this.socket.write(bytes)) await Promise.race([once(this.socket, 'drain').catch(() => {}), this.gone]);
    return this.open;
  }

  head(status, fields) { return this.send(`HTTP/1.1 ${status} Any\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`); }

  answer(status, body, type = 'application/json') {
    return this.send(`HTTP/1.1 ${status} Any\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  chunk(text) { return this.send(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`); }
}

/** The first whole request in `bytes` with what follows it, or null; an Error if it is none. */
function takeRequest(bytes, host) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const [line, ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  // libcurl asks by HTTP/1.0 where that was the version of the last answer.
  const match = /^(GET|HEAD|POST|PATCH|DELETE) (\S+) HTTP\/1\.[01]$/.exec(line);
  if (!match || !targetPattern.test(match[2])) throw new Error(`the gateway's request line: ${JSON.stringify(line.slice(0, 300))}`);
  const headers = new Map();
  for (const each of lines) {
    const colon = each.indexOf(':');
    const name = each.slice(0, colon).toLowerCase();
    if (!tokenPattern.test(name) || /[\x00-\x08\x0a-\x1f\x7f]/.test(each)) throw new Error(`the gateway's header: ${JSON.stringify(each.slice(0, 300))}`);
    if (headers.has(name)) throw new Error(`the gateway sends ${name} twice`);
    if (!known.has(name)) throw new Error(`the gateway passes on ${JSON.stringify(each.slice(0, 300))}`);
    headers.set(name, each.slice(colon + 1).trim());
  }
  if (headers.get('host') !== host) throw new Error(`the gateway's Host: ${headers.get('host')} instead of ${host}`);
  const length = Number(headers.get('content-length') ?? 0);
  if (bytes.length < end + 4 + length) return null;
  const body = bytes.subarray(end + 4, end + 4 + length);
  return {request: {method: match[1], target: match[2], headers, body}, rest: bytes.subarray(end + 4 + length)};
}

/** {port, url, close()}. `script(exchange)` answers; `onFinding(message, bytes)` reports a malformed request. */
export async function startUpstreamServer(script, onFinding) {
  const sockets = new Set();
  let number = 0;
  let host;
  const serve = (socket) => {
    let pending = Buffer.alloc(0);
    let busy = Promise.resolve();
    sockets.add(socket);
    socket.setMaxListeners(0);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (bytes) => {
      pending = pending.length > 0 ? Buffer.concat([pending, bytes]) : bytes;
      try {
        for (let taken; (taken = takeRequest(pending, host)); pending = taken.rest) {
          const exchange = new Exchange(socket, taken.request, ++number);
          busy = busy.then(() => script(exchange)).catch((error) => { if (exchange.open) onFinding(`the upstream's script: ${error.stack}`, ''); });
        }
      } catch (error) {
        onFinding(error.message, pending.toString('latin1', 0, 2000));
        socket.destroy();
      }
    });
  };
  const server = net.createServer({noDelay: true}, serve);
  server.listen(0, '127.0.0.1', 4096);
  await once(server, 'listening');
  const {port} = server.address();
  host = `127.0.0.1:${port}`;
  return {port, url: `http://${host}`, connections: () => sockets.size, close() {
    server.close();
    for (const socket of sockets) socket.destroy();
  }};
}
