// The pages with a server that requires tokens:  node tokens.mjs target/release/standpipe [DIRECTORY]
// The start page sends and renews a token. The dashboard shows, finds and disconnects the users that tokens name.
// Saves screenshots if a directory is given. CHROMIUM is the path of the browser if it is not /usr/bin/chromium.
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import WebSocket from 'ws';
import { check, equal, finish, within } from './checks.mjs';

const [program, screenshots] = process.argv.slice(2);
if (!program) {
  console.error(`usage: node ${process.argv[1]} target/release/standpipe [DIRECTORY]`);
  process.exit(2);
}

const directory = mkdtempSync(join(tmpdir(), 'standpipe-tokens-'));
const secret = '0123456789abcdef0123456789abcdef';
writeFileSync(join(directory, 'secret'), secret);
// A token with characters that no header field name may have, so that it cannot be a subprotocol.
writeFileSync(join(directory, 'tokens'), 'static/token=\n');

/// Returns a signed token for a user, valid for some seconds.
function signed(user, seconds = 3600, claims = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds, ...claims })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

const flags = ['--listen', '127.0.0.1:0', '--admin-open', '--jwt-hmac-file', join(directory, 'secret'), '--token-file', join(directory, 'tokens')];
const server = spawn(program, flags, { env: { HOME: directory }, stdio: ['ignore', 'pipe', 'ignore'] });
// Also when this program fails.
process.on('exit', () => server.kill('SIGKILL'));
const base = await within(20, 'the server to print its address', new Promise((resolve) => {
  createInterface({ input: server.stdout }).on('line', (line) => {
    const found = line.match(/listening on (http:\/\/[\d.:]+)\//);
    if (found) resolve(found[1]);
  });
}));

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browserFlags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: browserFlags }));
const urls = [];
const errors = [];

async function visit(path) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  page.setDefaultTimeout(20_000);
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('request', (request) => urls.push(request.url()));
  page.on('websocket', (socket) => urls.push(socket.url()));
  await page.goto(base + path);
  return page;
}

const isOpen = (page) => page.waitForFunction(() => document.querySelector('#state').dataset.state === 'open');
const hasLogged = (page, text) => page.waitForFunction((text) => document.querySelector('#log').textContent.includes(text), text);

/// Opens the start page and connects with a token: in JSON mode, or to /echo.
async function connect(token, target = 'many') {
  const page = await visit('/');
  await page.check(`#target-${target}`);
  await page.click('summary');
  await page.fill('#token', token);
  await page.click('#connect');
  await isOpen(page);
  return page;
}

await check('the start page sends a signed token in no URL', async () => {
  const token = signed('ann');
  const page = await connect(token);
  await page.fill('#sub-topic', 'room');
  await page.click('#subscribe');
  await hasLogged(page, 'subscribed');
  await page.waitForFunction(() => document.querySelector('#subscriptions').textContent.includes('present: ann'));
  equal('URLs with the token', urls.filter((url) => url.includes(token)).join(' '), '');
  await page.context().close();
});

await check('a token that no header can carry is sent in the URL, and not shown', async () => {
  const page = await connect('static/token=', 'echo');
  await page.click('#send');
  await page.waitForFunction(() => document.querySelector('#received').textContent === '1');
  const shown = await page.locator('body').innerText();
  equal('whether the page shows the token', shown.includes('static/token'), false);
  await page.context().close();
});

await check('a newer token is sent on the open connection', async () => {
  const page = await connect(signed('bob', 60));
  await page.fill('#sub-topic', 'room');
  await page.click('#subscribe');
  await hasLogged(page, 'subscribed');
  await page.fill('#token', signed('bob', 7200, { topics: { subscribe: ['other'], publish: [] } }));
  await page.click('#renew');
  await hasLogged(page, 'the new token is in force until');
  await hasLogged(page, 'the new token does not allow this topic');
  equal('the subscriptions', await page.locator('#subscriptions li').count(), 0);
  await page.fill('#token', 'no token');
  await page.click('#renew');
  await page.locator('#log .error').first().waitFor();
  await page.context().close();
});

await check('the dashboard shows users, finds them and disconnects all clients of one', async () => {
  const open = async (user) => {
    const socket = new WebSocket(`${base.replace(/^http/, 'ws')}/ws`, ['standpipe.v1', `bearer.${signed(user)}`]);
    socket.closed = new Promise((resolve) => { socket.onclose = resolve; });
    await within(20, `${user} to connect`, new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; }));
    return socket;
  };
  const [carol, again, dora] = [await open('carol'), await open('carol'), await open('dora')];
  const page = await visit('/dashboard');
  await isOpen(page);
  const rows = page.locator('#clients tbody tr');
  await page.selectOption('#sort', 'user');
  await page.waitForFunction(() => [...document.querySelectorAll('#clients td.user')].slice(0, 3).map((cell) => cell.textContent).join() === 'carol,carol,dora');
  if (screenshots) await page.screenshot({ path: `${screenshots}/tokens-users.png` });
  await page.fill('#find', 'CAROL');
  await page.waitForFunction(() => document.querySelector('#rows-note').textContent.startsWith('1 to 2 of 2'));
  await rows.first().getByRole('button', { name: /Disconnect client \d+, user carol/ }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('All clients of user carol').check();
  if (screenshots) await page.screenshot({ path: `${screenshots}/tokens-disconnect.png` });
  await dialog.getByRole('button', { name: 'Disconnect' }).click();
  for (const socket of [carol, again]) {
    const { code, reason } = await within(10, 'the Close', socket.closed);
    equal('the Close', `${code} ${reason}`, '1008 disconnected by the operator');
  }
  await page.getByText('2 clients of user carol were disconnected with 1008').waitFor();
  equal('the other user', dora.readyState, WebSocket.OPEN);
  dora.close();
});

await check('the pages have no errors', async () => equal('errors', errors.join('; '), ''));

await within(20, 'the browser to end', browser.close());
const ended = new Promise((resolve) => server.on('exit', resolve));
server.kill('SIGTERM');
equal('the exit code', await within(20, 'the server to end', ended), 0);
rmSync(directory, { recursive: true });
finish();
