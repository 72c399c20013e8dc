// The clients of a storm: each actor does what its seed draws, one thing after the other.
import {pause} from '../support/limits.mjs';
import {SseClient} from '../support/sse_client.mjs';
import {drawScript} from './script.mjs';

const streamHeaders = {Accept: 'text/event-stream'};

export class Actor {
  /** `world`: {sluice, ledger, variant, sessions, tags, watching}; see round.mjs. */
  constructor(world, random, session) {
    Object.assign(this, {world, random, session});
    this.recent = []; // the runs it started
    this.keys = [];
    this.name = random.words.slice(2).join('-');
    this.made = 0; // names and seeds that it has given
  }

  get ledger() { return this.world.ledger; }

  /** Does `count` things, or fewer if the storm is over before. */
  async go(count) {
    const doings = [[40, this.start], [10, this.startStream], [this.world.kind === 'adk' ? 5 : 0, this.startAsAdk], [6, this.repeat], [8, this.cancelTask],
      [8, this.cancelCurrent], [2, this.cancelSeveral], [1, this.deleteSession], [14, this.view], [6, this.viewRun], [5, this.ask], [3, this.startAlone]];
    for (let i = 0; i < count && !this.world.isOver(); i++) {
      await this.random.weighted(doings).call(this);
      await pause(this.random.weighted([[6, 0], [4, this.random.below(20)], [1, this.random.below(150)]]));
    }
  }

  // ---- runs ----

  options() {
    const {random} = this;
    const has = (percent, value) => (random.chance(percent) ? value() : undefined);
    return {
      on_conflict: random.pick([undefined, 'replace', 'enqueue', 'enqueue', 'reject']),
      delay_ms: has(15, () => random.from(1, 300)),
      priority: has(30, () => random.from(1, 10)),
      timeout_ms: has(15, () => random.from(20, 600)),
      label: has(20, () => `label "${random.below(100)}" é`),
    };
  }

  /** The tag of a run, and with it what the upstream will do. */
  drawTag() {
    const {tags} = this.world;
    if (tags.length > 0) return this.random.pick(tags);
    const tag = `${this.name}-${this.made++}`;
    this.ledger.addScript(tag, drawScript(this.random, this.world.variant));
    return tag;
  }

  draw({session = this.session, options = this.options(), mayHaveKey = true} = {}) {
    const key = mayHaveKey && this.random.chance(20) ? `key-${this.name}-${this.made++}` : undefined;
    const run = this.ledger.addRun({tag: this.drawTag(), session, options: JSON.parse(JSON.stringify(options)), key});
    if (key !== undefined) this.keys.push(run);
    this.recent.push(run);
    return run;
  }

  headersOf(run) { return run.key === undefined ? {} : {'Idempotency-Key': run.key}; }
  bodyOf(run) { return {message: run.tag, gateway: run.options}; }

  taken(run, status, taskId, isReplay, json) {
    run.status = status;
    run.answeredAt = Date.now();
    if (status === 200) this.ledger.accept(run, taskId, isReplay);
    else run.refusal = json?.error;
  }

  async post(run) {
    try {
      const {status, json, headers} = await this.world.sluice.post(`${run.session}/run`, this.bodyOf(run), {headers: this.headersOf(run)});
      this.taken(run, status, json?.task_id, headers['idempotency-replayed'] === 'true', json);
    } catch (error) {
      this.lost(run, error);
    }
  }

  /** A request without an answer: only the end of the gateway may have that. */
  lost(run, error) {
    run.isLost = true;
    if (!this.world.isEnding()) this.ledger.note(`no answer to the run ${run.tag}: ${error.message}`);
  }

  async start() { await this.post(this.draw()); }

