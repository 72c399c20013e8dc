// ADK's own web UI, through the gateway, in a real Chromium: what its pages show, and what the agent has seen.
import assert from 'node:assert/strict';
import {after, test} from 'node:test';
import {startWorkshop} from '../support/agents.mjs';
import {openPage, startBrowser} from '../support/browser.mjs';
import {stretched, until} from '../support/limits.mjs';
import {startSluice} from '../support/sluice.mjs';

const adk = await startWorkshop({after});
const sluice = await startSluice({after}, {upstream: adk.url, passthrough_ui: true});
const browser = await startBrowser({after});
await browser.route(/^https:/, (route) => route.abort()); // its fonts

const box = (page) => page.locator('textarea').first();
const shows = (page, text, within = page) => within.getByText(text, {exact: true}).first().waitFor();
const sessionOf = (page) => new URL(page.url()).searchParams.get('session');
const pathOf = (page) => `/apps/workshop/users/user/sessions/${sessionOf(page)}`;
/** The session as the agent has it, asked without the gateway. */
const sessionAtAgent = async (page) => (await adk.request('GET', pathOf(page))).json;
/** The runs of the page's session as the gateway has them, the newest one first. */
const runsOf = async (page) => (await sluice.get(`/tasks?session=${sessionOf(page)}`)).json.tasks;
const newestRunIs = (page, status) => until(async () => {
  const [run] = await runsOf(page);
  return run?.status === status && run;
}, `the newest run is ${status}`, 20000);

async function say(page, text) {
  await box(page).fill(text);
  await box(page).press('Enter');
}

/** The UI with a new session in which these were said, each after the answer to the one before. */
async function openChat(...said) {
  const page = await openPage(browser, `${sluice.url}/dev-ui/?app=workshop`);
  await box(page).waitFor({timeout: stretched(30000)});
  const refuses = page.getByRole('button', {name: 'No Thanks'});
  if ((await sluice.get('/config/telemetry')).json.telemetry !== false) {
    await refuses.click(); // it asks once whether it may send data to its makers
    await until(async () => (await sluice.get('/config/telemetry')).json.telemetry === false, 'the agent\'s server has the answer');
    await refuses.waitFor({state: 'detached'});
  }
  for (const text of said) {
    await say(page, text);
    await shows(page, /note/.test(text) ? `Kept: ${text}` : `You said ${text}`);
    await newestRunIs(page, 'completed');
  }
  return page;
}

/** Nothing went wrong on the page. The package of the UI lacks one style sheet, and its stop throws an error of its own: both are
 *  the same without the gateway. */
function assertUnharmed(page, {stopped = 0} = {}) {
  assert.deepEqual(page.errors.filter((text) => !/signal is aborted without reason/.test(text)), []);
  assert.ok(page.errors.length <= stopped, page.errors.join('\n'));
  assert.deepEqual([...new Set(page.refused)].filter((answer) => answer !== '404 /dev-ui/prism-dark.css'), []);
}

test('chat: an answer is a run of the gateway\'s, and the next message one of the same session', async () => {
  const page = await openChat('hello', 'again');
  assert.deepEqual((await runsOf(page)).map(({status, app_name, user_id}) => [status, app_name, user_id]), Array(2).fill(['completed', 'workshop', 'user']));
  const spoken = (await sessionAtAgent(page)).events.flatMap(({content}) => content?.parts ?? []).map(({text}) => text);
  assert.deepEqual(spoken, ['hello', 'You said hello', 'again', 'You said again']);
  assertUnharmed(page);
});

test('tools: the page shows the call and its answer, which the agent has as events', async () => {
  const page = await openChat('note one');
  await page.getByRole('button', {name: 'keep_note("note one")'}).waitFor();
  await page.getByRole('button', {name: 'keep_note', exact: true}).click();
  await shows(page, 'Event 3 of 4', page.locator('app-side-panel'));
  const parts = (await sessionAtAgent(page)).events.flatMap(({content}) => content?.parts ?? []);
  assert.deepEqual(parts.find(({functionCall}) => functionCall).functionCall.args, {text: 'note one'});
  assert.deepEqual(parts.find(({functionResponse}) => functionResponse).functionResponse.response, {kept: 'note one', version: 0});
  assertUnharmed(page);
});

test('artifacts: the page shows each version of what the tool saved', async () => {
  const page = await openChat('note one', 'note two');
  await page.getByRole('tab', {name: 'Artifacts'}).click();
  const tab = page.locator('app-artifact-tab').first();
  await shows(page, 'note.txt', tab);
  await shows(page, 'note two', tab);
  await tab.getByRole('combobox').first().click();
  await page.getByRole('option', {name: '0', exact: true}).click();
  await shows(page, 'note one', tab);
  assert.deepEqual((await adk.request('GET', `${pathOf(page)}/artifacts/note.txt/versions`)).json, [0, 1]);
  assertUnharmed(page);
});

