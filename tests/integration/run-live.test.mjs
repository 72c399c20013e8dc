// ADK's WebSocket, /run_live: a tunnel of bytes after the upstream's own answer to the handshake.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import {after, test} from 'node:test';
import {startPythonAdk} from '../support/agents.mjs';
import {Certificates} from '../support/certificates.mjs';
import {assertError} from '../support/expect.mjs';
import {until, within} from '../support/limits.mjs';
import {startSluice} from '../support/sluice.mjs';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const MIB = 1024 * 1024;

/** An upstream that takes WebSockets; `serve` gets the socket after its head, and the head. */
async function startWebSockets(context, serve = (socket) => socket.pipe(socket), answer, certificate) {
  const seen = [];
  const listen = (take) => (certificate ? tls.createServer({...certificate}, take) : net.createServer({allowHalfOpen: true}, take));
  const server = listen((socket) => {
    socket.on('error', () => {});
    let text = '';
    const read = (part) => {
      text += part.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      socket.off('data', read);
      const head = text.slice(0, end);
      if (!head.startsWith('GET /run_live')) {
        socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
        return;
      }
      seen.push({head, socket});
      if (text.length > end + 4) socket.unshift(Buffer.from(text.slice(end + 4), 'latin1'));
      const key = /sec-websocket-key: (.*)/i.exec(head)?.[1] ?? '';
      const accept = crypto.createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      const chosen = /sec-websocket-protocol: ([^,\r]*)/i.exec(head)?.[1];
      socket.write(answer ?? `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n` +
        `${chosen ? `Sec-WebSocket-Protocol: ${chosen}\r\n` : ''}Set-Cookie: a=b\r\n\r\n`);
      if (answer === undefined) serve(socket);
    };
    socket.on('data', read);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    server.close();
    for (const {socket} of seen) socket.destroy();
  });
  return {url: `${certificate ? 'https' : 'http'}://127.0.0.1:${server.address().port}`, seen};
}

