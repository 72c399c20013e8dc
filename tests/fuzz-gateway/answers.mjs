// The side of the upstream's answers: each client asks for a case, and the upstream answers it by answer_grammar.mjs.
import {makeAnswer} from './answer_grammar.mjs';
import {askCase, runTimeoutMs} from './askers.mjs';
import {pause} from './gateway.mjs';
import {Round, playCases} from './round.mjs';
import {behaveWell} from './well_behaved.mjs';

const change = (random) => ({
  heartbeat_ms: random.pick([10, 30, 200]),
  log_events_max: random.pick([300, 1000, 4000]),
  event_bytes_max: random.pick([4096, 65536, 1 << 20]),
  event_type_bytes_max: random.pick([16, 1024, 65536]),
  memory_max_bytes: random.weighted([[80, 0], [20, 16 << 20]]),
  upstream_settle_ms: random.pick([0, 0, 20]),
  run_events_max: random.pick([0, 0, 0, 2000]),
  run_bytes_max: random.pick([0, 0, 0, 1 << 20]),
  run_tokens_max: random.pick([0, 0, 100000]),
  upstream_first_byte_timeout_ms: random.pick([400, 1000]),
  upstream_idle_timeout_ms: random.pick([400, 1000]),
  upstream_keepalive_ms: random.pick([0, 100, 4000]),
});

const guards = (random) => ({
  retry_attempts_max: random.pick([1, 2, 3]),
  ...(random.chance(50) && {breaker_failure_percent: random.pick([50, 90]), breaker_calls_min: random.pick([2, 20]), breaker_window_ms: 500, breaker_recovery_ms: 50, breaker_recovery_max_ms: 200}),
  ...(random.chance(50) && {limiter_concurrency_max: random.pick([2, 8]), limiter_waiting_max: random.pick([2, 100]), limiter_adaptive: random.chance(50)}),
});

function makeUpstreams(random, url) {
  const apps = {adk: 'adk', sse: 'sse', openai: 'openai', cached: 'sse'};
  const wild = Object.entries(apps).map(([app, kind]) => ({name: app, upstream: `${url}/${app}${kind === 'openai' ? '/v1' : ''}`, upstream_kind: kind, upstream_apps: app,
    ...(kind === 'openai' && {upstream_model: 'm'}), ...(app === 'cached' && {cache: true, cache_paced: random.chance(30)}), ...(app === 'sse' && {upstream_resumable: random.chance(60)}),
    ...guards(random), ...(random.chance(30) && {upstream_fallback: 'spare'}), ...(random.chance(20) && {upstream_canned_answer: 'canned'}),
    ...(random.chance(50) && {upstream_health_path: `/health/${app}`, upstream_health_interval_ms: 50})}));
  return [{name: 'calm', upstream: `${url}/calm`, upstream_apps: 'demo'}, ...wild, {name: 'spare', upstream: `${url}/spare`, upstream_weight: 0, ...guards(random)}];
}

const makeSettings = (random, url) => ({
  workers: random.pick([1, 2, 2]),
  log_level: random.pick(['error', 'warn', 'debug']),
  drain_ms: random.pick([0, 300]),
  ...change(random),
  upstreams: makeUpstreams(random, url),
  limiter_requests_wait_ms: random.pick([30, 300]),
  retry_base_ms: 5,
  retry_max_ms: 50,
  retry_total_ms: 800,
  log_bytes_max: random.pick([1 << 20, 4 << 20]),
  run_timeout_ms: runTimeoutMs,
  tasks_kept: random.pick([100, 1000]),
  session_ttl_ms: 2000,
  cleanup_interval_ms: 50,
  cache_bytes_max: random.pick([0, 65536, 4 << 20]),
  cache_run_bytes_max: random.pick([2048, 65536, 65536]),
  cache_ttl_ms: random.pick([50, 60000]),
  upstream_connections_max: 16,
  upstream_connect_timeout_ms: 2000,
});

const caseOf = (exchange) => Number(/case[-=](\d+)/.exec(exchange.target)?.[1] ?? /case=(\d+)/.exec(exchange.body)?.[1] ?? 0);

function kindOf({method, target}) {
  if (/^\/health\//.test(target)) return 'health';
  if (method !== 'POST') return 'read';
  if (/\/sessions(\/[^/]*)?$/.test(target)) return 'session';
  return /^\/(adk|spare)\//.test(target) ? 'adk' : target.startsWith('/openai/') ? 'openai' : 'sse';
}

/** A script that plays the answer that the grammar makes for this case and attempt. */
const script = (round) => async (exchange) => {
  if (exchange.target.startsWith('/calm')) return behaveWell(exchange);
  if (exchange.target.includes('redirected')) round.findings.add(`a redirect was followed to ${exchange.target}`, {unrelated: true});
  const [kind, number] = [kindOf(exchange), caseOf(exchange)];
  const isRun = ['adk', 'sse', 'openai'].includes(kind);
  const known = isRun ? round.sent.get(number) ?? {attempts: 0} : {attempts: round.others = (round.others ?? 0) + 1};
  if (isRun) round.sent.set(number, Object.assign(known, {attempts: known.attempts + 1}));
  const {ops, expected} = makeAnswer(round.random.fork('answer', kind, number, known.attempts), kind, number);
  Object.assign(known, {expected, sentMs: undefined});
  round.findings.note({number, kind, steps: ops});
  for (const op of ops) {
    if (!exchange.open) return;
    if (op.send) await exchange.send(op.send);
    else if (op.wait) await pause(op.wait);
    else if (op.fin) exchange.socket.end();
    else if (op.reset) exchange.socket.resetAndDestroy();
    else if (op.stay) await exchange.gone;
  }
  known.sentMs = performance.now();
};

const answersSide = {name: 'answers', makeSettings, script, hasRedis: true};

/** Round `number`, of `ms` altogether. */
export async function playAnswersRound(findings, random, number, ms) {
  const round = new Round(findings, random, answersSide);
  round.sent = new Map();
  await round.begin(number);
  const {gateway, goesOn} = round;
  const storm = playCases(24, goesOn, (n) => ({random: random.fork('asker', n), gateway, number: n + 1, sent: round.sent, isTrusted: !round.redis}), askCase);
  const others = [gateway.watch(goesOn), round.reload(change)];
  const end = performance.now() + ms;
  while (performance.now() < end && goesOn()) await pause(50);
  const abrupt = number % 2 === 0;
  if (abrupt) await round.stop();
  round.ending = true;
  const [cases] = await Promise.all([storm, ...others]);
  if (!abrupt) {
    await round.settle();
    await round.rest();
    await round.stop();
  }
  return {cases, canaries: gateway.canaries, runs: gateway.wholeRuns, slowestMs: gateway.slowestMs, mostBytes: gateway.mostBytes};
}
