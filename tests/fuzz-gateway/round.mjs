// One round: an upstream and a gateway with settings of their own, all traffic at once, and the end. That is either SIGTERM
// in the middle of the traffic, or a rest in which everything must be released, and then SIGTERM.
import {readdirSync} from 'node:fs';
import {stretched} from '../support/limits.mjs';
import {Gateway, pause} from './gateway.mjs';
import {startJunkRedis} from './junk_redis.mjs';
import {mutate} from './mutate.mjs';
import {readStream} from './readers.mjs';
import {startUpstreamServer} from './upstream_server.mjs';

/** Plays cases, `width` at a time, as long as `goesOn()`; `make(number)` makes them. Returns their number. */
export async function playCases(width, goesOn, make, play) {
  let number = 0;
  await Promise.all(Array.from({length: width}, async () => {
    while (goesOn()) await play(make(number++));
  }));
  return number;
}

/** Kinds of memory of which a gateway without clients takes none. Its connections, health checks and cache stay. */
const kindsAtRest = ['events', 'sessions', 'runs', 'idempotency_keys', 'subscribers', 'request_bodies'];

export class Round {
  /** `side`: {name, makeSettings(random, upstreamUrl), script(round), hasRedis}. */
  constructor(findings, random, side) {
    Object.assign(this, {findings, random, side, ending: false});
  }

  get goesOn() { return () => !this.ending && this.gateway.alive && !this.findings.found; }

  async begin(number) {
    this.upstream = await startUpstreamServer(this.side.script(this), (message, bytes) => this.findings.add(message, {received: Buffer.from(bytes, 'latin1')}));
    if (this.side.hasRedis && this.random.fork('redis').chance(40)) this.redis = await startJunkRedis(this.random.fork('redis', 'replies'));
    this.settings = {...this.side.makeSettings(this.random.fork('settings'), this.upstream.url), ...(this.redis && {redis: this.redis.address, redis_timeout_ms: 100, cache_bytes_max: 0})};
    this.findings.begin(number, this.settings);
    this.gateway = new Gateway(this.findings, this.side.name);
    await this.gateway.start(this.settings);
    this.atRest = await this.held();
    for (let i = 0; i < 5; i++) this.atRest.descriptors = Math.max(this.atRest.descriptors, (await this.held()).descriptors);
  }

  /** Reads the settings again from time to time, some of them changed. */
  async reload(change) {
    const random = this.random.fork('reload');
    while (this.goesOn()) {
      await pause(random.from(200, 900));
      if (!this.goesOn()) return;
      if (random.chance(15)) this.gateway.reloadText(mutate(random, Buffer.from(this.gateway.settingsText(this.settings))));
      else this.gateway.reload(this.settings = {...this.settings, ...change(random)});
    }
  }

  /** The traffic is over, and open connections stay open without a word. Now the gateway must be calm. */
  async settle() {
    await this.gateway.checkCalm();
    await this.gateway.checkCounters();
  }

  /** The things that the gateway holds, by its own and by the kernel's account. Connections to the upstream and to Redis do not count. */
  async held() {
    const answer = await this.gateway.mustAnswer('/stats');
    const {sessions, subscribers, runs, runs_queued, tasks, connections, log_events, log_bytes, memory} = answer?.json ?? {};
    const descriptors = this.gateway.alive ? readdirSync(`/proc/${this.gateway.pid}/fd`).length - this.upstream.connections() - (this.redis?.connections() ?? 0) : 0;
    return {sessions, subscribers, runs, runs_queued, tasks, connections, log_events, log_bytes, ...Object.fromEntries(kindsAtRest.map((kind) => [`${kind}_memory`, memory?.kinds[kind]])), descriptors};
  }

  /** All clients have left: runs are cancelled, sessions expire, and everything must be released. */
  async rest() {
    const {gateway} = this;
    gateway.reload({...this.settings, tasks_kept: 0, session_ttl_ms: 100, session_empty_ttl_ms: 100, cleanup_interval_ms: 20, idempotency_ttl_ms: 100});
    const {descriptors, ...exact} = this.atRest;
    const deadline = performance.now() + stretched(4000);
    for (let now, i = 0; gateway.alive; i++) {
      if (i % 5 === 0) {
        await gateway.ask(`DELETE /tasks?all=true HTTP/1.1\r\nHost: ${gateway.host}\r\nConnection: close\r\n\r\n`);
        await gateway.canaryRun(0); // ended runs are forgotten when another one ends
      }
      now = await this.held();
      const left = Object.keys(exact).filter((key) => now[key] !== exact[key]);
      if (now.descriptors > descriptors) left.push('descriptors');
      if (left.length === 0) break;
      if (performance.now() > deadline) return this.findings.add(`not everything was released: ${left.map((key) => `${key} ${this.atRest[key]} before, ${now[key]} now`).join('; ')}`, {unrelated: true});
      await pause(100);
    }
    await gateway.checkMemory();
  }

  /** Readers that are attached when it ends: each stream is ended in order. */
  attach(sessions) {
    return sessions.map((session) => readStream(this.gateway, `${session}/run`, {lifeMs: this.settings.drain_ms + stretched(4000)}));
  }

  async stop(attached = []) {
    await this.gateway.stop(this.settings.drain_ms);
    for (const {answer, events, error} of await Promise.all(attached)) {
      if (!error && answer?.status === undefined && events.length > 0) this.findings.add(`a stream was cut off at the end after ${JSON.stringify(events.at(-1))}`, {unrelated: true});
    }
    this.upstream.close();
    this.redis?.close();
  }
}
