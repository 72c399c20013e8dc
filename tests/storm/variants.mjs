// The gateways that a storm runs over: kinds, workers, guards, a chain of fallbacks, caches, and little room.

/** Silence of the upstream after which a run ends. The oracle measures it, so it need not be longer on a slow machine. */
const idleMs = 800;

const retries = {retry_attempts_max: 3, retry_base_ms: 5, retry_max_ms: 50, retry_total_ms: 3000};
const guards = {...retries, breaker_failure_percent: 60, breaker_calls_min: 6, breaker_window_ms: 2000, breaker_recovery_ms: 100, breaker_recovery_max_ms: 400,
  breaker_probes_max: 2, limiter_concurrency_max: 4, limiter_adaptive: true, limiter_waiting_max: 30};
const little = {log_events_max: 40, log_bytes_max: '32KiB', event_bytes_max: '16KiB', send_buffer_bytes: '8KiB', subscribers_gathered_max: 3};
const crowded = {runs_max: 4, runs_per_user_max: 3, runs_queued_max: 12, runs_queued_per_session_max: 3, runs_delayed_max: 6, queue_timeout_ms: 400};

/** A stream that broke off is asked for again: by the same POST, or by a GET at the place that its first answer named. */
const resumed = {...retries, upstream_resumable: true, upstream_resume: 'location'};
/** The smallest limit, which the logs of four sessions with large events go beyond. */
const tight = {memory_max_bytes: '16MiB', log_bytes_max: '8MiB', send_buffer_bytes: '64KiB'};
const seats = {subscribers_max: 14, subscribers_per_session_max: 4, subscribers_waiting_max: 4, subscribers_gathered_max: 1};

/**
 * kind, workers, flags: what the gateway is started with. isGuarded: a breaker or a limiter may refuse, a fallback may take over.
 * isCrowded: runs may be refused for want of places. queueMs: how long a run may wait. chain: how many upstreams there are.
 * isParted: streams break off and go on. isTight: memory is short, and events are larger. isSeated: places of subscribers are few.
 * expires: sessions that nobody watches end soon, and half of the sessions have no witness. hasCanned: the last of them has a canned answer. tags: so many different requests, 0 for all different. redis: a real one is started.
 */
const variant = (name, given = {}) => ({name, kind: 'adk', workers: 2, flags: {}, isGuarded: false, isCrowded: false, chain: 1, isParted: false, isTight: false,
  isSeated: false, expires: false, hasCanned: false, tags: 0,
  redis: false, idleMs, ...given});

export const variants = [
  variant('adk'),
  variant('adk-1', {workers: 1, flags: {upstream_settle_ms: 0}}),
  variant('adk-4', {workers: 4}),
  variant('guards', {flags: guards, isGuarded: true}),
  variant('crowded', {workers: 4, flags: crowded, isCrowded: true, queueMs: crowded.queue_timeout_ms}),
  variant('little', {flags: little}),
  variant('chain', {workers: 4, flags: retries, isGuarded: true, chain: 3, hasCanned: true}),
  variant('cache', {flags: {cache: true, cache_bytes_max: '200KiB', cache_ttl_ms: 1500, ...retries}, tags: 12}),
  variant('redis', {workers: 4, flags: {cache: true, cache_bytes_max: '100KiB', cache_ttl_ms: 1500}, tags: 12, redis: true}),
  variant('retries', {flags: retries}),
  variant('sse', {kind: 'sse'}),
  variant('resumed', {kind: 'sse', flags: resumed, isParted: true}),
  variant('resumed-post', {kind: 'sse', workers: 4, flags: {...resumed, upstream_resume: 'post'}, isParted: true}),
  variant('tight', {workers: 4, flags: tight, isTight: true}),
  variant('tight-cache', {flags: {...tight, cache: true, cache_bytes_max: '8MiB', cache_run_bytes_max: '4MiB', cache_ttl_ms: 1500}, tags: 12, isTight: true}),
  variant('seats', {workers: 4, flags: seats, isSeated: true}),
  variant('expiry', {flags: {session_ttl_ms: 30, session_empty_ttl_ms: 10}, expires: true}),
  variant('openai', {kind: 'openai', flags: {...retries, retry_stream_errors: 'on'}}),
];
