// npm's better-sse for fan-out: a channel's broadcast for a single event, a batch for several that came at once.
//
//     node peers/better-sse.mjs PORT SOURCE_PORT
//
// Follows https://matthewwid.github.io/better-sse/guides/channels/ (createChannel, register, broadcast) and guides/batching/ (an
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

function broadcastAll(events) {
  const buffer = createEventBuffer(options);
  for (const data of events) buffer.push(data);
  for (const session of channel.activeSessions) session.batch(buffer);
}

const prefix = 'data: '.length;
readSource(sourcePort, (bytes) => {
  const events = bytes.toString().trimEnd().split('\n\n').map((event) => event.slice(prefix));
  if (events.length === 1) channel.broadcast(events[0]);
  else broadcastAll(events);
});
