// The dashboard, driven as a person would, in Chromium:  node dashboard.mjs http://127.0.0.1:9000 [DIRECTORY]
// With a directory it leaves its pictures there. CHROMIUM names a browser that is not /usr/bin/chromium.
import { chromium } from 'playwright-core';
import WebSocket from 'ws';
import { baseUrl, check, equal, finish, within } from './checks.mjs';

const base = baseUrl();
const pictures = process.argv[3];
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: quiet }));

const asked = [];
const complaints = [];

async function visit(options = {}) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })).newPage();
  page.setDefaultTimeout(10_000);
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => asked.push(request.url()));
  page.on('websocket', (socket) => asked.push(socket.url().replace(/^ws/, 'http')));
  await page.goto(base + '/dashboard');
  await until(page, 'a first look', () => /\d/.test(document.querySelector('#f-clients').textContent));
  return page;
}

async function until(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: 20_000 });
  } catch {
    const shows = await page.locator('body').innerText();
    throw new Error(`waited 20 s for ${what}; the page shows ${JSON.stringify(shows.slice(0, 1500))}`);
  }
}

const picture = (page, name) => pictures ? page.screenshot({ path: `${pictures}/dashboard-${name}.png`, fullPage: true }) : undefined;
const topic = `dash-${process.pid}`;
const inTopic = (page, column, what, condition = (text) => Number(text.replaceAll(',', '')) > 0) => until(page, what,
  ([topic, column, condition]) => {
    const cell = document.querySelector(`tr[data-topic="${topic}"] td[data-name="${column}"]`);
    return cell !== null && new Function('text', `return (${condition})(text)`)(cell.textContent);
  }, [topic, column, condition.toString()]);

const page = await visit();

await check('a slow client is added, sent more than it reads, and its bar fills', async () => {
  await page.fill('#topic', topic);
  await page.fill('#add-rate', '0');
  await page.click('#add button');
  await until(page, 'slow-1 in the list', () => document.querySelector('#slow li') !== null);
  await page.selectOption(`tr[data-topic="${topic}"] select`, 'drop-oldest');
  await page.fill('#gen-rate', '300');
  await page.selectOption('#gen-size', '4096');
  await page.click('#generate button');
  await until(page, 'a full bar', () => document.querySelector('#clients .bar.full') !== null);
});

await check('under drop-oldest the drop counter runs', async () => {
  await inTopic(page, 'dropped', 'drops');
  await until(page, 'a time for which the socket has refused', () =>
    /s$/.test(document.querySelector('#clients td[data-name=oldest]').textContent));
  await picture(page, 'light');
});

await check('under block the publisher bends: it waits, and drops nothing', async () => {
  await page.selectOption(`tr[data-topic="${topic}"] select`, 'block:5s');
  await until(page, 'a publisher that waits', () => document.querySelector('#generators').textContent.includes('the publisher waits'));
});

await check('a slider moves a client from nothing to everything, and its queue empties', async () => {
  await page.focus('#slow input[type=range]');
  await page.keyboard.press('End');
  await until(page, 'a client that reads', () => document.querySelector('#slow .who').textContent.includes('reads all that comes'));
  await until(page, 'a queue that is not full', () => document.querySelector('#clients .bar.full') === null);
});

await check('under disconnect a client that reads too slowly is cut, and told 4008', async () => {
  // It still reads, so it gets to the code before the deadline of its close.
  await page.focus('#slow input[type=range]');
  await page.keyboard.press('Home');
  for (let step = 0; step < 7; step++) await page.keyboard.press('ArrowRight');
  await until(page, 'a client that reads slowly', () => document.querySelector('#slow .who').textContent.includes('reads 256.0 KiB/s'));
  await page.selectOption(`tr[data-topic="${topic}"] select`, 'disconnect');
  await until(page, 'the code', () => document.querySelector('#slow .ended')?.textContent.includes('4008'));
  await inTopic(page, 'members', 'no member', (text) => text === '0');
});

await check('what was begun is removed', async () => {
  await page.click('#slow button:text("Remove")');
  await page.click('#generators button');
  await until(page, 'empty lists', () => document.querySelectorAll('#slow li, #generators li').length === 0);
});

await check('a command that is wrong is answered, and nine slow clients are one too many', async () => {
  await page.fill('#topic', ' '.repeat(3) + 'x'.repeat(190));
  for (let n = 1; n <= 8; n++) {
    await page.click('#add button');
    await until(page, `${n} slow clients`, (n) => document.querySelectorAll('#slow li').length === n, n);
  }
  await page.click('#add button');
  await until(page, 'the refusal', () => document.querySelector('#said').textContent.includes('there are 8 slow clients'));
  for (let left = 7; left >= 0; left--) {
    await page.click('#slow li:first-child button:text("Remove")');
    await until(page, `${left} slow clients`, (left) => document.querySelectorAll('#slow li').length === left, left);
  }
});

await check('with 1,000 clients it shows 100 rows, finds the others, and still follows', async () => {
  const many = [];
  const opened = (socket) => new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  while (many.length < 1000) {
    // There are 256 places for requests.
    const some = Array.from({ length: 100 }, () => new WebSocket(`${base.replace(/^http/, 'ws')}/ws/${topic}-many`));
    many.push(...some);
    await Promise.all(some.map(opened));
  }
  await until(page, '1,000 clients', () => Number(document.querySelector('#f-clients').textContent.replaceAll(',', '')) > 1000);
  equal('rows', await page.locator('#clients tbody tr').count(), 100);
  console.log(`        a look at 1,000 clients took ${await page.locator('#f-took').innerText()}`);
  await page.fill('#find', 'dash-live-nobody');
  equal('rows that nobody matches', await page.locator('#clients tbody tr').count(), 0);
  await page.fill('#find', `${topic}-many`);
  equal('rows that match', await page.locator('#clients tbody tr').count(), 100);
  await page.fill('#find', '');
  for (const socket of many) socket.close();
  await until(page, 'that they are gone', () => Number(document.querySelector('#f-clients').textContent.replaceAll(',', '')) < 100);
});

await check('it is dark where people like it dark, and fits a phone of 375 pixels', async () => {
  await page.fill('#topic', topic);
  await page.fill('#add-rate', '2');
  await page.click('#add button');
  await page.selectOption(`tr[data-topic="${topic}"] select`, 'drop-oldest');
  await page.click('#generate button');
  await until(page, 'a full bar', () => document.querySelector('#clients .bar.full') !== null);
  for (const [name, options] of [['dark', { colorScheme: 'dark' }], ['phone', { viewport: { width: 375, height: 800 } }],
    ['phone-dark', { viewport: { width: 375, height: 800 }, colorScheme: 'dark' }]]) {
    const other = await visit(options);
    await until(other, 'a full bar', () => document.querySelector('#clients .bar.full') !== null);
    const [width, fits] = await other.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    equal(`the page's width, ${name}`, width, fits);
    await picture(other, name);
    await other.context().close();
  }
  await page.click('#slow button:text("Remove")');
  await page.click('#generators button');
});

await check('nothing was asked of anybody else, and no page complained', async () => {
  equal('requests elsewhere', asked.filter((url) => new URL(url).origin !== base).join(' '), '');
  equal('requests but for the page and its socket', asked.filter((url) => !/^\/dashboard(\/live)?$/.test(new URL(url).pathname)).join(' '), '');
  equal('complaints', complaints.join('; '), '');
});

await within(20, 'the browser to end', browser.close());
finish();
