// Cases of requests: the bytes that one connection sends, their pieces, and the end of the connection.
import {ask, chunked, endlessSizeLine, runBody, runSseBody} from './request_bodies.mjs';
import {cutUp, mutate} from './mutate.mjs';

// ---- names and targets ----

export const sharedSessions = Array.from({length: 8}, (_, i) => ({app: i < 6 ? 'demo' : 'other', user: `u${i % 3}`, session: `shared${i}`}));

const encoded = (random, text) => Array.from(text, (c) => (random.chance(20) ? `%${c.charCodeAt(0).toString(16).padStart(2, '0')}` : c)).join('');

const oddNames = ['', '.', '..', '%2e%2e', '..;', '%00', 'a%2fb', 'a%5cb', '%ff', '%c3%a9', 'auth0%7c64ab', '%25', 'a%252fb', 'x%22y', '%c2%85', '%f0%9f%91%a9'.repeat(20), 'a b', 'a%20b', 'x'.repeat(128), 'x'.repeat(129), 'x'.repeat(300), '%', '%2', '%zz', '%252e', 'a;b', 'a?b', '%e2%80%a8'];

const name = (random, plain) => random.weighted([[88, plain], [4, encoded(random, plain)], [4, random.pick(oddNames)], [4, random.text(random.from(1, 12))]]);

function sessionPath(random, world) {
  const {app, user, session} = random.chance(85) ? random.pick(world.sessions) : {app: 'demo', user: 'u9', session: `once${random.below(40)}`};
  return `/apps/${name(random, app)}/users/${name(random, user)}/sessions/${name(random, session)}`;
}

const statuses = ['pending', 'running', 'completed', 'failed', 'cancelled', 'replaced', 'timeout', 'none'];
const eventId = (random, world) => random.weighted([[60, random.pick(world.eventIds)], [8, '-1'], [6, 'garbage'], [6, '1700000000000-1'], [4, '9999999999999-9'],
  [4, '0-0'], [3, '1-'], [3, '9'.repeat(40)], [2, ''], [4, `${random.pick(world.eventIds)} `]]);
const taskId = (random, world) => random.weighted([[80, random.pick(world.taskIds)], [10, random.text(8)], [5, random.pick(oddNames)], [5, encoded(random, random.pick(world.taskIds))]]);

const parameters = {
  from: (random) => random.pick(['start', 'run', 'now', 'nowhere', '']),
  until: (random) => random.pick(['run', 'run', 'never']),
  last_event_id: (random, world) => encodeURIComponent(eventId(random, world)),
  events: (random) => random.pick(['agent', 'all']),
  wait: (random) => random.pick(['false', 'true']),
  limit: (random) => random.pick(['1', '50', '1000', '0', '-1', '99999999999999999999', 'x']),
  cursor: (random, world) => random.pick(['x', '1', random.pick(world.taskIds)]),
  wait_ms: (random) => random.pick(['0', '1', '80', '400', '60001', '-1']),
  status: (random) => random.pick(statuses),
  app: (random) => random.pick(['demo', 'other', '%00']),
  user: (random) => random.pick(['u0', 'u1', 'nobody']),
  session: (random) => random.pick(['shared1', 'shared7', '..']),
};

function query(random, world, names) {
  const chosen = [...names.filter(() => random.chance(40)), ...(random.chance(5) ? [random.pick(Object.keys(parameters))] : [])];
  const text = chosen.map((each) => `${each}=${parameters[each](random, world)}`).join(random.chance(96) ? '&' : ';');
  return text || random.chance(3) ? `?${text}` : '';
}

const S = sessionPath;
const taskFilters = ['status', 'app', 'user', 'session'];
const stream = ['from', 'until', 'last_event_id', 'events', 'wait'];

