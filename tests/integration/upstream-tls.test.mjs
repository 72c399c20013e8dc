// Upstreams that speak TLS: whose certificate is accepted, and what is said of one that is not.
import assert from 'node:assert/strict';
import {copyFileSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {after, test} from 'node:test';
import {Certificates} from '../support/certificates.mjs';
import {answerMarked, assertError, holdAfterOne} from '../support/expect.mjs';
import {until} from '../support/limits.mjs';
import {startUpstream} from '../support/scripted_upstream.mjs';
import {flagList, sessionPath, sluiceSays, startSluice, temporaryFile} from '../support/sluice.mjs';
import {residentBytes} from '../support/vitals.mjs';

const isSanitized = Number(process.env.SLUICE_TEST_SLOW ?? 1) > 1;
const certificates = new Certificates({after});
const authority = certificates.authority();
const stranger = certificates.authority();
const own = certificates.selfSigned();

const answer = (exchange) => (exchange.path === '/run_sse' ? answerMarked(3)(exchange) : exchange.answer(200, '["app"]'));
const signed = await startUpstream({after}, answer, {certificate: authority.sign()});
const selfSigned = await startUpstream({after}, answer, {certificate: own});

async function ended(sluice) {
  const {task_id} = await sluice.run(sessionPath());
  return sluice.taskEnded(task_id);
}

/** Neither a run nor a passed-through read nor a session request reaches the upstream; gives the message. */
async function refused(sluice, upstream) {
  const came = upstream.runs.length + upstream.sessions.length;
  const task = await ended(sluice);
  assert.deepEqual([task.status, task.reason], ['failed', 'upstream_connect']);
  for (const {json, ...passed} of [await sluice.get('/list-apps'), await sluice.post(sessionPath(), {})]) {
    assertError({json, ...passed}, 503, /^upstream_unavailable$/);
    assert.equal(json.error.message, task.message);
  }
  assert.equal(upstream.runs.length + upstream.sessions.length, came);
  return task.message;
}

async function accepted(sluice) {
  assert.equal((await ended(sluice)).status, 'completed');
  assert.deepEqual((await sluice.get('/list-apps')).json, ['app']);
}

test('a certificate that no known authority has signed is not accepted, and that is said', async (t) => {
  const message = await refused(await startSluice(t, {upstream: selfSigned.url}), selfSigned);
  assert.match(message, /^The upstream's certificate was not accepted: .*self.signed/);
  assert.match(await refused(await startSluice(t, {upstream: signed.url}), signed), /certificate was not accepted: .*issuer/);
});

test('upstream_ca_file says which authorities are accepted', async (t) => {
  await accepted(await startSluice(t, {upstream: signed.url, upstream_ca_file: authority.path}));
  await accepted(await startSluice(t, {upstream: selfSigned.url, upstream_ca_file: own.path}));
  const several = temporaryFile(t, 'several.pem', `# two\n${stranger.cert}\n${authority.cert}`);
  await accepted(await startSluice(t, {upstream: signed.url, upstream_ca_file: several}));
  assert.match(await refused(await startSluice(t, {upstream: signed.url, upstream_ca_file: stranger.path}), signed), /certificate was not accepted/);
});

test('a certificate for another name is not accepted', async (t) => {
  const elsewhere = await startUpstream(t, answer, {certificate: authority.sign('DNS:elsewhere.example')});
  const message = await refused(await startSluice(t, {upstream: elsewhere.url, upstream_ca_file: authority.path}), elsewhere);
  assert.match(message, /^The upstream's certificate was not accepted: .*127\.0\.0\.1/);
});

test('each upstream of a list has authorities of its own', async (t) => {
  const path = temporaryFile(t, 'sluice.yaml', `upstreams:
  - {name: a, upstream: "${signed.url}", upstream_ca_file: "${authority.path}", upstream_apps: a}
  - {name: b, upstream: "${selfSigned.url}", upstream_ca_file: "${own.path}", upstream_apps: b}
  - {name: c, upstream: "${selfSigned.url}", upstream_apps: c}
`);
  // One worker, so that all of them could use the same kept connection.
  const sluice = await startSluice(t, {config: path, workers: 1});
  const statusOf = async (app) => {
    const {task_id} = await sluice.run(sessionPath(undefined, {app}));
    return (await sluice.taskEnded(task_id)).status;
  };
  assert.deepEqual([await statusOf('a'), await statusOf('b'), await statusOf('c'), await statusOf('b')], ['completed', 'completed', 'failed', 'completed']);
});

test('a reload reads the file again, and a bad one changes nothing', async (t) => {
  const ca = temporaryFile(t, 'ca.pem', stranger.cert);
  const config = temporaryFile(t, 'sluice.yaml', `upstream_ca_file: ${ca}\n`);
  const sluice = await startSluice(t, {upstream: signed.url, config});
  const reloaded = async (event, count) => {
    sluice.program.signal('SIGHUP');
    await until(() => sluice.logs.filter((entry) => entry.event === event).length === count, event);
  };
  await refused(sluice, signed);
  copyFileSync(authority.path, ca);
  await reloaded('reloaded', 1);
  await accepted(sluice);
  writeFileSync(ca, 'nothing');
  await reloaded('reload_refused', 1);
  await accepted(sluice);
});

/** Processor time of the process so far, in ticks. */
const ticks = ({program: {pid}}) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /s, '').split(' ');
  return Number(fields[11]) + Number(fields[12]);
};

async function ticksOfConnections(t, settings) {
  const sluice = await startSluice(t, {upstream: signed.url, ...settings});
  const before = ticks(sluice);
  for (let i = 0; i < 60; i++)
    await ended(sluice);
  return ticks(sluice) - before;
}

test('no number of authorities is read anew for each connection', async (t) => {
  const few = await ticksOfConnections(t, {upstream_ca_file: stranger.path});
  const system = await ticksOfConnections(t, {});
  const large = await ticksOfConnections(t, {upstream_ca_file: '/etc/ssl/certs/ca-certificates.crt'});
  for (const [ticks, name] of [[system, "the system's authorities"], [large, 'a large file']])
    assert.ok(ticks < 3 * few + 40, `${ticks} ticks with ${name}, ${few} with one`);
});

test('memory that TLS takes is counted', async (t) => {
  const RUNS = 150;
  const holding = await startUpstream(t, holdAfterOne, {certificate: authority.sign()});
  const sluice = await startSluice(t, {upstream: holding.url, upstream_ca_file: authority.path, workers: 1});
  const measure = async () => {
    const {memory: {accounted_bytes, kinds}} = await sluice.stats();
    return {counted: accounted_bytes, tls: kinds.upstream_connections, resident: residentBytes(sluice.program.pid)};
  };
  const tasks = [];
  const begin = async (count) => {
    const from = tasks.length;
    for (let i = 0; i < count; i++) tasks.push((await sluice.run(sessionPath(), 'hold')).task_id);
    for (const id of tasks.slice(from)) await until(async () => (await sluice.task(id)).events === 1, 'an event');
  };
  await begin(5); // so that what is allocated once is there
  const before = await measure();
  await begin(RUNS);
  const after = await measure();
  const [tls, counted, resident] = ['tls', 'counted', 'resident'].map((name) => (after[name] - before[name]) / RUNS);
  assert.ok(tls > 40000, `${tls} bytes a run`);
  assert.ok(resident < counted * 1.25 || isSanitized, `${resident} bytes a run, of which ${counted} are counted`);
  for (const id of tasks) await sluice.delete(`/tasks/${id}`);
  await until(async () => (await measure()).tls < before.tls + RUNS * tls / 4, 'the memory of connections that are closed');
});

test('a file that is of no use is refused at start', async (t) => {
  const directory = temporaryFile(t, 'x', '').replace(/x$/, '');
  const write = (name, text) => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  const half = authority.cert.subarray(0, authority.cert.length / 2);
  mkdirSync(join(directory, 'directory'));
  const files = [
    [join(directory, 'missing'), /cannot be read: No such file/],
    [join(directory, 'directory'), /is not a file/],
    [write('empty', ''), /holds no certificate/],
    [write('garbage', 'garbage'), /holds no certificate/],
    [write('key', own.key), /holds no certificate/],
    [write('half', half), /holds no certificate/],
    [write('second-half', Buffer.concat([authority.cert, half])), /holds no certificate/],
    [write('large', Buffer.concat([authority.cert, Buffer.alloc(300000, 10)])), /larger than/],
  ];
  for (const [file, expected] of files) {
    const {code, stderr} = await sluiceSays(flagList({upstream: 'https://127.0.0.1:1', upstream_ca_file: file}));
    assert.equal(code, 2, file);
    assert.match(stderr, expected);
    assert.match(stderr, /^--upstream-ca-file: [^\n]*\n?$/, 'one line that names the key');
  }
  const plain = await sluiceSays(flagList({upstream: 'http://127.0.0.1:1', upstream_ca_file: authority.path}));
  assert.deepEqual([plain.code, /https/.test(plain.stderr)], [2, true], 'a file for an upstream without TLS is a mistake');
});
