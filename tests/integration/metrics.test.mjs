// /metrics as Prometheus reads it: judged by promtool, scraped by a real one, and named rightly in rules and dashboard.
import assert from 'node:assert/strict';
import {readFileSync, writeFileSync} from 'node:fs';
import {test} from 'node:test';
import {answerAsAsked, marked} from '../support/expect.mjs';
import {pause, until} from '../support/limits.mjs';
import {metricsOf, promtool, readMetrics, startPrometheus} from '../support/prometheus.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {projectPath, sessionPath, sluiceSays, startSluice, temporaryFile} from '../support/sluice.mjs';

const rules = projectPath('scripts/prometheus/alerts.yml');
const dashboard = projectPath('scripts/grafana/sluice.json');

const fail = (exchange) => exchange.answer(500, '{}');
const scripts = new Map([['fail', fail]]);

async function gatewayWithRuns(t, flags = {}) {
  const upstream = await startUpstream(t, answerAsAsked(scripts));
  const sluice = await startSluice(t, {upstream: upstream.url, ...flags});
  sluice.metrics = async () => readMetrics((await sluice.get('/metrics')).text);
  return sluice;
}

async function runs(sluice, count, message = 'count=2') {
  for (let i = 0; i < count; i++) await sluice.taskEnded((await sluice.run(sessionPath(), message)).task_id);
}

/** All queries of the dashboard's panels, its variables replaced by what Grafana would put there. */
function dashboardQueries() {
  const queries = [];
  const visit = (value) => {
    if (typeof value?.expr === 'string') queries.push(value.expr);
    if (value && typeof value === 'object') Object.values(value).forEach(visit);
  };
  visit(JSON.parse(readFileSync(dashboard, 'utf8')));
  return queries.map((query) => query.replaceAll('$__rate_interval', '1m').replace(/\$(instance|upstream)\b/g, '.*'));
}

// ---- the text ----

test('promtool has nothing to say about /metrics', async (t) => {
  const sluice = await gatewayWithRuns(t, {breaker_failure_percent: 50, limiter_concurrency_max: 10});
  promtool(['check', 'metrics'], (await sluice.get('/metrics')).text);
  await runs(sluice, 3);
  await runs(sluice, 1, 'fail');
  const client = await sluice.follow(sessionPath());
  promtool(['check', 'metrics'], (await sluice.get('/metrics')).text);
  client.leave();
});

test('histograms count each run once, in seconds', async (t) => {
  scripts.set('late', async (exchange) => {
    await exchange.head();
    await pause(120);
    await exchange.chunk(marked('late', 1));
    await exchange.lastChunk();
  });
  const sluice = await gatewayWithRuns(t);
  await runs(sluice, 2);
  await runs(sluice, 1, 'late');
  const {samples, types} = await sluice.metrics();
  for (const name of ['sluice_queue_wait_seconds', 'sluice_execution_delay_seconds', 'sluice_first_event_delay_seconds', 'sluice_run_duration_seconds']) {
    assert.equal(types.get(name), 'histogram');
    assert.equal(samples[`${name}_count`], 3, name);
    assert.equal(samples[`${name}_bucket{le="+Inf"}`], 3, name);
    assert.equal(samples[`${name}_bucket{le="600"}`], 3, name);
  }
  for (const name of ['sluice_first_event_delay_seconds', 'sluice_run_duration_seconds']) {
    assert.ok(samples[`${name}_sum`] >= 0.1, `${name}: ${samples[`${name}_sum`]}`);
    assert.ok(samples[`${name}_bucket{le="0.1"}`] <= 2, name);
  }
  assert.ok(samples.sluice_execution_delay_seconds_sum <= samples.sluice_first_event_delay_seconds_sum);
});