/** A client after its handshake: {head, socket, received(), closed}. */
function open(sluice, {query = 'app_name=demo&user_id=u1&session_id=s1', headers = {}, early = '', version = '1.1'} = {}) {
  const all = {Host: 'localhost', Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': KEY, ...headers};
  const lines = Object.entries(all).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const socket = net.connect({port: sluice.port, host: '127.0.0.1', allowHalfOpen: true});
  const client = {socket, parts: [], length: 0, failed: undefined};
  socket.on('error', (error) => { client.failed = error.code; });
  client.closed = new Promise((resolve) => socket.once('close', resolve));
  client.ended = new Promise((resolve) => { socket.once('end', resolve); socket.once('close', resolve); });
  socket.write(`GET /run_live?${query} HTTP/${version}\r\n${lines}\r\n${early}`);
  client.text = () => Buffer.concat(client.parts).toString('latin1');
  return within(new Promise((resolve) => {
    let text = Buffer.alloc(0);
    const settle = () => resolve(client);
    socket.on('data', (part) => {
      if (client.head !== undefined) {
        client.parts.push(part);
        client.length += part.length;
        return;
      }
      text = Buffer.concat([text, part]);
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      client.head = text.subarray(0, end).toString('latin1');
      client.status = Number(client.head.split(' ')[1]);
      client.parts.push(text.subarray(end + 4));
      client.length = text.length - end - 4;
      settle();
    });
    socket.on('close', settle);
  }), 10000, 'the answer to the handshake');
}

const tunnelsOf = async (sluice) => (await sluice.get('/tunnels')).json.tunnels;
const untilNone = (sluice) => until(async () => (await tunnelsOf(sluice)).length === 0, 'no tunnel is left', 10000);

async function startBoth(context, serve, flags = {}, answer) {
  const upstream = await startWebSockets(context, serve, answer);
  return {upstream, sluice: await startSluice(context, {upstream_kind: 'adk', upstream: upstream.url, ...flags})};
}

test('the handshake is the upstream\'s own, and bytes go both ways', async (t) => {
  const {upstream, sluice} = await startBoth(t);
  const client = await open(sluice, {early: 'early', headers: {'Sec-WebSocket-Protocol': 'one, two', 'Sec-WebSocket-Extensions': 'permessage-deflate', Origin: undefined}});
  assert.equal(client.status, 101, client.head);
  assert.match(client.head, new RegExp(`sec-websocket-accept: ${ACCEPT.replace(/[+]/g, '\\+')}`, 'i'));
  assert.match(client.head, /sec-websocket-protocol: one/i);
  assert.match(client.head, /connection: upgrade/i);
  assert.doesNotMatch(client.head, /set-cookie/i);
  assert.match(upstream.seen[0].head, /^GET \/run_live\?app_name=demo&user_id=u1&session_id=s1 HTTP\/1\.1/);
  assert.match(upstream.seen[0].head, /sec-websocket-extensions: permessage-deflate/i);
  assert.doesNotMatch(upstream.seen[0].head, /transfer-encoding|content-length|origin:/i);
  client.socket.write('late');
  await until(() => client.text() === 'earlylate', 'what was sent came back');
  const [tunnel] = await tunnelsOf(sluice);
  assert.deepEqual([tunnel.kind, tunnel.app, tunnel.user, tunnel.session], ['live', 'demo', 'u1', 's1']);
  const stats = (await sluice.get('/stats')).json;
  assert.equal(stats.tunnels, 1);
  assert.equal(stats.counters.sluice_tunnels_opened_total, 1);
  client.socket.end();
  await within(client.closed, 5000, 'the end of a half-closed tunnel');
  await untilNone(sluice);
  assert.equal((await sluice.get('/stats')).json.connections >= 0, true);
});

test('many megabytes go both ways at once, and arrive whole', async (t) => {
  const {sluice} = await startBoth(t);
  const clients = await Promise.all([1, 2].map((number) => open(sluice, {query: `app_name=demo&user_id=u1&session_id=m${number}`})));
  await Promise.all(clients.map(async (client) => {
    const sent = crypto.randomBytes(24 * MIB);
    client.socket.write(sent);
    client.socket.end();
    await within(client.ended, 60000, 'the echo of it all');
    assert.ok(Buffer.concat(client.parts).equals(sent));
  }));
  await untilNone(sluice);
});

test('one side that does not read holds the other side back', async (t) => {
  let written = 0;
  const flood = (socket) => {
    const write = () => socket.write(Buffer.alloc(64 * 1024), (error) => { if (!error) { written += 64 * 1024; write(); } });
    write();
    socket.resume();
  };
  const {sluice} = await startBoth(t, flood);
  const client = await open(sluice);
  client.socket.pause();
  let before;
  const stands = async () => {
    const same = before === written && written > 0;
    before = written;
    await sluice.get('/healthz');
    return same;
  };
  await until(async () => await stands() && await stands() && await stands(), 'the flood stands', 20000);
  assert.ok(written < 64 * MIB);
  const kinds = (await sluice.get('/stats')).json.memory.kinds;
  assert.ok(kinds.passed_answers < 2 * MIB, JSON.stringify(kinds));
  const held = written;
  client.socket.resume();
  await until(() => written > held + 4 * MIB, 'the flood goes on', 20000);
  client.socket.destroy();
  await untilNone(sluice);
});

test('an upstream that does not read holds the client back', async (t) => {
  const {upstream, sluice} = await startBoth(t, (socket) => { socket.pause(); });
  const client = await open(sluice);
  client.socket.write(crypto.randomBytes(32 * MIB));
  let before;
  await until(async () => {
    const same = before === client.socket.bytesWritten - client.socket.writableLength;
    before = client.socket.bytesWritten - client.socket.writableLength;
    await sluice.get('/healthz');
    return same && client.socket.writableLength > 0;
  }, 'the client is held back', 20000);
  assert.ok((await sluice.get('/stats')).json.memory.kinds.passed_answers < 2 * MIB);
  let length = 0;
  upstream.seen[0].socket.on('data', (part) => { length += part.length; });
  upstream.seen[0].socket.resume();
  await until(() => length === 32 * MIB, 'all of it arrives', 30000);
  upstream.seen[0].socket.destroy();
  await untilNone(sluice);
});

test('a cut on either side ends the other', async (t) => {
  const {upstream, sluice} = await startBoth(t);
  for (const end of ['destroy', 'resetAndDestroy', 'end']) {
    const client = await open(sluice);
    assert.equal(client.status, 101);
    const there = upstream.seen.at(-1).socket;
    client.socket[end]();
    await within(new Promise((resolve) => { there.once('close', resolve); there.once('end', resolve); }), 5000, `the upstream sees ${end} of the client`);
    there.destroy();
    await untilNone(sluice);
  }
  for (const end of ['destroy', 'resetAndDestroy', 'end']) {
    const client = await open(sluice);
    upstream.seen.at(-1).socket[end]();
    await within(client.ended, 5000, `the client sees ${end} of the upstream`);
    client.socket.destroy();
    await untilNone(sluice);
  }
  const stats = (await sluice.get('/stats')).json;
  assert.equal(stats.counters.sluice_broken_states_total, 0);
});

test('a tunnel is cancelled by its id, by its session\'s run, and by the session', async (t) => {
  const {sluice} = await startBoth(t, undefined, {workers: 2});
  const session = '/apps/demo/users/u1/sessions/s1';
  const ways = [
    async () => sluice.delete(`/tunnels/${(await tunnelsOf(sluice))[0].id}`),
    () => sluice.delete(`${session}/run`),
    () => sluice.delete(session),
  ];
  for (const way of ways) {
    const clients = await Promise.all([open(sluice), ...(way === ways[0] ? [] : [open(sluice)])]);
    assert.deepEqual(clients.map((client) => client.status), clients.map(() => 101));
    const answer = await way();
    if (way !== ways[2]) assert.equal(answer.status, 202, answer.text);
    await Promise.all(clients.map((client) => within(client.closed, 5000, 'the end of the tunnel')));
    await untilNone(sluice);
  }
  assertError(await sluice.delete('/tunnels/nobody'), 404, /^unknown_tunnel$/);
  assertError(await sluice.delete(`${session}/run`), 404, /^no_run$/);
});

test('at the end of the drain a tunnel ends', async (t) => {
  const {sluice} = await startBoth(t, undefined, {drain_ms: 400});
  const client = await open(sluice);
  sluice.program.signal('SIGTERM');
  await sluice.logged({event: 'draining'});
  client.socket.write('still');
  await until(() => client.text() === 'still', 'the tunnel goes on while the drain lasts');
  await within(client.closed, 10000, 'the end of the tunnel');
  await within(sluice.program.ended, 10000, 'the end of the gateway');
});

test('there is a limit, and a tunnel is a run of its upstream', async (t) => {
  const {sluice} = await startBoth(t, undefined, {tunnels_max: 1});
  const first = await open(sluice);
  const second = await open(sluice);
  assert.equal(second.status, 503);
  assert.match(second.text(), /"code":"too_many_tunnels"/);
  assert.equal((await sluice.get('/stats')).json.counters.sluice_tunnels_refused_total, 1);
  first.socket.destroy();
  await untilNone(sluice);
  assert.equal((await open(sluice)).status, 101);
  const {sluice: limited} = await startBoth(t, undefined, {runs_per_user_max: 1});
  await open(limited);
  assert.match((await open(limited)).text(), /"code":"too_many_runs"/);
  const {sluice: addressed} = await startBoth(t, undefined, {connections_per_address_max: 2});
  await open(addressed);
  await open(addressed, {query: 'app_name=demo&user_id=u2&session_id=s1'});
  assert.equal((await open(addressed)).status, 429);
  const {sluice: guarded} = await startBoth(t, undefined, {limiter_concurrency_max: 1, limiter_requests_waiting_max: 0});
  await open(guarded);
  assert.equal((await open(guarded)).status, 503);
});

test('what is no handshake, comes from elsewhere or names nobody is refused', async (t) => {
  const {upstream, sluice} = await startBoth(t);
  const refused = async (status, code, options) => {
    const client = await open(sluice, options);
    assert.equal(client.status, status, client.head);
    await until(() => client.text().includes(`"code":"${code}"`), `${code} instead of ${client.text()}`);
    client.socket.destroy();
  };
  await refused(403, 'cross_site', {headers: {Origin: 'https://elsewhere.example'}});
  await refused(403, 'cross_site', {headers: {Origin: 'null'}});
  await refused(426, 'upgrade_required', {headers: {Upgrade: undefined, Connection: 'keep-alive'}});
  await refused(426, 'upgrade_required', {headers: {Upgrade: 'h2c'}});
  await refused(426, 'upgrade_required', {version: '1.0'});
  await refused(426, 'websocket_version', {headers: {'Sec-WebSocket-Version': '8'}});
  await refused(400, 'invalid_header', {headers: {'Sec-WebSocket-Key': undefined}});
  await refused(400, 'invalid_query', {query: 'app_name=demo&user_id=u1'});
  await refused(400, 'invalid_query', {query: 'app_name=demo&user_id=u1&session_id=s1&session_id=s2'});
  await refused(400, 'invalid_query', {query: 'app_name=demo&user_id=u1&session_id=s1&sessionId=s2'});
  await refused(400, 'invalid_query', {query: 'app_name=demo&user_id=..&session_id=s1'});
  await refused(400, 'invalid_query', {query: 'app_name=demo&user_id=u1&session_id=s1&modalities=AUDIO;user_id=u2'});
  assert.equal(upstream.seen.length, 0);
});

test('a refusal of the upstream is passed on as it is', async (t) => {
  const {sluice} = await startBoth(t, undefined, {}, 'HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno');
  const client = await open(sluice);
  assert.equal(client.status, 403);
  await until(() => client.text() === 'no', 'the body of the refusal');
  await untilNone(sluice);
  const {sluice: odd} = await startBoth(t, undefined, {}, 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nyes');
  const other = await open(odd);
  assert.equal(other.status, 200);
  await until(() => other.text() === 'yes', 'the body of the answer');
  await untilNone(odd);
});

test('a 101 with a header that is too long is answered 503', async (t) => {
  const {sluice} = await startBoth(t, undefined, {}, `HTTP/1.1 101 X\r\nSec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Protocol: ${'a'.repeat(60000)}\r\n\r\n`);
  const client = await open(sluice);
  assert.equal(client.status, 503, client.head);
  await until(() => client.text().includes('"code":"upstream_unavailable"'), 'the reason');
  await sluice.logged({event: 'upstream_unavailable', upstream_status: 101});
  await untilNone(sluice);
});

test('an answer that opens no tunnel holds no place, though the upstream goes on', async (t) => {
  for (const line of ['600 Odd\r\nContent-Length: 100', '204 No Content', '304 Not Modified']) {
    const {sluice, upstream} = await startBoth(t, undefined, {tunnels_max: 1, runs_per_user_max: 1}, `HTTP/1.1 ${line}\r\n\r\n`);
    for (let i = 0; i < 3; i++) {
      const client = await open(sluice);
      assert.equal(client.status, line.startsWith('600') ? 503 : Number(line.slice(0, 3)), client.text());
      if (line.startsWith('600')) await until(() => client.text().includes('"upstream_error"'), 'the reason');
      client.socket.destroy();
    }
    await untilNone(sluice);
    await until(() => upstream.seen.every(({socket}) => socket.readableEnded || socket.destroyed), 'the upstream is left');
  }
});

/** A tunnel that is full: its upstream sends on and on, its client takes nothing. */
async function openFull(context, flags) {
  const {sluice} = await startBoth(context, (socket) => {
    const flood = () => { while (!socket.destroyed && socket.write(Buffer.alloc(65536))); };
    socket.on('drain', flood);
    flood();
  }, {stall_timeout_ms: 600000, ...flags});
  const client = await open(sluice);
  client.socket.pause();
  return sluice;
}

const untilFull = (sluice) => {
  let before;
  return until(async () => {
    const {passed_answers: held} = (await sluice.get('/stats')).json.memory.kinds;
    const same = held === before && held > 100000;
    before = held;
    return same;
  }, 'a tunnel that is full');
};

test('a tunnel whose client takes nothing can be cancelled', async (t) => {
  const sluice = await openFull(t);
  await untilFull(sluice);
  assert.equal((await sluice.delete(`/tunnels/${(await tunnelsOf(sluice))[0].id}`)).status, 202);
  await untilNone(sluice);
});

test('a tunnel whose client takes nothing ends at its time, and at the end of the drain', async (t) => {
  await untilNone(await openFull(t, {tunnel_timeout_ms: 1500}));
  const sluice = await openFull(t, {drain_ms: 300});
  await untilFull(sluice);
  sluice.program.signal('SIGTERM');
  await within(sluice.program.ended, 10000, 'the end of the gateway');
});

test('a tunnel lasts at most tunnel_timeout_ms, and no longer than its upstream is silent', async (t) => {
  const {sluice} = await startBoth(t, undefined, {tunnel_timeout_ms: 300});
  await within((await open(sluice)).closed, 10000, 'the end of its time');
  const {sluice: silent} = await startBoth(t, undefined, {upstream_idle_timeout_ms: 300});
  await within((await open(silent)).closed, 10000, 'the end of the silence');
});

test('an upstream with TLS is reached, and sees the end of the client', async (t) => {
  const certificates = new Certificates({after});
  const authority = certificates.authority();
  const upstream = await startWebSockets(t, undefined, undefined, authority.sign());
  const sluice = await startSluice(t, {upstream_kind: 'adk', upstream: upstream.url, upstream_ca_file: authority.path});
  const client = await open(sluice);
  assert.equal(client.status, 101, client.head);
  const sent = crypto.randomBytes(4 * MIB);
  client.socket.write(sent);
  await until(() => client.length === sent.length, 'all came back', 20000);
  assert.ok(Buffer.concat(client.parts).equals(sent));
  const ended = new Promise((resolve) => upstream.seen[0].socket.once('close', resolve));
  client.socket.end();
  await within(ended, 5000, 'the end at the upstream');
  await within(client.closed, 5000, 'the end of the tunnel');
  await untilNone(sluice);
});

test('the real ADK answers the handshake', async (t) => {
  const adk = await startPythonAdk({after});
  const sluice = await startSluice(t, {upstream_kind: 'adk', upstream: adk.url});
  const client = await open(sluice, {query: 'app_name=scripted&user_id=u1&session_id=none&modalities=TEXT'});
  assert.equal(client.status, 101, client.head);
  assert.match(client.head, new RegExp(`sec-websocket-accept: ${ACCEPT.replace(/[+]/g, '\\+')}`, 'i'));
  await until(() => client.text().includes('Session not found') || client.socket.destroyed, 'ADK closes it with its reason', 20000);
});
