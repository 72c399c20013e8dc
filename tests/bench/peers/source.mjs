// Reads the source's stream for the peers that run on Node.js: whole events, as many at a time as one read brought.
import {connect} from 'node:net';

const retryMs = 20;
const headEnd = '\r\n\r\n';
const eventEnd = '\n\n';

/** Calls `onEvents` with a Buffer of one or more whole events. HTTP/1.0, so that no chunks stand between them. Tries again
 *  until the source is there. */
export function readSource(port, onEvents) {
  let head = true;
  let rest = Buffer.alloc(0);
  const socket = connect({host: '127.0.0.1', port, noDelay: true});
  socket.on('connect', () => socket.write('GET /source HTTP/1.0\r\n\r\n'));
  socket.on('data', (bytes) => {
    let data = rest.length ? Buffer.concat([rest, bytes]) : bytes;
    if (head) {
      const end = data.indexOf(headEnd);
      if (end < 0) {
        rest = data;
        return;
      }
      head = false;
      data = data.subarray(end + headEnd.length);
    }
    const end = data.lastIndexOf(eventEnd);
    rest = end < 0 ? data : data.subarray(end + eventEnd.length);
    if (end >= 0) onEvents(data.subarray(0, end + eventEnd.length));
  });
  socket.on('error', () => {});
  socket.on('close', () => head && setTimeout(readSource, retryMs, port, onEvents));
}
