// The side of the requests: cases of request_grammar.mjs on a gateway that serves well-behaved clients meanwhile.
import {playCase} from './fuzz_client.mjs';
import {boundMs, pause} from './gateway.mjs';
import {makeCase, sharedSessions} from './request_grammar.mjs';
import {Round, playCases} from './round.mjs';
import {makeTraffic} from './traffic.mjs';
import {behaveWell} from './well_behaved.mjs';


/** Settings that a reload changes. */
const change = (random) => ({
  heartbeat_ms: random.pick([10, 10, 15, 30, 200]),
  log_events_max: random.pick([300, 1000, 1000, 1023, 1024, 1026, 2000]),
  log_bytes_max: random.pick([65536, 1 << 20, 4 << 20]),
  tasks_kept: random.pick([5, 50, 1000]),
  session_ttl_ms: random.pick([300, 1000, 5000]),
  session_empty_ttl_ms: random.pick([20, 300, 5000]),
  subscribers_waiting_max: random.pick([5, 50, 50000]),
  memory_max_bytes: random.weighted([[50, 0], [40, 16 << 20], [10, 32 << 20]]),
  request_json_values_max: random.pick([100, 10000, 10000]),
  retry_ms: random.from(1, 3000),
  run_start_input: random.pick(['none', 'text', 'body']),
  run_start_input_bytes_max: random.pick([16, 100, 16384]),
  subscribers_per_session_max: random.pick([10, 30, 1000]),
  idempotency_keys_per_session_max: random.pick([0, 2, 128]),
});

const makeSettings = (random, upstream) => ({
  workers: random.pick([1, 2, 2, 3]),
  log_level: random.pick(['error', 'error', 'warn', 'debug']),
  drain_ms: random.pick([0, 0, 300, 1000]),
  upstream,
  ...change(random),
  cleanup_interval_ms: random.pick([10, 50]),
  stall_timeout_ms: random.pick([300, 1000]),
  request_timeout_ms: random.pick([1000, 4000, 15000]),
  request_header_bytes_max: random.pick([2048, 16384, 16384]),
  run_timeout_ms: 5000,
  runs_max: random.pick([10, 50, 1000]),
  runs_queued_max: random.pick([5, 50, 1000]),
  send_buffer_bytes: random.pick([0, 8192, 131072]),
  subscribers_gathered_max: random.pick([0, 10, 10000]),
  upstream_first_byte_timeout_ms: 3000,
  upstream_idle_timeout_ms: 1500,
  upstream_connections_max: 16,
  ...(random.chance(25) && {request_rate_per_address: random.pick([30, 100000]), request_burst_per_address: 20, connections_per_address_max: random.pick([8, 5000])}),
  ...(random.chance(30) && {sessions_max: random.pick([10, 40])}),
  ...(random.chance(30) && {cors_origins: ['https://app.example']}),
});

/** Names that the cases refer to. Ids of events and runs are learnt from the answers. */
class World {
  constructor(gateway, longSessions) {
    this.host = gateway.host;
    this.sessions = [...sharedSessions, ...longSessions];
    this.eventIds = ['1700000000000-1'];
    this.taskIds = ['none'];
  }

  learn = (answer) => { if (answer.json?.task_id) this.remember(this.taskIds, answer.json.task_id); };

  see = ({id}) => { if (id !== undefined && Math.random() < 0.05) this.remember(this.eventIds, id); };

  remember(list, item) {
    if (list.length < 64) list.push(item);
    else list[Math.floor(Math.random() * list.length)] = item;
  }
}

export const requestsSide = {name: 'requests', makeSettings, script: () => behaveWell};

const longSessions = [{app: 'demo', user: 'u1', session: 'long1'}, {app: 'demo', user: 'u2', session: 'long2'}];
const pathOf = ({app, user, session}) => `/apps/${app}/users/${user}/sessions/${session}`;

/** Plays one case, and reports wrong answers. */
async function play(round, world, fuzzCase) {
  round.findings.note(fuzzCase);
  const {error, received} = await playCase(round.gateway.port, fuzzCase, {boundMs: 2 * boundMs, onAnswer: world.learn, onEvent: world.see, leavers: round.leavers});
  if (error?.missing) await round.gateway.missing(error.message, {fuzzCase, received});
  else if (error) round.findings.add(error.message, {fuzzCase, received});
}

/** Plays round `number` for `ms`. */
export async function playRequestsRound(findings, random, number, ms) {
  const round = new Round(findings, random, requestsSide);
  round.leavers = new Set();
  await round.begin(number);
  const {gateway, goesOn} = round;
  const world = new World(gateway, longSessions);
  const storm = playCases(random.fork('width').pick([30, 100]), goesOn, (n) => makeCase(random.fork('case', n), world, n), (fuzzCase) => play(round, world, fuzzCase));
  const others = [makeTraffic(random.fork('traffic'), gateway, goesOn, longSessions.map(pathOf), {hoards: random.fork('hoards').chance(30)}), gateway.watch(goesOn), round.reload(change)];
  const end = performance.now() + ms;
  while (performance.now() < end && goesOn()) await pause(50);
  const abrupt = number % 2 === 0;
  if (abrupt) await round.stop(round.attach(sharedSessions.slice(0, 3).map(pathOf)));
  round.ending = true;
  if (!abrupt) await round.settle();
  for (const leave of [...round.leavers]) leave();
  const [cases] = await Promise.all([storm, ...others]);
  if (!abrupt) {
    await round.rest();
    await round.stop();
  }
  return {cases, canaries: gateway.canaries, runs: gateway.wholeRuns, slowestMs: gateway.slowestMs, mostBytes: gateway.mostBytes};
}
