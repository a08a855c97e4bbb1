// Uses the dashboard in Chromium as a person would:  node dashboard.mjs http://127.0.0.1:9000 [DIRECTORY]
// Saves screenshots if a directory is given. CHROMIUM is the path of the browser if it is not /usr/bin/chromium.
import { chromium } from 'playwright-core';
import WebSocket from 'ws';
import { baseUrl, check, equal, finish, within } from './checks.mjs';

const base = baseUrl();
const screenshots = process.argv[3];
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browserFlags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: browserFlags }));

const requests = [];
const errors = [];

async function visit(options = {}) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })).newPage();
  page.setDefaultTimeout(10_000);
  page.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()); });
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('request', (request) => requests.push(request.url()));
  page.on('websocket', (socket) => requests.push(socket.url().replace(/^ws/, 'http')));
  await page.goto(base + '/dashboard');
  await until(page, 'the first snapshot', () => /\d/.test(document.querySelector('#f-clients').textContent));
  return page;
}

async function until(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: 20_000 });
  } catch {
    const text = await page.locator('body').innerText();
    throw new Error(`waited 20 s for ${what}; the page shows ${JSON.stringify(text.slice(0, 1500))}`);
  }
}

const screenshot = (page, name) => screenshots ? page.screenshot({ path: `${screenshots}/dashboard-${name}.png`, fullPage: true }) : undefined;
const topic = `dash-${process.pid}`;
const untilCell = (page, column, what, condition = (text) => Number(text.replaceAll(',', '')) > 0) => until(page, what,
  ([topic, column, condition]) => {
    const cell = document.querySelector(`tr[data-topic="${topic}"] td[data-name="${column}"]`);
    return cell !== null && new Function('text', `return (${condition})(text)`)(cell.textContent);
  }, [topic, column, condition.toString()]);

const page = await visit();

await check('the queue of a slow client fills up', async () => {
  await page.fill('#topic', topic);
  await page.fill('#add-rate', '0');
  await page.click('#add button');
  await until(page, 'slow-1 to be listed', () => document.querySelector('#slow li') !== null);
  await page.selectOption(`tr[data-topic="${topic}"] select`, 'drop-oldest');
  await page.fill('#gen-rate', '300');
  await page.selectOption('#gen-size', '4096');
  await page.click('#generate button');
  await until(page, 'a full queue', () => document.querySelector('#clients .bar.full') !== null);
});

await check('drop-oldest counts dropped messages', async () => {
  await untilCell(page, 'dropped', 'dropped messages');
  await until(page, 'the time for which the socket has been blocked', () =>
    /s$/.test(document.querySelector('#clients td[data-name="blocked for"]').textContent));
  await screenshot(page, 'light');
});

await check('block makes the publisher wait', async () => {
  await page.selectOption(`tr[data-topic="${topic}"] select`, 'block:5s');
  await until(page, 'the publisher to wait', () => document.querySelector('#generators').textContent.includes('the publisher is waiting'));
});

await check('the queue empties when the slider removes the limit', async () => {
  await page.focus('#slow input[type=range]');
  await page.keyboard.press('End');
  await until(page, 'the client to read', () => document.querySelector('#slow .what').textContent.includes('read rate: no limit'));
  await until(page, 'the queue not to be full', () => document.querySelector('#clients .bar.full') === null);
});

await check('disconnect closes a slow consumer with 4008', async () => {
  // The client still reads, so it receives the Close before the close timeout.
  await page.focus('#slow input[type=range]');
  await page.keyboard.press('Home');
  for (let step = 0; step < 7; step++) await page.keyboard.press('ArrowRight');
  await until(page, 'the client to read slowly', () => document.querySelector('#slow .what').textContent.includes('read rate: 256.0 KiB/s'));
  await page.selectOption(`tr[data-topic="${topic}"] select`, 'disconnect');
  await until(page, 'the close code', () => document.querySelector('#slow .ended')?.textContent.includes('4008'));
  await untilCell(page, 'members', 'the member to leave', (text) => text === '0');
});

await check('slow clients and generators can be removed', async () => {
  await page.click('#slow button:text("Remove")');
  await page.click('#generators button');
  await until(page, 'the lists to be empty', () => document.querySelectorAll('#slow li, #generators li').length === 0);
});

await check('a ninth slow client is refused', async () => {
  await page.fill('#topic', ' '.repeat(3) + 'x'.repeat(190));
  for (let n = 1; n <= 8; n++) {
    await page.click('#add button');
    await until(page, `${n} slow clients`, (n) => document.querySelectorAll('#slow li').length === n, n);
  }
  await page.click('#add button');
  await until(page, 'the error', () => document.querySelector('#status').textContent.includes('there are 8 slow clients'));
  for (let left = 7; left >= 0; left--) {
    await page.click('#slow li:first-child button:text("Remove")');
    await until(page, `${left} slow clients`, (left) => document.querySelectorAll('#slow li').length === left, left);
  }
});

await check('of 1,000 clients 100 are shown and all can be found', async () => {
  const sockets = [];
  const isOpen = (socket) => new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  while (sockets.length < 1000) {
    // The server allows 256 pending handshakes.
    const batch = Array.from({ length: 100 }, () => new WebSocket(`${base.replace(/^http/, 'ws')}/ws/${topic}-many`));
    sockets.push(...batch);
    await Promise.all(batch.map(isOpen));
  }
  await until(page, '1,000 clients', () => Number(document.querySelector('#f-clients').textContent.replaceAll(',', '')) > 1000);
  equal('rows', await page.locator('#clients tbody tr').count(), 100);
  console.log(`        a snapshot of 1,000 clients took ${await page.locator('#f-took').innerText()}`);
  await page.fill('#find', 'dash-live-nobody');
  equal('rows that match nothing', await page.locator('#clients tbody tr').count(), 0);
  await page.fill('#find', `${topic}-many`);
  equal('rows that match', await page.locator('#clients tbody tr').count(), 100);
  await page.fill('#find', '');
  for (const socket of sockets) socket.close();
  await until(page, 'the clients to be gone', () => Number(document.querySelector('#f-clients').textContent.replaceAll(',', '')) < 100);
});

await check('it fits a phone of 375 pixels and has a dark mode', async () => {
  await page.fill('#topic', topic);
  await page.fill('#add-rate', '2');
  await page.click('#add button');
  await page.selectOption(`tr[data-topic="${topic}"] select`, 'drop-oldest');
  await page.click('#generate button');
  await until(page, 'a full queue', () => document.querySelector('#clients .bar.full') !== null);
  for (const [name, options] of [['dark', { colorScheme: 'dark' }], ['phone', { viewport: { width: 375, height: 800 } }],
    ['phone-dark', { viewport: { width: 375, height: 800 }, colorScheme: 'dark' }]]) {
    const other = await visit(options);
    await until(other, 'a full queue', () => document.querySelector('#clients .bar.full') !== null);
    const [width, fits] = await other.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    equal(`the page width, ${name}`, width, fits);
    await screenshot(other, name);
    await other.context().close();
  }
  await page.click('#slow button:text("Remove")');
  await page.click('#generators button');
});

await check('the page loads nothing from elsewhere and logs no errors', async () => {
  equal('requests to other servers', requests.filter((url) => new URL(url).origin !== base).join(' '), '');
  equal('requests other than the page and its WebSocket', requests.filter((url) => !/^\/dashboard(\/live)?$/.test(new URL(url).pathname)).join(' '), '');
  equal('errors', errors.join('; '), '');
});

await within(20, 'the browser to end', browser.close());
finish();
