// A TCP proxy between the gateway and a real server, which cuts connections where a test says.
import net from 'node:net';
import {within} from './limits.mjs';

const blockEnd = Buffer.from('\r\n\r\n');

/** The index behind the `count`-th end of a block in `bytes`, the answer's head being one; -1: not yet there. */
function endOfBlock(bytes, count) {
  let at = 0;
  for (let n = 0; n < count; n++) {
    const end = bytes.indexOf(blockEnd, at);
    if (end < 0) return -1;
    at = end + blockEnd.length;
  }
  return at;
}

class CuttingProxy {
  constructor(target, choose) {
    this.target = new URL(target);
    this.choose = choose;
    this.asked = []; // {method, path, lastId} of the first request of each connection
    this.sockets = new Set();
    this.server = net.createServer({noDelay: true}, (near) => this.serve(near));
  }

  serve(near) {
    const far = net.connect({host: this.target.hostname, port: Number(this.target.port), noDelay: true});
    let up = Buffer.alloc(0);
    let down = Buffer.alloc(0);
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
      if (cut === null) {
        up = Buffer.concat([up, bytes]);
        if (up.includes(blockEnd)) cut = this.decide(up.toString('latin1'));
      }
      far.write(bytes);
    });
    far.on('data', (bytes) => {
      if (!cut) return near.write(bytes);
      const before = down.length;
      down = Buffer.concat([down, bytes]);
      const end = endOfBlock(down, cut.events + 1);
      const limit = end < 0 ? Infinity : end + (cut.bytes ?? 0);
      if (down.length < limit) return near.write(bytes);
      near.write(down.subarray(before, limit), () => (cut.how === 'close' ? near.end() : near.resetAndDestroy()));
      far.destroy();
    });
  }

  decide(head) {
    const [method, path] = head.split(' ', 2);
    const request = {method, path, lastId: /^last-event-id: (.*?)\r$/im.exec(head)?.[1]};
    this.asked.push(request);
    return this.choose(request);
  }
}

/** Starts one in front of the server at `target`, and ends it after the test. `choose` gets the first request of each
 *  connection, and gives undefined, or where its answer is cut: {events, bytes, how}. That is after so many events whose
 *  lines end by CRLF, and so many bytes of the next one; by 'reset' or 'close'. */
export async function startCuttingProxy(context, target, choose) {
  const proxy = new CuttingProxy(target, choose);
  await within(new Promise((resolve) => proxy.server.listen(0, '127.0.0.1', resolve)), 5000, 'the proxy listens');
  proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
  context.after(() => {
    proxy.server.close();
    for (const socket of proxy.sockets) socket.destroy();
  });
  return proxy;
}