  /** A run that is answered by its own stream. */
  async postStream(run, path, body, kind) {
    const client = new SseClient(this.world.sluice.url, path,
      {method: 'POST', body: JSON.stringify(body), headers: {...streamHeaders, ...this.headersOf(run)}});
    try {
      await client.opened();
      if (client.status !== 200) await client.until(() => client.end, 'the whole refusal');
    } catch (error) {
      return this.lost(run, error);
    }
    const taskId = client.headers.location?.split('/').at(-1);
    const isReplay = client.headers['idempotency-replayed'] === 'true';
    let json;
    try { json = JSON.parse(client.body.toString()); } catch { /* a stream */ }
    this.taken(run, client.status, taskId, isReplay, json);
    if (client.status !== 200) client.leave();
    else this.world.watch({session: run.session, kind, taskId, after: null, client}, this.random.fork('stream', this.made++));
    return undefined;
  }

  async startStream() {
    const run = this.draw();
    await this.postStream(run, `${run.session}/run`, this.bodyOf(run), 'run');
  }

  async startAsAdk() {
    const run = this.draw({options: {}, mayHaveKey: false});
    const [, , appName, , userId, , sessionId] = run.session.split('/');
    const body = {appName, userId, sessionId, newMessage: {role: 'user', parts: [{text: run.tag}]}, streaming: true};
    await this.postStream(run, '/run_sse', body, 'agent');
  }

  /** In a session of its own: its only viewer leaves, and the run is to end by that. */
  async startAlone() {
    const session = `${this.session}-alone-${this.name}-${this.made++}`;
    this.world.sessions.add(session);
    const options = this.random.chance(50) ? {on_disconnect: 'cancel'} : {cancel_after_idle_ms: this.random.from(1, 60)};
    const run = this.draw({session, options, mayHaveKey: false});
    await this.postStream(run, `${session}/run`, this.bodyOf(run), 'run');
  }

  /** The same key once more: with the same body it is the same run, with another one it is refused. */
  async repeat() {
    const first = this.keys.length > 0 && this.random.pick(this.keys);
    if (!first) return;
    const isSame = this.random.chance(70);
    const run = this.ledger.addRun({tag: isSame ? first.tag : this.drawTag(), session: first.session, options: first.options, key: first.key,
      repeats: first, isSame});
    await this.post(run);
  }

  // ---- what ends runs ----

  async cancelTask() {
    const run = this.recent.length > 0 && this.random.pick(this.recent.slice(-4));
    if (!run?.taskId) return;
    await this.ledger.act('cancel', run.taskId, () => this.world.sluice.delete(`/tasks/${run.taskId}`));
  }

  async cancelCurrent() { await this.ledger.act('cancel_current', this.session, () => this.world.sluice.delete(`${this.session}/run`)); }

  async cancelSeveral() {
    const [name] = this.session.split('/').slice(-1);
    await this.ledger.act('cancel_several', this.session, () => this.world.sluice.delete(`/tasks?session=${name}`));
  }

  async deleteSession() { await this.ledger.act('delete', this.session, () => this.world.sluice.delete(this.session)); }

  // ---- viewers ----

  /** Reads the session, is cut and resumes a few times. */
  async view() {
    const from = this.random.pick([undefined, 'run', 'start', 'now']);
    this.world.watch({session: this.session, kind: 'session', from, until: this.random.chance(30), after: null}, this.random.fork('view', this.made++));
  }

  async viewRun() {
    const run = this.recent.length > 0 && this.random.pick(this.recent.slice(-6));
    if (!run?.taskId) return;
    this.world.watch({session: run.session, kind: 'run', taskId: run.taskId, after: null}, this.random.fork('run', this.made++));
  }

  /** Questions that change nothing. */
  async ask() {
    const run = this.recent.at(-1);
    const paths = ['/stats', '/metrics', '/tasks?limit=20', `${this.session}/history`, `${this.session}/task-status`, '/health', this.session, '/list-apps',
      ...(run?.taskId ? [`/tasks/${run.taskId}?wait_ms=${this.random.below(100)}`, `/tasks/${run.taskId}/result`] : [])];
    const path = this.random.pick(paths);
    try {
      const {status} = await this.world.sluice.get(path);
      if (status >= 500 && status !== 503) this.ledger.note(`GET ${path} is answered ${status}`);
    } catch (error) {
      if (!this.world.isEnding()) this.ledger.note(`GET ${path}: ${error.message}`);
    }
  }
}
