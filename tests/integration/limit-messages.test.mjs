// A refusal by a limit names the limit: its key in the configuration, and the number it stands at.
import assert from 'node:assert/strict';
import net from 'node:net';
import {after, test} from 'node:test';
import {answerAsAsked} from '../support/expect.mjs';
import {request, rawRequest} from '../support/http.mjs';
import {until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const upstream = await startUpstream({after}, answerAsAsked(new Map()));
const busy = await startUpstream({after}, (exchange) => exchange.send(`HTTP/1.1 429 X\r\nRetry-After: 3000\r\nContent-Length: 0\r\n\r\n`));
const dead = await startUpstream({after}, (exchange) => exchange.answer(500, '{}'));
const hold = (sluice, session = sessionPath(), gateway) => sluice.post(`${session}/run`, {message: 'hold', gateway});
const later = (sluice, user) => hold(sluice, sessionPath(undefined, {user}), {delay_ms: 3600000});

/** Several of the same at once or one after the other; the first answer that refuses. */
async function firstRefusal(ask, statuses = [429]) {
  let refusal;
  await until(async () => {
    const answer = await ask();
    if (statuses.includes(answer.status)) refusal = answer;
    return refusal;
  }, 'a refusal', 20000);
  return refusal;
}

/** code: [settings, how to be refused, the limits that the message names] */
const cases = {
  too_many_runs: [{runs_max: 1, runs_queued_max: 0}, (sluice) => firstRefusal(() => hold(sluice)), ['runs_max (1)', 'runs_queued_max (0)']],
  queue_full: [{runs_queued_per_session_max: 2}, (sluice) => firstRefusal(() => hold(sluice, sessionPath('full'), {on_conflict: 'enqueue'})), ['runs_queued_per_session_max (2)', 'runs_queued_max (1000)']],
  delayed_full: [{runs_delayed_per_user_max: 1, runs_delayed_max: 3}, (sluice) => firstRefusal(() => later(sluice, 'me')), ['runs_delayed_max (3)', 'runs_delayed_per_user_max (1)']],
  too_many_sessions: [{sessions_max: 1}, async (sluice) => {
    await hold(sluice);
    return firstRefusal(() => hold(sluice));
  }, ['sessions_max (1)']],
  too_many_subscribers: [{subscribers_max: 1}, async (sluice) => {
    await sluice.follow(sessionPath());
    return sluice.get(`${sessionPath()}/run`);
  }, ['subscribers_max (1)']],
  too_many_session_subscribers: [{subscribers_per_session_max: 1}, async (sluice) => {
    const session = sessionPath();
    await hold(sluice, session);
    await sluice.follow(session);
    return sluice.get(`${session}/run`);
  }, ['subscribers_per_session_max (1)']],
  too_many_waiting: [{subscribers_waiting_max: 0}, (sluice) => sluice.get(`${sessionPath()}/run`), ['subscribers_waiting_max (0)']],
  too_many_waiting_of_address: [{subscribers_waiting_per_address_max: 1}, async (sluice) => {
    await sluice.follow(sessionPath());
    return sluice.get(`${sessionPath()}/run`);
  }, ['subscribers_waiting_per_address_max (1)']],
  body_too_large: [{request_body_bytes_max: 300}, (sluice) => sluice.post(`${sessionPath()}/run`, {message: 'x'.repeat(400)}), ['request_body_bytes_max (300 bytes)']],
  too_many_json_values: [{request_json_values_max: 100}, (sluice) => sluice.post(`${sessionPath()}/run`, {message: 'x', a: Array(200).fill(0)}), ['request_json_values_max (100)']],
  too_many_headers: [{request_headers_max: 8}, (sluice) => sluice.get('/healthz', {headers: Object.fromEntries(Array.from({length: 9}, (_, i) => [`X-${i}`, 'a']))}), ['request_headers_max (8)']],
  headers_too_large: [{request_header_bytes_max: 1024}, (sluice) => sluice.get('/healthz', {headers: {'X-Long': 'x'.repeat(1100)}}), ['request_header_bytes_max (1024 bytes)']],
  too_many_requests_of_address: [{request_rate_per_address: 1, request_burst_per_address: 1}, (sluice) => firstRefusal(() => sluice.get('/healthz')), ['request_rate_per_address (1 a second)']],
  too_many_connections: [{connections_max: 2}, async (sluice, t) => {
    const held = [net.connect(sluice.port, '127.0.0.1'), net.connect(sluice.port, '127.0.0.1')];
    t.after(() => held.forEach((socket) => socket.destroy()));
    return firstRefusal(() => sluice.get('/healthz'), [503]);
  }, ['connections_max (2)']],
  too_many_connections_of_address: [{connections_per_address_max: 1}, async (sluice, t) => {
    const held = net.connect(sluice.port, '127.0.0.1');
    t.after(() => held.destroy());
    return firstRefusal(() => sluice.get('/healthz'));
  }, ['connections_per_address_max (1)']],
  request_timeout: [{request_timeout_ms: 1000}, async (sluice) => {
    const text = await rawRequest(sluice.port, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n');
    return {status: Number(text.split(' ')[1]), json: JSON.parse(text.split('\r\n\r\n')[1])};
  }, ['request_timeout_ms (1000 ms)']],
  circuit_open: [{upstream: dead.url, upstream_kind: 'sse', breaker_failure_percent: 50, breaker_calls_min: 1}, (sluice) => firstRefusal(() => hold(sluice), [503]), ['breaker_failure_percent (50)']],
  upstream_paused: [{upstream: busy.url, upstream_kind: 'sse', limiter_concurrency_max: 1, retry_total_ms: 1000}, (sluice) => firstRefusal(() => hold(sluice), [503]), ['retry_total_ms (1000 ms)']],
  memory_full: [{memory_max_bytes: '16MiB', request_body_bytes_max: '64MiB'}, (sluice) => request(sluice.url, 'POST', `${sessionPath()}/run`, {body: JSON.stringify({message: 'x'.repeat(40 << 20)})}), ['memory_max_bytes (16777216 bytes)']],
};

for (const [code, [settings, refuse, limits]] of Object.entries(cases))
  test(`${code} names ${limits.join(' and ')}`, async (t) => {
    const sluice = await startSluice(t, {upstream: upstream.url, workers: 1, ...settings});
    const {json} = await refuse(sluice, t);
    assert.equal(json.error.code, code, JSON.stringify(json));
    for (const limit of limits) assert.ok(json.error.message.includes(limit), json.error.message);
  });
