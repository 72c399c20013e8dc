// Sessions and the upstream's other paths through the gateway, and what never gets through.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked, assertError} from '../support/expect.mjs';
import {rawRequest} from '../support/http.mjs';
import {pause, until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';
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

test('the upstream\'s Retry-After is passed on once, and ours stands where it sent none', async () => {
  for (const [path, status, headers, expected] of [['/list-apps?r=1', 429, {'Retry-After': '7'}, '7'], ['/list-apps?r=2', 503, {'Retry-After': '9'}, '9'], ['/list-apps?r=3', 503, {}, '2']]) {
    passthrough.set(path, (exchange) => exchange.head({status, headers: {'Content-Type': 'application/json', ...headers}, framing: 'length', length: 2}).then(() => exchange.send('{}')));
    const answer = await sluice.get(path);
    assert.deepEqual([answer.status, answer.rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'retry-after').length, answer.headers['retry-after']], [status, 1, expected]);
  }
});

test('passthrough streams, keeps status and end-to-end headers, and removes hop-by-hop ones', async () => {
  const part = 'x'.repeat(1000);
  let finish;
  const finished = new Promise((resolve) => { finish = resolve; });
  passthrough.set('/list-apps?x=1', async (exchange) => {
    await exchange.head({status: 203, headers: {'Content-Type': 'text/csv', ETag: '"kept"', 'Keep-Alive': 'timeout=5', Connection: 'X-Secret-Hop', 'X-Secret-Hop': 'removed',
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
  assert.equal(client.headers['content-type'], 'text/csv');
  assert.equal(client.headers.etag, '"kept"');
  for (const name of ['x-secret-hop', 'keep-alive', 'proxy-authenticate', 'upgrade', 'trailer']) assert.equal(client.headers[name], undefined, name);
  const {headers} = upstream.runs[number];
  assert.equal(headers.host, new URL(upstream.url).host);
  for (const name of ['proxy-authorization', 'te', 'upgrade']) assert.equal(headers[name], undefined, name);
});

/** Passes through an answer of these raw bytes, and gives what a client gets. */
async function passed(bytes, method = 'GET') {
  passthrough.set('/list-apps?raw', (exchange) => exchange.send(bytes));
  return sluice.request(method, '/list-apps?raw');
}

const guarding = {'x-content-type-options': 'nosniff', 'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox"};

test('no header of an upstream speaks to the proxy in front or to the browser', async () => {
  const {headers, text} = await passed('HTTP/1.1 200 OK\r\nX-Accel-Redirect: /internal/secret\r\nX-Accel-Expires: 0\r\nX-Sendfile: /etc/passwd\r\n' +
    'Set-Cookie: a=b\r\nRefresh: 0; url=//evil\r\nLink: <//evil/x.css>; rel=stylesheet\r\nClear-Site-Data: "*"\r\nContent-Security-Policy: script-src *\r\n' +
    'Access-Control-Allow-Origin: *\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}');
  assert.equal(text, '{}');
  assert.deepEqual(Object.keys(headers).sort(), ['cache-control', 'connection', 'content-length', 'content-security-policy', 'content-type', 'date', 'x-content-type-options']
    .filter((name) => name !== 'connection' || headers.connection));
  assert.equal(headers['content-type'], 'application/json');
  assert.equal(headers['cache-control'], 'no-store');
  for (const [name, value] of Object.entries(guarding)) assert.equal(headers[name], value);
});

test('a page of the upstream is text on the gateway, and what has no type a download', async () => {
  const page = '<!DOCTYPE html><script>alert(document.domain)</script>';
  const answer = (status, type) => passed(`HTTP/1.1 ${status} X\r\n${type}Content-Length: ${page.length}\r\n\r\n${page}`);
  for (const type of ['text/html', 'application/xhtml+xml', 'image/svg+xml']) {
    for (const status of [200, 404, 502]) {
      const {headers, text, status: got} = await answer(status, `Content-Type: ${type}\r\n`);
      assert.deepEqual([got, headers['content-type'], text], [status, 'text/plain; charset=utf-8', page]);
      assert.equal(headers['content-security-policy'], guarding['content-security-policy']);
    }
  }
  for (const type of ['', 'Content-Type: text/plain, text/html\r\n', 'Content-Type: text/plain\r\nContent-Type: text/html\r\n']) {
    const {headers} = await answer(200, type);
    assert.deepEqual([headers['content-type'], headers['content-disposition']], ['application/octet-stream', 'attachment'], type);
  }
});

test('the content type is kept behind 200 other headers, whatever they are', async () => {
  for (const name of [(i) => `X-Fill-${i}`, () => 'Vary', () => 'ETag', () => 'Cache-Control']) {
    const fill = Array.from({length: 200}, (_, i) => `${name(i)}: private\r\n`).join('');
    const {headers} = await passed(`HTTP/1.1 200 OK\r\n${fill}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`);
    assert.equal(headers['content-type'], 'application/json');
    for (const [guard, value] of Object.entries(guarding)) assert.equal(headers[guard], value);
  }
});

test('answers without a body, interim answers and odd statuses pass as what they are', async () => {
  const empty = async (status, extra, method) => {
    const {status: got, headers, text} = await passed(`HTTP/1.1 ${status} Any <b>words</b>\r\nETag: "e"\r\n${extra}\r\n`, method);
    assert.deepEqual([got, text, headers.etag], [status, '', '"e"']);
    for (const [guard, value] of Object.entries(guarding)) assert.equal(headers[guard], value);
    return headers;
  };
  assert.equal((await empty(204, ''))['content-type'], undefined);
  assert.equal((await empty(304, 'Cache-Control: max-age=5\r\n'))['cache-control'], 'max-age=5');
  assert.equal((await empty(200, 'Content-Type: text/html\r\nContent-Length: 5\r\n', 'HEAD'))['content-type'], 'text/plain; charset=utf-8');
  const interim = await passed('HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}');
  assert.deepEqual([interim.status, interim.headers['set-cookie'], interim.headers.link], [200, undefined, undefined]);
  assertError(await passed('HTTP/1.1 999 Odd\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}'), 503, /^upstream_error$/);
  assert.equal((await sluice.get('/list-apps')).status, 404, 'the connection is still good');
});

test('a refusal that is passed through has one Retry-After', async () => {
  for (const [status, said, expected] of [[429, '7', '7'], [503, '9', '9'], [503, 'soon', '2']]) {
    const answer = await passed(`HTTP/1.1 ${status} X\r\nRetry-After: ${said}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`);
    const values = answer.rawHeaders.filter((_, i) => i % 2 === 1 && /^retry-after$/i.test(answer.rawHeaders[i - 1]));
    assert.deepEqual([answer.status, values], [status, [expected]]);
  }
});

test('a header that does not fit is left out, the answer is not', async (t) => {
  for (const size of [20000, 100000]) {
    const {status, headers, text} = await passed(`HTTP/1.1 200 OK\r\nETag: "${'x'.repeat(size)}"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`);
    assert.deepEqual([status, headers.etag, headers['content-type'], text], [200, undefined, 'application/json', '{}']);
  }
  const small = await startSluice(t, {upstream: upstream.url, request_header_bytes_max: 1024});
  passthrough.set('/list-apps?long', (exchange) => exchange.send(`HTTP/1.1 200 OK\r\n${['ETag', 'Age', 'Vary', 'Allow'].map((name) => `${name}: ${'x'.repeat(250)}\r\n`).join('')}Content-Length: 2\r\n\r\n{}`));
  const {status, headers} = await small.get('/list-apps?long', {headers: {'X-Fill': 'x'.repeat(700)}});
  assert.deepEqual([status, headers.etag?.length], [200, 250]);
});

test('a redirect leads through the gateway, or nowhere', async () => {
  const location = async (value) => (await passed(`HTTP/1.1 307 X\r\nLocation: ${value}\r\nContent-Length: 0\r\n\r\n`)).headers.location;
  assert.equal(await location(`${upstream.url}/list-apps?x`), '/list-apps?x');
  assert.equal(await location('/list-apps'), '/list-apps');
  for (const elsewhere of ['http://elsewhere.example/', '//elsewhere.example/', 'javascript:alert(1)']) assert.equal(await location(elsewhere), undefined);
});

test('a redirect leads to what is passed on to the same upstream, and not to the gateway itself', async (t) => {
  const S = '/apps/a1/users/u1/sessions/s1';
  const file = (url) => temporaryFile(t, 'sluice.yaml', `upstreams:
  - name: first
    upstream: ${url}
    upstream_apps: "a1, b*"
  - name: second
    upstream: ${upstream.url}
    upstream_apps: other
`);
  let wanted = {};
  const sender = await startUpstream(t, async (exchange) => {
    await exchange.head({status: wanted.status, headers: {Location: wanted.location}, framing: 'length', length: 0});
  });
  const gateway = await startSluice(t, {}, {args: ['--config', file(sender.url)]});
  const location = async (method, path, status, to) => {
    wanted = {status, location: to};
    const answer = await gateway.request(method, path, method === 'GET' || method === 'DELETE' ? {} : {body: {x: 1}});
    assert.equal(answer.status, status, `${method} ${path} ${to}`);
    return answer.headers.location;
  };
  const others = ['/tasks?all=true', '/tasks', '/stats', '/tunnels/x', '/demo', `${S}/run`, `${S}/history`, '/task%73', '/nowhere', `${S}/artifacts/`, '/apps/other/eval-sets', '/apps/%2e%2e/eval-sets', '/run_sse'];
  for (const to of others) {
    for (const status of [201, 301, 302, 303, 307, 308]) {
      assert.equal(await location('GET', '/list-apps', status, to), undefined, to);
      assert.equal(await location('DELETE', `${S}/artifacts/a`, status, to), undefined, to);
      assert.equal(await location('POST', `${S}/artifacts`, status, to), undefined, to);
    }
  }
  const up = '../'.repeat(8);
  const spelled = [`${S}/artifacts/${up}tasks?all=true`, `${S}/artifacts/${up.replaceAll('.', '%2E')}tasks?all=true`, `${S}/artifacts/${up.replaceAll('..', '.\t.')}tasks?all=true`,
    `${S}/artifacts/${up.replaceAll('../', '..%5C')}tasks`, `${S}/artifacts/..`, `${S}/artifacts/a/./b`, `${S}/artifacts/a\tb`, `${S}/artifacts/a;x`, '/apps/a1/USERS/u1/sessions'];
  for (const to of spelled) {
    for (const [method, path] of [['GET', '/list-apps'], ['DELETE', `${S}/artifacts/a`]])
      for (const status of [303, 307]) assert.equal(await location(method, path, status, to), undefined, `${method} ${status} ${to}: a browser may resolve it to a path of the gateway's`);
  }
  for (const status of [301, 302, 307, 308]) {
    assert.equal(await location('DELETE', `${S}/artifacts/a`, status, '/apps/b1/users/victim/sessions/s'), undefined, 'it would be deleted');
    assert.equal(await location('POST', '/config/x', status, S), undefined, 'it would be created');
  }
  for (const [method, path, status, to] of [['GET', '/list-apps', 307, `${S}?x`], ['GET', '/list-apps', 302, '/apps/b1/eval-sets'], ['DELETE', `${S}/artifacts/a`, 303, S],
    ['DELETE', `${S}/artifacts/a`, 307, `${S}/artifacts/b`], ['POST', `${S}/artifacts`, 201, `${S}/artifacts/b`], ['GET', '/version', 308, '/list-apps']])
    assert.equal(await location(method, path, status, to), to, `${method} ${path} ${to}`);
});

test('a body that should not be there is no answer to the next request', async (t) => {
  const heads = {HEAD: '200 OK\r\nContent-Length: 100', 204: '204 No Content', 304: '304 Not Modified'};
  const json = (text) => `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
  let connections = 0;
  const server = net.createServer((socket) => {
    let owes = false; // a body, which comes when the connection is used again
    connections++;
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      const [method, path] = bytes.toString().split(' ');
      const head = heads[method] ?? heads[path.slice('/apps/'.length)];
      socket.write(owes ? json('"forged"') : head !== undefined ? `HTTP/1.1 ${head}\r\n\r\n` : json('"true"'));
      owes = head !== undefined;
    });
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const gateway = await startSluice(t, {upstream: `http://127.0.0.1:${server.address().port}`, workers: 1});
  for (const [method, path, status] of [['HEAD', '/apps/x', 200], ['GET', '/apps/204', 204], ['GET', '/apps/304', 304]]) {
    assert.equal((await gateway.request(method, path)).status, status);
    assert.equal((await gateway.get('/version')).text, '"true"', `after ${method} ${path}`);
  }
  const before = connections;
  assert.equal((await gateway.get('/version')).text, '"true"');
  assert.equal(connections, before, 'a connection is used again after an answer with a body');
});

test('the demo page keeps the policy of its own', async () => {
  const {headers} = await sluice.get('/demo');
  assert.match(headers['content-type'], /^text\/html/);
  assert.match(headers['content-security-policy'], /script-src 'unsafe-inline'/);
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
  idle.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
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
    const answer = await rawRequest(sluice.port, `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 (40[0345]|426) /, target);
  }
  for (const target of [`${upstream.url}/list-apps`, 'http://elsewhere.example/list-apps', '*', 'elsewhere.example:80']) {
    const answer = await rawRequest(sluice.port, `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 4\d\d /, target);
  }
  assert.equal(upstream.runs.length + upstream.sessions.length, came);
});
