// The log of a session, put together from what all its viewers saw, and what must hold for it.
//
// The same id means the same event to every viewer. Two events that one viewer saw in a row are neighbours: nobody
// may have seen another one between them. Where no viewer saw the neighbour of an event there is a hole, and nothing is
// concluded over it. Walking along the log gives each run its events, its tries and its end.

/** Ids in an order that texts have, too. */
const keys = new Map();
function keyOf(id) {
  if (!keys.has(id)) keys.set(id, id.split('-').map((part) => part.padStart(16, '0')).join('-'));
  return keys.get(id);
}
const isBy = (event, id) => Boolean(event) && keyOf(event.id) <= keyOf(id);
export const timeOf = (id) => Number(id.split('-')[0]);

const isLifecycle = (type) => /^(run\.(start|end|retry)|session\.end|server\.drain)$/.test(type); // of these, server.drain alone is not in the log

/** What is known of a run from its session's log. */
class Course {
  constructor(taskId) {
    Object.assign(this, {taskId, events: [], retries: [], resumptions: [], start: null, end: null, isWhole: true, otherAtEnd: undefined, next: undefined});
  }

  get endedAt() { return this.end && timeOf(this.end.id); }
}

export class SessionLog {
  constructor(session, ledger) {
    Object.assign(this, {session, ledger, problems: [], byId: new Map(), next: new Map(), owners: new Map(), courses: new Map()});
    this.viewers = ledger.viewers.filter((viewer) => viewer.session === session && viewer.client?.status === 200);
    this.mayExpire = !this.viewers.some(({isWitness}) => isWitness); // between two of its runs, without a word
    for (const viewer of this.viewers) this.gather(viewer);
    this.mayEndUnseen = this.mayExpire || this.deletions() > [...this.byId.values()].filter(({type}) => type === 'session.end').length;
    this.order = [...this.byId.keys()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    this.places = new Map(this.order.map((id, place) => [id, place]));
    this.firstHole = this.order.findIndex((id, place) => place > 0 && this.next.get(this.order[place - 1]) !== id);
    this.walk();
    for (const viewer of this.viewers) this.checkViewer(viewer);
  }

  /** How often it was deleted, or may have been. After each time it is another session, which may be deleted before its witness is back. */
  deletions() {
    return this.ledger.actions.filter(({what, target, answer}) => what === 'delete' && target === this.session && (answer?.status ?? 200) === 200).length;
  }

  problem(text) { this.problems.push(`${this.session}: ${text}`); }

  course(taskId) {
    if (!this.courses.has(taskId)) this.courses.set(taskId, new Course(taskId));
    return this.courses.get(taskId);
  }

  // ---- what all saw ----

  gather(viewer) {
    let last = viewer.kind === 'session' ? viewer.after : null;
    for (const event of inLog(viewer.client)) {
      if (event.type !== 'gap' && !isForOne(viewer, event)) this.add({...event, type: nameOf(viewer, event)}, viewer);
      if (event.type !== 'gap' && viewer.kind === 'session' && last !== null) this.next.set(last, event.id);
      if (viewer.kind === 'session') last = event.id;
    }
  }

  add({id, type, data}, viewer) {
    const known = this.byId.get(id);
    if (!known) this.byId.set(id, {id, type, data, json: parsed(data)});
    else if (known.type !== type || known.data !== data)
      this.problem(`id ${id} is ${known.type} ${known.data.slice(0, 80)} to one and ${type} ${data.slice(0, 80)} to another (${viewer.client.what})`);
  }

  // ---- along the log ----

  walk() {
    let current; // undefined: not known
    let before = null;
    for (const id of this.order) {
      const event = this.byId.get(id);
      const isNeighbour = before !== null && this.next.get(before.id) === id;
      if (before !== null && !isNeighbour) current = this.loseTrack(current, before);
      if (before === null) current = event.type === 'run.start' ? null : undefined;
      current = this.step(event, current, isNeighbour ? before : null);
      before = event;
    }
    if (current) this.course(current).isWhole = false;
  }

  /** A hole: the run of before may have ended in it. */
  loseTrack(current, before) {
    if (before.type === 'session.end' && !this.mayEndUnseen) return null;
    if (current) this.course(current).isWhole = false;
    return undefined;
  }

  step(event, current, before) {
    const taskId = event.json?.task_id;
    switch (event.type) {
      case 'run.start': return this.stepStart(event, taskId, current, before);
      case 'run.end': return this.stepEnd(event, taskId, current);
      case 'run.retry':
        if (current !== undefined && current !== taskId) this.problem(`run.retry ${event.id} of ${taskId} stands in ${current}`);
        this.stepRetry(event, this.course(taskId));
        this.owners.set(event.id, taskId);
        return current;
      case 'session.end':
        if (current) this.problem(`session.end ${event.id} stands in the run ${current}`);
        return null;
      default: return this.stepEvent(event, current);
    }
  }

  /** Before its first event a run is asked for anew, after that it goes on. */
  stepRetry(event, course) {
    const {resumption} = event.json;
    (resumption ? course.resumptions : course.retries).push(event);
    if (course.events.length > 0 && !resumption) this.problem(`run.retry ${event.id} of ${course.taskId} comes after its events`);
    if (course.events.length === 0 && resumption && course.isWhole && course.start) this.problem(`${course.taskId} is resumed at ${event.id} before its first event`);
  }

  stepStart(event, taskId, current, before) {
    const course = this.course(taskId);
    if (course.start) this.problem(`${taskId} starts twice: ${course.start.id}, ${event.id}`);
    if (course.end) this.problem(`${taskId} starts at ${event.id} after its end ${course.end.id}`);
    if (current) this.problem(`${taskId} starts at ${event.id} in the run ${current}`);
    course.start = event;
    this.owners.set(event.id, taskId);
    if (before?.type === 'run.end') this.course(before.json.task_id).next = taskId;
    return taskId;
  }

  stepEnd(event, taskId, current) {
    const course = this.course(taskId);
    this.owners.set(event.id, taskId);
    if (course.end) {
      this.problem(`${taskId} ends twice: ${course.end.id}, ${event.id}`);
      return current;
    }
    course.end = event;
    course.otherAtEnd = current === taskId ? null : current;
    if (!course.start && this.isAfterHole(event)) course.isWhole = false;
    else if (course.start && current !== undefined && current !== taskId) this.problem(`${taskId} ends at ${event.id} in the run ${current}`);
    if (current === undefined) return course.start ? null : undefined; // one that waited may end in another
    return current === taskId ? null : current;
  }

  /** Whether one run has started by the event `id`, or has ended by it. */
  hasStartedBy(taskId, id) { return isBy(this.courses.get(taskId)?.start, id); }
  hasEndedBy(taskId, id) { return isBy(this.courses.get(taskId)?.end, id); }

  /** Whether the start of a run that ends here may be among what nobody saw. */
  isAfterHole(event) {
    const place = this.places.get(event.id);
    return place === 0 || (this.firstHole >= 0 && this.firstHole <= place);
  }

  stepEvent(event, current) {
    if (current === null) this.problem(`event ${event.id} stands outside of any run: ${event.data.slice(0, 100)}`);
    if (!current) return current;
    this.course(current).events.push(event);
    this.owners.set(event.id, current);
    const run = this.ledger.byTask.get(current);
    if (run && event.json?.of !== undefined && event.json.of !== run.tag)
      this.problem(`event ${event.id} of ${event.json.of} stands in the run ${current} of ${run.tag}`);
    return current;
  }

  // ---- one viewer ----

  checkViewer(viewer) {
    const {client, kind} = viewer;
    if (client.failure) this.problem(client.failure.message);
    let last = viewer.after;
    for (const event of inLog(client)) {
      if (event.type === 'gap') this.checkGap(viewer, last, event);
      else if (!isForOne(viewer, event)) this.checkNext(viewer, last, event);
      last = event.id;
    }
    if (kind === 'session' && viewer.after === null) this.checkBeginning(viewer);
    this.checkEnd(viewer);
  }

  /** Whether the viewer is to see the event. */
  sees(viewer, id) {
    if (viewer.kind === 'session') return true;
    return this.owners.get(id) === viewer.taskId && (viewer.kind !== 'agent' || !isLifecycle(this.byId.get(id).type));
  }

  checkNext(viewer, last, event) {
    const place = this.places.get(event.id);
    const owner = this.owners.get(event.id);
    if (viewer.kind !== 'session' && owner !== undefined && owner !== viewer.taskId)
      this.problem(`${viewer.client.what} shows ${event.type} ${event.id} of the run ${owner}`);
    const missed = [];
    for (let i = place - 1; last !== null && i >= 0 && keyOf(this.order[i]) > keyOf(last); i--) if (this.sees(viewer, this.order[i])) missed.unshift(this.order[i]);
    if (missed.length > 0)
      this.problem(`${viewer.client.what} (after ${viewer.after}) shows ${event.id} after ${last}, without ${missed.length} events between: ${missed.slice(0, 3)}`);
  }

  checkGap(viewer, last, gap) {
    const {from, to} = JSON.parse(gap.data);
    if (to !== gap.id || (from !== null && from !== last)) this.problem(`${viewer.client.what} shows after ${last} a gap from ${from} to ${to} with the id ${gap.id}`);
  }

  checkBeginning({client, from}) {
    const [first] = inLog(client);
    if (!first || first.type === 'gap' || from === 'now') return;
    const before = this.order[this.places.get(first.id) - 1];
    const isFirst = before === undefined || this.byId.get(before).type === 'session.end' || (this.mayEndUnseen && this.next.get(before) !== first.id);
    const begins = from === 'start' ? isFirst : /^(run\.(start|end)|session\.end)$/.test(first.type);
    if (!begins) this.problem(`${client.what} begins with ${first.type} ${first.id}, which ${before} stands before`);
  }

  checkEnd({client, kind, until}) {
    const isOver = client.end !== null && !client.left;
    if (!isOver) return;
    const last = client.types.at(-1);
    const ends = kind === 'agent' || last === 'run.end' && (kind === 'run' || until) || kind === 'session' && last === 'session.end' ||
      this.ledger.terminatedAt < Infinity && /^(run\.end|server\.drain|undefined)$/.test(String(last));
    if (client.end !== 'last-chunk' || !ends) this.problem(`${client.what} ended as ${client.end} after ${last} ${client.lastId}`);
  }
}

/** What the log holds: a drain is told to each viewer, without an id. */
const inLog = (client) => client.events.filter(({id}) => id !== undefined);

/** Made for one viewer: how a run ended in the agent's own framing. */
const isForOne = ({kind}, {data}) => kind === 'agent' && data.startsWith('{"error":"run ') || data.startsWith('{"error":"Some events are no longer retained');

/** The agent's own framing keeps all names as the agent gave them. */
const nameOf = ({kind}, {type}) => (kind === 'agent' && isLifecycle(type) ? `upstream.${type}` : type);

function parsed(data) {
  try { return JSON.parse(data); } catch { return undefined; }
}
