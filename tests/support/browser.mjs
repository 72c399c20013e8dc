// A real Chromium with a fresh profile, driven by playwright-core.
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {chromium} from 'playwright-core';
import {stretched} from './limits.mjs';

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

/** A browser context; every page of it fails the test by errors on its console that nobody expected. */
export async function startBrowser(context, options = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'sluice-chromium-'));
  const browser = await chromium.launchPersistentContext(profile,
    {executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: flags, timeout: stretched(30000), ...options});
  browser.setDefaultTimeout(stretched(20000));
  context.after(async () => {
    await browser.close();
    rmSync(profile, {recursive: true, force: true, maxRetries: 5});
  });
  return browser;
}

/** A new page whose uncaught errors are collected in `page.errors`, and in `page.refused` the answers of 400 and above. */
export async function openPage(browser, url) {
  const page = await browser.newPage();
  page.errors = [];
  page.refused = [];
  page.on('pageerror', (error) => page.errors.push(String(error)));
  page.on('response', (response) => {
    if (response.status() >= 400) page.refused.push(`${response.status()} ${new URL(response.url()).pathname}`);
  });
  await page.goto(url);
  return page;
}

/** Waits until the page's element has a text for which `match` holds. */
export async function textOf(page, selector, match) {
  await page.waitForFunction(([sel, source]) => new RegExp(source).test(document.querySelector(sel)?.textContent ?? ''), [selector, match.source]);
  return page.locator(selector).textContent();
}
