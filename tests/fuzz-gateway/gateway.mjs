// The gateway that is fuzzed, and the checks of the process: it lives, answers in time, does not spin or grow, and ends
// with status 0.
import {spawnSync} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {stretched} from '../support/limits.mjs';
import {startSluice} from '../support/sluice.mjs';
import {isRefusedForMemory, playCase} from './fuzz_client.mjs';

export const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** The canary's answers come within this time, however busy the gateway is. */
export const boundMs = stretched(2000);

/** A gateway with these settings never needs more, even though the address sanitizer keeps freed memory. */
const residentMax = 900 << 20;

/** Requests that were accepted below the limit still arrive above it, and a reload may lower the limit. */
const accountedSlack = 64 << 20;

const sanitizers = {
  ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1:quarantine_size_mb=32:abort_on_error=0',
  UBSAN_OPTIONS: 'print_stacktrace=1',
};

/** Counters of events that may not happen. */
const alwaysZero = ['sluice_turns_without_progress_total', 'sluice_broken_states_total'];

/** Settings that a reload changes stand in the file, the others in flags. */
const flagKeys = ['workers', 'log_level', 'drain_ms'];

export class Gateway {
  constructor(findings, side) {
    Object.assign(this, {findings, file: join(findings.directory, `sluice-${side}.yaml`), address: '127.0.0.1', stopping: false, canaries: 0, wholeRuns: 0});
  }

  async start(settings) {
    const flags = Object.fromEntries(flagKeys.map((key) => [key, settings[key]]));
    writeFileSync(this.file, this.settingsText(settings));
    this.sluice = await startSluice({after: () => {}}, flags, {args: ['--config', this.file], env: sanitizers});
    this.sluice.program.ended.then((end) => this.hasEnded(end));
    return this;
  }

  /** The same gateway, as a client of another address sees it. */
  from(address) { return Object.create(this, {address: {value: address}}); }

  get port() { return this.sluice.port; }
  get pid() { return this.sluice.program.pid; }
  get alive() { return this.sluice.program.running; }
  get host() { return `127.0.0.1:${this.port}`; }

