// Records the answer of the real ADK server to one run, as it is on the wire:
//     node tests/support/record-adk.mjs 'MESSAGE' > tests/data/adk-streams/NAME.http
import net from 'node:net';
import {startAdk} from './agents.mjs';

const message = process.argv[2] ?? 'hello';
const cleanUps = [];
const adk = await startAdk({after: (cleanUp) => cleanUps.push(cleanUp)});
const session = '/apps/vana/users/u1/sessions/recorded';
await adk.request('POST', session, {body: {}});
const body = JSON.stringify({appName: 'vana', userId: 'u1', sessionId: 'recorded', newMessage: {role: 'user', parts: [{text: message}]}, streaming: true});
const {hostname, port} = new URL(adk.url);
const socket = net.connect(Number(port), hostname);
socket.write(`POST /run_sse HTTP/1.1\r\nHost: ${hostname}:${port}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
let bytes = Buffer.alloc(0);
for await (const part of socket) {
  bytes = Buffer.concat([bytes, part]);
  if (bytes.subarray(-5).equals(Buffer.from('0\r\n\r\n'))) break;
}
process.stdout.write(bytes);
socket.destroy();
for (const cleanUp of cleanUps) await cleanUp();
