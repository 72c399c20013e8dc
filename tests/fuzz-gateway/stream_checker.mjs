// Checks that hold for any event stream of the gateway, whatever clients and upstreams sent: it parses, ids grow, each run
// begins and ends at most once, numbered events of the agent are complete and in order, and no agent speaks as the gateway.
import {isUtf8} from 'node:buffer';

/** Events of the gateway's own, and the members that each of them has. */
const lifecycle = {
  'run.start': ['task_id'],
  'run.end': ['task_id', 'status', 'reason', 'events', 'bytes', 'duration_ms'],
  'run.retry': ['task_id', 'attempt', 'delay_ms', 'reason'],
  gap: ['from', 'to', 'reason'],
  'session.end': [],
  'session.state': [],
  'server.drain': [],
  'auth.expiring': [],
  'auth.expired': [],
};

/** A name that an agent's event may not have: it is delivered as `upstream.<name>`. */
const isReserved = (type) => type in lifecycle || /^(session|server|auth)\./.test(type);

/** These are made for one connection, and are not in the log. */
const withoutId = /^(server\.drain|session\.state|auth\..*)$/;

const ends = new Set(['completed', 'failed', 'cancelled', 'replaced', 'timeout']);

/** The task that upstreams name in what they send under a reserved name: it must not reach a client under that name. */
export const forged = 'FORGED-BY-THE-AGENT';

const idPattern = /^(\d{10,16})-(\d+)$/;

/** The order of two ids: above 0 if `later` follows `earlier`. */
export function compareIds(later, earlier) {
  const [, ms, n] = idPattern.exec(later);
  const [, msBefore, nBefore] = idPattern.exec(earlier);
  return Number(ms) - Number(msBefore) || Number(n) - Number(nBefore);
}

/** An event of the well-behaved upstream: number `number` of the run that was asked `of`. */
export const numbered = (of, number, padding = '') => `data: {"of":"${of}","number":${number}${padding && `,"padding":"${padding}"`}}\n\n`;

/** The form of a gap in the agent's framing. */
const agentGap = '{"error":"Some events are no longer retained';

const numberedPattern = /^\{"of":"([^"]*)","number":(\d+)/;

export class StreamChecker {
  /** `onEvent({id, type, data})` is called for each event. `agentFraming`: there are no events of the gateway's own, and the
   *  agent may name its events as it likes. */
  constructor({onEvent = () => {}, agentFraming = false} = {}) {
    Object.assign(this, {onEvent, agentFraming});
    this.text = '';
    this.lastId = null;
    this.events = 0;
    this.runs = new Map(); // task id -> 'started' or 'ended'
    this.numbers = new Map(); // of -> the last number
    this.gaps = 0;
    this.counted = null; // agent's events since run.start; null: unknown
    this.whole = false;
  }

  take(bytes) {
    if (!isUtf8(bytes)) this.odd = true; // a character may be cut by a read: looked at again with the whole event
    this.text += bytes.toString('latin1');
    let from = 0;
    for (let end; (end = this.text.indexOf('\n\n', from)) >= 0; from = end + 2) this.block(this.text.slice(from, end));
    this.text = from > 0 ? this.text.slice(from) : this.text;
  }

  /** The stream was ended by its last chunk, or by the end of the connection. */
  finish(byLastChunk) {
    this.whole = byLastChunk;
    if (byLastChunk && /^(id|event|data)/m.test(this.text)) throw new Error(`the stream ends inside an event: ${JSON.stringify(this.text.slice(-200))}`);
  }

  cut() { this.broken = true; }

