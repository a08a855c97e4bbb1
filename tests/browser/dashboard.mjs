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

/// Connects WebSocket clients, and returns them with their ports.
async function connectClients(path, count) {
  const sockets = [];
  const isOpen = (socket) => new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  while (sockets.length < count) {
    // The server allows 256 pending handshakes.
    const batch = Array.from({ length: Math.min(100, count - sockets.length) }, () => new WebSocket(`${base.replace(/^http/, 'ws')}${path}`));
    sockets.push(...batch);
    await Promise.all(batch.map(isOpen));
  }
  return sockets;
}

const rows = page.locator('#clients tbody tr');
/// Waits until the figures have been updated this often.
const untilSnapshots = (count) => page.evaluate((count) => new Promise((resolve) => {
  const observer = new MutationObserver(() => { if (--count <= 0) resolve(observer.disconnect()); });
  observer.observe(document.querySelector('#f-took'), { childList: true, characterData: true, subtree: true });
}), count);
await page.evaluate(() => {
  window.longTasks = [];
  new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ entryTypes: ['longtask'] });
});
const untilRows = (what, count) => until(page, what, (count) => document.querySelectorAll('#clients tbody tr').length === count, count);
/// Stands behind the address of a client with TLS.
const version = base.startsWith('https') ? ', TLS 1.3' : '';
/// Waits until the client with this port is the only one that is shown.
const untilOnly = (port) => until(page, `the client with port ${port}`, (port) => {
  const peers = [...document.querySelectorAll('#clients .client .sub')].map((peer) => peer.textContent);
  return peers.length === 1 && peers[0].endsWith(port);
}, `:${port}${version}`);
/// Waits for a text that contains `part` in the element with this id.
const untilText = (id, part) => until(page, part, ([id, part]) => document.getElementById(id).textContent.includes(part), [id, part]);
const numbers = () => rows.locator('.client > span:first-child').allTextContents().then((texts) => texts.map(Number));

await check('of 1,000 clients 100 are shown and all can be found', async () => {
  const sockets = await connectClients(`/ws/${topic}-many`, 1000);
  await until(page, '1,000 clients', () => Number(document.querySelector('#f-clients').textContent.replaceAll(',', '')) > 1000);
  await untilRows('100 rows', 100);
  await page.evaluate(() => { window.longTasks = []; });
  await untilSnapshots(6);
  console.log(`        a snapshot of 1,000 clients took ${await page.locator('#f-took').innerText()}`);
  const longest = await page.evaluate(() => Math.round(Math.max(0, ...window.longTasks)));
  console.log(`        the longest task of the page took ${longest} ms (0: less than 50 ms)`);
  await screenshot(page, 'many');
  await page.fill('#find', 'dash-live-nobody');
  await untilText('rows-note', 'No client matches.');
  await page.fill('#find', `${topic}-MANY`);
  await untilText('rows-note', '1 to 100 of 1,000 clients');
  const port = sockets[987]._socket.localPort;
  await page.fill('#find', `:${port} ${topic}`);
  await untilOnly(port);
  equal('the address', await rows.locator('.client .sub').innerText(), `127.0.0.1:${port}${version}`);
  for (const socket of sockets) socket.close();
  await until(page, 'the clients to be gone', () => Number(document.querySelector('#f-clients').textContent.replaceAll(',', '')) < 100);
  await page.click('#clear-find');
});

await check('rows are sorted by a heading, reversed, and turned by pages', async () => {
  const sockets = await connectClients(`/ws/${topic}-sorted`, 150);
  await page.fill('#find', `${topic}-sorted`);
  await untilText('rows-note', '1 to 100 of 150 clients');
  const heading = page.locator('#clients thead').getByRole('button', { name: 'client', exact: true });
  await heading.click();
  await until(page, 'ascending numbers', () => document.querySelector('#clients th').ariaSort === 'ascending');
  const first = await numbers();
  equal('the order', String(first), String(first.toSorted((a, b) => a - b)));
  await page.click('#next');
  await untilText('rows-note', '101 to 150 of 150 clients');
  equal('whether the second page continues', Math.min(...await numbers()) > Math.max(...first), true);
  equal('whether there is a third page', await page.isDisabled('#next'), true);
  await heading.click();
  await untilText('rows-note', '1 to 100 of 150 clients');
  await until(page, 'descending numbers', () => document.querySelector('#clients th').ariaSort === 'descending');
  const last = await numbers();
  equal('the order', String(last), String(last.toSorted((a, b) => b - a)));
  equal('the list of columns', await page.inputValue('#sort'), 'client');
  for (const socket of sockets) socket.close();
  await page.selectOption('#sort', 'queue');
  await page.fill('#find', '');
});