test('runs, events, limits, upstreams and the process are shown as they are', async (t) => {
  const sluice = await gatewayWithRuns(t, {runs_max: 7, runs_queued_max: 9, breaker_failure_percent: 50, limiter_concurrency_max: 10});
  const client = await sluice.follow(sessionPath());
  await runs(sluice, 3);
  await runs(sluice, 1, 'fail');
  const {task_id} = await sluice.run(sessionPath(), 'count=1 hold');
  await until(async () => {
    const {samples: now} = await sluice.metrics();
    return now['sluice_upstream_calls_in_phase{upstream="default",phase="streaming"}'] === 1 && now.sluice_events_in_total === 7;
  }, 'a call that streams');
  const {samples} = await sluice.metrics();
  const expected = {
    sluice_runs: 1, sluice_runs_queued: 0, sluice_runs_delayed: 0, sluice_subscribers: 1, sluice_subscribers_waiting: 1, sluice_sessions: 5, sluice_runs_accepted_total: 5,
    'sluice_runs_ended_total{status="completed",reason=""}': 3, 'sluice_runs_ended_total{status="failed",reason="upstream_status"}': 1,
    'sluice_runs_ended_total{status="failed",reason="circuit_open"}': 0, 'sluice_runs_ended_total{status="timeout",reason="queue_time"}': 0,
    sluice_events_in_total: 7, 'sluice_limit{limit="runs_max"}': 7, 'sluice_limit{limit="runs_queued_max"}': 9,
    'sluice_upstream_calls_total{upstream="default"}': 5, 'sluice_upstream_failures_total{upstream="default"}': 1,
    'sluice_upstream_breaker_state{upstream="default",state="closed"}': 1, 'sluice_upstream_breaker_state{upstream="default",state="open"}': 0,
    'sluice_upstream_limiter_slots{upstream="default"}': 10, 'sluice_upstream_limiter_slots_used{upstream="default"}': 1,
    sluice_subscriber_lag_events: 0, sluice_gaps_total: 0,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(samples[name], value, name);
  assert.ok(samples['sluice_upstream_score{upstream="default"}'] === 75);
  const {process_open_fds: open = 11} = samples; // Linux tells it since 6.2
  assert.ok(open > 10 && open < samples.process_max_fds);
  assert.ok(samples.process_resident_memory_bytes > 1e6 && samples.process_resident_memory_bytes < samples.process_virtual_memory_bytes);
  assert.ok(samples.process_threads >= 3 && samples.process_cpu_seconds_total >= 0);
  assert.ok(Math.abs(samples.process_start_time_seconds - Date.now() / 1000) < 60);
  await sluice.delete(`/tasks/${task_id}`);
  client.leave();
});

// ---- limits ----

const units = {'': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3};
const numberOf = (text) => parseInt(text, 10) * units[text.replace(/^\d+/, '')];

/** What the table of settings says: each key's default, and whether a reload changes it. */
async function documentedKeys() {
  const {stdout} = await sluiceSays(['--print-config-docs']);
  const rows = [...stdout.matchAll(/^\| `(\w+)` \| [^|]* \| `?([^|`]*)`? \| (yes|restart) \| (yes)? *\|/gm)];
  assert.ok(rows.length > 80, `${rows.length} keys`);
  return rows.map(([, name, fallback, change, perUpstream]) => ({name, fallback, reloadable: change === 'yes', perUpstream: perUpstream === 'yes'}));
}

/** The limits in force as --check-config, /stats and /metrics say them, by key. */
async function shownLimits(sluice, file, names) {
  const {stdout} = await sluiceSays(['--config', file, '--check-config']);
  const {limits} = await sluice.stats();
  const {samples} = await sluice.metrics();
  const said = names.map((name) => [name, numberOf(new RegExp(`^${name}: (\\S+)`, 'm').exec(stdout)[1])]);
  const metrics = Object.entries(samples).map(([key, value]) => [/^sluice_limit\{limit="(\w+)"\}$/.exec(key)?.[1], value]);
  return {said: Object.fromEntries(said), stats: limits, metrics: Object.fromEntries(metrics.filter(([name]) => name !== undefined))};
}

test('every setting that is a limit stands in /stats and /metrics with its value, also after a reload', async (t) => {
  const keys = await documentedKeys();
  // The names that promise a limit. What else /stats shows is held to the settings as well, below.
  const limits = keys.filter(({name, perUpstream}) => !perUpstream && /_max(_|$)|_per_address$|_kept$|_ttl_ms$|^run_timeout_ms$/.test(name));
  assert.ok(limits.length > 30, `${limits.length} limits`);
  const file = temporaryFile(t, 'sluice.yaml', '{}');
  const sluice = await gatewayWithRuns(t, {config: file});
  const check = async () => {
    const names = new Set([...limits.map(({name}) => name), ...Object.keys((await sluice.stats()).limits)]);
    const {said, stats, metrics} = await shownLimits(sluice, file, [...names]);
    assert.deepEqual(stats, said);
    assert.deepEqual(metrics, said);
    return stats;
  };
  const before = await check();
  const changed = limits.filter(({reloadable}) => reloadable).map(({name, fallback}) => [name, name === 'memory_max_bytes' ? 1 << 30 : numberOf(fallback) + 1]);
  writeFileSync(file, changed.map(([name, value]) => `${name}: ${value}\n`).join(''));
  sluice.program.signal('SIGHUP');
  await sluice.logged({event: 'reloaded'});
  const after = await check();
  for (const [name, value] of changed) assert.equal(after[name], value, name);
  for (const {name} of limits.filter(({reloadable}) => !reloadable)) assert.equal(after[name], before[name], name);
});

test('the lag of the slowest subscriber is shown while it does not read', async (t) => {
  scripts.set('flood', async (exchange) => {
    await exchange.head();
    for (let number = 1; number <= 300 && exchange.open; number++)
      await exchange.chunk(`data: ${JSON.stringify({of: 'flood', number, padding: 'x'.repeat(50000)})}\n\n`);
    await exchange.lastChunk();
  });
  const sluice = await gatewayWithRuns(t, {heartbeat_ms: 200, send_buffer_bytes: 32768, log_bytes_max: 32 << 20});
  const session = sessionPath();
  const sleeper = await sluice.follow(session);
  sleeper.socket.pause();
  await sluice.taskEnded((await sluice.run(session, 'flood')).task_id);
  const lag = async () => (await sluice.metrics()).samples.sluice_subscriber_lag_events;
  const behind = await until(lag, 'a subscriber that is behind');
  assert.ok(behind <= 302, `${behind} events: more than there are`);
  assert.equal((await sluice.stats()).subscriber_lag_events > 0, true);
  sleeper.leave();
  await until(async () => await lag() === 0, 'nobody is behind');
});

// ---- Prometheus ----

test('a real Prometheus scrapes the gateway, and rules and dashboard find what they ask for', async (t) => {
  const sluice = await gatewayWithRuns(t, {breaker_failure_percent: 50, limiter_concurrency_max: 10});
  const prometheus = await startPrometheus(t, sluice, {rules: [rules]});
  await prometheus.becomes('up{job="sluice"}', (value) => value === 1);
  await runs(sluice, 3);
  await prometheus.becomes('sluice_runs_ended_total{job="sluice",status="completed"}', (value) => value === 3);
  const delay = await prometheus.becomes('histogram_quantile(0.99, sum by (le) (rate(sluice_execution_delay_seconds_bucket[1m])))', (value) => value > 0);
  assert.ok(delay < 5, `${delay} s`);
  await prometheus.becomes('sum by (upstream) (sluice_upstream_breaker_state{state="closed"})', (value) => value === 1);
  assert.equal(await prometheus.value('sluice_runs_accepted_total - sum without (status, reason) (sluice_runs_ended_total)'), 0);
  for (const query of dashboardQueries()) await prometheus.value(query);
  const {activeTargets: [target]} = await prometheus.ask('/api/v1/targets');
  assert.deepEqual([target.health, target.lastError], ['up', '']);
  const all = async () => (await prometheus.ask('/api/v1/rules')).groups.flatMap((group) => group.rules);
  await until(async () => (await all()).every(({health}) => health !== 'unknown'), 'every rule is evaluated', 20000);
  for (const {name, health, lastError, state} of await all()) assert.deepEqual([health, lastError ?? '', state], ['ok', '', 'inactive'], name);
});

test('the alert rules do what they say', () => {
  promtool(['check', 'rules', rules]);
  promtool(['test', 'rules', projectPath('scripts/prometheus/alerts.test.yml')]);
});

test('rules and dashboard name only metrics that there are', async (t) => {
  const sluice = await gatewayWithRuns(t);
  const {types} = await sluice.metrics();
  const queries = [...readFileSync(rules, 'utf8').split('\n').filter((line) => !line.startsWith('#')), ...dashboardQueries()];
  const named = new Set(queries.flatMap(metricsOf));
  assert.ok(named.size > 40, `${named.size} metrics are named`);
  assert.deepEqual([...named].filter((name) => !types.has(name)), []);
});