  block(block) {
    const event = {id: undefined, type: 'message'};
    const data = [];
    let fields = 0;
    for (const line of block.split('\n')) {
      const colon = line.indexOf(':');
      if (colon === 0 || line.startsWith('retry: ')) {
        if (fields > 0) throw new Error(`${JSON.stringify(line.slice(0, 80))} inside an event`);
        if (colon > 0 && !/^retry: \d+$/.test(line)) throw new Error(`bad line ${line.slice(0, 80)}`);
        continue;
      }
      fields++;
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
      if (event.id !== undefined) throw new Error(`a line after the id: ${JSON.stringify(line.slice(0, 120))}`);
      if (name === 'data') data.push(value);
      else if (name === 'event' && event.type === 'message' && data.length === 0) event.type = value;
      else if (name === 'id' && event.id === undefined) event.id = value;
      else throw new Error(`a line that is no field, or comes twice: ${JSON.stringify(line.slice(0, 120))}`);
    }
    if (fields === 0) throw new Error(`a blank line without an event: ${JSON.stringify(block.slice(0, 80))}`);
    if (data.length === 0) throw new Error(`an event without data: ${JSON.stringify(block.slice(0, 200))}`);
    if (block.includes('\r')) throw new Error(`a CR within an event: ${JSON.stringify(block.slice(0, 200))}`);
    if (this.odd && !isUtf8(Buffer.from(block, 'latin1'))) throw new Error(`no UTF-8: ${JSON.stringify(block.slice(0, 200))}`);
    event.data = data.join('\n');
    this.event(event);
  }

  event(event) {
    this.events++;
    this.checkId(event);
    if (event.type in lifecycle && !this.agentFraming) this.lifecycle(event);
    else this.agent(event);
    this.onEvent(event);
  }

  checkId({id, type}) {
    if (withoutId.test(type) && !this.agentFraming) {
      if (id !== undefined) throw new Error(`${type} of one connection has the id ${id}`);
      return;
    }
    if (!idPattern.test(id ?? '')) throw new Error(`${type} has the id ${JSON.stringify(id)}`);
    if (this.lastId !== null && compareIds(id, this.lastId) <= 0) throw new Error(`the id ${id} of ${type} does not follow ${this.lastId}`);
    this.lastId = id;
  }

  /** Checks an event of the gateway. */
  lifecycle(event) {
    try {
      event.json = JSON.parse(event.data);
    } catch {
      throw new Error(`${event.type} without JSON: ${event.data.slice(0, 200)}`);
    }
    if (event.json.task_id === forged) throw new Error(`the agent speaks as the gateway: ${event.type} ${event.data.slice(0, 200)}`);
    const lacking = lifecycle[event.type].filter((member) => !(member in event.json));
    if (lacking.length > 0) throw new Error(`${event.type} lacks ${lacking}: ${event.data.slice(0, 300)}`);
    const {task_id: task} = event.json;
    if (event.type === 'gap') this.gap();
    else if (event.type === 'run.start') this.runStarts(task);
    else if (event.type === 'run.end') this.runEnds(task, event.json);
  }

  /** The lost events may hold the end of a run, and the beginning of another. */
  gap() {
    this.gaps++;
    this.numbers.clear();
    this.counted = null;
    for (const [task, state] of this.runs) if (state === 'started') this.runs.delete(task);
  }

  runStarts(task) {
    if (this.runs.has(task)) throw new Error(`run.start of ${task}, which has ${this.runs.get(task)}`);
    for (const [other, state] of this.runs) if (state === 'started') throw new Error(`run.start of ${task} while ${other} is under way`);
    this.runs.set(task, 'started');
    this.numbers.clear();
    this.counted = 0;
  }

  runEnds(task, end) {
    if (this.runs.get(task) === 'ended') throw new Error(`run.end of ${task} twice`);
    if (!ends.has(end.status)) throw new Error(`run.end with the status ${end.status}`);
    if (end.status === 'failed' && typeof end.reason !== 'string') throw new Error(`a failure without a reason: ${JSON.stringify(end)}`);
    if (this.runs.get(task) === 'started') {
      if (this.counted !== null && this.counted !== end.events) throw new Error(`run.end counts ${end.events} events, ${this.counted} came`);
      this.counted = null;
    }
    this.runs.set(task, 'ended');
  }

  /** Checks an event of the agent. */
  agent(event) {
    if (event.type === '' || (!this.agentFraming && isReserved(event.type))) throw new Error(`an agent's event named ${JSON.stringify(event.type)}`);
    if (event.data.startsWith(agentGap)) return this.gap();
    if (this.counted !== null) this.counted++;
    const match = numberedPattern.exec(event.data);
    if (!match) return;
    const [, of, number] = match;
    const last = this.numbers.get(of) ?? (this.counted === 1 ? 0 : undefined); // the first one after run.start is number 1
    if (last !== undefined && Number(number) !== last + 1) throw new Error(`number ${number} of ${of} follows number ${last}`);
    this.numbers.set(of, Number(number));
  }
}
