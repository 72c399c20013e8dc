// Pages of strangers in a user's browser: names that are made to lead here, and requests across sites.
import assert from 'node:assert/strict';
import {writeFileSync} from 'node:fs';
import {after, test} from 'node:test';
import {answerAsAsked} from '../support/expect.mjs';
import {rawRequest} from '../support/http.mjs';
import {until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

const answerRun = answerAsAsked(new Map());
const upstream = await startUpstream({after}, (exchange) => (exchange.method === 'GET' ? exchange.answer(200, '[]') : answerRun(exchange)));
const sluice = await startSluice({after}, {upstream: upstream.url});
const port = new URL(sluice.url).port;
const message = {message: 'hi'};
const evil = {Origin: 'https://evil.example'};

const statusFor = async (gateway, host) => (await gateway.get('/stats', {headers: {Host: host}})).status;

test('a loopback listener serves loopback names alone', async () => {
  for (const host of ['localhost', `localhost:${port}`, `127.0.0.1:${port}`, '127.0.0.1:1', '[::1]', 'sluice.localhost', 'localhost.'])
    assert.equal(await statusFor(sluice, host), 200, host);
  const before = (await sluice.stats()).counters.sluice_requests_of_other_host_total;
  const others = ['evil.example', `evil.example:${port}`, '0.0.0.0', '10.0.0.1', '127.0.0.1.evil.example', 'localhost.evil.example', 'x'];
  for (const host of others) {
    const answer = await sluice.get('/stats', {headers: {Host: host}});
    assert.equal(answer.status, 403, host);
    assert.equal(answer.json.error.code, 'host_not_allowed');
    assert.ok(!answer.text.includes('evil'), 'the answer repeats nothing of the request');
  }
  assert.equal((await sluice.stats()).counters.sluice_requests_of_other_host_total - before, others.length);
  await sluice.logged({event: 'request_refused', reason: 'host_not_allowed', peer: '127.0.0.1'});
});

test('a name that is made to lead here neither reads, starts nor cancels', async () => {
  const {task_id} = await sluice.run(sessionPath(), 'hold');
  const headers = {Host: `evil.example:${port}`, Origin: `http://evil.example:${port}`, 'Sec-Fetch-Site': 'same-origin'};
  const requests = [['GET', '/tasks'], ['GET', `/tasks/${task_id}/events`], ['DELETE', `/tasks/${task_id}`], ['DELETE', '/tasks'],
    ['POST', `${sessionPath()}/run`, message], ['GET', `${sessionPath()}/run`], ['GET', '/metrics'], ['GET', '/demo'], ['OPTIONS', '/tasks'], ['GET', '/nowhere']];
  for (const [method, path, body] of requests) assert.equal((await sluice.request(method, path, {headers, body})).status, 403, `${method} ${path}`);
  assert.equal((await sluice.task(task_id)).status, 'running');
  await sluice.delete(`/tasks/${task_id}`);
});

test('a client of HTTP/1.0 without a Host is served', async () => {
  assert.match(await rawRequest(sluice.port, 'GET /healthz HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
});

test('allowed_hosts adds names, also by a reload', async (t) => {
  const text = (hosts) => `upstream: ${upstream.url}\nallowed_hosts: [${hosts}]\n`;
  const path = temporaryFile(t, 'sluice.yaml', text('gateway.example, "*.wild.example"'));
  const gateway = await startSluice(t, {}, {args: ['--config', path]});
  for (const host of ['gateway.example', 'Gateway.Example:8443', 'a.wild.example', 'localhost']) assert.equal(await statusFor(gateway, host), 200, host);
  for (const host of ['wild.example', 'evil.example', 'gateway.example.evil.example']) assert.equal(await statusFor(gateway, host), 403, host);
  writeFileSync(path, text('other.example'));
  gateway.program.signal('SIGHUP');
  await until(async () => await statusFor(gateway, 'other.example') === 200, 'the new name is served');
  await until(async () => await statusFor(gateway, 'gateway.example') === 403, 'the old name is not');
});

test('another listener serves any name, or its list if there is one', async (t) => {
  const flags = {upstream: upstream.url, listen: '0.0.0.0:0', allow_unauthenticated: true};
  const any = await startSluice(t, flags);
  for (const host of ['evil.example', 'localhost', '10.0.0.1']) assert.equal(await statusFor(any, host), 200, host);
  const listed = await startSluice(t, {...flags, allowed_hosts: 'gateway.example'});
  assert.equal(await statusFor(listed, 'gateway.example'), 200);
  assert.equal(await statusFor(listed, 'localhost'), 200);
  assert.equal(await statusFor(listed, 'evil.example'), 403);
});

test('a page of another origin opens and changes nothing', async () => {
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'hold');
  const before = await sluice.stats();
  const requests = [['POST', `${session}/run`, message], ['GET', `${sessionPath()}/run`], ['GET', `${sessionPath()}/run?until=run`], ['DELETE', `${session}/run`],
    ['POST', sessionPath()], ['POST', '/apps/demo/users/u1/sessions'], ['DELETE', session], ['POST', '/run_sse', {}], ['DELETE', '/tasks'],
    ['DELETE', `/tasks/${task_id}`], ['GET', `/tasks/${task_id}/events`]];
  const pages = [evil, {Origin: 'null'}, {Origin: ''}, {Origin: 'http://localhost:3000'}, {'Sec-Fetch-Site': 'cross-site'}, {'Sec-Fetch-Site': 'same-site'},
    {...evil, 'Sec-Fetch-Site': 'same-origin'}, {Origin: sluice.url, 'Sec-Fetch-Site': 'cross-site'}];
  for (const headers of pages) {
    for (const [method, path, body] of requests) {
      const answer = await sluice.request(method, path, {headers, body});
      assert.equal(answer.status, 403, `${method} ${path} ${JSON.stringify(headers)}`);
      assert.equal(answer.json.error.code, 'cross_site');
    }
  }
  const now = await sluice.stats();
  assert.equal(now.counters.sluice_sessions_opened_total, before.counters.sluice_sessions_opened_total);
  assert.equal(now.counters.sluice_requests_cross_site_total - before.counters.sluice_requests_cross_site_total, pages.length * requests.length);
  assert.equal((await sluice.task(task_id)).status, 'running');
  await sluice.delete(`/tasks/${task_id}`);
});

test('what only reads is answered to every page, and so is a preflight', async () => {
  for (const path of ['/healthz', '/demo', '/tasks', '/list-apps']) assert.equal((await sluice.get(path, {headers: {...evil, 'Sec-Fetch-Site': 'cross-site'}})).status, 200, path);
  const preflight = await sluice.request('OPTIONS', '/tasks', {headers: {...evil, 'Access-Control-Request-Method': 'DELETE'}});
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers['access-control-allow-methods'], undefined);
});

test('our own pages, the listed ones, and clients that are no browsers may', async (t) => {
  const listed = await startSluice(t, {upstream: upstream.url, cors_origins: 'https://app.example'});
  const all = await startSluice(t, {upstream: upstream.url, cors_origins: '*'});
  const may = async (gateway, headers) => (await gateway.post(`${sessionPath()}/run`, message, {headers})).status;
  assert.equal(await may(sluice, {}), 200);
  assert.equal(await may(sluice, {Origin: sluice.url, 'Sec-Fetch-Site': 'same-origin'}), 200);
  assert.equal(await may(sluice, {'Sec-Fetch-Site': 'none'}), 200);
  assert.equal(await may(sluice, {Host: `localhost:${port}`, Origin: `http://localhost:${port}`}), 200);
  assert.equal(await may(listed, {Origin: 'https://app.example', 'Sec-Fetch-Site': 'cross-site'}), 200);
  assert.equal(await may(listed, {Origin: 'http://app.example'}), 403);
  assert.equal(await may(all, {...evil, 'Sec-Fetch-Site': 'cross-site'}), 200);
});

test('behind a proxy: the public name is ours, whatever the proxy makes of the Host', async (t) => {
  const gateway = await startSluice(t, {upstream: upstream.url, allowed_hosts: 'public.example,other.example:8443'});
  const inside = `127.0.0.1:${gateway.port}`;
  const cases = [[inside, 'https://public.example', 200], ['public.example', 'https://public.example', 200], ['localhost', 'https://public.example', 200],
    ['other.example', 'https://other.example:8443', 200], [inside, 'https://public.example:3000', 403], [inside, 'https://evil.example', 403], ['public.example', 'null', 403]];
  for (const [host, origin, status] of cases) {
    const answer = await gateway.post(`${sessionPath()}/run`, message, {headers: {Host: host, Origin: origin}});
    assert.equal(answer.status, status, `${origin} at ${host}`);
  }
  assert.equal((await sluice.post(`${sessionPath()}/run`, message, {headers: {Origin: 'https://public.example'}})).status, 403);
});
