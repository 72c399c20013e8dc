// Node's fetch() (undici) takes a stream with "Connection: close" for whole, however it was cut off: its streams come
// without that header. Other clients have it, since they would lose their next request on such a connection.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import {after, test} from 'node:test';
import {asked, holdAfterOne} from '../support/expect.mjs';
import {rawRequest} from '../support/http.mjs';
import {adkFrame, startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, (exchange) =>
  (/hold/.test(asked(exchange)) ? holdAfterOne(exchange) : exchange.stream(adkFrame('a'), adkFrame('b'))));
const sluice = await startSluice({after}, {upstream: upstream.url, workers: 2});
const json = {'Content-Type': 'application/json', Accept: 'text/event-stream'};
const post = (base, session, message, headers) => fetch(`${base}${session}/run`, {method: 'POST', headers: {...json, ...headers}, body: JSON.stringify({message})});

/** A proxy in front of the gateway; `cut` ends the client's connections. */
async function startProxy(t) {
  const clients = new Set();
  const server = net.createServer((client) => {
    const inner = net.connect(sluice.port, '127.0.0.1');
    clients.add(client);
    client.on('error', () => {}).on('close', () => { clients.delete(client); inner.destroy(); });
    inner.on('error', () => {});
    client.pipe(inner);
    inner.on('data', (part) => client.write(part));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return {url: `http://127.0.0.1:${server.address().port}`, cut: (how) => clients.forEach((client) => client[how]())};
}

for (const how of ['end', 'resetAndDestroy']) {
  for (const method of ['POST', 'GET']) {
    test(`fetch(): a stream of ${method} that is cut by ${how}() is no whole one`, async (t) => {
      const proxy = await startProxy(t);
      const session = sessionPath();
      if (method === 'GET') await sluice.run(session, 'hold');
      const answer = method === 'GET' ? await fetch(`${proxy.url}${session}/run`) : await post(proxy.url, session, 'hold');
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get('connection'), null);
      assert.match(answer.headers.get('date'), /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/);
      const reader = answer.body.getReader();
      let text = '';
      while (!text.includes('"number":1')) text += Buffer.from((await reader.read()).value);
      proxy.cut(how);
      await assert.rejects(async () => { while (!(await reader.read()).done); }, /terminated/);
      await sluice.delete(`${session}/run`);
    });
  }
}

test('fetch(): whole streams follow each other on kept connections', async () => {
  for (let i = 0; i < 50; i++) {
    const text = await (await post(sluice.url, sessionPath(), 'quick')).text();
    assert.match(text, /^: sluice\nretry: \d+\nevent: run\.start\n/);
    assert.match(text, /"status":"completed".*\nid: [\d-]+\n\n$/);
    assert.equal((await fetch(`${sluice.url}/healthz`)).status, 200);
  }
});

test('fetch(): a hand-over is no error in the log of the HTTP library', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, log_level: 'debug'});
  await (await post(gateway.url, sessionPath(), 'quick')).text();
  await gateway.logged({event: 'run_ended'});
  await gateway.get('/healthz');
  assert.deepEqual(gateway.logs.filter((line) => line.event === 'http_library' && /error/i.test(line.message)), []);
});

test('other clients: the head says that the connection is closed, and no request is lost', async () => {
  const agent = new http.Agent({keepAlive: true});
  for (let i = 0; i < 20; i++) {
    const headers = await new Promise((resolve, reject) => {
      const request = http.request(`${sluice.url}${sessionPath()}/run`, {method: 'POST', agent, headers: json}, (answer) => {
        answer.resume().on('error', reject).on('end', () => resolve(answer.headers));
      }).on('error', reject);
      request.end('{"message":"quick"}');
    });
    assert.equal(headers.connection, 'close');
  }
  agent.destroy();
});

const undici = 'Sec-Fetch-Mode: cors\r\n';
const body = '{"message":"quick"}';
const heads = {
  'of a browser': ['Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: none\r\nSec-Fetch-Dest: empty\r\n', '1.1', /\r\nConnection: close\r\n/],
  'that asks for the end': [`${undici}Connection: close\r\n`, '1.1', /\r\nConnection: close\r\n/],
  'of HTTP/1.0': [undici, '1.0', /^HTTP\/1\.0 200 |\r\nConnection: close\r\n/],
};
for (const [name, [headers, version, expected]] of Object.entries(heads)) {
  test(`a request ${name} is answered with the end of the connection`, async () => {
    const answer = await rawRequest(sluice.port, `POST ${sessionPath()}/run HTTP/${version}\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`);
    assert.match(answer.split('\r\n\r\n')[0], expected);
    assert.match(answer, /"status":"completed"/);
  });
}

test('a stream after answers that are still on their way comes whole', async () => {
  const many = `GET /stats HTTP/1.1\r\nHost: localhost\r\n${undici}\r\n`.repeat(30);
  const answer = await rawRequest(sluice.port, `${many}POST ${sessionPath()}/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n${undici}Content-Length: ${body.length}\r\n\r\n${body}`);
  assert.equal(answer.match(/HTTP\/1\.1 200 OK\r\n/g).length, 31);
  assert.match(answer, /"status":"completed"[^]*\r\n0\r\n\r\n$/);
});
