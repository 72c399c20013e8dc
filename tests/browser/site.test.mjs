// Pages of strangers in a real Chromium: what they can do to a gateway on the user's own machine.
import assert from 'node:assert/strict';
import http from 'node:http';
import {after, test} from 'node:test';
import {startDemoAgent} from '../support/agents.mjs';
import {openPage, startBrowser, textOf} from '../support/browser.mjs';
import {until} from '../support/limits.mjs';
import {sessionPath, startSluice} from '../support/sluice.mjs';

const agent = await startDemoAgent({after});
const sluice = await startSluice({after}, {upstream: agent.url, demo: true});
// Every name below .test leads to this machine, as a stranger's name server would have it.
const browser = await startBrowser({after}, {args: ['--no-sandbox', '--disable-gpu', '--host-resolver-rules=MAP *.test 127.0.0.1']});

/** A web server of a stranger's, whose pages are empty. */
async function startStranger(context) {
  const server = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><title>stranger</title><iframe name="hidden"></iframe>');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => server.close());
  return server.address().port;
}

/** Tries everything that a page can send without asking first, and some that it must ask for. */
const attack = (page, url, session, task) => page.evaluate(async ([base, path, id]) => {
  const quietly = (promise) => promise.then((answer) => answer.type, (error) => String(error));
  const loaded = (element) => new Promise((resolve) => {
    element.onload = element.onerror = () => resolve();
    document.body.append(element);
  });
  const tries = [
    fetch(`${base}${path}/run`, {method: 'POST', mode: 'no-cors', body: '{"message":"stolen"}'}),
    fetch(`${base}${path}-two`, {method: 'POST', mode: 'no-cors'}),
    fetch(`${base}${path}-three/run?until=run`, {mode: 'no-cors'}),
    fetch(`${base}${path}/run`, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{"message":"stolen"}'}),
    fetch(`${base}/tasks/${id}`, {method: 'DELETE'}),
  ].map(quietly);
  const image = document.createElement('img');
  image.src = `${base}${path}-four/run`;
  const script = document.createElement('script');
  script.src = `${base}${path}-five/run`;
  const form = document.createElement('form');
  Object.assign(form, {method: 'POST', action: `${base}${path}-six`, target: 'hidden'});
  document.body.append(form);
  const framed = new Promise((resolve) => { document.querySelector('iframe').onload = resolve; });
  form.submit();
  const source = new EventSource(`${base}${path}-seven/run`);
  const opened = new Promise((resolve) => {
    source.onopen = () => resolve('open');
    source.onerror = () => resolve('error');
  });
  const results = await Promise.all([...tries, loaded(image), loaded(script), framed, opened]);
  source.close();
  return results;
}, [url, session, task]);

const openedSessions = async () => (await sluice.stats()).counters.sluice_sessions_opened_total;

test('a page of another origin starts, opens and cancels nothing', async (t) => {
  const port = await startStranger(t);
  const session = sessionPath();
  const {task_id} = await sluice.run(session, 'steps=200 delay=200');
  for (const origin of [`http://stranger.test:${port}`, `http://localhost:${port}`, `http://127.0.0.1:${port}`]) {
    const before = await openedSessions();
    const refused = (await sluice.stats()).counters.sluice_requests_cross_site_total;
    const page = await openPage(browser, origin);
    await attack(page, sluice.url, `${session}-${new URL(origin).hostname}`, task_id);
    await page.close();
    assert.equal(await openedSessions(), before, `${origin} opened a session`);
    assert.ok((await sluice.stats()).counters.sluice_requests_cross_site_total >= refused + 6, `${origin} was refused`);
    assert.equal((await sluice.task(task_id)).status, 'running', `${origin} cancelled a run`);
    assert.equal((await sluice.get('/tasks')).json.tasks.filter((task) => task.status === 'running').length, 1);
  }
  await sluice.delete(`/tasks/${task_id}`);
});

test('a name that was made to lead here reads nothing', async () => {
  const page = await openPage(browser, `http://rebound.test:${sluice.port}/tasks`);
  assert.match(await page.textContent('body'), /host_not_allowed/);
  const seen = await page.evaluate(() => Promise.all(['/tasks', '/stats', '/demo', '/apps/demo/users/u1/sessions'].map((path) =>
    fetch(path).then((answer) => answer.status))));
  assert.deepEqual(seen, [403, 403, 403, 403]);
  await page.close();
});

for (const host of ['127.0.0.1', 'localhost', 'sluice.localhost']) {
  test(`the demo page at ${host} starts and follows runs`, async () => {
    const page = await openPage(browser, `http://${host}:${sluice.port}/demo#session=at-${host}`);
    await textOf(page, '#connection', /^open$/);
    await page.fill('#message', 'hello steps=3 delay=5');
    await page.click('#start');
    await textOf(page, '#status', /^completed$/);
    assert.deepEqual(page.errors, []);
    await page.close();
  });
}

/** A proxy like nginx without settings: the gateway sees its own address as the Host. */
async function startProxy(context) {
  const proxy = {};
  const server = http.createServer((request, response) => {
    const headers = {...request.headers, host: `127.0.0.1:${proxy.gateway.port}`};
    request.pipe(http.request({port: proxy.gateway.port, method: request.method, path: request.url, headers}, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    })).on('error', () => response.destroy());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  proxy.port = server.address().port;
  return proxy;
}

test('the demo page works behind a proxy that rewrites the Host, once the public name is listed', async (t) => {
  const proxy = await startProxy(t);
  const run = async (gateway, name, status) => {
    proxy.gateway = gateway;
    const page = await openPage(browser, `http://public.test:${proxy.port}/demo#session=${name}`);
    await page.fill('#message', 'hello steps=3 delay=5');
    await page.click('#start');
    await status(page);
    await page.close();
  };
  await run(sluice, 'unlisted', () => until(() => sluice.logs.some((line) => line.reason === 'cross_site'), 'a refusal in the log'));
  const listed = await startSluice(t, {upstream: agent.url, allowed_hosts: `public.test:${proxy.port}`});
  await run(listed, 'listed', (page) => textOf(page, '#status', /^completed$/));
});
