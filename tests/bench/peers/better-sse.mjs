// npm's better-sse for fan-out: what one read of the source brought is one batch, sent to all of a channel's sessions.
//
//     node tests/bench/peers/better-sse.mjs PORT SOURCE_PORT
//
// Follows https://matthewwid.github.io/better-sse/guides/channels/ (createChannel, register, activeSessions) and guides/batching/ (an
// event buffer is made once and its text sent to each session). The API's `serializer` and `sanitizer` leave the data as
// it is, for it is one line of JSON already.
import {createServer} from 'node:http';
import {createChannel, createEventBuffer, createSession} from 'better-sse';
import {readSource} from './source.mjs';

const [port, sourcePort] = process.argv.slice(2).map(Number);
const asItIs = (text) => text;
const options = {serializer: asItIs, sanitizer: asItIs};
const channel = createChannel();

const server = createServer({connectionsCheckingInterval: 1 << 30}, async (request, response) => {
  channel.register(await createSession(request, response, options));
});
server.listen({host: '127.0.0.1', port, backlog: 4096});

const prefix = 'data: '.length;
readSource(sourcePort, (bytes) => {
  const buffer = createEventBuffer(options);
  for (const event of bytes.toString().trimEnd().split('\n\n')) buffer.push(event.slice(prefix));
  for (const session of channel.activeSessions) session.batch(buffer);
});
