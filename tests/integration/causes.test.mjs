// Why a run failed: the reason of the contract, the cause as a word for programs, and a message with the words of the
// library and of the upstream. Generated: causes x what failed (a run, a retry, a fallback) x where it is reported.
import assert from 'node:assert/strict';
import {readFileSync, writeFileSync} from 'node:fs';
import net from 'node:net';
import {after, test} from 'node:test';
import {Certificates} from '../support/certificates.mjs';
import {stretched, until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {projectPath, sessionPath, startSluice, temporaryFile} from '../support/sluice.mjs';

const certificates = new Certificates({after});
const stranger = certificates.selfSigned();
const whole = async (exchange) => exchange.stream('data: {"content":{"parts":[{"text":"a"}]}}\n\n');

/** A port of a server that takes connections and does `what` with each. */
async function listen(what) {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    what(socket);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => server.close());
  return server.address().port;
}

async function closedPort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const refusedPort = await closedPort();
const silentPort = await listen(() => {});
const hangupPort = await listen((socket) => socket.once('data', () => socket.destroy()));
const plainPort = await listen((socket) => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')));
const untrusted = await startUpstream({after}, whole, {certificate: stranger});
const answering = (script) => startUpstream({after}, script).then(({url}) => url);
const text = (status, body, type) => answering((exchange) => exchange.answer(status, body, type));
const reset = (...before) => answering(async (exchange) => {
  if (before.length) await exchange.head();
  for (const chunk of before) await exchange.chunk(chunk);
  exchange.reset();
});
const close = (...before) => answering(async (exchange) => {
  if (before.length) await exchange.head();
  for (const chunk of before) await exchange.chunk(chunk);
  exchange.close();
});
const event = 'data: {"content":{"parts":[{"text":"a"}]}}\n\n';
const connect_ms = stretched(300);

/** name: [URL, reason, cause, message, settings of the upstream] */
const cases = {
  refused: [`http://127.0.0.1:${refusedPort}`, 'upstream_connect', 'refused', new RegExp(`could not be reached: .*127\\.0\\.0\\.1 port ${refusedPort}.*Connection refused`)],
  refused6: [`http://[::1]:${refusedPort}`, 'upstream_connect', /^(refused|unreachable)$/, /could not be reached: .*::1/],
  dns: ['http://no-such-agent.invalid:8000', 'upstream_connect', 'dns', /name could not be resolved: .*no-such-agent\.invalid/],
  untrusted: [untrusted.url, 'upstream_connect', 'certificate', /certificate was not accepted: .*self.signed/],
  no_tls: [`https://127.0.0.1:${plainPort}`, 'upstream_connect', 'tls', /TLS handshake with the upstream failed: .*wrong version/],
  hangup: [`https://127.0.0.1:${hangupPort}`, 'upstream_connect', 'tls', /TLS handshake with the upstream failed: .+/],
  handshake: [`https://127.0.0.1:${silentPort}`, 'upstream_connect', 'tls_timeout', new RegExp(`TLS handshake .*upstream_connect_timeout_ms \\(${connect_ms} ms\\)`)],
  unroutable: ['http://192.0.2.1:8000', 'upstream_connect', /^(connect_timeout|unreachable|refused)$/, /upstream_connect_timeout_ms|could not be reached: ./],
  silent: [`http://127.0.0.1:${silentPort}`, 'upstream_idle', 'first_byte_timeout', new RegExp(`did not answer in time: upstream_first_byte_timeout_ms \\(${connect_ms} ms\\)`)],
  reset: [await reset(), 'upstream_truncated', 'reset', /without an answer; it may have received the request: .*reset by peer/i],
  reset_between: [await reset(event), 'upstream_truncated', 'reset', /broke off in the middle of its answer: .*reset by peer/i],
  closed: [await close(), 'upstream_truncated', 'closed', /without an answer; it may have received the request: .*Empty reply/],
  closed_between: [await close(event), 'upstream_truncated', 'closed', /broke off in the middle of its answer: .*outstanding read data/],
  fell_silent: [await answering(async (exchange) => {
    await exchange.head();
    await exchange.chunk(event);
    await exchange.gone;
  }), 'upstream_idle', 'idle_timeout', new RegExp(`fell silent: upstream_idle_timeout_ms \\(${connect_ms} ms\\)`)],
  eventless: [await answering(async (exchange) => {
    await exchange.head();
    while (exchange.open && await exchange.chunk(': alive\n\n')) await new Promise((resolve) => setTimeout(resolve, connect_ms / 20));
  }), 'upstream_idle', 'event_timeout', new RegExp(`sent no event in time: upstream_event_timeout_ms \\(${connect_ms / 2} ms\\)`), {upstream_event_timeout_ms: connect_ms / 2}],
  html: [await text(200, '<!DOCTYPE html>\n<html>\x01<p>Sign in</p>', 'text/html; charset=utf-8'), 'upstream_protocol', 'not_a_stream',
    'The upstream\'s answer is not an event stream (text/html; charset=utf-8): <!DOCTYPE html> <html>%01<p>Sign in</p>'],
  json: [await text(200, '{"id":"x","choices":[]}'), 'upstream_protocol', 'not_a_stream',
    'The upstream\'s answer is not an event stream (application/json): {\'id\':\'x\',\'choices\':[]}'],
  json_error: [await text(200, '{"error":{"message":"quota used up"}}'), 'upstream_protocol', 'not_a_stream',
    'The upstream\'s answer is not an event stream (application/json): quota used up'],
  long_page: [await text(200, `<p>${'long '.repeat(200)}`, 'text/html'), 'upstream_protocol', 'not_a_stream', /\(text\/html\): <p>long .{100,180}\.\.\.$/],
  untyped: [await answering((exchange) => exchange.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff!')), 'upstream_protocol', 'not_a_stream', /\(without a Content-Type\): /],
  not_found: [await text(404, '{"detail":"Session not found"}'), 'upstream_status', 'status', 'The upstream answered 404: Session not found'],
  server_error: [await text(500, '{"error":{"message":"no credit","code":1}}'), 'upstream_status', 'status', 'The upstream answered 500: no credit'],
  error_page: [await text(502, '<html><h1>Bad Gateway</h1>', 'text/html'), 'upstream_status', 'status', 'The upstream answered 502 (text/html): Bad Gateway'],
  error_json: [await text(500, '{"code":17}'), 'upstream_status', 'status', 'The upstream answered 500 (application/json): {\'code\':17}'],
  error_empty: [await text(500, ''), 'upstream_status', 'status', 'The upstream answered 500.'],
  error_event: [await answering((exchange) => exchange.stream('data: {"error":"out of luck"}\n\n')), 'upstream_error', 'error_event', 'out of luck'],
  stray: [await answering((exchange) => exchange.stream('Internal Server Error\n')), 'upstream_protocol', 'stray_text', /text that is not an event: Internal Server Error/],
  within_event: [await answering((exchange) => exchange.stream('data: {"a":1}')), 'upstream_truncated', 'within_event', /in the middle of an event/],
  compressed: [await answering((exchange) => exchange.send('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx')),
    'upstream_protocol', 'compressed', /compressed/],
  bad_length: [await answering((exchange) => exchange.send('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\nContent-Length: 10\r\n\r\ndata: a\n\n')),
    'upstream_protocol', 'content_length', /length/],
  no_http: [await answering((exchange) => exchange.send('SSH-2.0-OpenSSH_9.2\r\n')), 'upstream_protocol', 'http', /not valid HTTP: ./],
  large_event: [await answering((exchange) => exchange.stream(`data: ${'x'.repeat(5000)}\n\n`)), 'limit', 'event_bytes_max', /larger than the limit: event_bytes_max \(4096 bytes\)/],
  long_type: [await answering((exchange) => exchange.stream(`event: ${'x'.repeat(200)}\ndata: a\n\n`)), 'limit', 'event_type_bytes_max', /event_type_bytes_max \(64 bytes\)/],
  empty_lines: [await answering((exchange) => exchange.stream(`${'data:\n'.repeat(3000)}\n`)), 'limit', 'event_lines', /lines/],
};

const fallenBack = ['refused', 'dns', 'untrusted', 'reset', 'html', 'server_error', 'error_event'];
const listed = [
  ...Object.entries(cases).map(([name, [upstream, , , , more = {}]]) => ({name, upstream, upstream_apps: name, ...more})),
  ...fallenBack.map((name) => ({name: `${name}_again`, upstream: cases[name][0], upstream_apps: `${name}_again`, upstream_fallback: 'good'})),
  {name: 'good', upstream: await answering(whole), upstream_weight: 0},
];
const config = temporaryFile({after}, 'sluice.yaml', `upstreams:\n${listed.map((one) => `  - {upstream_kind: sse, ${
  Object.entries(one).map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join(', ')}}\n`).join('')}`);

const gateway = await startSluice({after}, {config, event_bytes_max: 4096, event_type_bytes_max: 64, upstream_connect_timeout_ms: connect_ms,
  upstream_first_byte_timeout_ms: connect_ms, upstream_idle_timeout_ms: connect_ms});

const words = [...readFileSync(projectPath('upstream/cause.h'), 'utf8').matchAll(/X\(CAUSE_\w+, "(\w+)"\)/g)].map(([, word]) => word);

test('the documentation explains each cause', () => {
  const documented = readFileSync(projectPath('docs/api.md'), 'utf8').split('### The cause of a failure')[1].split('\n### ')[0];
  assert.ok(words.length > 30);
  for (const word of words) assert.ok(documented.includes(`\`${word}\``), word);
});

const holds = (value, expected, what) => (expected instanceof RegExp ? assert.match(value, expected, what) : assert.equal(value, expected, what));

for (const [name, [, reason, cause, message]] of Object.entries(cases))
  test(`${name}: a run that fails says why, in run.end, in /tasks/{id} and in the log`, async () => {
    const client = await gateway.runStream(sessionPath(undefined, {app: name}));
    await client.ended();
    const end = client.json('run.end');
    assert.deepEqual([end.status, end.reason], ['failed', reason], end.message);
    holds(end.cause, cause);
    holds(end.message, message);
    const task = await gateway.task(end.task_id);
    const line = await gateway.logged({event: 'run_ended', task_id: end.task_id});
    for (const key of ['reason', 'cause', 'message']) assert.deepEqual([task[key], line[key]], [end[key], end[key]], key);
  });

for (const name of fallenBack)
  test(`${name}: a run.retry says why the attempt before failed`, async () => {
    const [, reason, cause, message] = cases[name];
    const client = await gateway.runStream(sessionPath(undefined, {app: `${name}_again`}));
    await client.ended();
    const retry = client.json('run.retry');
    assert.deepEqual([retry.reason, retry.cause, retry.upstream], [reason, cause, 'good']);
    holds(retry.message, message);
    const line = await gateway.logged({event: 'run_retried', task_id: retry.task_id});
    for (const key of ['reason', 'cause', 'message']) assert.equal(line[key], retry[key], key);
    const end = client.json('run.end');
    assert.deepEqual([end.status, end.cause, end.message], ['completed', undefined, undefined]);
  });

test('budgets and times of a run are named with their number', async (t) => {
  const hold = await startUpstream(t, async (exchange) => {
    await exchange.head();
    for (let i = 0; i < 5; i++) await exchange.chunk('data: 12345678\n\n');
    await exchange.gone;
  });
  const cases = [
    [{run_events_max: 3}, {}, 'failed', 'limit', 'run_events_max', 'The run has reached its limit of events: run_events_max (3).'],
    [{run_bytes_max: 20}, {}, 'failed', 'limit', 'run_bytes_max', 'The run has reached its limit of bytes: run_bytes_max (20 bytes).'],
    [{run_timeout_ms: 200}, {}, 'timeout', 'run_time', 'run_timeout_ms', 'The run took too long: run_timeout_ms (200 ms).'],
    [{}, {timeout_ms: 150}, 'timeout', 'run_time', 'timeout_ms', 'The run took too long: timeout_ms (150 ms).'],
  ];
  for (const [settings, options, ...expected] of cases) {
    const own = await startSluice(t, {upstream: hold.url, upstream_kind: 'sse', ...settings});
    const client = await own.runStream(sessionPath(), 'hello', options);
    await client.ended();
    const {status, reason, cause, message} = client.json('run.end');
    assert.deepEqual([status, reason, cause, message], expected);
  }
  const queue = await startSluice(t, {upstream: hold.url, upstream_kind: 'sse', runs_max: 1, queue_timeout_ms: 100});
  await queue.run(sessionPath());
  const {status, reason, cause, message} = await queue.taskEnded((await queue.run(sessionPath())).task_id);
  assert.deepEqual([status, reason, cause, message], ['timeout', 'queue_time', 'queue_timeout_ms', 'The run waited too long in the queue: queue_timeout_ms (100 ms).']);
});

test('a run that is refused for its session says why the agent did not create that', async (t) => {
  const agent = await startUpstream(t, (exchange) => (/sessions/.test(exchange.path)
    ? exchange.answer(500, '{"detail":"database is locked"}') : exchange.answer(404, '{"detail":"Session not found"}')));
  agent.onSession = 'script';
  const own = await startSluice(t, {upstream: agent.url});
  const {reason, cause, message, upstream_status} = await own.taskEnded((await own.run(sessionPath())).task_id);
  assert.deepEqual([reason, cause, upstream_status], ['upstream_status', 'session', 404]);
  assert.equal(message, 'The session could not be created (the upstream answered 500: database is locked). The upstream answered 404: Session not found');
});

test('the log says of each run which client asked, which upstream answered, and how long it took', async (t) => {
  const agent = await startUpstream(t, (exchange) => (/fail/.test(exchange.body) ? exchange.answer(500, '{}') : exchange.stream(event)));
  const own = await startSluice(t, {upstream: agent.url, upstream_kind: 'sse', runs_max: 1, runs_queued_max: 1});
  const lineOf = async (message) => {
    const {task_id} = await own.run(sessionPath(), message);
    const task = await own.taskEnded(task_id);
    return [task, await own.logged({event: 'run_ended', task_id})];
  };
  for (const [message, status, cause, first] of [['hello', 200, '', true], ['fail', 500, 'status', false]]) {
    const [task, line] = await lineOf(message);
    assert.deepEqual([line.peer, line.upstream, line.upstream_status, line.cause, line.retries], ['127.0.0.1', 'default', status, cause, 0]);
    for (const key of ['queue_wait_ms', 'duration_ms', 'execution_delay_ms']) assert.equal(line[key], task[key], key);
    assert.equal(line.first_event_delay_ms, first ? task.first_event_delay_ms : undefined);
  }
  const silent = await startSluice(t, {upstream: `http://127.0.0.1:${silentPort}`, upstream_kind: 'sse', runs_max: 1, runs_queued_max: 1});
  const [, waiting] = [await silent.run(sessionPath()), await silent.run(sessionPath())];
  assert.equal((await silent.post(`${sessionPath()}/run`, {message: 'x'})).status, 429);
  const refusal = await silent.logged({event: 'run_refused'});
  assert.deepEqual([refusal.peer, refusal.upstream, refusal.reason, refusal.cause, refusal.status], ['127.0.0.1', 'default', 'too_many_runs', 'runs_max', 429]);
  assert.ok(refusal.retry_after_ms > 0);
  await silent.delete(`/tasks/${waiting.task_id}`);
  const cancelled = await silent.logged({event: 'run_ended', task_id: waiting.task_id});
  assert.deepEqual([cancelled.upstream_status, cancelled.execution_delay_ms, cancelled.first_event_delay_ms], [0, undefined, undefined]);
});

// ---- errors_to_viewers: code ----

/** All that viewers can see of the runs of a session, as text. */
async function viewed(own, session, {task_id}) {
  const late = await own.follow(session, '?from=start&until=run');
  await late.ended();
  const answers = await Promise.all([`${session}/history`, `/tasks/${task_id}/result`].map((path) => own.get(path)));
  const events = await own.get(`/tasks/${task_id}/events`);
  return [late.body?.toString() ?? '', JSON.stringify(late.events), ...answers.map((answer) => answer.text), events.text].join('\n');
}

const secret = 'db-7.internal';
const failures = {
  a_status: [(exchange) => exchange.answer(500, `{"error":"${secret}"}`), 'upstream_status', 'status', 'The agent refused the run.'],
  a_page: [(exchange) => exchange.answer(200, `<p>${secret}</p>`, 'text/html'), 'upstream_protocol', 'not_a_stream', "The agent's answer could not be read."],
  text: [(exchange) => exchange.stream(`${secret}\n`), 'upstream_protocol', 'stray_text', "The agent's answer could not be read."],
  an_event: [{adk: `data: {"error":"${secret}"}\n\n`, openai: `data: {"error":{"message":"${secret}"}}\n\n`, sse: `event: error\ndata: {"message":"${secret}"}\n\n`},
    'upstream_error', 'error_event', 'The agent reported an error.'],
};

for (const kind of ['adk', 'openai', 'sse'])
  for (const [name, [answer, reason, cause, sentence]] of Object.entries(failures))
    test(`errors_to_viewers code: the words of ${name} of kind ${kind} are in the log and in /tasks, and not in streams`, async (t) => {
      const script = typeof answer === 'function' ? answer : (exchange) => exchange.stream(answer[kind]);
      const agent = await startUpstream(t, script);
      const path = temporaryFile(t, 'sluice.yaml', `upstreams:
  - {name: first, upstream: "${agent.url}", upstream_kind: ${kind}, upstream_apps: again, upstream_fallback: second}
  - {name: second, upstream: "${agent.url}", upstream_kind: ${kind}, upstream_apps: demo}
`);
      const own = await startSluice(t, {config: path, errors_to_viewers: 'code'});
      for (const app of ['demo', 'again']) {
        const session = sessionPath(undefined, {app});
        const client = await own.runStream(session);
        await client.ended();
        const end = client.json('run.end');
        assert.deepEqual([end.status, end.reason, end.message, end.cause, end.upstream_status], ['failed', reason, sentence, undefined, undefined]);
        if (app === 'again') assert.deepEqual([client.json('run.retry').message, client.json('run.retry').cause], [sentence, null]);
        const seen = await viewed(own, session, end);
        assert.ok(seen.includes(sentence), seen);
        assert.ok(!seen.includes(secret) && !JSON.stringify(client.events).includes(secret), seen);
        const task = await own.task(end.task_id);
        assert.ok(task.message.includes(secret), task.message);
        assert.equal(task.cause, cause);
        assert.ok((await own.logged({event: 'run_ended', task_id: end.task_id})).message.includes(secret));
      }
      if (kind !== 'adk') return;
      const body = {appName: 'demo', userId: 'u', sessionId: 's', newMessage: {role: 'user', parts: [{text: 'a'}]}};
      const framed = await own.post('/run_sse', body);
      assert.ok(framed.text.includes(sentence) && !framed.text.includes(secret), framed.text);
    });

test('errors_to_viewers code: a session that is refused, and a read that fails', async (t) => {
  const agent = await startUpstream(t, (exchange) => exchange.answer(500, `{"detail":"${secret}"}`));
  agent.onSession = 'script';
  const own = await startSluice(t, {upstream: agent.url, errors_to_viewers: 'code'});
  const full = await startSluice(t, {upstream: agent.url});
  assert.ok(!(await own.post(sessionPath(), {})).text.includes(secret));
  assert.ok((await own.logged({event: 'upstream_unavailable'})).message.includes(secret));
  assert.equal((await full.post(sessionPath(), {})).json.error.message, `The upstream answered with status 500: ${secret}`);
  const away = await startSluice(t, {upstream: cases.dns[0], errors_to_viewers: 'code'});
  assert.ok(!(await away.get('/list-apps')).text.includes('no-such-agent'));
  assert.match((await away.logged({event: 'upstream_unavailable', cause: 'dns'})).message, /no-such-agent/);
});

test('errors_to_viewers code: limits and times are generic, and a reload changes it for later runs', async (t) => {
  const path = temporaryFile(t, 'sluice.yaml', 'errors_to_viewers: code\n');
  const agent = await startUpstream(t, (exchange) => exchange.stream(event, event));
  const own = await startSluice(t, {upstream: agent.url, upstream_kind: 'sse', run_events_max: 1, config: path});
  const endOf = async () => {
    const client = await own.runStream(sessionPath());
    await client.ended();
    return client.json('run.end');
  };
  const hidden = await endOf();
  assert.deepEqual([hidden.reason, hidden.cause, hidden.message], ['limit', undefined, 'The run reached a limit.']);
  assert.match((await own.task(hidden.task_id)).message, /run_events_max \(1\)/);
  writeFileSync(path, 'errors_to_viewers: full\n');
  own.program.signal('SIGHUP');
  await own.logged({event: 'reloaded'});
  assert.equal((await endOf()).cause, 'run_events_max');
});

test('a stream of /run_sse reports an error of the agent that was no event', async (t) => {
  for (const [answer, settings, expected] of [['{"error":"quota used up"}\n', {}, /^data: \{"error":"run failed: upstream_error: .*quota used up"\}$/m],
    ['data: {"errorCode":"SAFETY"}\n\n', {upstream_doubt_fails: true}, /^data: \{"error":"run failed: upstream_error: .*SAFETY\."\}$/m],
    ['data: {"error":"x"}\n\n', {}, /^data: \{"error":"x"\}$/m]]) {
    const agent = await startUpstream(t, (exchange) => exchange.stream(answer));
    const own = await startSluice(t, {upstream: agent.url, ...settings});
    const {text} = await own.post('/run_sse', {appName: 'demo', userId: 'u', sessionId: 's', newMessage: {role: 'user', parts: [{text: 'a'}]}});
    assert.match(text, expected);
    assert.equal(text.match(/"error":/g).length, 1, text);
  }
});

test('all runs that share one call have its cause', async (t) => {
  const agent = await startUpstream(t, (exchange) => exchange.gone);
  const own = await startSluice(t, {upstream: agent.url, upstream_kind: 'sse', cache: true});
  const clients = await Promise.all([1, 2, 3].map(() => own.runStream(sessionPath(), 'the same')));
  await until(async () => (await own.stats()).cache.joined === 2, 'three runs share a call');
  (await agent.run(0)).reset();
  for (const client of clients) {
    await client.ended();
    const {reason, cause, message} = client.json('run.end');
    assert.deepEqual([reason, cause], ['upstream_truncated', 'reset']);
    assert.match(message, /reset by peer/);
  }
  assert.equal(agent.runs.length, 1);
});

test('a stream that is resumed says why it broke off', async (t) => {
  const agent = await startUpstream(t, async (exchange) => {
    await exchange.head();
    await exchange.chunk(`id: ${exchange.headers['last-event-id'] ? 2 : 1}\ndata: a\n\n`);
    if (exchange.headers['last-event-id']) await exchange.lastChunk();
    else exchange.reset();
  });
  const own = await startSluice(t, {upstream: agent.url, upstream_kind: 'sse', upstream_resumable: true, retry_base_ms: 1});
  const client = await own.runStream(sessionPath());
  await client.ended();
  const {reason, cause, resumption, message} = client.json('run.retry');
  assert.deepEqual([reason, cause, resumption], ['upstream_truncated', 'reset', true]);
  assert.match(message, /reset by peer/);
  assert.equal(client.json('run.end').status, 'completed');
});
