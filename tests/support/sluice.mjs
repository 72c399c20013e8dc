// The gateway under test: starts it on a free port, speaks to it, and holds its end to what is promised.
import assert from 'node:assert/strict';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {request} from './http.mjs';
import {Program, run} from './program.mjs';
import {SseClient} from './sse_client.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const projectPath = (path) => join(root, path);
export const sluiceBinary = process.env.SLUICE_BIN ?? projectPath('build/sluice');

const sanitizerReport = /(Address|Thread|Leak|Memory|UndefinedBehavior)Sanitizer|runtime error:/;

/** {heartbeat_ms: 200, demo: true} -> ['--heartbeat-ms', '200', '--demo', 'true'] */
export function flagList(flags) {
  return Object.entries(flags).flatMap(([key, value]) => [`--${key.replaceAll('_', '-')}`, String(value)]);
}

/** A run's last words: what the gateway's program says with these arguments before it ends by itself. */
export const sluiceSays = (args, options) => run(sluiceBinary, args, options);

/** A file that is gone after the test. */
export function temporaryFile(context, name, text) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-test-'));
  const path = join(directory, name);
  writeFileSync(path, text);
  context.after(() => rmSync(directory, {recursive: true, force: true}));
  return path;
}

/** Starts a gateway that is stopped after the test, which fails unless it then ends with status 0 and without a
 *  sanitizer's report. `context` is a test's context, or {after} of node:test for a whole file. */
export async function startSluice(context, flags = {}, {args = [], env = {}} = {}) {
  const all = {listen: '127.0.0.1:0', workers: 2, log_format: 'json', log_level: 'info', drain_ms: 0, ...flags};
  const program = new Program(sluiceBinary, [...args, ...flagList(all)], {env});
  const sluice = new Sluice(program);
  context.after(() => sluice.stop());
  const listening = await program.line('stderr', (line) => {
    const entry = parsed(line);
    return entry?.event === 'listening' && entry;
  });
  sluice.port = listening.port;
  sluice.url = `http://127.0.0.1:${listening.port}`;
  return sluice;
}

function parsed(line) {
  try { return JSON.parse(line); } catch { return undefined; }
}

let sessionNumber = 0;

/** The path of a session; a new one if none is named. */
export const sessionPath = (session = `s${++sessionNumber}`, {app = 'demo', user = 'u1'} = {}) =>
  `/apps/${app}/users/${user}/sessions/${session}`;

export class Sluice {
  constructor(program) {
    this.program = program;
    this.expectedEnd = {code: 0, signal: null};
  }

  /** Log lines so far, parsed. */
  get logs() { return this.program.lines.stderr.map(parsed).filter(Boolean); }

  /** A log line with these fields. */
  logged(fields, ms) {
    const match = (entry) => entry && Object.entries(fields).every(([key, value]) => entry[key] === value) && entry;
    return this.program.line('stderr', (line) => match(parsed(line)), ms);
  }

  request(method, path, options) { return request(this.url, method, path, options); }
  get(path, options) { return this.request('GET', path, options); }
  post(path, body, options) { return this.request('POST', path, {body, ...options}); }
  delete(path, options) { return this.request('DELETE', path, options); }

  /** Starts a run and gives its answer's JSON; fails unless it was taken. */
  async run(session, message = 'hello', gateway, {headers} = {}) {
    const body = typeof message === 'string' ? {message} : message;
    const answer = await this.post(`${session}/run`, gateway ? {...body, gateway} : body, {headers});
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  }

  /** The stream of a session, its head already read. */
  async follow(session, query = '', headers = {}, options = {}) {
    const client = new SseClient(this.url, `${session}/run${query}`, {headers, ...options});
    return client.opened();
  }

  /** A run whose answer is its own stream. */
  async runStream(session, message = 'hello', gateway, {headers = {}, ...options} = {}) {
    const body = JSON.stringify({...(typeof message === 'string' ? {message} : message), ...(gateway && {gateway})});
    const client = new SseClient(this.url, `${session}/run`,
      {method: 'POST', body, headers: {Accept: 'text/event-stream', ...headers}, ...options});
    return client.opened();
  }

  /** A finished run of `count` events in a new session: {session, task_id, client}, the client having seen it all. */
  async finishedRun(count) {
    const session = sessionPath();
    const {task_id} = await this.run(session, `count=${count}`);
    await this.taskEnded(task_id);
    const client = await this.follow(session, '?from=start&until=run');
    assert.equal(await client.ended(), 'last-chunk');
    return {session, task_id, client};
  }

  async task(id) { return (await this.get(`/tasks/${id}`)).json; }

  /** The state of a run once it has ended. */
  async taskEnded(id) {
    const answer = await this.get(`/tasks/${id}?wait_ms=20000`, {ms: 25000});
    assert.equal(answer.status, 200, answer.text);
    assert.ok(!['pending', 'running'].includes(answer.json.status), `task ${id} still is ${answer.json.status}`);
    return answer.json;
  }

  async stats() { return (await this.get('/stats')).json; }

  /** Ends it as `expectedEnd` says. */
  async stop(signal = 'SIGTERM') {
    const end = await this.program.stop(signal);
    const said = this.program.stderr.slice(-6000);
    assert.doesNotMatch(this.program.stderr, sanitizerReport, `a sanitizer's report:\n${said}`);
    assert.doesNotMatch(this.program.stderr, /"event":"broken_state"/, `a state that cannot be:\n${said}`);
    assert.deepEqual({code: end.code, signal: end.signal}, this.expectedEnd, `how sluice ended:\n${said}`);
  }
}
