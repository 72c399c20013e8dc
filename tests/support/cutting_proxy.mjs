// A TCP proxy in front of a server, the gateway among them, which cuts its answers where a test says.
import net from 'node:net';
import {within} from './limits.mjs';

const headEnd = Buffer.from('\r\n\r\n');
const readingMs = 10;
const isRequest = /^[A-Z]+ \S+ HTTP\/1\.[01]\r\n/;

/** The index after the head of the answer in `bytes` and after `count` events; -1: not yet there. */
function endOfEvents(bytes, count, eventEnd) {
  let at = 0;
  for (let n = 0; n <= count; n++) {
    const mark = n === 0 ? headEnd : eventEnd;
    const end = bytes.indexOf(mark, at);
    if (end < 0) return -1;
    at = end + mark.length;
  }
  return at;
}

/** How many of `bytes` may pass, and whether the answer is cut then. */
function allowance(cut, bytes, eventEnd) {
  const start = endOfEvents(bytes, cut.events, eventEnd);
  if (start < 0) return {passed: bytes.length, isCut: false};
  if (typeof cut.bytes !== 'function') {
    const place = start + (cut.bytes ?? 0);
    return {passed: Math.min(place, bytes.length), isCut: bytes.length >= place};
  }
  const end = endOfEvents(bytes, cut.events + 1, eventEnd);
  return end < 0 ? {passed: start, isCut: false} : {passed: start + cut.bytes(end - start), isCut: true};
}

class CuttingProxy {
  constructor(target, choose, eventEnd) {
    this.target = new URL(target);
    this.choose = choose;
    this.eventEnd = Buffer.from(eventEnd);
    this.asked = []; // {method, path, lastId} of each request
    this.sockets = new Set();
    this.server = net.createServer({noDelay: true}, (near) => this.serve(near));
  }

  serve(near) {
    const far = net.connect({host: this.target.hostname, port: Number(this.target.port), noDelay: true});
    let up = Buffer.alloc(0);
    let down = Buffer.alloc(0);
    let passed = 0; // of `down`
    let cut = null; // null: the request is not there yet
    for (const [socket, other] of [[near, far], [far, near]]) {
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('end', () => other.end());
      socket.on('close', () => {
        this.sockets.delete(socket);
        other.destroy();
      });
    }
    near.on('data', (bytes) => {
      if (cut !== null && isRequest.test(bytes.toString('latin1'))) { // a further one on the connection
        [up, down, passed, cut] = [Buffer.alloc(0), Buffer.alloc(0), 0, null];
      }
      if (cut === null) {
        up = Buffer.concat([up, bytes]);
        if (up.includes(headEnd)) cut = this.decide(up.toString('latin1'));
      }
      far.write(bytes);
    });
    far.on('data', (bytes) => {
      if (!cut) return near.write(bytes);
      down = Buffer.concat([down, bytes]);
      const {passed: end, isCut} = allowance(cut, down, this.eventEnd);
      const {how} = cut;
      near.write(down.subarray(passed, end));
      passed = end;
      if (isCut) this.cut(near, far, how);
    });
  }

  /** Cuts after a while: a client reads what came before the end, and not both in one, which some take for the end alone. */
  cut(near, far, how) {
    far.removeAllListeners('data');
    far.resume();
    setTimeout(() => {
      if (how === 'close') near.end();
      else near.resetAndDestroy();
      far.destroy();
    }, readingMs);
  }

  decide(head) {
    const [method, path] = head.split(' ', 2);
    const request = {method, path, lastId: /^last-event-id: (.*?)\r$/im.exec(head)?.[1]};
    this.asked.push(request);
    return this.choose(request);
  }
}

/** Starts one in front of the server at `target`, and ends it after the test. `choose` gets each request, one after the
 *  other on a connection, and gives undefined, or where its answer is cut: {events, bytes, how}. That is after so many
 *  events, which end by `eventEnd`, and so many bytes of the next one; by 'reset' or 'close'. `bytes` may be a function of
 *  the next event's length; that event is then held until it is whole. */
export async function startCuttingProxy(context, target, choose, {eventEnd = '\r\n\r\n'} = {}) {
  const proxy = new CuttingProxy(target, choose, eventEnd);
  await within(new Promise((resolve) => proxy.server.listen(0, '127.0.0.1', resolve)), 5000, 'the proxy listens');
  proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
  context.after(() => {
    proxy.server.close();
    for (const socket of proxy.sockets) socket.destroy();
  });
  return proxy;
}
