// Hostile HTTP: every form of request that is none gets a 4xx or a closed connection, is logged once, and costs
// the next client nothing. What libmicrohttpd hides from us is listed in docs/security.md.
import assert from 'node:assert/strict';
import {readdirSync} from 'node:fs';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerMarked} from '../support/expect.mjs';
import {pause, until, within} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, answerMarked(1));
const sluice = await startSluice({after}, {upstream: upstream.url, request_timeout_ms: 1000, request_headers_max: 50});

const host = 'Host: localhost\r\n';
const get = (target, fields = host, version = 'HTTP/1.1') => `GET ${target} ${version}\r\n${fields}\r\n`;
const run = `POST ${sessionPath()}/run HTTP/1.1\r\n${host}Content-Type: application/json\r\n`;
const message = '{"message":"hi"}';

/** Sends the bytes, or the pieces with pauses between them, and gives what came until the gateway closed. */
function converse(bytes, {port = sluice.port, pieces = [bytes], pauseMs = 0} = {}) {
  return within(new Promise((resolve) => {
    const parts = [];
    const socket = net.connect(port, '127.0.0.1');
    socket.on('data', (part) => parts.push(part));
    socket.on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(parts).toString('latin1')));
    (async () => {
      for (const piece of pieces) {
        if (socket.destroyed) return;
        socket.write(Buffer.from(piece, 'latin1'));
        if (pauseMs > 0) await pause(pauseMs);
      }
    })();
  }), 10000, 'the end of the connection');
}

