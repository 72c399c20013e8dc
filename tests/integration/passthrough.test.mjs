// Sessions and the upstream's other paths through the gateway, and what never gets through.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked} from '../support/expect.mjs';
import {rawRequest} from '../support/http.mjs';
import {pause, until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';

const passthrough = new Map(); // path -> script
const upstream = await startUpstream({after}, (exchange) => {
  if (passthrough.has(exchange.path)) return passthrough.get(exchange.path)(exchange);
  return exchange.path === '/run_sse' ? answerMarked(3)(exchange) : exchange.answer(404, '{"detail":"Not Found"}');
});
const sluice = await startSluice({after}, {upstream: upstream.url});

test('sessions are created, shown, listed and deleted upstream', async () => {
  const session = sessionPath('kept', {app: 'a1'});
  const from = upstream.sessions.length;
  assert.equal((await sluice.post(session, {state: {x: 1}})).status, 200);
  assert.equal((await sluice.post('/apps/a1/users/u1/sessions', {})).status, 200);
  assert.equal((await sluice.get('/apps/a1/users/u1/sessions')).status, 200);
  assert.equal((await sluice.get(session)).status, 200);
  assert.match(String((await sluice.delete(session)).status), /^20[04]$/);
  assert.deepEqual(upstream.sessions.slice(from), [`POST ${session}`, 'POST /apps/a1/users/u1/sessions', 'GET /apps/a1/users/u1/sessions', `GET ${session}`, `DELETE ${session}`]);
});

test('passthrough streams, keeps status and end-to-end headers, and removes hop-by-hop ones', async () => {
  const part = 'x'.repeat(1000);
  let finish;
  const finished = new Promise((resolve) => { finish = resolve; });
  passthrough.set('/list-apps?x=1', async (exchange) => {
    await exchange.head({status: 203, headers: {'Content-Type': 'application/odd', 'X-Own': 'kept', 'Keep-Alive': 'timeout=5', Connection: 'X-Secret-Hop', 'X-Secret-Hop': 'removed',
      'Proxy-Authenticate': 'Basic', Upgrade: 'h2c', Trailer: 'X-T', 'Set-Cookie': 'a=b'}});
    await exchange.chunk(part);
    await finished;
    await exchange.chunk(part);
    await exchange.lastChunk();
  });
  const number = upstream.runs.length;
  const client = new SseClient(sluice.url, '/list-apps?x=1', {headers: {'X-Mine': '1', 'Proxy-Authorization': 'Basic secret', TE: 'trailers', Accept: 'application/odd'}, ids: false});
  await client.until(() => client.body.length === 1000, 'the first part before the second is made');
  finish();
  assert.match(await client.ended(), /^(last-chunk|length)$/);
  assert.equal(client.status, 203);
  assert.equal(client.body.length, 2000);
  assert.equal(client.headers['content-type'], 'application/odd');
  assert.equal(client.headers['x-own'], 'kept');
  for (const name of ['x-secret-hop', 'keep-alive', 'proxy-authenticate', 'upgrade', 'trailer']) assert.equal(client.headers[name], undefined, name);
  const {headers} = upstream.runs[number];
  assert.equal(headers.host, new URL(upstream.url).host);
  for (const name of ['proxy-authorization', 'te', 'upgrade']) assert.equal(headers[name], undefined, name);
});

test('a passthrough that breaks off is told from one that ends', async (t) => {
  passthrough.set('/list-apps?cut', async (exchange) => {
    await exchange.head({headers: {'Content-Type': 'application/json'}});
    await exchange.chunk('["half');
    exchange.close();
  });
  const gateway = await startSluice(t, {upstream: upstream.url, workers: 1});
  const idle = net.connect(gateway.port, '127.0.0.1');
  t.after(() => idle.destroy());
  idle.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(idle, 'data');
  const client = await new SseClient(gateway.url, '/list-apps?cut').opened();
  assert.match(await client.disconnected(2000), /^(truncated|reset)$/);
});

test('a large passthrough is not kept in memory, however slow its reader', async () => {
  passthrough.set('/list-apps?large', async (exchange) => {
    await exchange.head({headers: {'Content-Type': 'application/json'}, framing: 'length', length: 20e6});
    for (let i = 0; i < 200; i++) if (!await exchange.send(Buffer.alloc(100000, 120))) return;
  });
  const client = new SseClient(sluice.url, '/list-apps?large');
  await client.opened();
  client.socket.pause();
  await pause(300);
  client.socket.resume();
  assert.equal(await client.ended(20000), 'length');
  assert.equal(client.body.length, 20e6);
});

test('an upstream that does not answer a passthrough is told as an error', async (t) => {
  const alone = await startSluice(t, {upstream: 'http://127.0.0.1:1', upstream_connect_timeout_ms: 1000});
  const answer = await alone.get('/list-apps');
  assert.ok(answer.status === 502 || answer.status === 503 || answer.status === 504, String(answer.status));
  assert.match(answer.json.error.code, /^[a-z_]+$/);
});

test('.., absolute URLs and unlisted prefixes never reach the upstream', async () => {
  const came = upstream.runs.length + upstream.sessions.length;
  const targets = ['/apps/../secret', '/list-apps/../secret', '/apps/a/users/..%2f..%2fsecret', '/debug/%2e%2e/secret', '/%2e%2e/secret', '/list-apps%2f..%2fsecret', '/..', '/.', '//list-apps', '/unlisted/path', '/builder/save',
    '/run', '/run_live', '/apps/a/users/u/sessions/%2e%2e', '/debug/trace/..', '/LIST-APPS', '/list-appsx'];
  for (const target of targets) {
    const answer = await rawRequest(sluice.port, `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 40[0345] /, target);
  }
  for (const target of [`${upstream.url}/list-apps`, 'http://elsewhere.example/list-apps', '*', 'elsewhere.example:80']) {
    const answer = await rawRequest(sluice.port, `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 4\d\d /, target);
  }
  assert.equal(upstream.runs.length + upstream.sessions.length, came);
});
