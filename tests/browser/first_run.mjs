// Starts a server without any flag, as on a first run, and opens the URLs that it prints:
//   node first_run.mjs target/release/standpipe [DIRECTORY]
// Saves screenshots if a directory is given. CHROMIUM is the path of the browser if it is not /usr/bin/chromium.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { check, equal, finish, within } from './checks.mjs';

const [binary, screenshots] = process.argv.slice(2);
if (!binary) {
  console.error(`usage: node ${process.argv[1]} target/release/standpipe [DIRECTORY]`);
  process.exit(2);
}

/// Starts the server. `printed` has the rest of each line that begins with `LABEL: `.
async function start(home, listen) {
  const child = spawn(binary, ['--listen', listen], { env: { HOME: home }, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const printed = {};
  await within(20, 'the server to print its lines', new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, label, text] = line.match(/^(dashboard|publish): +(.*)$/) ?? [];
      if (label) printed[label] = text;
      if (label === 'publish') resolve();
    });
    ended.then((code) => reject(new Error(`the server ended with ${code}`)));
  }));
  const stop = async () => { child.kill('SIGTERM'); equal('the exit code', await within(20, 'the server to end', ended), 0); };
  return { printed, stop };
}

const home = mkdtempSync(join(tmpdir(), 'standpipe-first-run-'));
let server = await start(home, '127.0.0.1:0');
const [page, key] = server.printed.dashboard.split('#key=');
const base = new URL(page).origin;
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browserFlags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: browserFlags }));
const requests = [];
const errors = [];

async function visit(url) {
  const tab = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  tab.setDefaultTimeout(20_000);
  tab.on('pageerror', (error) => errors.push(error.message));
  tab.on('request', (request) => requests.push(request.url()));
  tab.on('websocket', (socket) => requests.push(socket.url()));
  await tab.goto(url);
  return tab;
}

const isLive = (tab) => tab.waitForFunction(() => document.querySelector('#state').dataset.state === 'open'
  && /\d/.test(document.querySelector('#f-clients').textContent));
const screenshot = (tab, name) => screenshots ? tab.screenshot({ path: `${screenshots}/first-run-${name}.png` }) : undefined;

const dashboard = await visit(server.printed.dashboard);

await check('the printed dashboard is live, and its address bar has no key', async () => {
  await isLive(dashboard);
  await screenshot(dashboard, 'dashboard');
  equal('the address', dashboard.url(), page);
  equal('the form for a key is hidden', await dashboard.locator('#key-form').isHidden(), true);
  equal('links that need a key are hidden', await dashboard.locator('#links').isHidden(), true);
  await dashboard.goto('about:blank');
  await dashboard.goBack();
  equal('the address in the history', dashboard.url(), page);
});

await check('no URL that was requested contains the key', async () => {
  equal('whether there were requests at all', requests.length > 0, true);
  equal('URLs with the key', requests.filter((url) => url.includes(key) && !url.includes('#')).join(' '), '');
});

await check('the dashboard without the key asks for it', async () => {
  const tab = await visit(page);
  await tab.locator('#key-form').waitFor();
  await screenshot(tab, 'without-key');
  equal('links that need a key are hidden', await tab.locator('#links').isHidden(), true);
  await tab.fill('#key', key);
  await tab.click('#key-form button');
  await isLive(tab);
});

await check('a URL with the key works in a tab that is open already', async () => {
  const tab = await visit(page);
  await tab.locator('#key-form').waitFor();
  await tab.evaluate((fragment) => { location.hash = fragment; }, `#key=${key}`);
  await isLive(tab);
  equal('the address', tab.url(), page);
});

await check('the start page works without a key', async () => {
  const tab = await visit(base + '/');
  await tab.click('#connect');
  await tab.waitForFunction(() => !document.querySelector('#send').disabled);
  await tab.fill('#text', 'first words');
  await tab.click('#send');
  await tab.waitForFunction(() => document.querySelector('#received').textContent === '1');
  await tab.click('#close');
  await tab.waitForFunction(() => !document.querySelector('#connect').disabled);
  await tab.check('#target-many');
  await tab.waitForFunction(() => document.querySelector('#topics-note').textContent.includes('key of the server'));
  await screenshot(tab, 'start-page');
});

await check('a dashboard of a restarted server asks for the new key', async () => {
  const tab = await visit(server.printed.dashboard);
  await isLive(tab);
  await server.stop();
  server = await start(home, new URL(base).host);
  await tab.locator('#key-form').waitFor();
  await tab.fill('#key', server.printed.dashboard.split('#key=')[1]);
  await tab.click('#key-form button');
  await isLive(tab);
});

await check('the pages have no errors', async () => equal('errors', errors.join('; '), ''));

await within(20, 'the browser to end', browser.close());
await server.stop();
rmSync(home, { recursive: true });
finish();
