// What the upstream does with a run, drawn from a seed, and how such a run must end.
//
// A script is a list of attempts: the first POST of the run gets the first of them, and the last one is for all
// further POSTs. Each attempt is a plain object, so that a failure can print it.

const padding = 'x'.repeat(6000);
const hugePadding = 'x'.repeat(120000);

/** How an attempt can go, with the reasons that a run may end for if it was the last one; none: it is completed. */
const hows = {
  well: [],
  error: ['upstream_error'],
  cut: ['upstream_truncated'],
  reset: ['upstream_truncated'],
  unframed: ['upstream_truncated'],
  status: ['upstream_status'],
  wordless: ['upstream_truncated'], // it takes the run and closes without a word
  stall: ['upstream_idle'],
  foreign: ['upstream_protocol'],
  stale: ['upstream_error'], // the session has not settled: kind adk asks again
  parts: ['upstream_status'], // it breaks off and goes on where it is asked to, until it is whole, or gone
};

export const reasonsOf = (attempt) => hows[attempt.how];

function drawWell(random) {
  const after = random.weighted([[8, 'keep'], [2, 'fin'], [2, 'rst']]);
  const count = random.weighted([[1, 0], [8, random.from(1, 8)], [4, random.from(9, 60)], [2, random.from(200, 500)]]);
  // A closed connection is said before, but for a few: then the next run may be sent on it and is lost.
  return {how: 'well', count: after === 'rst' ? Math.min(count, 40) : count, after, isPolite: after !== 'keep' && random.chance(90), framing: random.chance(80) ? 'chunked' : 'length'};
}

/** Breaks off after some events, more than once. Two parts in a row are never without a new event, so that asking again goes on. */
function drawParts(random, count) {
  const parts = [];
  for (let to = random.from(1, count); to < count && parts.length < 5; to += random.from(1, Math.max(1, count >> 1))) {
    parts.push({to, how: random.pick(['cut', 'cut', 'reset']), within: random.chance(40), repeatsFirst: random.chance(30)});
    if (random.chance(20)) parts.push({to, how: random.pick(['cut', '503', 'wordless'])});
  }
  const isGone = parts.length > 0 && random.chance(10);
  return {how: 'parts', status: 404, count, parts, idEvery: random.pick([1, 1, 2, 3, 7]), last: isGone ? 'gone' : random.pick(['whole', 'whole', 'nothing more'])};
}

/** One attempt. What comes before its end (bursts, pauses, large events) is drawn for all of them. */
function drawAttempt(random, variant, kinds) {
  const how = random.weighted(kinds.filter(([, name]) => name !== 'stale' || variant.kind === 'adk'));
  const isParted = variant.isParted && (how === 'well' || how === 'cut') && random.chance(70);
  const attempt = isParted ? drawParts(random, random.weighted([[8, random.from(2, 12)], [4, random.from(13, 80)]]))
    : how === 'well' ? drawWell(random) : {how, count: random.weighted([[3, 0], [5, random.from(1, 6)], [2, random.from(7, 40)]])};
  attempt.burst = random.weighted([[3, 1], [3, random.from(2, 9)], [4, 1000]]);
  attempt.pause = attempt.count > 100 ? 0 : random.weighted([[6, 0], [3, random.from(1, 8)], [1, random.from(20, 60)]]);
  attempt.huge = variant.isTight && how === 'well' && attempt.after !== 'rst' && attempt.count <= 30 && random.chance(60);
  attempt.large = attempt.after !== 'rst' && how !== 'reset' && !attempt.parts?.some((part) => part.how === 'reset') && random.chance(20);
  attempt.torn = random.chance(30); // writes end within events
  if (how === 'cut' || how === 'reset') attempt.within = random.chance(50);
  if (how === 'wordless') attempt.rudely = random.chance(50);
  if (how === 'stall') attempt.hasHead = random.chance(70);
  if (how === 'status') {
    attempt.status = random.pick([400, 404, 429, 429, 500, 502, 503, 503]);
    attempt.retryAfter = attempt.status === 429 || attempt.status === 503 ? random.pick([undefined, '0', '1']) : undefined;
  }
  if (how === 'status' || how === 'wordless' || how === 'foreign' || how === 'stale' || !(attempt.hasHead ?? true)) attempt.count = 0;
  return attempt;
}

const usual = [[50, 'well'], [6, 'error'], [8, 'cut'], [5, 'reset'], [3, 'unframed'], [10, 'status'], [6, 'wordless'], [8, 'stall'], [3, 'foreign'], [3, 'stale']];
const better = [[90, 'well'], [5, 'cut'], [5, 'error']];

/** The attempts of one run: bad ones tend to be followed by better ones, so that trying again is worth it. */
export function drawScript(random, variant) {
  const attempts = [drawAttempt(random, variant, usual)];
  while (!['well', 'parts'].includes(attempts.at(-1).how) && attempts.length < 4) attempts.push(drawAttempt(random, variant, random.chance(50) ? usual : better));
  return attempts;
}

export const attemptAt = (script, number) => script[Math.min(number, script.length - 1)];

// ---- its events ------------------------------------------------------------------------------------------------------

/** An event in the upstream's words. `type` is what it is sent with, undefined for none. */
function event(kind, mark, attempt, number) {
  const pad = attempt.huge ? {pad: hugePadding} : attempt.large && number % 3 === 0 && {pad: padding};
  if (kind === 'openai') {
    const last = number === attempt.count && {finish_reason: 'stop'};
    return {data: JSON.stringify({...mark, number, ...pad, choices: [{index: 0, delta: {content: 'x'}, finish_reason: null, ...last}]})};
  }
  const type = number % 7 === 0 ? 'note' : number % 11 === 0 ? 'run.end' : undefined;
  return {type, data: JSON.stringify({...mark, number, ...pad}), ...(attempt.how === 'parts' && (number - 1) % attempt.idEvery === 0 && {id: number})};
}

/** All events of attempt `number` of the run `tag`: {type, data, id}, as the upstream sends them. */
export function eventsOf(kind, tag, attempt, number) {
  const mark = {of: tag, attempt: number};
  const events = Array.from({length: attempt.count}, (_, i) => event(kind, mark, attempt, i + 1));
  const failure = attempt.how === 'stale' ? 'StaleSessionError: The session has been modified in storage.' : `refused ${tag}`;
  if (attempt.how === 'error' || attempt.how === 'stale') events.push({data: JSON.stringify({error: failure, ...mark})});
  if (attempt.how === 'well' && kind === 'openai') events.push({data: '[DONE]'});
  return events;
}

/** The same as a viewer gets it. */
export const asDelivered = ({type, data}) => ({type: type === undefined ? 'message' : type === 'run.end' ? 'upstream.run.end' : type, data});

export const frameOf = ({type, data, id}) => `${id === undefined ? '' : `id: ${id}\n`}${type === undefined ? '' : `event: ${type}\n`}data: ${data}\n\n`;