  /** The file of settings. */
  settingsText(settings) {
    return Object.entries(settings).filter(([key]) => !flagKeys.includes(key)).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`).join('');
  }

  reload(settings) { this.reloadText(this.settingsText(settings)); }

  /** Has the gateway read this text, whatever it is. */
  reloadText(text) {
    writeFileSync(this.file, text);
    if (this.alive) this.sluice.program.signal('SIGHUP');
  }

  hasEnded({code, signal}) {
    const {stderr} = this.sluice.program;
    if (/"event":"broken_state"/.test(stderr)) this.findings.add(`a state that cannot be: ${/^.*"event":"broken_state".*$/m.exec(stderr)[0]}`, {log: stderr});
    if (this.killed || (this.stopping && code === 0 && !/Sanitizer|runtime error:/.test(stderr))) return;
    this.findings.add(`the gateway ended with ${signal ?? `status ${code}`}${this.stopping ? ' when it was stopped' : ''}: ${reason(stderr)}`, {log: stderr});
  }

  /** One complete request in Latin-1, and what playCase() gives; a finding unless it is answered in time. `name`: what the request is called.
   *  If it is passed through (`foreign`), an upstream that breaks off ends it without an answer. */
  async ask(text, {name = text.slice(0, text.indexOf(' HTTP')), lifeMs = boundMs, mayBeHead = false, foreign = false} = {}) {
    const fuzzCase = {steps: [{send: Buffer.from(text, 'latin1')}], end: 'answers', lifeMs, requests: 1, mayBeHead};
    const result = await playCase(this.port, fuzzCase, {foreign, address: this.address});
    const {answers: [answer], error, received, gatewayEnded} = result;
    if (error) this.findings.add(`${error.message}, in the answer to ${name}`, {fuzzCase, received});
    else if (answer?.status === 408) this.findings.add(`a complete request was answered 408: ${name}`, {fuzzCase, received});
    else if (!answer && !(foreign && gatewayEnded)) await this.missing(`no answer to ${name} within ${lifeMs} ms`);
    return {...result, answer};
  }

  get(path) { return this.ask(`GET ${path} HTTP/1.1\r\nHost: ${this.host}\r\nConnection: close\r\n\r\n`); }

  // ---- the canary ----

  /** Asks again and again until `goesOn()` is false. */
  async watch(goesOn) {
    for (let i = 0; goesOn() && this.alive; i++) {
      const from = performance.now();
      if (i % 4 === 3) await this.canaryRun(i);
      else await this.mustAnswer('/healthz', (body) => body === '{"status":"ok"}');
      this.canaries++;
      this.slowestMs = Math.max(this.slowestMs ?? 0, performance.now() - from);
      if (i % 10 === 5) await this.checkMemory();
      await pause(80);
    }
  }

  /** A GET that must be answered 200, if its connection is taken: within 5 s one is. */
  async mustAnswer(path, isGood = () => true) {
    let {answer} = await this.get(path);
    for (let i = 0; answer && isRefusedForMemory([answer]) && i < 50; i++) {
      await pause(100);
      ({answer} = await this.get(path));
    }
    if (answer && (answer.status !== 200 || !isGood(answer.body.toString()))) this.findings.add(`GET ${path} was answered ${answer.status} ${answer.body}`, {unrelated: true});
    return answer;
  }

  /** A failure that is a finding unless the gateway is being stopped, or is gone, which is a finding by itself. */
  async missing(message, more = {}) {
    if (this.alive && !this.stopping) await pause(500); // its end may be on its way
    if (this.alive && !this.stopping) this.findings.add(message, {...more, log: this.stacks()});
  }

  /** The end of its log, and the stacks of its threads if gdb is installed. */
  stacks() {
    const {stdout} = spawnSync('gdb', ['-p', String(this.pid), '-batch', '-ex', 'thread apply all bt 14'], {encoding: 'utf8', timeout: 30000});
    const frames = (stdout ?? '').split('\n').filter((line) => /^(#|Thread)/.test(line)).map((line) => line.slice(0, 160));
    return `${this.sluice.program.stderr.slice(-1000)}\n${frames.join('\n')}`;
  }

  get excused() { return this.stopping || !this.alive; }

  /** A small run, whole and in time; other clients may cancel it, or have used up a limit. */
  async canaryRun(number) {
    const body = '{"message":"count=3"}';
    const {answer} = await this.ask(`POST /apps/demo/users/canary/sessions/canary${number % 3}/run HTTP/1.1\r\nHost: ${this.host}\r\nAccept: text/event-stream\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`, {name: 'a small run'});
    if (!answer?.stream) return;
    if (![...answer.stream.runs.values()].includes('ended')) await this.missing(`the stream of a run ended without run.end after ${answer.stream.events} events`);
    else if (answer.stream.whole) this.wholeRuns++;
  }

  /** Checks the resident memory, and the accounted memory against its limit. */
  async checkMemory() {
    const status = this.alive ? readFileSync(`/proc/${this.pid}/status`, 'utf8') : '';
    const resident = Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024; // none of one that is ending
    this.mostBytes = Math.max(this.mostBytes ?? 0, resident);
    if (resident > residentMax) this.findings.add(`${resident >> 20} MiB are resident`, {unrelated: true});
    const memory = (await this.mustAnswer('/stats'))?.json?.memory;
    if (memory && memory.accounted_bytes > memory.max_bytes + accountedSlack) this.findings.add(`it takes more memory than it may: ${JSON.stringify(memory)}`, {unrelated: true});
  }

  // ---- spinning ----

  /** Milliseconds of processor time so far (clock ticks are 10 ms). */
  cpuMs() {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }

  /** With nothing to do it uses next to no processor time: checked several times, since begun work may still be going on. */
  async checkCalm() {
    let shares = [];
    for (let i = 0; i < 4 && this.alive; i++) {
      const [from, cpu] = [performance.now(), this.cpuMs()];
      await pause(500);
      if (!this.alive) return;
      const share = (this.cpuMs() - cpu) / (performance.now() - from);
      if (share < 0.25) return;
      shares.push(`${Math.round(share * 100)} %`);
    }
    if (this.alive) this.findings.add(`with nothing to do it uses ${shares.join(', ')} of a processor`, {});
  }

  async checkCounters() {
    const answer = await this.mustAnswer('/stats');
    for (const name of answer ? alwaysZero : []) {
      const value = answer.json.counters[name];
      if (value !== 0) this.findings.add(`${name} is ${value}`, {log: this.sluice.program.stderr});
    }
  }

  // ---- the end ----

  /** SIGTERM, and the end that must follow in time: with status 0, and nothing from a sanitizer. */
  async stop(drainMs) {
    if (!this.alive) return;
    this.stopping = true;
    const {program} = this.sluice;
    program.signal('SIGTERM');
    const ended = await Promise.race([program.ended.then(() => true), pause(drainMs + stretched(3000)).then(() => false)]);
    if (ended) return;
    this.findings.add(`it has not ended ${stretched(3000)} ms after its drain_ms of ${drainMs}`, {log: this.stacks()});
    this.killed = true;
    program.signal('SIGABRT');
    await program.ended;
  }
}

/** The line of its log that says why it ended. */
const reason = (text) => /^.*(?:Assertion|ERROR: \w+Sanitizer|runtime error|SUMMARY).*$/m.exec(text)?.[0] ?? text.slice(-300);
