// A plain Node.js server for fan-out: what one read of the source brought leaves in one write to each client.
//
//     node tests/bench/peers/node.mjs PORT SOURCE_PORT
//
// Follows https://nodejs.org/api/http.html: response.flushHeaders() sends the head at once; without the header Transfer-Encoding
// the body has no chunks, so that write() of a Buffer is one write to the socket, without a copy; noDelay is the default;
// connectionsCheckingInterval walks all connections, which streams do not need.
import {createServer} from 'node:http';
import {readSource} from './source.mjs';

const [port, sourcePort] = process.argv.slice(2).map(Number);
const clients = new Set();

const server = createServer({connectionsCheckingInterval: 1 << 30}, (request, response) => {
  response.removeHeader('Transfer-Encoding');
  response.writeHead(200, {'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', Connection: 'close'});
  response.flushHeaders();
  clients.add(response);
  response.on('close', () => clients.delete(response));
});
server.listen({host: '127.0.0.1', port, backlog: 4096});

readSource(sourcePort, (events) => {
  for (const client of clients) client.write(events);
});