const statusesOf = (answer) => [...answer.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map((match) => Number(match[1]));
const descriptors = () => readdirSync(`/proc/${sluice.program.pid}/fd`).length;
const offences = () => sluice.logs.filter((line) => line.event === 'request_refused').length;

/** The gateway serves the next client at once. */
async function assertServes() {
  const since = performance.now();
  const answer = await sluice.get('/healthz');
  assert.equal(answer.status, 200);
  assert.ok(performance.now() - since < 1000, 'the next client had to wait');
}

// The answer's status, or 0: closed without any. Each is one offence.
const refused = {
  'the Host missing': [400, get('/healthz', '')],
  'the Host doubled': [400, get('/healthz', host + host)],
  'the Host empty': [400, get('/healthz', 'Host:\r\n')],
  'the Host joined by a comma': [403, get('/healthz', 'Host: x,y\r\n')], // a name may have one
  'the Host joined by a comma and a space': [400, get('/healthz', 'Host: localhost, localhost\r\n')],
  'the Host with a character that no name has': [400, get('/healthz', 'Host: x|y\r\n')],
  'the Host with a broken encoding': [400, get('/healthz', 'Host: %4\r\n')],
  'the Host with a user': [400, get('/healthz', 'Host: u@x\r\n')],
  'the Host with a path': [400, get('/healthz', 'Host: x/y\r\n')],
  'the Host with a space': [400, get('/healthz', 'Host: x y\r\n')],
  'the Host with a port that is none': [400, get('/healthz', 'Host: x:80a\r\n')],
  'the Host with an open bracket': [400, get('/healthz', 'Host: [::1\r\n')],

  'a space before the colon': [400, get('/healthz', `${host}A : b\r\n`)],
  'a tab before the colon': [400, get('/healthz', `${host}A\t: b\r\n`)],
  'a space before the colon of a length': [400, `${run}Content-Length : 16\r\n\r\n${message}`],
  'an empty name': [400, get('/healthz', `${host}: b\r\n`)],
  'a name that is no token': [400, get('/healthz', `${host}A(b): c\r\n`)],
  'a name in Latin-1': [400, get('/healthz', `${host}\xe4: c\r\n`)],
  'a field without a colon': [400, get('/healthz', `${host}nocolon\r\n`)],
  'a control byte in a value': [400, get('/healthz', `${host}A: b\x01c\r\n`)],
  'a NUL in a value': [400, get('/healthz', `${host}A: b\0c\r\nD: e\r\n`)],
  'a NUL at the end of the last value': [400, get('/healthz', `${host}A: b\0\r\n`)],
  'a NUL in a name': [400, get('/healthz', `${host}A\0B: c\r\n`)],
  'a bare CR in a value': [400, get('/healthz', `${host}A: b\rC: d\r\n`)],
  'a folded value': [400, get('/healthz', `${host}A: b\r\n folded\r\nC: d\r\n`)],
  'the last value folded': [400, get('/healthz', `${host}A: b\r\n\tfolded\r\n`)],
  'the Host folded': [400, get('/healthz', 'Host: localhost\r\n y\r\n')],
  'a space before the first field': [400, get('/healthz', ` A: b\r\n${host}`)],
  'bare LFs': [400, 'GET /healthz HTTP/1.1\nHost: x\n\n'],
  'a bare LF behind one field': [400, get('/healthz', `${host}A: b\nC: d\r\n`)],
  'a bare LF at the end': [400, `GET /healthz HTTP/1.1\r\n${host}\n`],

  'the Content-Type twice': [400, `${run}Content-Type: application/json\r\nContent-Length: 16\r\n\r\n${message}`],
  'a second Content-Type that a form has': [400, `${run}content-type: text/plain\r\nContent-Length: 16\r\n\r\n${message}`],
  ...Object.fromEntries(['Content-Encoding', 'Origin', 'Sec-Fetch-Site', 'Access-Control-Request-Method', 'Idempotency-Key', 'Last-Event-ID', 'Authorization']
    .map((name) => [`${name} twice`, [400, get('/healthz', `${host}${name}: a\r\nB: c\r\n${name.toLowerCase()}: a\r\n`)]])),

  'a length twice, the same': [400, `${run}Content-Length: 16\r\nContent-Length: 16\r\n\r\n${message}`],
  'two lengths': [400, `${run}Content-Length: 16\r\nContent-Length: 1\r\n\r\n${message}`],
  'a list of lengths': [400, `${run}Content-Length: 16, 16\r\n\r\n${message}`],
  'a length with a plus': [400, `${run}Content-Length: +16\r\n\r\n${message}`],
  'a length with a minus': [400, `${run}Content-Length: -16\r\n\r\n${message}`],
  'a length with a space in it': [400, `${run}Content-Length: 1 6\r\n\r\n${message}`],
  'a length with a space after it': [400, `${run}Content-Length: 16 \r\n\r\n${message}`], // proper, but the library says no
  'an empty length': [400, `${run}Content-Length:\r\n\r\n${message}`],
  'a hexadecimal length': [400, `${run}Content-Length: 0x10\r\n\r\n${message}`],
  'a length beyond all numbers': [413, `${run}Content-Length: ${'9'.repeat(30)}\r\n\r\n${message}`],
  'a length beyond the limit': [413, `${run}Content-Length: 99999999\r\n\r\n${message}`],
  'a length and chunks': [400, `${run}Content-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  'chunked twice': [400, `${run}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  'another transfer encoding': [501, `${run}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  'chunks in HTTP/1.0': [400, `${run.replace('1.1', '1.0')}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  'a chunk size that is none': [400, `${run}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
  'a negative chunk size': [400, `${run}Transfer-Encoding: chunked\r\n\r\n-2\r\n`],
  'a chunk size beyond all numbers': [413, `${run}Transfer-Encoding: chunked\r\n\r\n${'f'.repeat(18)}\r\n`],
  'a chunk longer than its size': [400, `${run}Transfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n`],
  'a chunk-size line without an end': [400, `${run}Transfer-Encoding: chunked\r\n\r\n1;${'a'.repeat(40000)}`],
  'a second chunk-size line without an end': [400, `${run}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;${'a'.repeat(40000)}`],
  'a trailer without an end': [431, `${run}Transfer-Encoding: chunked\r\n\r\n0\r\nA: ${'a'.repeat(40000)}`],
  'trailers over all limits': [431, `${run}Transfer-Encoding: chunked\r\n\r\n0\r\n${'A: b\r\n'.repeat(8000)}`],
  'another expectation': [417, get('/healthz', `${host}Expect: the-unexpected\r\n`)],

  'a NUL in the target': [400, get('/healthz\0x')],
  'a NUL in the query': [400, get('/list-apps?a=\0x')],
  'a control byte in the target': [400, get('/healthz\x01')],
  'a space in the target': [400, get('/health z')],
  'two spaces before the target': [400, get(' /healthz')],
  'a byte above 127 in the target': [400, get('/health\xe4')],
  'a percent sign alone': [400, get('/health%')],
  'half a percent-encoding': [400, get('/health%4')],
  'a percent-encoding that is none': [400, get('/health%zz')],
  'an encoded NUL': [400, get('/healthz%00')],
  'an encoded line end': [400, get('/healthz%0d%0aX:%20y')],
  'a percent sign alone in the query': [400, get('/list-apps?a=%')],
  'an overlong slash': [400, get('/list-apps%c0%af')],
  'overlong dots': [400, get('/apps/%c0%ae%c0%ae/x')],
  'overlong dots of three bytes': [400, get('/apps/%e0%80%ae%e0%80%ae/x')],
  'an overlong byte in the query': [400, get('/list-apps?a=%c0%80')],
  'a surrogate': [400, get('/apps/%ed%a0%80')],
  ...Object.fromEntries(['/../healthz', '/..', '/apps/../../etc/passwd', '/apps/..', '/./healthz', '/%2e%2e/healthz', '/.%2e/healthz',
    '/%2E./healthz', '/..%2fhealthz', '/apps%2f..%2fhealthz', '/..\\healthz', '/..%5chealthz', '/apps/%5c..%5cx', '/%252e%252e/healthz',
    '/..%252fhealthz', '/apps/demo/users/u1/sessions/../run', '/apps/..;/admin/x', '/apps/.;a/x',
    '/apps/..;a=b/x', '/apps/%2e%2e;/x', '/apps/..%3b/x', '/apps/%2E.%3Bx/y', '/...;/healthz', '/..%3f/healthz', '/..%20/healthz', '/%ef%bc%8e%ef%bc%8e/healthz',
    '/apps%ef%bc%8f../healthz', '/apps/%e2%80%a5/x', '/apps/demo/users/..%2f..%2f/sessions/s/run']
    .map((target) => [`the target ${target}`, [400, get(target)]])),
  'a star with GET': [400, get('*')],
  'a target without a slash': [400, get('healthz')],
  'CONNECT': [400, `CONNECT x:80 HTTP/1.1\r\n${host}\r\n`],
  'an absolute target on another host': [400, get('http://y/healthz')],
  'an absolute target at another port': [400, get('http://localhost:8080/healthz')],
  'an absolute target at the port of https': [400, get('http://localhost:443/healthz')],
  'an absolute target with a user': [400, get('http://u@localhost/healthz')],
  'an absolute target with another scheme': [400, get('ftp://localhost/healthz')],
  'an absolute target without a host': [400, get('http:///healthz')],
  'a fragment': [400, get('/healthz#x')],

  'a method that is no token': [400, `G@T /healthz HTTP/1.1\r\n${host}\r\n`],
  'a line of HTTP/0.9': [400, 'GET /healthz\r\n'],
  'a line of HTTP/2.0': [505, get('/healthz', host, 'HTTP/2.0')],
  'the preface of HTTP/2': [505, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  'a version that is none': [400, get('/healthz', host, 'HTTP/11')],
  'a version in lower case': [400, get('/healthz', host, 'http/1.1')],
  'another protocol': [400, get('/healthz', host, 'RTSP/1.1')],
  'no words': [0, 'garbage\r\n\r\n'],
  'a TLS hello': [0, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'],
  'a space before the request line': [0, ` ${get('/healthz')}`],

  'a head over its limit': [431, get('/healthz', `${host}A: ${'a'.repeat(17000)}\r\n`)],
  'a head over all limits': [431, get('/healthz', `${host}A: ${'a'.repeat(200000)}\r\n`)],
  'a target over its limit': [414, get(`/${'a'.repeat(40000)}`)],
  'more parameters than the library has room for': [431, get(`/healthz?${'a&'.repeat(4000)}`)],
  'more trailers than the library has room for': [431, `${run}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n${'A:b\r\n'.repeat(2500)}\r\n`],
  'too many headers': [431, get('/healthz', host + 'A: b\r\n'.repeat(50))],
  'a body over its limit': [413, `${run}Transfer-Encoding: chunked\r\n\r\n${`ffff\r\n${'a'.repeat(65535)}\r\n`.repeat(20)}`],
};

test('what is no proper request is refused, logged once, and costs the next client nothing', async (t) => {
  await assertServes();
  const before = descriptors();
  for (const [name, [status, bytes]] of Object.entries(refused)) {
    await t.test(name, async () => {
      const logged = offences();
      const answer = await converse(bytes);
      const statuses = statusesOf(answer);
      // The library sends the head of some of its own refusals twice.
      assert.deepEqual([...new Set(statuses)], status === 0 ? [] : [status], answer.slice(0, 300));
      await assertServes();
      await until(() => offences() > logged, 'a line in the log');
      assert.equal(offences(), logged + 1, sluice.program.stderr.slice(-600));
      const line = sluice.logs.filter((entry) => entry.event === 'request_refused').at(-1);
      assert.equal(line.peer, '127.0.0.1');
      assert.ok(line.status === status || line.status === 0); // 0: the library did not tell what it answered
      await until(() => descriptors() === before, `${before} descriptors`);
      await pause(60); // below the lines that are written in a second
    });
  }
  assert.equal((await sluice.stats()).counters.sluice_turns_without_progress_total, 0);
});

// A request whose sender takes its time. (A first line that never comes whole is not told from a browser's spare
// connection: closed, not logged.)
const slow = {
  'a head': [408, [`GET /healthz HTTP/1.1\r\n${host}A: `], 1],
  'a body': [408, [`${run}Content-Length: 1000\r\n\r\n`], 1],
  'a chunk': [408, [`${run}Transfer-Encoding: chunked\r\n\r\n1000\r\n`], 1],
  'a first line': [0, ['GET /'], 0],
  'nothing': [0, [], 0],
};

test('who trickles is timed out while others are served', async (t) => {
  for (const [name, [status, first, lines]] of Object.entries(slow)) {
    await t.test(name, async () => {
      const logged = offences();
      const trickle = first.length > 0 ? Array.from({length: 40}, () => 'x') : [];
      const answered = converse('', {pieces: [...first, ...trickle], pauseMs: 100});
      await assertServes();
      assert.deepEqual(statusesOf(await answered), status === 0 ? [] : [status]);
      await assertServes();
      assert.equal(offences(), logged + lines);
    });
  }
});

test('what is unusual but proper is answered', async (t) => {
  const close = `${host}Connection: close\r\n`;
  const proper = {
    'an absolute target': [[200], get('http://localhost/healthz', close)],
    'an absolute target in capitals': [[200], get('HTTP://LOCALHOST/healthz', close)],
    'an absolute target without a path': [[404], get('http://localhost', close)],
    'an absolute target with a query': [[200], get('http://localhost/tasks?limit=1', close)],
    'a Host with a port': [[200], get('/healthz', 'Host: localhost:8080\r\nConnection: close\r\n')],
    'a Host with an empty port': [[200], get('/healthz', 'Host: localhost:\r\nConnection: close\r\n')],
    'a Host of IPv6': [[200], get('/healthz', 'Host: [::1]:80\r\nConnection: close\r\n')],
    'HTTP/1.0 without a Host': [[200], get('/healthz', '', 'HTTP/1.0')],
    'a version to come': [[200], get('/healthz', close, 'HTTP/1.2')],
    'an absolute target with the usual port': [[200], get('http://localhost:80/healthz', close)],
    'an absolute target without the usual port': [[200], get('http://localhost/healthz', 'Host: localhost:80\r\nConnection: close\r\n')],
    'an absolute target with an empty port': [[200], get('http://localhost:/healthz', close)],
    'a star with OPTIONS': [[204], `OPTIONS * HTTP/1.1\r\n${close}\r\n`],
    'an absolute target without a path, with OPTIONS': [[204], `OPTIONS http://localhost HTTP/1.1\r\n${close}\r\n`],
    'an absolute target with a path, with OPTIONS': [[404], `OPTIONS http://localhost/ HTTP/1.1\r\n${close}\r\n`],
    'all that a name may have in a Host': [[200], get('/healthz', "Host: !$&'()*+,;=%41-._~.localhost\r\nConnection: close\r\n")],
    'an unknown method': [[405], `BREW /healthz HTTP/1.1\r\n${close}\r\n`],
    'empty lines before a request': [[200], `\r\n\r\n${get('/healthz', close)}`],
    'white space around a value': [[200], get('/healthz', `${close}A: \t b \t\r\n`)],
    'an empty value': [[200], get('/healthz', `${close}A:\r\nB: \r\n`)],
    'no white space before a value': [[200], get('/healthz', 'Host:localhost\r\nConnection:close\r\n')],
    'Latin-1 in a value': [[200], get('/healthz', `${close}A: \xe4\r\n`)],
    'an encoded letter of a word': [[400], get('/%68ealthz', close)],
    'dots that are no segment': [[404], get('/a..b/...', close)],
    'a large head': [[200], get('/healthz', `${close}A: ${'a'.repeat(16000)}\r\n`)],
    'many headers': [[200], get('/healthz', close + 'A: b\r\n'.repeat(40))],
    'a cookie': [[200], get('/healthz', `${close}Cookie: a=b; c="d e"; f\r\n`)],
  };
  for (const [name, [statuses, bytes]] of Object.entries(proper)) {
    await t.test(name, async () => {
      const logged = offences();
      const answer = await converse(bytes);
      assert.deepEqual(statusesOf(answer), statuses, answer.slice(0, 300));
      assert.equal(offences(), logged);
    });
  }
  const {port} = await startSluice(t, {upstream: upstream.url}); // which has the time that a busy machine needs for this
  await t.test('a head byte by byte', async () => {
    const bytes = get('/healthz', `${close}Cookie: a=b\r\nA: b\r\n`);
    assert.deepEqual(statusesOf(await converse('', {port, pieces: [...bytes], pauseMs: 1})), [200]);
  });
  await t.test('a large head in pieces', async () => {
    const pieces = get('/healthz', close + `A: ${'a'.repeat(300)}\r\n`.repeat(40)).match(/[^]{1,501}/g);
    assert.deepEqual(statusesOf(await converse('', {port, pieces, pauseMs: 1})), [200]);
  });
  await t.test('pipelined requests, in order', async () => {
    const more = ['/healthz', '/nowhere', '/healthz', '/task-status', '/nowhere'].map((target) => get(target)).join('');
    assert.deepEqual(statusesOf(await converse(more + get('/healthz', close))), [200, 404, 200, 200, 404, 200]);
  });
  await t.test('pipelined requests with bodies', async () => {
    const post = (more) => `${run}${more}Content-Length: ${message.length}\r\n\r\n${message}`;
    assert.deepEqual(statusesOf(await converse(post('') + post('') + post('Connection: close\r\n'))), [200, 200, 200]);
  });
  await t.test('Expect: 100-continue', async () => {
    const head = `${run}Expect: 100-continue\r\nConnection: close\r\nContent-Length: ${message.length}\r\n\r\n`;
    assert.deepEqual(statusesOf(await converse('', {pieces: [head, message], pauseMs: 50})), [100, 200]);
  });
  await t.test('Expect: 100-continue is not answered so if the request is refused', async () => {
    const answer = await converse(`${run}Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n`);
    assert.deepEqual(statusesOf(answer), [413]);
  });
});

test('nothing behind a refused request is answered', async () => {
  for (const bytes of [get('/healthz', host + host), get('/healthz', `${host}A : b\r\n`), get('/..')])
    assert.deepEqual(statusesOf(await converse(bytes + get('/healthz'))), [400]);
});

test('offences are counted all, and logged no more than can be read', async (t) => {
  const other = await startSluice(t, {upstream: upstream.url});
  for (let round = 0; round < 50; round++) await converse(get('/healthz', ''), {port: other.port});
  const counters = (await other.stats()).counters;
  assert.equal(counters.sluice_requests_offending_total, 50);
  const lines = other.logs.filter((line) => line.event === 'request_refused').length;
  assert.ok(lines >= 20 && lines < 50 * 2, `${lines} lines`);
});

test('an address has as many connections as it may, subscribers included', async (t) => {
  const few = await startSluice(t, {upstream: upstream.url, connections_per_address_max: 3});
  const session = sessionPath();
  const streams = [];
  for (let count = 0; count < 3; count++) streams.push(await few.follow(session));
  const refusal = await converse('', {port: few.port});
  assert.deepEqual(statusesOf(refusal), [429]);
  assert.match(refusal, /Retry-After: \d+\r\n[^]*too_many_connections_of_address/);
  for (const stream of streams) stream.leave();
  await until(async () => (await few.get('/healthz').catch(() => ({}))).status === 200, 'a place again');
  await until(async () => (await few.stats()).subscribers === 0, 'subscribers that are gone');
  for (let count = 0; count < 20; count++) assert.equal((await few.get('/healthz')).status, 200);
  assert.ok((await few.stats()).counters.sluice_connections_of_address_refused_total >= 1);
});

test('an address that asks too often is told 429, and when to come back', async (t) => {
  const strict = await startSluice(t, {upstream: upstream.url, request_rate_per_address: 5, request_burst_per_address: 10});
  const answers = [];
  for (let count = 0; count < 15; count++) answers.push(await strict.get('/healthz'));
  const limited = answers.filter((answer) => answer.status === 429);
  assert.ok(limited.length >= 1 && limited.length <= 5, `${limited.length} of 15`);
  assert.equal(limited[0].json.error.code, 'too_many_requests_of_address');
  assert.equal(limited[0].headers['retry-after'], '1');
  await pause(1000);
  assert.equal((await strict.get('/healthz')).status, 200);
  assert.equal(strict.logs.filter((line) => line.event === 'request_refused').length, 0);
});

test('a page of an allowed origin can read that its request was refused', async (t) => {
  const strict = await startSluice(t, {upstream: upstream.url, cors_origins: 'https://a.example', request_rate_per_address: 1, request_burst_per_address: 1});
  const from = (origin) => ({headers: {Origin: origin}});
  let answer;
  await until(async () => (answer = await strict.get('/healthz', from('https://a.example'))).status === 429, 'a 429');
  assert.equal(answer.headers['access-control-allow-origin'], 'https://a.example');
  assert.match(answer.headers['access-control-expose-headers'], /Retry-After/);
  await until(async () => (answer = await strict.get('/healthz', from('https://b.example'))).status === 429, 'a 429');
  assert.equal(answer.headers['access-control-allow-origin'], undefined);
  answer = await strict.get('/%', from('https://a.example'));
  assert.equal(answer.status, 400);
  assert.equal(answer.headers['access-control-allow-origin'], 'https://a.example');
});
