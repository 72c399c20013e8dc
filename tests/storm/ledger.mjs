// What the clients of a storm did and were answered: the oracle judges the gateway by it.

/** One run as its client sees it. Its `tag` is what it asks; with a cache several runs ask the same. */
class Run {
  constructor(number, fields) {
    Object.assign(this, {number, taskId: null, status: 0, sentAt: Date.now(), answeredAt: Infinity, isReplay: false}, fields);
  }

  get isAccepted() { return this.taskId !== null && !this.isReplay; }
  get onConflict() { return this.options.on_conflict ?? 'replace'; }
  get delay() { return this.options.delay_ms ?? 0; }
}

export class Ledger {
  constructor(kind) {
    this.kind = kind;
    this.scripts = new Map(); // tag: its script
    this.posts = new Map(); // tag: what came to the upstream
    this.runs = [];
    this.byTask = new Map();
    this.actions = []; // {what, target, sentAt, answeredAt, answer}: all that may end runs
    this.viewers = []; // {session, kind, taskId, after, from, until, client}
    this.notes = []; // what a client saw that must not be
    this.terminatedAt = Infinity;
  }

  addScript(tag, script) {
    this.scripts.set(tag, script);
    this.posts.set(tag, []);
  }

  scriptOf(tag) { return this.scripts.get(tag); }
  postsOf(tag) { return this.posts.get(tag); }

  /** A run whose request is about to be sent. */
  addRun(fields) {
    const run = new Run(this.runs.length, fields);
    this.runs.push(run);
    return run;
  }

  /** The run was taken. The same task again is the answer to a repeated key. */
  accept(run, taskId, isReplay) {
    Object.assign(run, {taskId, isReplay});
    if (!isReplay) this.byTask.set(taskId, run);
  }

  /** Notes an action while it is under way and when it was answered. Gives the answer, or undefined if there was none. */
  async act(what, target, ask) {
    const action = {what, target, sentAt: Date.now(), answeredAt: Infinity};
    this.actions.push(action);
    try {
      action.answer = await ask();
      return action.answer;
    } catch (error) {
      action.error = error;
      if (Date.now() < this.terminatedAt) throw error;
      return undefined;
    } finally {
      action.answeredAt = Date.now();
    }
  }

  note(text) { this.notes.push(text); }
}
