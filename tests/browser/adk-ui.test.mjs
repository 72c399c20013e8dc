// ADK's own web UI, through the gateway, in a real Chromium.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {startPythonAdk} from '../support/agents.mjs';
import {openPage, startBrowser} from '../support/browser.mjs';
import {stretched, until} from '../support/limits.mjs';
import {startSluice} from '../support/sluice.mjs';

test('ADK\'s web UI loads through the gateway, and its chat is a run of the gateway\'s', async (t) => {
  const adk = await startPythonAdk(t, 'web');
  const sluice = await startSluice(t, {upstream: adk.url, passthrough_ui: true});
  const browser = await startBrowser(t);
  const page = await openPage(browser, `${sluice.url}/dev-ui/?app=scripted`);
  const box = page.locator('textarea').first();
  await box.waitFor({timeout: stretched(30000)});
  await box.fill('hello');
  await box.press('Enter');
  await page.getByText('Hello', {exact: true}).first().waitFor({timeout: stretched(20000)});
  const {json} = await sluice.get('/tasks?app=scripted');
  await until(async () => (await sluice.task(json.tasks[0].task_id)).status === 'completed', 'the run is completed');
  assert.deepEqual(page.errors, []);
});
