// Whether a run ended as it must: by what the upstream did, what the clients did, and what the settings say.
import {timeOf} from './session_log.mjs';
import {asDelivered, eventsOf, reasonsOf} from './script.mjs';

/** Clocks are read a little before or after what they are read for. */
const leeway = 100;

const covers = (action, at) => action.sentAt - leeway <= at && at <= action.answeredAt + leeway;

/** {world, run, course, end, task}: `end` has status, reason, events, duration_ms. Gives what is wrong, or nothing. */
export function judge(facts) {
  const {end} = facts;
  const rule = rules[end.status];
  if (!rule) return `the status ${end.status}`;
  const wrong = rule(facts);
  return wrong && `${end.status} ${end.reason ?? ''} cannot be explained: ${wrong}`;
}

/** Whether other runs ask the same, so that it is not known which POSTs are this run's. */
const isShared = ({world, run}) => world.ledger.runs.filter((other) => other.tag === run.tag && other.isAccepted).length > 1;

/** The POSTs that may have decided it. */
const deciding = (facts) => (isShared(facts) || facts.world.variant.isGuarded ? facts.posts : facts.posts.slice(-1));

const shown = (post) => `${JSON.stringify(post.attempt)} sent ${post.sent}${post.isWhole ? ', whole' : ''}`;
const shownPosts = ({posts}) => posts.map(shown).join('; ') || 'no POST';

/** What is wrong with the events of the run, if they are to be all of this POST's up to `count`. */
function differs({world, run, course, end}, post, count) {
  const expected = eventsOf(world.kind, run.tag, post.attempt, post.number).map(asDelivered).slice(0, count);
  if (end.events !== expected.length) return `${end.events} events instead of ${expected.length}`;
  if (!course?.isWhole) return undefined;
  if (course.events.length !== expected.length) return `${course.events.length} events in the log instead of ${expected.length}`;
  const wrong = course.events.findIndex(({type, data}, i) => type !== expected[i].type || data !== expected[i].data);
  return wrong < 0 ? undefined : `event ${wrong + 1} is ${course.events[wrong].type} ${course.events[wrong].data.slice(0, 120)}`;
}

/** Undefined if one of the POSTs explains it; else why the last of them does not. */
function explainedBy(facts, posts, explain) {
  let wrong = `no POST explains it (${shownPosts(facts)})`;
  for (const post of posts) {
    const why = explain(post);
    if (why === undefined) return undefined;
    wrong = `${why} (${shownPosts(facts)})`;
  }
  return wrong;
}

function completed(facts) {
  const {world, end} = facts;
  if (end.canned) return world.variant.hasCanned && end.events === 1 ? undefined : 'nobody has a canned answer of that kind';
  return explainedBy(facts, end.cached ? facts.posts : deciding(facts), (post) => {
    if (!['well', 'parts'].includes(post.attempt.how) || post.attempt.last === 'gone' || !post.isWhole) return `the upstream did not say so: ${shown(post)}`;
    if ((end.warning === 'empty') !== (post.attempt.count === 0)) return `the warning ${end.warning} with ${end.events} events`;
    return differs(facts, post);
  });
}

const ofGuards = ['circuit_open', 'upstream_limited'];

function failed(facts) {
  const {world, end} = facts;
  if (world.variant.isTight && end.reason === 'limit') return prefix(facts);
  if (world.variant.isGuarded && ofGuards.includes(end.reason)) return undefined;
  if (end.reason === 'upstream_truncated' && end.events === 0 && isLostOnClosing(facts)) return undefined;
  if (end.reason === 'upstream_idle' && end.events === 0 && isUnseen(facts) && mayHaveWaited(facts)) return undefined;
  return explainedBy(facts, deciding(facts), (post) => {
    if (end.reason === 'upstream_idle') return explainIdle(facts, post);
    if (!reasonsOf(post.attempt).includes(end.reason)) return `the upstream did otherwise after ${end.events} events (${end.message})`;
    if (!post.isWhole && post.attempt.how !== 'status') return `the upstream had not ended: ${shown(post)}`;
    if (end.reason === 'upstream_status' && end.upstream_status !== post.attempt.status) return `the status ${end.upstream_status}`;
    if (end.reason === 'upstream_error' && !/StaleSession|refused/.test(end.message)) return `the message ${end.message}`;
    return differs(facts, post, isTakenBack(facts) ? 0 : post.attempt.how === 'parts' ? post.sent : undefined);
  });
}

/** Another attempt was reported and a guard refused it: the run ends as the attempt before, whose error event was dropped for the next one. */
const isTakenBack = ({world, course, posts, end}) => world.variant.isGuarded && end.events === 0 && end.reason === 'upstream_error' &&
  (!course?.isWhole || course.retries.length >= posts.length);

const begunAt = ({course}) => timeOf((course?.retries.at(-1) ?? course?.start)?.id ?? `${Infinity}`);

/** Whether the last POST may not have been read by the upstream: it went down with its connection, or the upstream was held up. */
const isUnseen = (facts) => isShared(facts) || facts.posts.length <= (facts.course?.retries.length ?? 0);

