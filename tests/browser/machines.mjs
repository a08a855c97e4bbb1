// The dashboard of a hub that shares its topics, while its Redis server works, freezes and comes back.
//   node machines.mjs target/release/standpipe [PICTURES]
// Skipped if redis-server is not installed. Set CHROMIUM to use a browser other than /usr/bin/chromium.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import WebSocket from 'ws';
import { check, equal, finish, within } from './checks.mjs';

const [program, pictures] = process.argv.slice(2);
if (!program) {
  console.error(`usage: node ${process.argv[1]} target/release/standpipe [PICTURES]`);
  process.exit(2);
}
if (spawnSync('redis-server', ['--version']).error) {
  console.log('skipped, because redis-server is not installed');
  process.exit(0);
}

const directory = mkdtempSync(`${tmpdir()}/standpipe-machines-`);
const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

const port = await freePort();
const redis = spawn('redis-server', ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory], { stdio: 'ignore' });
const hubs = [];
// Also when this program fails.
process.on('exit', () => { for (const child of [...hubs, redis]) child.kill('SIGKILL'); });

/// Starts a hub, and returns its URL.
async function hub(...flags) {
  const child = spawn(program, ['--listen', '127.0.0.1:0', '--admin-open', '--topic', '*:history=100', ...flags],
    { stdio: ['ignore', 'pipe', 'ignore'], env: { STANDPIPE_REDIS: `redis://127.0.0.1:${port}` } });
  hubs.push(child);
  const lines = createInterface({ input: child.stdout });
  const address = new Promise((resolve) => lines.on('line', (line) => {
    const found = line.match(/listening on (http:\/\/[\d.:]+)\//);
    if (found) resolve(found[1]);
  }));
  return within(20, 'the hub to print its address', address);
}

const publish = (base, text) => fetch(`${base}/publish/lobby`, { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: text });

async function until(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: 20_000 });
  } catch {
    const text = await page.locator('body').innerText();
    throw new Error(`waited 20 s for ${what}; the page shows ${JSON.stringify(text.slice(0, 1500))}`);
  }
}

/// Waits until the cell in this column shows a text that contains `part`.
const untilCell = (page, column, part) => until(page, `${column}: ${part}`, ([column, part]) =>
  document.querySelector(`#servers td[data-name="${column}"]`)?.textContent.includes(part), [column, part]);

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: quiet }));
const errors = [];
const visit = async (base, options = {}) => {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })).newPage();
  page.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()); });
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(`${base}/dashboard`);
  return page;
};
const picture = (page, name) => pictures ? page.screenshot({ path: `${pictures}/machines-${name}.png`, fullPage: true }) : undefined;

const [one, two] = [await hub('--node', 'one'), await hub('--node', 'two', '--redis-lost', 'refuse')];
const [first, second] = [await visit(one), await visit(two, { colorScheme: 'dark' })];
const member = new WebSocket(`${one.replace(/^http/, 'ws')}/ws/lobby`);
await within(20, 'a member to connect', new Promise((resolve) => { member.onopen = resolve; }));

await check('a hub shows the server through which it shares its topics', async () => {
  for (const page of [first, second]) {
    await untilCell(page, 'state', 'up');
    await untilCell(page, 'server', `127.0.0.1:${port}`);
  }
  await until(first, 'the name of the hub', () => document.querySelector('#servers-card').textContent.includes('(one)'));
  equal('the status', (await publish(two, 'hello')).status, 202);
  await untilCell(first, 'received', '1');
  await untilCell(second, 'published', '1');
  await picture(first, 'up');
});

await check('a hub without its server says what this means', async () => {
  redis.kill('SIGSTOP');
  for (const page of [first, second]) await untilCell(page, 'state', 'isolated for');
  await untilCell(first, 'state', 'messages reach only the clients of this hub');
  await untilCell(second, 'state', 'messages are refused');
  equal('the status under local', (await publish(one, 'alone')).status, 202);
  equal('the status under refuse', (await publish(two, 'refused')).status, 503);
  await untilCell(first, 'only here', '1');
  await untilCell(second, 'refused, unknown', '1, 0');
  await untilCell(first, 'silent for', ' s');
  await picture(first, 'isolated');
  await picture(second, 'isolated-dark');
  const phone = await visit(one, { viewport: { width: 390, height: 844 } });
  await untilCell(phone, 'state', 'isolated for');
  const width = await phone.evaluate(() => document.documentElement.scrollWidth);
  equal('the width of the page', width, 390);
  await picture(phone, 'phone');
});

await check('a hub whose server is back shows it', async () => {
  redis.kill('SIGCONT');
  for (const page of [first, second]) await untilCell(page, 'state', 'topics are shared');
  await until(first, 'a gap', () => Number(document.querySelector('#servers td[data-name="gaps"]').textContent) > 0);
});

await check('a hub of its own has no such section', async () => {
  const child = spawn(program, ['--listen', '127.0.0.1:0', '--admin-open'], { stdio: ['ignore', 'pipe', 'ignore'], env: {} });
  hubs.push(child);
  const line = await within(20, 'an address', new Promise((resolve) => createInterface({ input: child.stdout }).once('line', resolve)));
  const page = await visit(line.match(/http:\/\/[\d.:]+/)[0]);
  await until(page, 'the first snapshot', () => /\d/.test(document.querySelector('#f-clients').textContent));
  equal('the section is hidden', await page.isHidden('#servers-card'), true);
});

equal('errors in the pages', errors.join('\n'), '');
await browser.close();
for (const child of [...hubs, redis]) {
  const ended = new Promise((resolve) => child.on('exit', resolve));
  child.kill(child === redis ? 'SIGKILL' : 'SIGINT');
  await within(20, 'a process to end', ended);
}
rmSync(directory, { recursive: true, force: true });
finish();