test('state: the page shows what the tool wrote', async () => {
  const page = await openChat('note one', 'note two');
  await page.getByRole('tab', {name: 'State'}).click();
  const tab = page.locator('app-state-tab').first();
  await shows(page, 'notes_kept', tab);
  await until(async () => /notes_kept\s*:\s*2\b/.test(await tab.innerText()), 'the page shows the number of notes');
  assert.equal((await sessionAtAgent(page)).state.notes_kept, 2);
  assertUnharmed(page);
});

test('rename: a session keeps its new name, on the page, at the agent and after a reload', async () => {
  const page = await openChat('hello');
  await page.locator('.selector-button', {hasText: 'hello'}).click();
  await page.getByRole('button', {name: 'Edit', exact: true}).click();
  const name = page.locator('input.inline-edit-input:not(.readonly)').first();
  await name.fill('Groceries');
  const patched = page.waitForResponse((response) => response.request().method() === 'PATCH');
  await name.press('Enter');
  assert.deepEqual([(await patched).status(), new URL((await patched).url()).pathname], [200, pathOf(page)]);
  await page.locator('.selector-button', {hasText: 'Groceries'}).waitFor();
  assert.equal((await sessionAtAgent(page)).state.__session_metadata__.displayName, 'Groceries');
  await page.reload();
  await page.locator('.selector-button', {hasText: 'Groceries'}).waitFor();
  assertUnharmed(page);
});

const startSlowly = async (page) => {
  const before = adk.diary().length;
  await say(page, 'be slow');
  await page.getByText('Piece 5.').first().waitFor();
  assert.deepEqual(adk.diary().slice(before), ['started']);
  return before;
};

test('stop: the run ends as cancelled, and the agent sees it', async () => {
  const page = await openChat('hello');
  const before = await startSlowly(page);
  await page.locator('.stop-message-btn').click();
  await page.locator('.stop-message-btn').waitFor({state: 'detached'});
  const run = await newestRunIs(page, 'cancelled');
  assert.equal(run.reason, 'disconnected');
  await until(() => adk.diary().length > before + 1, 'the agent sees the end');
  assert.deepEqual(adk.diary().slice(before), ['started', 'stopped by CancelledError']);
  assertUnharmed(page, {stopped: 1});
});

test('stop: what is said at once after it is answered, and the agent no longer works on what was stopped', async () => {
  const page = await openChat('hello');
  const before = await startSlowly(page);
  await page.locator('.stop-message-btn').click();
  await say(page, 'go on');
  await shows(page, 'You said go on');
  await newestRunIs(page, 'completed');
  assert.deepEqual((await runsOf(page)).map(({status}) => status), ['completed', 'replaced', 'completed']);
  assert.deepEqual(adk.diary().slice(before), ['started', 'stopped by CancelledError']);
  assertUnharmed(page, {stopped: 1});
});

test('reload: the address names user and session, and the page shows the session again and goes on with it', async () => {
  const page = await openChat('note one', 'hello');
  const address = new URL(page.url());
  assert.deepEqual([address.searchParams.get('userId'), sessionOf(page)?.length > 0], ['user', true]);
  await page.reload();
  assert.equal(page.url(), address.href);
  await shows(page, 'Kept: note one');
  await shows(page, 'You said hello');
  await page.getByRole('button', {name: 'keep_note("note one")'}).waitFor();
  await say(page, 'after it');
  await shows(page, 'You said after it');
  assert.deepEqual([sessionOf(page), (await newestRunIs(page, 'completed')).session_id], Array(2).fill(address.searchParams.get('session')));
  assert.equal((await runsOf(page)).length, 3);
  assertUnharmed(page);
});

test('reload: a page that goes while the agent answers stops the run, and shows what was said', async () => {
  const page = await openChat('hello');
  const before = await startSlowly(page);
  await page.reload();
  await shows(page, 'You said hello');
  assert.equal((await newestRunIs(page, 'cancelled')).reason, 'disconnected');
  await until(() => adk.diary().length > before + 1, 'the agent sees the end');
  assertUnharmed(page);
});

// The last one: the UI remembers in the browser that it shows traces, and then hides the chat of all its pages.
test('traces: the page shows the spans that the agent recorded of the run', async () => {
  const page = await openChat('note one');
  await page.getByText('Traces', {exact: true}).click();
  const tree = page.locator('app-trace-tree').first();
  for (const span of ['invoke_workflow workshop', 'generate_content script', 'keep_note']) await shows(page, span, tree);
  const spans = (await adk.request('GET', `/dev/apps/workshop/debug/trace/session/${sessionOf(page)}`)).json;
  assert.ok(spans.some(({name}) => name === 'invoke_workflow workshop'), JSON.stringify(spans.map(({name}) => name)));
  assertUnharmed(page);
});
