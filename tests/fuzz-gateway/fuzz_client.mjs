// Plays a case: one connection to the gateway that sends the bytes of the case, and reads the answers strictly.
import net from 'node:net';
import {AnswerReader} from './answer_reader.mjs';

const keptBytes = 64 * 1024;

/** A request that is sent in this time has no excuse: the gateway waits for a second at least. */
const promptMs = 300;
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** When nothing may grow, connections have a sixteenth of the memory: one more is refused by one answer, before its request is read. */
export const isRefusedForMemory = (answers) => answers.length === 1 && answers[0].status === 503 && answers[0].json?.error?.code === 'memory_full' && Boolean(answers[0].last);

/** Plays it once; resolves to {error, received, answers, reader, gatewayEnded} when the connection is over. `boundMs`: within
 *  which an answer that must come has come; `error.missing` says that none came. `leavers`: a set that holds a function to
 *  leave meanwhile; `address`: the client's. `fuzzCase.cut()`: whether to leave by a reset now. */
export const playCase = (port, fuzzCase, options = {}) => new Promise((resolve) => new Play(port, fuzzCase, options, resolve));

class Play {
  constructor(port, fuzzCase, {boundMs = fuzzCase.lifeMs, leavers, address, onAnswer, onEvent, foreign}, resolve) {
    Object.assign(this, {fuzzCase, boundMs, leavers, resolve, over: false, error: null, received: [], kept: 0});
    this.reader = new AnswerReader({mayBeHead: fuzzCase.mayBeHead, agentFraming: fuzzCase.agentFraming, onAnswer, onEvent, foreign});
    this.socket = net.connect({port, host: '127.0.0.1', localAddress: address ?? `127.0.0.${2 + fuzzCase.number % 8}`, allowHalfOpen: true, noDelay: true});
    this.socket.on('data', (bytes) => this.take(bytes));
    this.socket.on('end', () => this.finish('end'));
    this.socket.on('error', () => this.finish('reset'));
    this.socket.on('close', () => this.finish('reset'));
    this.socket.on('connect', () => this.send());
    this.leave = () => this.finish();
    leavers?.add(this.leave);
    this.setTimer(fuzzCase.statuses ? boundMs : fuzzCase.lifeMs);
  }

  /** Bytes that lie in the socket when the time is up count as in time. */
  setTimer(ms) {
    this.timer = setTimeout(() => setImmediate(() => this.expire(ms)), ms);
  }

  expire(ms) {
    const {statuses, mustAnswer} = this.fuzzCase;
    if (this.over) return;
    if (mustAnswer && this.reader.bytes === 0 && ms < this.boundMs) return this.setTimer(this.boundMs);
    if (statuses) this.fail(`${this.reader.answers.length} of ${statuses.length} answers came within ${ms} ms`);
    else if (mustAnswer && this.reader.bytes === 0) this.fail(`no answer came within ${ms} ms`);
    this.finish();
  }

  /** A request that took its time to leave, on a busy machine, may have met the time for requests. */
  fail(message) {
    if (!this.isSent || this.sendMs > promptMs) return;
    this.error ??= Object.assign(new Error(message), {missing: true});
  }

  async send() {
    const from = performance.now();
    await this.sendSteps();
    this.isSent = true;
    this.sendMs = performance.now() - from;
  }

  async sendSteps() {
    for (const step of this.fuzzCase.steps) {
      if (this.over) return;
      if (step.send) this.socket.write(step.send);
      else if (step.wait > 0) await pause(step.wait);
      else if (step.half) this.socket.end();
      else if (step.fin) this.finish();
      else if (step.reset) this.reset();
    }
  }

  reset() {
    this.socket.resetAndDestroy();
    this.finish();
  }

  take(bytes) {
    if (this.over) return;
    if (this.kept < keptBytes) this.received.push(bytes);
    this.kept += bytes.length;
    this.attempt(() => this.reader.take(bytes));
    if (this.fuzzCase.end === 'slow' || this.fuzzCase.end === 'stuck') this.socket.pause();
    if (this.fuzzCase.end === 'slow') setTimeout(() => this.socket.resume(), 20);
    if (this.fuzzCase.cut?.()) this.reset();
    else if (this.isDone()) this.finish();
  }

  attempt(work) {
    try {
      work();
    } catch (error) {
      this.error ??= error;
    }
  }

  isDone() {
    const {statuses: expected, end, requests} = this.fuzzCase;
    if (this.error) return true;
    if (!expected) return end === 'answers' && this.reader.answers.length >= requests;
    const statuses = this.reader.answers.map(({status}) => status);
    // A 429 reports a limit of the client's address; one of connections is the last answer.
    if (statuses.some((status, i) => status !== expected[i] && status !== 429 && status !== 408) && !isRefusedForMemory(this.reader.answers)) this.error = new Error(`answered ${statuses} instead of ${expected}`);
    return this.error !== null || statuses.length === expected.length || this.reader.answers.at(-1)?.last;
  }

  /** `how`: 'end' or 'reset', if it was the gateway. */
  finish(how) {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.timer);
    this.leavers?.delete(this.leave);
    if (how && !this.error) this.attempt(() => this.reader.end(how === 'reset'));
    if (how === 'end' && this.fuzzCase.mustAnswer && this.reader.bytes === 0) this.fail('the connection was closed without an answer');
    if (this.fuzzCase.number % 3 === 1) this.socket.resetAndDestroy();
    else this.socket.destroy();
    this.resolve({error: this.error, received: Buffer.concat(this.received), answers: this.reader.answers, reader: this.reader, gatewayEnded: how !== undefined});
  }
}