await check('a client is disconnected only after a confirmation', async () => {
  const [client] = await connectClients(`/ws/${topic}-one`, 1);
  const closed = new Promise((resolve) => { client.onclose = resolve; });
  await page.fill('#find', `:${client._socket.localPort}`);
  await untilOnly(client._socket.localPort);
  const [number] = await numbers();
  const button = page.getByRole('button', { name: `Disconnect client ${number}`, exact: true });
  const dialog = page.getByRole('dialog', { name: `Disconnect client ${number}?` });
  await button.click();
  await dialog.waitFor();
  await dialog.getByText(`127.0.0.1:${client._socket.localPort}${version} · no user · topics: ${topic}-one`).waitFor();
  await screenshot(page, 'disconnect');
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await dialog.waitFor({ state: 'hidden' });
  equal('the client after Cancel', client.readyState, WebSocket.OPEN);
  // With the keyboard alone: Enter opens the dialog, Escape ends it, and the focus returns to the row.
  await page.keyboard.press('Enter');
  await dialog.waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  equal('the focus after Escape', await button.evaluate((button) => button === document.activeElement), true);
  await page.keyboard.press('Enter');
  await dialog.waitFor();
  await dialog.getByLabel('Reason').fill('é'.repeat(62));
  await page.keyboard.press('Enter');
  equal('the dialog with a reason of 124 bytes', await dialog.isVisible(), true);
  await dialog.getByLabel('Code').fill('4321');
  await dialog.getByLabel('Reason').fill('out of order');
  await page.keyboard.press('Enter');
  const { code, reason } = await within(10, 'the Close', closed);
  equal('the Close', `${code} ${reason}`, '4321 out of order');
  await untilText('clients-status', `client ${number} was disconnected with 4321`);
  // The focus is in the row, so the row stays until the user leaves the table.
  await rows.getByText('Disconnected').waitFor();
  await page.fill('#find', '');
});

await check('rows stay in place while the pointer is on the table', async () => {
  const sockets = await connectClients(`/ws/${topic}-held`, 3);
  await page.fill('#find', `${topic}-held`);
  await page.selectOption('#sort', 'client');
  await untilRows('three rows', 3);
  const before = await numbers();
  await rows.nth(1).hover();
  await untilText('rows-note', 'rows stay in place');
  const port = sockets[0]._socket.localPort;
  sockets[0].close();
  await rows.filter({ hasText: `:${port}` }).getByText('Disconnected').waitFor();
  equal('the rows', String(await numbers()), String(before));
  await page.mouse.move(0, 0);
  await untilRows('two rows', 2);
  sockets.forEach((socket) => socket.close());
  await page.selectOption('#sort', 'queue');
  await page.fill('#find', '');
});

await check('the keyboard searches and moves between rows', async () => {
  const sockets = await connectClients(`/ws/${topic}-keys`, 3);
  await page.locator('#reverse').focus();
  await page.keyboard.press('/');
  equal('the focus', await page.evaluate(() => document.activeElement.id), 'find');
  await page.keyboard.type(`${topic}-keys`);
  await untilText('rows-note', '1 to 3 of 3 clients');
  await rows.first().getByRole('button').focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  equal('whether the last row has the focus', await rows.last().getByRole('button').evaluate((button) => button === document.activeElement), true);
  await page.focus('#find');
  await page.keyboard.press('Escape');
  equal('the search after Escape', await page.inputValue('#find'), '');
  for (const socket of sockets) socket.close();
});

await check('every control and table has an accessible name', async () => {
  const devtools = await page.context().newCDPSession(page);
  await rows.first().getByRole('button').click();
  await page.getByRole('dialog').waitFor();
  const namelessWith = async (roles) => {
    const { nodes } = await devtools.send('Accessibility.getFullAXTree');
    const controls = nodes.filter((node) => !node.ignored && roles.includes(node.role?.value));
    equal(`whether there are ${roles[0]}s`, controls.length > 0, true);
    return controls.filter((node) => !node.name?.value.trim()).map((node) => node.role.value).join(' ');
  };
  const roles = ['button', 'link', 'textbox', 'combobox', 'slider', 'spinbutton', 'table', 'region', 'dialog'];
  equal('controls without a name in the dialog', await namelessWith(roles), '');
  await page.keyboard.press('Escape');
  equal('controls without a name', await namelessWith(roles), '');
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