/** [weight, method, target, body]: every route of the gateway, and some that are none. */
const routes = [
  [22, 'POST', (r, w) => `${S(r, w)}/run`, runBody],
  [6, 'POST', () => '/run_sse', (r, w) => runSseBody(r, r.pick(w.sessions))],
  [20, 'GET', (r, w) => `${S(r, w)}/run${query(r, w, stream)}`],
  [4, 'DELETE', (r, w) => `${S(r, w)}/run`],
  [3, 'GET', (r, w) => `${S(r, w)}/task-status`],
  [4, 'GET', (r, w) => `${S(r, w)}/history${query(r, w, ['limit'])}`],
  [3, 'POST', (r, w) => S(r, w), (r) => r.pick(['', '{}', '{"a":1}', 'x'])],
  [2, 'POST', (r, w) => S(r, w).replace(/\/[^/]*$/, ''), (r) => r.pick(['', '{}', '{"state":{"a":1}}'])],
  [2, 'GET', (r, w) => S(r, w).replace(/\/[^/]*$/, '')],
  [3, 'GET', (r, w) => S(r, w)],
  [3, 'DELETE', (r, w) => S(r, w)],
  [2, 'GET', () => '/task-status'],
  [4, 'GET', (r, w) => `/tasks${query(r, w, [...taskFilters, 'limit', 'cursor'])}`],
  [1, 'DELETE', (r, w) => `/tasks${query(r, w, taskFilters)}`],
  [4, 'GET', (r, w) => `/tasks/${taskId(r, w)}${query(r, w, ['wait_ms'])}`],
  [3, 'DELETE', (r, w) => `/tasks/${taskId(r, w)}`],
  [3, 'GET', (r, w) => `/tasks/${taskId(r, w)}/result`],
  [5, 'GET', (r, w) => `/tasks/${taskId(r, w)}/events${query(r, w, ['last_event_id'])}`],
  [8, 'GET', (r) => r.pick(['/healthz', '/readyz', '/health', '/metrics', '/stats', '/demo'])],
  [3, 'GET', (r) => r.pick(['/list-apps', '/version', '/debug/trace/x', '/apps/demo/eval_sets', '/apps/demo/users/u1/sessions/s/artifacts/a%20b?x=1'])],
  [2, 'PATCH', (r, w) => S(r, w), (r) => r.pick(['{"stateDelta":{"a":1}}', '{"userId":"x"}', '{', ''])],
  [1, 'PATCH', () => '/apps/demo/users/u1/memory', (r) => r.pick(['{"session_id":"s"}', '{"sessionId":"..","session_id":"s"}', '{}'])],
  [2, 'POST', (r, w) => `${S(r, w)}/artifacts`, (r) => r.pick(['{"filename":"a/b"}', '{"app_name":1}', '[]'])],
  [2, 'DELETE', (r, w) => `${S(r, w)}/artifacts/${r.pick(['a%2fb', 'a/b', '..%2fb', '%2fa', r.pick(oddNames)])}`],
  [3, 'POST', () => '/run', (r, w) => runSseBody(r, r.pick(w.sessions))],
  [2, 'GET', (r) => r.pick(['/dev/apps/demo/graph', '/config/telemetry', '/run_live?app_name=demo', '/dev-ui/', `/dev/apps/${r.pick(oddNames)}/debug/trace/session/${r.pick(oddNames)}`])],
  [3, 'GET', (r) => r.pick(['/', '/nowhere', '*', '//', '/apps/..;/admin/x', '/%73tats', '/..%2f', `/${'a'.repeat(r.from(1, 40000))}`, 'http://x/healthz', 'http://y/healthz', '/healthz#x', 'healthz', `/healthz?${'a&'.repeat(r.pick([10, 200, 1000, 5000]))}`])],
].map(([weight, method, target, body]) => [weight, {method, target, body}]);

const otherMethods = ['GET', 'HEAD', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'OPTIONS', 'TRACE', 'CONNECT', 'get', 'G@T', 'X'.repeat(40), 'PRI'];

// ---- headers ----

