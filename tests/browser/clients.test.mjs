// The clients of browsers in a real Chromium, cut five times in a run of 200 events: each event once and in order, nothing
// empty, and a stop at the end.
import assert from 'node:assert/strict';
import {after, describe, test} from 'node:test';
import {openPage, startBrowser} from '../support/browser.mjs';
import {assertExact, cutsAfterIds, drawCuts, lostOf, startCutRuns} from '../support/cut_runs.mjs';
import {projectPath} from '../support/sluice.mjs';

const runs = await startCutRuns({after});
const browser = await startBrowser({after}, {bypassCSP: true});
const modules = (path) => projectPath(`tests/node_modules/${path}`);
const types = ['message', 'delta', 'run.start', 'run.retry', 'run.end', 'gap', 'session.end'];

// fetch-event-source as it is: its imports name no files.
await browser.route('**/fetch-event-source/*', (route) => route.fulfill({
  path: modules(`@microsoft/fetch-event-source/lib/esm/${route.request().url().split('/').at(-1)}.js`), contentType: 'text/javascript'}));

/** Follows in a page of the gateway's origin; `inPage` runs there, calls window.see and gives when the client has stopped. */
const follower = (inPage, argument, {script} = {}) => async ({url, session, see}) => {
  const page = await openPage(browser, `${new URL(url).origin}/demo`);
  await page.exposeFunction('see', see);
  if (script) await page.addScriptTag({path: script});
  await page.evaluate(inPage, {url, session, types, ...argument});
  assert.deepEqual(page.errors, []);
  await page.close();
};

/** By window.EventSource, or what a script has put in its place. */
const byEventSource = ({url, types, name = 'EventSource'}) => new Promise((resolve) => {
  const source = new window[name](url);
  let order = Promise.resolve();
  for (const type of types) source.addEventListener(type, ({data, lastEventId: id}) => { order = order.then(() => window.see({type, data, id})); });
  source.addEventListener('error', () => { if (source.readyState === 2) order.then(resolve); });
});

const byFetchEventSource = async ({url, options}) => {
  const {fetchEventSource} = await import('/fetch-event-source/index');
  let order = Promise.resolve();
  await fetchEventSource(url, {openWhenHidden: true, ...options, onmessage: ({event, data, id}) => {
    order = order.then(() => window.see({type: event || 'message', data, id}));
  }});
  await order;
};

const native = follower(byEventSource);
const polyfill = follower(byEventSource, {name: 'EventSourcePolyfill'}, {script: modules('event-source-polyfill/src/eventsource.js')});
const fetchEventSource = follower(byFetchEventSource);
const posting = (headers) => ({session, ...rest}) => follower(byFetchEventSource, {options: {method: 'POST', body: JSON.stringify({of: session}),
  headers: {'Content-Type': 'application/json', ...headers(session)}}})({session, ...rest});
const post = posting(() => ({}));
const postByKey = posting((session) => ({'Idempotency-Key': session}));

// All at once, for the polyfill never waits less than a second.
describe('a stream is followed exactly', {concurrency: true}, () => {
  test('by EventSource', async () => assertExact(await runs.watch('EventSource', native), {last: true}));

  test('by event-source-polyfill, which resumes by lastEventId', async () => {
    const outcome = await runs.watch('polyfill', polyfill);
    assertExact(outcome, {last: true});
    assert.match(outcome.asked.at(-1).path, /[?&]lastEventId=\d+-\d+/);
  });

  test('by fetch-event-source with GET', async () => assertExact(await runs.watch('fetch-event-source', fetchEventSource), {last: false}));

  test('by fetch-event-source with POST and a key', async () => {
    const outcome = await runs.watch('fetch-event-source POST', postByKey, {query: '', starts: true});
    assertExact(outcome, {last: false});
    assert.equal(runs.startsOf(outcome.session), 1);
  });

  test('by fetch-event-source with POST, which resumes by its last id', async () => {
    const cuts = drawCuts('POST');
    cuts[0].events++; // after at least one event, else there is no id
    const outcome = await runs.watch('fetch-event-source POST', post, {query: '', starts: true, cuts});
    assertExact(outcome, {last: false});
    assert.equal(runs.startsOf(outcome.session), 1);
  });

  test('by EventSource and the polyfill, when the cuts are between the id and the empty line', async () => {
    for (const outcome of await Promise.all([native, polyfill].map((follow, i) => runs.watch(`cut after the id ${i}`, follow, {cuts: cutsAfterIds})))) {
      assertExact(outcome, {last: true});
    }
  });

  test('but by fetch-event-source, which takes an id at its line: there each such cut may cost one event', async () => {
    const outcome = await runs.watch('fetch-event-source', fetchEventSource, {cuts: cutsAfterIds});
    assert.ok(lostOf(outcome) <= cutsAfterIds.length, `${lostOf(outcome)} events`);
  });
});
