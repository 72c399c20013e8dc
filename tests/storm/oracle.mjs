// The oracle of a storm: holds what the clients saw to what the upstream and the clients did.
import {SessionLog} from './session_log.mjs';
import {judge} from './verdicts.mjs';

/** All that is wrong. `tasks`: what GET /tasks/{id} said of each run that has ended, by id. */
export function findProblems(world, tasks) {
  const {ledger} = world;
  const logs = new Map([...world.sessions].map((session) => [session, new SessionLog(session, ledger)]));
  return [...ledger.notes, ...[...logs.values()].flatMap(({problems}) => problems), ...checkStrangers(ledger, logs), ...checkAnswers(world),
    ...checkOrder(ledger, logs), ...ledger.runs.filter((run) => run.isAccepted).flatMap((run) => checkRun(world, run, logs.get(run.session), tasks)),
    ...checkPosts(world, logs)];
}

/** A run in a log that nobody started. */
function checkStrangers(ledger, logs) {
  return [...logs.values()].flatMap((log) => [...log.courses.keys()].filter((taskId) => !ledger.byTask.has(taskId) &&
    !ledger.runs.some((run) => run.isLost && run.session === log.session)).map((taskId) => `${log.session}: nobody started ${taskId}`));
}

// ---- each run ----

function checkRun(world, run, log, tasks) {
  const course = log.courses.get(run.taskId);
  const task = tasks.get(run.taskId);
  const name = `run ${run.tag} (${run.taskId}, ${JSON.stringify(run.options)})`;
  const problems = [];
  if (course?.end && task) problems.push(...compareEnds(name, course.end.json, task));
  const end = course?.end?.json ?? task;
  if (!end && !isWatched(world, log, course)) return []; // nobody could see it, and the gateway has ended
  if (!end || ['pending', 'running'].includes(end.status)) return [`${name} has no end`];
  const posts = world.ledger.postsOf(run.tag);
  const wrong = judge({world, run, log, course, end, task, posts, endedAt: course?.endedAt ?? Date.parse(task.ended_at)});
  if (wrong) problems.push(`${name}: ${wrong}`);
  return [...problems, ...checkCancels(world, run, name, end)];
}

/** Whether somebody must have seen the end of the run. A witness that comes back when the gateway is about to end is refused, or too
 *  late. A session that is opened and deleted before its witness is back has none; but the witness of a run's start sees its end. */
function isWatched({ledger}, log, course) {
  const witnesses = ledger.viewers.filter((viewer) => viewer.isWitness && viewer.session === log.session);
  const last = witnesses.at(-1)?.client;
  if (last?.status !== 200) return false;
  const hasSeenStart = course?.start && witnesses.some(({client}) => client.events.some(({id}) => id === course.start.id));
  return hasSeenStart || (last.types.at(-1) !== 'session.end' && !log.mayEndUnseen);
}

function compareEnds(name, end, task) {
  return ['status', 'reason', 'events', 'bytes', 'duration_ms'].filter((member) => (end[member] ?? null) !== (task[member] ?? null))
    .map((member) => `${name}: run.end says ${member} ${end[member]}, /tasks says ${task[member]}`);
}

/** What was answered to those that cancelled it. */
function checkCancels(world, run, name, end) {
  return world.ledger.actions.filter(({answer}) => answer?.json).flatMap(({what, target, answer}) => {
    const {status, json} = answer;
    const isIts = what === 'cancel' ? target === run.taskId : json.task_id === run.taskId;
    if (!isIts || !['cancel', 'cancel_current'].includes(what)) return [];
    const told = status === 409 ? json.error.status : json.status;
    return status !== 202 && told !== end.status ? [`${name} is ${end.status}, but its cancel was answered ${status} ${told}`] : [];
  });
}

// ---- what was answered ----