/** [percent, line]: further headers of a request. */
const extraHeaders = [
  [12, (r, w) => `Last-Event-ID: ${eventId(r, w)}`],
  [12, (r) => `Idempotency-Key: ${r.weighted([[80, `key${r.below(20)}`], [10, 'k'.repeat(r.from(1, 400))], [10, '\x01']])}`],
  [10, (r) => `Accept: ${r.pick(['text/event-stream', 'text/event-stream, */*', '*/*', 'application/json', 'text/event-stream;q=0'])}`],
  [4, (r) => `Expect: ${r.pick(['100-continue', '100-continue ', '200-maybe'])}`],
  [5, (r) => `Connection: ${r.pick(['close', 'keep-alive', 'close, x', 'Upgrade', 'Host', 'Content-Length'])}`],
  [4, (r) => `Origin: ${r.pick(['http://evil.example', 'null', 'http://127.0.0.1', 'https://app.example'])}`],
  [3, (r) => `Sec-Fetch-Site: ${r.pick(['cross-site', 'same-origin', 'none'])}`],
  [2, () => 'Access-Control-Request-Method: DELETE'],
  [4, (r) => `traceparent: ${r.weighted([[80, '00'], [10, 'ff'], [10, '01']])}-${r.text(r.weighted([[90, 32], [10, r.below(40)]]), '0123456789abcdef')}-${r.text(16, '0123456789abcdef')}-0${r.below(4)}${r.chance(10) ? '-x' : ''}`],
  [3, (r) => `tracestate: ${r.pick(['a=b', 'a=b,c=d', 'a@b=c', '=', 'a', `k=${'v'.repeat(300)}`, Array.from({length: 40}, (_, i) => `k${i}=v`).join(',')])}`],
  [2, (r) => `X-Padding: ${'p'.repeat(r.pick([10, 1000, 8000, 16000, 33000]))}`],
  [2, (r) => Array.from({length: r.from(20, 150)}, (_, i) => `X-${i}: ${i}`).join('\r\n')],
  [2, (r) => r.pick(['A : b', ': b', 'A: b\r\n folded', 'A: b\0c', 'nocolon', 'A(b): c', ' A: b', 'A: b\rC: d', '\xe4: c', 'A: b \t ', 'Cookie: a=b', 'Range: bytes=0-', 'TE: trailers', 'Upgrade: websocket', 'X-Forwarded-For: 1.2.3.4', 'Forwarded: for=x'])],
  [1, (r) => `Transfer-Encoding: ${r.pick(['chunked', 'gzip, chunked', 'identity', 'chunked ', 'CHUNKED'])}`],
  [1, (r) => `Content-Length: ${r.pick(['0', '5', '+5', '5, 5', '-1', '', '0x5', '99999999', '9'.repeat(30), '5 '])}`],
];

const hosts = (random, world) => random.weighted([[90, `Host: ${world.host}`], [3, `Host: ${random.pick(['x', 'evil.example', 'x:99999', 'x,y', 'u@x', '[::1', '', ' ', 'localhost', 'LOCALHOST:80'])}`],
  [2, `Host: ${world.host}\r\nHost: ${world.host}`], [2, ''], [1, `Host: ${world.host} `], [1, `host:\t${world.host}`]]);

