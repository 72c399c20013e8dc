// Readers of event streams that behave as clients do: they read everything, slowly or a part, and resume.
import {playCase} from './fuzz_client.mjs';
import {boundMs} from './gateway.mjs';
import {compareIds} from './stream_checker.mjs';

/** Reads a stream: {events, answer, whole, error, received}. `how`: 'answers' to its end, 'slow', or 'stay' and then leave
 *  after `lifeMs`; `cutAfter` events it leaves by a reset. */
export async function readStream(gateway, target, {lastEventId, how = 'answers', lifeMs, cutAfter = Infinity, onEvent = () => {}, post, leavers} = {}) {
  const events = [];
  const id = lastEventId ? `Last-Event-ID: ${lastEventId}\r\n` : '';
  const text = post === undefined ? `GET ${target} HTTP/1.1\r\nHost: ${gateway.host}\r\n${id}\r\n`
    : `POST ${target} HTTP/1.1\r\nHost: ${gateway.host}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(post)}\r\n\r\n${post}`;
  const fuzzCase = {steps: [{send: Buffer.from(text)}], end: how, lifeMs, requests: 1, mayBeHead: false, agentFraming: target === '/run_sse' || /[?&]events=agent/.test(target), cut: () => events.length >= cutAfter};
  const result = await playCase(gateway.port, fuzzCase, {leavers, address: gateway.address, onEvent: (event) => {
    events.push(event);
    onEvent(event);
  }});
  const answer = result.answers[0];
  const [, session] = /^\/apps\/[^/]+\/users\/[^/]+\/sessions\/([\w-]+)\/run/.exec(target) ?? [];
  const foreign = events.find(({type, json}) => session && type === 'run.start' && json && json.session_id !== session);
  if (foreign) gateway.findings.add(`a run of another session came to a reader of ${target}: ${foreign.data}`, {fuzzCase, received: result.received});
  if (result.error) gateway.findings.add(`${result.error.message}, at the reader of ${target}${lastEventId ? ` from ${lastEventId}` : ''}`, {fuzzCase, received: result.received});
  return {...result, events, answer, whole: answer?.stream?.whole ?? false, gaps: result.reader.current?.stream?.gaps ?? answer?.stream?.gaps ?? 0};
}

/** The JSON of an answer, or undefined. */
export async function askJson(gateway, method, target, body, fields = '') {
  const sent = body === undefined ? '' : Buffer.from(JSON.stringify(body)).toString('latin1');
  const content = body === undefined ? '' : `Content-Type: application/json\r\nContent-Length: ${sent.length}\r\n`;
  const {answer} = await gateway.ask(`${method} ${target} HTTP/1.1\r\nHost: ${gateway.host}\r\nConnection: close\r\n${fields}${content}\r\n${sent}`, {lifeMs: 3 * boundMs});
  return answer;
}

/** The events that the readers of one session saw: an id names one event, and no reader misses one in between. */
export class Truth {
  constructor(session, gateway) {
    Object.assign(this, {session, gateway, byId: new Map(), readings: []});
  }

  /** Notes an event that a reader saw. */
  note({id, type, data}) {
    if (id === undefined || type === 'gap') return;
    const text = `${type}\n${data}`;
    const known = this.byId.get(id) ?? text;
    if (known !== text) this.gateway.findings.add(`the event ${id} of ${this.session} is ${JSON.stringify(known.slice(0, 200))} and ${JSON.stringify(text.slice(0, 200))}`, {unrelated: true});
    this.byId.set(id, text);
  }

  /** Adds the events of one reader of the whole session, which began after the event `after`; null: anywhere. */
  add({events, gaps}, after) {
    for (const event of events) this.note(event);
    const ids = events.filter(({id, type}) => id !== undefined && type !== 'gap').map(({id}) => id);
    if (ids.length > 0 && gaps === 0) this.readings.push({ids, after});
  }

  /** Compares all readings: from its first to its last event, each reader saw the same events as the others. */
  check() {
    const all = [...this.byId.keys()].sort(compareIds);
    const places = new Map(all.map((id, i) => [id, i]));
    for (const {ids, after} of this.readings) {
      const from = after !== null && places.has(after) ? places.get(after) + 1 : places.get(ids[0]);
      const expected = all.slice(from, places.get(ids.at(-1)) + 1);
      if (expected.length === ids.length) continue;
      const describe = (list) => JSON.stringify(list.slice(0, 5).map((id) => `${id} ${this.byId.get(id).slice(0, 100)}`));
      const missing = expected.filter((id) => !ids.includes(id));
      this.gateway.findings.add(missing.length > 0 ? `a reader of ${this.session} that began after ${after} did not see ${describe(missing)}`
        : `a reader of ${this.session} that began after ${after} saw again ${describe(ids.filter((id) => !expected.includes(id)))}`, {unrelated: true});
    }
  }
}
