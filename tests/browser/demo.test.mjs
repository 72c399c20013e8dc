// The demo page and EventSource in a real Chromium.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import {after, test} from 'node:test';
import {adkText, startDemoAgent} from '../support/agents.mjs';
import {openPage, startBrowser, textOf} from '../support/browser.mjs';
import {until} from '../support/limits.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';
import {SseClient} from '../support/sse_client.mjs';


const agent = await startDemoAgent({after});
const sluice = await startSluice({after}, {upstream: agent.url, retry_ms: 100, demo: true});
const browser = await startBrowser({after});

/** What the agent itself answers to this message: {text, events}. */
async function agentSays(message) {
  const session = `direct${Date.now()}`;
  await agent.request('POST', `/apps/demo/users/u/sessions/${session}`, {body: {}});
  const body = JSON.stringify({appName: 'demo', userId: 'u', sessionId: session, newMessage: {role: 'user', parts: [{text: message}]}, streaming: true});
  const client = new SseClient(agent.url, '/run_sse', {method: 'POST', body, ids: false});
  await client.ended();
  return {text: adkText(client.data), events: client.data.length};
}

async function startRun(page, message, conflict) {
  await page.fill('#message', message);
  if (conflict) await page.selectOption('#conflict', conflict);
  await page.click('#start');
}

const demoPage = (name, url = sluice.url) => openPage(browser, `${url}/demo#session=${name}`);