function checkAnswers(world) {
  return world.ledger.runs.filter((run) => !run.isLost).flatMap((run) => {
    const wrong = run.status === 200 ? checkReplay(world.ledger, run) : checkRefusal(world, run);
    return wrong ? [`run ${run.tag} (${JSON.stringify(run.options)}, key ${run.key}) was answered ${run.status} ${run.refusal?.code ?? ''}: ${wrong}`] : [];
  });
}

function checkReplay(ledger, run) {
  const replayed = run.isReplay && ledger.byTask.get(run.taskId);
  if (!run.isReplay || (replayed?.key === run.key && replayed.tag === run.tag && replayed.session === run.session)) return undefined;
  return `it is ${run.taskId}, which asked ${replayed?.tag} with the key ${replayed?.key}`;
}

function checkRefusal({ledger, variant}, run) {
  const refusals = {
    run_in_progress: () => run.onConflict === 'reject' && run.delay === 0 && ledger.byTask.get(run.refusal.task_id)?.session === run.session,
    idempotency_key_reused: () => ledger.runs.some((other) => other.key === run.key && other.isAccepted && other.tag !== run.tag),
    queue_full: () => true,
    delayed_full: () => variant.isCrowded,
    too_many_runs: () => variant.isCrowded,
    memory_full: () => variant.isTight,
    too_many_subscribers: () => variant.isSeated,
    too_many_session_subscribers: () => variant.isSeated,
    too_many_waiting: () => variant.isSeated,
    draining: () => run.answeredAt >= ledger.terminatedAt,
    circuit_open: () => variant.isGuarded,
    upstream_paused: () => variant.isGuarded,
    events_not_retained: () => true,
  };
  return refusals[run.refusal?.code]?.() ? undefined : 'why?';
}

/** Of two runs that wait their turn, the one that was taken first starts first. */
function checkOrder(ledger, logs) {
  const queued = ledger.runs.filter((run) => run.isAccepted && run.onConflict === 'enqueue' && run.delay === 0);
  const startOf = (run) => logs.get(run.session).courses.get(run.taskId)?.start?.id;
  return queued.flatMap((first) => queued.filter((second) => second.session === first.session && second.sentAt > first.answeredAt)
    .filter((second) => startOf(first) && startOf(second) && isAfter(startOf(first), startOf(second)))
    .map((second) => `${second.tag} was queued after ${first.tag}, and started before`));
}

function isAfter(a, b) {
  const [[aTime, aNumber], [bTime, bNumber]] = [a, b].map((id) => id.split('-').map(Number));
  return aTime > bTime || (aTime === bTime && aNumber > bNumber);
}

// ---- what was posted ----

/** No run is posted more often than it was reported. A session that the agent has forgotten is made again, once an attempt. */
function checkPosts({ledger, kind}, logs) {
  return [...ledger.posts].flatMap(([tag, posts]) => {
    const runs = ledger.runs.filter((run) => run.tag === tag && run.isAccepted);
    if (ledger.runs.some((run) => run.tag === tag && run.isLost)) return [];
    const courses = runs.map((run) => logs.get(run.session).courses.get(run.taskId));
    const isSure = courses.every((course) => course?.isWhole);
    const reported = runs.length + courses.reduce((sum, course) => sum + (course?.retries.filter(({json}) => !json.canned).length ?? 0), 0);
    const resumed = courses.reduce((sum, course) => sum + (course?.resumptions.length ?? 0), 0);
    const askedAgain = posts.reduce((sum, post) => sum + post.askedAgain.length, 0);
    if (isSure && askedAgain > resumed) return [`${tag} was asked to go on ${askedAgain} times, ${resumed} reported`];
    const forgotten = kind === 'adk' ? posts.filter(({attempt}) => attempt.status === 404).length : 0;
    if (posts.length <= reported + forgotten || (!isSure && runs.length > 0)) return [];
    return [`${tag} was posted ${posts.length} times, ${reported} reported: ${posts.map(({attempt}) => attempt.how + (attempt.status ?? '')).join(', ')}`];
  });
}