/** The run was sent on a kept connection in the moment in which the upstream closed it: it cannot have been answered. */
function isLostOnClosing(facts) {
  const {world, posts} = facts;
  return posts.at(-1)?.isLate || (isUnseen(facts) && world.agents.some(({hasClosedKept}) => hasClosedKept));
}

/** Whether the upstream may have been asked so long ago; by another run, if the answer is shared. */
function mayHaveWaited(facts) {
  const {world, run, endedAt} = facts;
  const since = endedAt - world.variant.idleMs + leeway;
  const asksToo = (other) => other.tag === run.tag && other.isAccepted && other.sentAt <= since;
  return begunAt(facts) <= since || (isShared(facts) && world.ledger.runs.some(asksToo));
}

/** When the upstream was asked: a run whose answer is shared may have joined later. */
function askedAt(facts, post) {
  const began = begunAt(facts);
  return isShared(facts) || began === Infinity ? post.cameAt : began;
}

/** Silence is what the clocks say: before a write, if the upstream itself was held up, or after the last one. */
function explainIdle(facts, post) {
  const {endedAt, world} = facts;
  let [from, longest, wrong] = [askedAt(facts, post), 0, undefined];
  for (const {at, sent} of [...post.writes, {at: endedAt, sent: post.sent}]) {
    longest = Math.max(longest, at - from);
    wrong = at - from >= world.variant.idleMs - leeway ? differs(facts, post, sent) : wrong ?? 'it was not silent';
    if (wrong === undefined) return undefined;
    from = at;
  }
  return longest < world.variant.idleMs - leeway ? `the upstream was silent for ${longest} ms` : wrong;
}

function prefix(facts) {
  const {world, run, course, posts} = facts;
  if (!course || course.events.length === 0) return undefined;
  const post = posts.find(({number}) => number === course.events[0].json?.attempt) ?? posts.at(-1);
  if (!post) return 'it has events without a POST';
  const expected = eventsOf(world.kind, run.tag, post.attempt, post.number).map(asDelivered);
  const wrong = course.isWhole && course.events.findIndex(({type, data}, i) => type !== expected[i]?.type || data !== expected[i].data);
  return wrong === false || wrong < 0 || world.variant.hasCanned ? undefined : `event ${wrong + 1} is ${course.events[wrong].data.slice(0, 120)}`;
}

/** Whether another run of the session waits for its slot when this one ends: it has the session's place, and no start yet. */
function isBehindOneThatWaits({world, run, log, course, endedAt}) {
  return world.variant.isCrowded && world.ledger.runs.some((other) => other !== run && other.isAccepted && other.session === run.session &&
    other.sentAt + other.delay - leeway <= endedAt && !log.hasStartedBy(other.taskId, course.end.id) && !log.hasEndedBy(other.taskId, course.end.id));
}

function cancelled(facts) {
  const {world, run, end, course, endedAt} = facts;
  const {ledger} = world;
  const acted = (what, target) => ledger.actions.some((action) => action.what === what && action.target === target && covers(action, endedAt));
  const current = ledger.actions.some((action) => action.what === 'cancel_current' && action.target === run.session && covers(action, endedAt) &&
    (action.answer?.json?.task_id === run.taskId || action.error));
  const reasons = {
    requested: () => acted('cancel', run.taskId) || current || acted('cancel_several', run.session),
    conflict: () => run.delay > 0 && run.onConflict === 'reject' && (course?.otherAtEnd !== null || isBehindOneThatWaits(facts)),
    disconnected: () => run.options.on_disconnect === 'cancel',
    subscribers_idle: () => run.options.cancel_after_idle_ms !== undefined,
    session_deleted: () => acted('delete', run.session),
    shutdown: () => endedAt >= ledger.terminatedAt - leeway,
  };
  return reasons[end.reason]?.() ? prefix(facts) : 'nobody asked for it';
}

function replaced(facts) {
  const {world, run, course, endedAt} = facts;
  const {runs, byTask} = world.ledger;
  const follower = byTask.get(course?.next);
  // The next one starts at once, unless the slot went to another session.
  if (course?.isWhole && course.start && course.next === undefined && !world.variant.isCrowded) return 'no run starts next';
  if (follower && follower.onConflict !== 'replace') return `the next run is to ${follower.onConflict}`;
  const replaces = (other) => other !== run && other.session === run.session && other.onConflict === 'replace' && (other.isAccepted || other.isLost) &&
    other.sentAt - leeway <= endedAt && (other.delay > 0 || endedAt <= other.answeredAt + leeway);
  return follower || runs.some(replaces) ? prefix(facts) : 'no run could replace it then';
}

function timeout(facts) {
  const {world, run, end, task} = facts;
  if (end.reason === 'run_time' && run.options.timeout_ms !== undefined && end.duration_ms >= run.options.timeout_ms - leeway / 10) return prefix(facts);
  const {queueMs} = world.variant;
  if (end.reason === 'queue_time' && queueMs && (!task || task.queue_wait_ms >= queueMs - leeway)) return end.events === 0 ? undefined : 'it has events';
  return `it took ${end.duration_ms} ms and had ${run.options.timeout_ms}`;
}

const rules = {completed, failed, cancelled, replaced, timeout};