test('the demo page: a run is started, watched, and ends with what the agent says', async () => {
  const page = await openPage(browser, `${sluice.url}/demo`);
  await textOf(page, '#connection', /^open$/);
  assert.match(page.url(), /#session=s-\w+$/, 'the session is in the link');
  assert.equal(await page.textContent('#app'), 'demo');
  await startRun(page, 'hello steps=12 delay=40');
  await textOf(page, '#status', /^running$/);
  await textOf(page, '#answer', /hello/);
  assert.ok((await page.textContent('#answer')).length < 60, 'it comes word by word');
  await textOf(page, '#status', /^completed$/);
  const {text, events} = await agentSays('hello steps=12 delay=1');
  await textOf(page, '#answer', /between|an $/);
  assert.equal(await page.textContent('#answer'), text);
  assert.equal(await page.textContent('#event-count'), String(events + 2));
  assert.equal(await page.locator('#events li').count(), events + 2);
  assert.equal(await page.getAttribute('#answer', 'aria-busy'), 'false');
  const curl = await page.textContent('#curl-follow');
  assert.ok(curl.includes(`${sluice.url}/apps/demo/users/guest/sessions/`));
  assert.deepEqual(page.errors, []);
  await page.close();
});

test('reload in mid-run goes on with nothing lost or doubled', async () => {
  const page = await demoPage('reloaded');
  await textOf(page, '#connection', /^open$/);
  await startRun(page, 'reload me steps=60 delay=40');
  for (let reload = 0; reload < 3; reload++) {
    await textOf(page, '#answer', reload === 0 ? /reader/ : /\S/);
    await page.reload();
  }
  await textOf(page, '#status', /^completed$/);
  const {text, events} = await agentSays('reload me steps=60 delay=0');
  await textOf(page, '#answer', /both stay|press stop/);
  assert.equal(await page.textContent('#answer'), text);
  assert.equal(await page.textContent('#event-count'), String(events + 2), 'the replay and what came live, each event once');
  assert.deepEqual(page.errors, []);
  await page.close();
});

test('a connection that is cut is taken up again by EventSource, with nothing lost or doubled', async (t) => {
  const sockets = new Set();
  const proxy = net.createServer((client) => {
    const gateway = net.connect(sluice.port, '127.0.0.1');
    for (const [from, to] of [[client, gateway], [gateway, client]]) {
      from.on('error', () => {}).on('close', () => to.destroy()).pipe(to);
      sockets.add(from);
    }
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    proxy.close();
    for (const socket of sockets) socket.destroy();
  });
  const page = await demoPage('cut', `http://127.0.0.1:${proxy.address().port}`);
  await textOf(page, '#connection', /^open$/);
  await startRun(page, 'cut me steps=60 delay=40');
  for (let cut = 1; cut <= 3; cut++) {
    await textOf(page, '#event-count', new RegExp(`^(${cut * 10 + 4}|${cut * 10 + 5}|${cut * 10 + 6}|${cut * 10 + 7}|[${cut * 10 < 60 ? cut + 1 : 6}-9]\\d)$`));
    for (const socket of sockets) socket.destroy();
    await textOf(page, '#reconnects', new RegExp(`^${cut}$`));
  }
  await textOf(page, '#status', /^completed$/);
  const {text, events} = await agentSays('cut me steps=60 delay=0');
  await textOf(page, '#answer', /both stay|press stop/);
  assert.equal(await page.textContent('#answer'), text);
  assert.equal(await page.textContent('#event-count'), String(events + 2));
  assert.deepEqual(page.errors, []);
  await page.close();
});

test('a second tab with the same link sees the same', async () => {
  const first = await demoPage('shared');
  await textOf(first, '#connection', /^open$/);
  await startRun(first, 'both of us steps=40 delay=30');
  await textOf(first, '#answer', /gateway/);
  const link = await first.getAttribute('#link', 'href');
  const second = await openPage(browser, new URL(link, sluice.url).href);
  for (const page of [first, second]) await textOf(page, '#status', /^completed$/);
  const {text} = await agentSays('both of us steps=40 delay=0');
  for (const page of [first, second]) {
    await until(async () => await page.textContent('#answer') === text, 'the whole answer in both tabs');
    assert.equal(await page.textContent('#event-count'), '43');
    assert.deepEqual(page.errors, []);
  }
  const ids = (page) => page.$$eval('#events li', (items) => items.map((item) => item.dataset.id));
  assert.deepEqual(await ids(first), await ids(second));
  await startRun(second, 'from the second steps=3 delay=5');
  await textOf(first, '#answer', /from the second/);
  await first.close();
  await second.close();
});

test('the stop button ends the run for everybody', async () => {
  const [page, watcher] = [await demoPage('stopped'), await demoPage('stopped')];
  for (const each of [page, watcher]) await textOf(each, '#connection', /^open$/);
  assert.equal(await page.isDisabled('#stop'), true);
  await startRun(page, 'stop me hang=1 steps=5 delay=5');
  await textOf(watcher, '#answer', /stop me/);
  await watcher.click('#stop');
  for (const each of [page, watcher]) {
    await textOf(each, '#status', /^cancelled$/);
    assert.equal(await each.isDisabled('#stop'), true);
  }
  await until(async () => (await agent.runs()).running === 0, 'the agent has stopped');
  await page.close();
  await watcher.close();
});

test('a new run replaces the answer, a failed one says so, a refused one too', async () => {
  const page = await demoPage('again');
  await textOf(page, '#connection', /^open$/);
  await startRun(page, 'first hang=1 steps=3 delay=5');
  await textOf(page, '#answer', /first/);
  await startRun(page, 'refused', 'reject');
  await textOf(page, '#problem', /^409: /);
  assert.equal(await page.textContent('#status'), 'running');
  await startRun(page, 'second steps=5 delay=5 fail=4', 'replace');
  await textOf(page, '#status', /^failed$/);
  assert.equal(await page.textContent('#reason'), 'upstream_error');
  await textOf(page, '#problem', /made-up failure/);
  await textOf(page, '#answer', /second/);
  assert.ok(!(await page.textContent('#answer')).includes('first'));
  assert.deepEqual(page.errors, []);
  await page.close();
});

test('a gap is shown where the log was too small', async (t) => {
  const small = await startSluice(t, {upstream: agent.url, log_events_max: 10});
  const session = '/apps/demo/users/guest/sessions/small';
  await small.taskEnded((await small.run(session, 'steps=50 delay=0')).task_id);
  const page = await openPage(browser, `${small.url}/demo#session=small`);
  await textOf(page, '#gap', /no longer kept/);
  await textOf(page, '#status', /^completed$/);
  const {text} = await agentSays('steps=50 delay=0');
  await until(async () => await page.textContent('#answer') === text, 'the whole text comes with the last event all the same');
  await page.close();
});

test('server.drain is shown, and the page comes back when the gateway does', async (t) => {
  const old = await startSluice(t, {upstream: agent.url, retry_ms: 100, drain_ms: 20000});
  const page = await openPage(browser, `${old.url}/demo#session=drained`);
  await textOf(page, '#connection', /^open$/);
  await startRun(page, 'drain steps=20 delay=50');
  await textOf(page, '#answer', /drain/);
  await old.stop();
  await textOf(page, '#connection', /^retrying$/);
  assert.equal(await page.isVisible('#drain'), true);
  assert.equal(await page.textContent('#status'), 'completed', 'the run went on to its end');
  await startSluice(t, {upstream: agent.url, listen: `127.0.0.1:${old.port}`, retry_ms: 100});
  await textOf(page, '#connection', /^open$/);
  await startRun(page, 'back again steps=3 delay=5');
  await textOf(page, '#answer', /back again/);
  await page.close();
});

test('204 ends EventSource', async () => {
  const page = await openPage(browser, `${sluice.url}/healthz`);
  const session = sessionPath();
  const opened = page.evaluate((url) => new Promise((resolve) => {
    const source = new EventSource(url);
    const seen = {opens: 0, types: [], errors: 0};
    source.onopen = () => { seen.opens++; };
    for (const type of ['run.start', 'message', 'run.end']) source.addEventListener(type, () => seen.types.push(type));
    source.onerror = () => {
      seen.errors++;
      if (source.readyState === EventSource.CLOSED) resolve(seen);
    };
  }), `${session}/run?until=run`);
  await sluice.run(session, 'steps=2 delay=5');
  assert.deepEqual(await opened, {opens: 1, types: ['run.start', 'message', 'message', 'message', 'run.end'], errors: 2},
    'the end of the stream makes it come back once, and 204 ends it');
  await page.close();
});

test('a page of another origin may use the gateway with credentials, if it is listed', async (t) => {
  const elsewhere = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><title>elsewhere</title>');
  });
  await new Promise((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
  t.after(() => elsewhere.close());
  const origin = `http://localhost:${elsewhere.address().port}`;
  const listed = await startSluice(t, {upstream: agent.url, cors_origins: origin, cors_credentials: true});
  const page = await openPage(browser, origin);
  const use = (base, session) => page.evaluate(async ([url, credentials]) => {
    try {
      const followed = new Promise((resolve) => {
        const source = new EventSource(`${url}/run`, {withCredentials: true});
        let messages = 0;
        source.onmessage = () => { messages++; };
        source.addEventListener('run.end', (event) => {
          source.close();
          resolve({messages, status: JSON.parse(event.data).status});
        });
        source.onerror = () => resolve(`EventSource failed, state ${source.readyState}`);
      });
      const response = await fetch(`${url}/run`, {method: 'POST', credentials,
        headers: {'Content-Type': 'application/json', 'Idempotency-Key': 'from-elsewhere', Authorization: 'Bearer x'}, body: '{"message":"far steps=3 delay=5"}'});
      return {posted: (await response.json()).success, followed: await followed};
    } catch (error) {
      return String(error);
    }
  }, [`${base}${session}`, 'include']);
  assert.deepEqual(await use(listed.url, sessionPath()), {posted: true, followed: {messages: 4, status: 'completed'}});
  assert.match(String(await use(sluice.url, sessionPath())), /Failed to fetch/, 'not listed: the browser keeps it out');
  await page.close();
});

test('the page is usable by keyboard, in the dark, and on a narrow screen', async (t) => {
  const dark = await startBrowser(t, {colorScheme: 'dark', viewport: {width: 360, height: 740}});
  const page = await openPage(dark, `${sluice.url}/demo#session=narrow`);
  await textOf(page, '#connection', /^open$/);
  await page.focus('#message');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('typed steps=3 delay=5');
  await page.keyboard.press('Enter');
  await textOf(page, '#status', /^completed$/);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'nothing is cut off');
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(243, 245, 248)');
  const unnamed = await page.$$eval('button, input, select, textarea, a', (all) => all.filter((each) =>
    !(each.textContent.trim() || each.labels?.length || each.getAttribute('aria-label'))).length);
  assert.equal(unnamed, 0, 'every control has a name');
});
