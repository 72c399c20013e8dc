// The clients that people use, cut five times in a run of 200 events: each event once and in order, nothing empty, and a
// stop at the end. tests/browser/clients.test.mjs has those of browsers, make clients those of other languages.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {EventSource} from 'eventsource';
import {createEventSource} from 'eventsource-client';
import {assertExact, cutsAfterIds, startCutRuns} from '../support/cut_runs.mjs';
import {followByProgram} from '../support/client_programs.mjs';
import {projectPath} from '../support/sluice.mjs';

const runs = await startCutRuns({after});
const types = ['message', 'delta', 'run.start', 'run.retry', 'run.end', 'gap', 'session.end'];
const python = projectPath('build-python/bin/python');

const eventSource = ({url, see}) => new Promise((resolve) => {
  const source = new EventSource(url);
  for (const type of types) source.addEventListener(type, (event) => see({type, data: event.data, id: event.lastEventId}));
  source.addEventListener('error', () => { if (source.readyState === source.CLOSED) resolve(); });
});

const eventSourceClient = ({url, see}) => new Promise((resolve) => {
  const source = createEventSource({
    url,
    onMessage: ({event = 'message', data, id}) => see({type: event, data, id}),
    onDisconnect: () => setImmediate(() => { if (source.readyState === 'closed') resolve(); }),
  });
});

const httpxSse = (way) => followByProgram(python, [projectPath('tests/clients/httpx_sse_client.py')], [way]);

test('npm eventsource', async () => assertExact(await runs.watch('eventsource', eventSource), {last: true}));

test('npm eventsource-client', async () => assertExact(await runs.watch('eventsource-client', eventSourceClient), {last: true}));

test('httpx-sse, resuming by the header and by the query', async () => {
  for (const way of ['header', 'query']) {
    const outcome = await runs.watch(`httpx-sse ${way}`, httpxSse(way));
    assertExact(outcome, {last: false});
    const resumed = outcome.asked.at(-1);
    assert.match(way === 'header' ? resumed.lastId : resumed.path, /\d+-\d+/);
  }
});

test('cuts between the id and the empty line lose nothing: all three take an id with its event', async () => {
  const outcomes = await Promise.all(Object.entries({eventSource, eventSourceClient, httpxSse: httpxSse('header')})
    .map(([name, follow]) => runs.watch(name, follow, {cuts: cutsAfterIds})));
  for (const outcome of outcomes) assertExact(outcome, {last: outcome.name !== 'httpxSse'});
});
