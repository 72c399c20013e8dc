// Refusals in the log: each kind names the client, and none fills a disk.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerAsAsked} from '../support/expect.mjs';
import {request} from '../support/http.mjs';
import {until} from '../support/limits.mjs';
import {Program} from '../support/program.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, sluiceBinary, startSluice, temporaryFile} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, answerAsAsked(new Map()));
const perSecond = 20;

/** Starts a gateway with one worker, so that there is one limit. */
const startOne = (t, flags) => startSluice(t, {upstream: upstream.url, workers: 1, ...flags});

/** Causes refusals by `refuse` and holds the lines about them to what is promised. */
async function assertLogged(sluice, event, reason, refuse, count = 3 * perSecond) {
  const began = performance.now();
  for (let at = 0; at < count; at++) await refuse(at);
  const seconds = Math.ceil((performance.now() - began) / 1000) + 1;
  const lines = sluice.logs.filter((line) => line.event === event);
  assert.ok(lines.length >= 1 && lines.length <= seconds * perSecond, `${lines.length} lines of ${event} in ${seconds} s`);
  for (const line of lines) {
    assert.equal(line.peer, '127.0.0.1', JSON.stringify(line));
    assert.equal(line.reason, reason);
    assert.ok(line.unwritten >= 0);
  }
}

const message = {message: 'hello'};

test('too many runs', async (t) => {
  const sluice = await startOne(t, {runs_max: 1, runs_queued_max: 0});
  await sluice.run(sessionPath(), 'hold');
  await assertLogged(sluice, 'run_refused', 'too_many_runs', async () => assert.equal((await sluice.post(`${sessionPath()}/run`, message)).status, 429));
});

test('too many subscribers', async (t) => {
  const sluice = await startOne(t, {subscribers_max: 1});
  await sluice.follow(sessionPath());
  await assertLogged(sluice, 'subscriber_refused', 'too_many_subscribers', async () => assert.equal((await sluice.get(`${sessionPath()}/run`)).status, 429));
});

test('an upstream that is not there', async (t) => {
  const sluice = await startOne(t, {upstream: 'http://127.0.0.1:1'});
  await assertLogged(sluice, 'upstream_unavailable', undefined, async () => assert.equal((await sluice.get('/list-apps')).status, 503));
});

test('bodies that are none, paths that are none, requests of other origins and names', async (t) => {
  const sluice = await startOne(t, {});
  await assertLogged(sluice, 'request_rejected', 'invalid_json', async () => assert.equal((await sluice.post(`${sessionPath()}/run`, '{')).status, 400));
  const other = await startOne(t, {});
  await assertLogged(other, 'request_refused', 'cross_site', async () =>
    assert.equal((await other.delete('/tasks', {headers: {Origin: 'https://evil.example'}})).status, 403));
  const third = await startOne(t, {});
  await assertLogged(third, 'request_refused', 'host_not_allowed', async () => assert.equal((await third.get('/', {headers: {Host: 'evil.example'}})).status, 403));
  const fourth = await startOne(t, {});
  await assertLogged(fourth, 'request_rejected', 'invalid_path', async () => assert.equal((await fourth.get('/%73tats')).status, 400));
  const fifth = await startOne(t, {});
  await assertLogged(fifth, 'request_rejected', 'unsupported_media_type', async () =>
    assert.equal((await fifth.post(`${sessionPath()}/run`, message, {headers: {'content-type': 'text/plain'}})).status, 415));
});

test('an address that asks too often, and one with too many connections', async (t) => {
  const often = await startOne(t, {request_rate_per_address: 1, request_burst_per_address: 1});
  await often.get('/healthz');
  await assertLogged(often, 'request_rejected', 'too_many_requests_of_address', () => often.get('/healthz'));
  assert.equal(often.logs.filter((line) => line.event === 'request_refused').length, 0);
  const many = await startOne(t, {connections_per_address_max: 1});
  const held = net.connect(many.port, '127.0.0.1');
  t.after(() => held.destroy());
  await until(async () => (await many.get('/healthz')).status === 429, 'the connection is counted');
  await assertLogged(many, 'connection_refused', 'too_many_connections_of_address', async () => assert.equal((await many.get('/healthz')).status, 429));
});

test('too many connections in all', async (t) => {
  const sluice = await startOne(t, {connections_max: 2});
  const held = [net.connect(sluice.port, '127.0.0.1'), net.connect(sluice.port, '127.0.0.1')];
  t.after(() => held.forEach((socket) => socket.destroy()));
  await until(async () => (await sluice.get('/healthz')).status === 503, 'the connections are counted');
  await assertLogged(sluice, 'connection_refused', 'too_many_connections', async () => assert.equal((await sluice.get('/healthz')).status, 503));
});

test('what is not there, is going on, or has no such method is no refusal', async (t) => {
  const sluice = await startOne(t, {});
  const session = sessionPath();
  await sluice.run(session, 'hold');
  const statuses = [(await sluice.get('/nowhere')).status, (await sluice.get('/tasks/none')).status, (await sluice.post('/healthz', '')).status];
  assert.deepEqual(statuses, [404, 404, 405]);
  assert.deepEqual(sluice.logs.filter((line) => /_re(fused|jected)$/.test(line.event)), []);
});

test('what deceives a reader of the log is escaped, whatever the format is', async (t) => {
  const label = 'a\u0085b\u2028c\u2029d\u202ee\u2066f\u061cg\u200eh\u009b[2Ji';
  const deceiving = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
  const json = await startOne(t, {});
  await json.run(sessionPath(), 'hello', {label});
  assert.equal((await json.logged({event: 'run_accepted'})).label, label);
  const path = temporaryFile(t, 'sluice.yaml', '');
  const text = new Program(sluiceBinary, ['--listen', '127.0.0.1:0', '--upstream', upstream.url, '--log-format', 'text', '--drain-ms', '0', '--config', path]);
  t.after(() => text.stop());
  const port = await text.line('stderr', (line) => / listening .*port=(\d+)/.exec(line)?.[1]);
  const answer = await request(`http://127.0.0.1:${port}`, 'POST', `${sessionPath()}/run`, {body: {message: 'hello', gateway: {label}}});
  assert.equal(answer.status, 200, answer.text);
  await text.line('stderr', (line) => / run_accepted .*label="a\\u0085b\\u2028c/.test(line));
  for (const line of [...json.program.lines.stderr, ...text.lines.stderr]) assert.doesNotMatch(line, deceiving);
});