/** One request as text in Latin-1. `proper`: its form is right; its names and values may be wrong. */
function request(random, world, {proper = random.chance(50)} = {}) {
  const route = random.weighted(routes);
  const method = !proper && random.chance(10) ? random.pick(otherMethods) : route.method;
  const target = route.target(random, world);
  const version = proper || random.chance(94) ? 'HTTP/1.1' : random.pick(['HTTP/1.0', 'HTTP/1.0', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/11', '']);
  const lines = [proper ? `Host: ${world.host}` : hosts(random, world), ...extraHeaders.filter(([percent], i) => random.chance(percent) && (i < 3 || !proper)).map(([, line]) => line(random, world))].filter(Boolean);
  let body = '';
  if (route.body) {
    body = route.body(random, world);
    if (proper || random.chance(93)) lines.push(`Content-Type: application/json${random.chance(8) ? random.pick([';charset=utf-8', 'x', ' ']) : ''}`);
    if (random.chance(25)) {
      lines.push('Transfer-Encoding: chunked');
      body = chunked(random, body, proper);
    } else if (proper || random.chance(96)) {
      lines.push(`Content-Length: ${body.length + (!proper && random.chance(5) ? random.from(-2, 2) : 0)}`);
    }
  }
  if (!proper && random.chance(10)) lines.sort(() => random.below(3) - 1);
  const end = proper || random.chance(98) ? '\r\n' : '\n';
  return `${method} ${target} ${version}${end}${lines.join(end)}${end}${end}${body}`;
}

// ---- cases ----

const head = (world, line) => `${line}\r\nHost: ${world.host}\r\n`;

/** Requests whose answers are known. */
const known = [
  ['GET /healthz HTTP/1.1', 200], ['GET /nowhere HTTP/1.1', 404], ['POST /healthz HTTP/1.1', 405], ['GET /tasks/none HTTP/1.1', 404], ['GET /tasks?limit=x HTTP/1.1', 400],
];

/** Pipelined requests, answered in order and all. */
function ordered(random, world) {
  const asked = Array.from({length: random.from(1, 8)}, () => random.pick(known));
  return {text: asked.map(([line]) => `${head(world, line)}\r\n`).join(''), statuses: asked.map(([, status]) => status)};
}

const garbage = (random) => random.pick(['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 'garbage\r\n\r\n', '\r\n\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\0\0\0\0',
  random.bytes(random.from(1, 300)).toString('latin1'), `GET /healthz HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(random.from(1, 400))}`, `${'\r\n'.repeat(random.from(1, 5000))}`]);

const kinds = {
  single(random, world) {
    const proper = random.chance(50);
    return {text: request(random, world, {proper}), mustAnswer: proper};
  },
  pipelined(random, world) {
    const requests = random.from(2, 6);
    return {text: Array.from({length: requests}, () => request(random, world)).join(''), requests};
  },
  ordered,
  garbage: (random) => ({text: garbage(random)}),
  sizeLine: (random, world) => ({text: `${head(world, random.pick(['POST /healthz HTTP/1.1', 'GET / HTTP/1.1', `POST ${S(random, world)}/run HTTP/1.1\r\nContent-Type: application/json`]))}Transfer-Encoding: chunked\r\n\r\n${endlessSizeLine(random)}`, hold: true}),
  upload: (random, world) => ({text: `${head(world, `POST ${S(random, world)}/run HTTP/1.1`)}Content-Type: application/json\r\nContent-Length: ${random.pick([5, 100, 1000, 1 << 20])}\r\n\r\n${ask(random)}`, hold: true}),
};

const ends = (random, hold) => random.weighted([[hold ? 5 : 45, 'answers'], [8, 'half'], [7, 'fin'], [7, 'reset'], [6, 'cut'], [10, 'slow'], [5, 'stuck'], [hold ? 40 : 12, 'stay']]);

/** The steps of a case: its pieces, the pauses between them, and the end. */
function play(random, pieces, end, hold) {
  const steps = [];
  const pace = random.weighted([[70, 0], [20, random.from(1, 5)], [10, random.from(5, 60)]]);
  pieces.forEach((piece, i) => {
    steps.push({send: piece});
    if (pace > 0 && i < pieces.length - 1 && pieces.length < 40) steps.push({wait: pace});
  });
  if (end === 'cut') steps.splice(random.from(1, steps.length), steps.length, {reset: true});
  if (end === 'half' || end === 'fin' || end === 'reset') steps.push({wait: random.weighted([[50, 0], [30, random.from(1, 20)], [20, random.from(20, 200)]])}, {[end]: true});
  return {steps, end, lifeMs: random.weighted([[50, random.from(50, 400)], [35, random.from(400, 1500)], [15, random.from(1500, 4000)]]) + (hold ? 2500 : 0)};
}

/** Case `number`: {number, kind, spoilt, steps, end, lifeMs, mayBeHead, requests, statuses, mustAnswer}. `requests`: how many were
 *  made; `statuses`: the answers that must come, if they are known; `mustAnswer`: an answer must begin in time. */
export function makeCase(random, world, number) {
  const kind = random.weighted([[60, 'single'], [12, 'pipelined'], [14, 'ordered'], [6, 'garbage'], [4, 'sizeLine'], [3, 'upload']]);
  const {text, requests = 1, statuses, mustAnswer, hold} = kinds[kind](random, world);
  const bytes = Buffer.from(text, 'latin1');
  const spoilt = !statuses && random.chance(35);
  const sent = spoilt ? mutate(random, bytes) : bytes;
  const played = play(random, cutUp(random, sent), statuses ? 'answers' : ends(random, hold), hold);
  return {number, kind, spoilt, ...played, mayBeHead: sent.includes('HEAD'), requests, statuses, mustAnswer: mustAnswer && !spoilt && ['answers', 'stay'].includes(played.end)};
}
