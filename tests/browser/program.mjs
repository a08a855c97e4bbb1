// An example program and its page, used as people would:  node uses/chat.mjs DIRECTORY_OF_EXAMPLES [PICTURES]
// CHROMIUM names a browser that is not /usr/bin/chromium.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { check, equal, finish, within } from './checks.mjs';

const [directory, pictures] = process.argv.slice(2);
if (!directory) {
  console.error(`usage: node ${process.argv[1]} target/debug/examples [PICTURES]`);
  process.exit(2);
}

/// A program that runs. What it prints is in `said`.
export class Program {
  constructor(name, ...args) {
    Object.assign(this, { name, args, said: [] });
  }

  /// Starts it, on the port it had before if it ran before, and waits for its address.
  async start() {
    const child = this.child = spawn(`${directory}/${this.name}`, [this.base ? new URL(this.base).host : '127.0.0.1:0', ...this.args],
      { stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve) => child.on('close', resolve));
    const lines = createInterface({ input: child.stdout });
    const address = new Promise((resolve) => lines.on('line', (line) => {
      this.said.push(line);
      const found = line.match(/http:\/\/([\d.:]+)\//);
      if (found) resolve(`http://${found[1]}`);
    }));
    const died = this.ended.then((code) => { throw new Error(`${this.name} ended with ${code}`); });
    died.catch(() => {});
    this.base = await within(20, `${this.name} to say where it listens`, Promise.race([address, died]));
    return this;
  }

  /// Presses Ctrl-C, and sees the report.
  async stop() {
    this.child.kill('SIGINT');
    equal('the exit code', await within(20, `${this.name} to end`, this.ended), 0);
    if (!/^drained \d+, lost \d+$/.test(this.said.at(-1))) throw new Error(`its last line is ${this.said.at(-1)}`);
  }

  /// Ends it as a crash does.
  async kill() {
    this.child.kill('SIGKILL');
    await within(20, `${this.name} to be gone`, this.ended);
  }
}

const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: quiet }));
const expected = /^WebSocket connection to .*ERR_CONNECTION_(REFUSED|RESET)|^Failed to load resource: (net::ERR_CONNECTION_(REFUSED|RESET)|the server responded with a status of 400)/;
const asked = new Set();
const complaints = [];

/// A person with a window: contexts share nothing, so two visits are two people. `options` are a browser context's.
export async function visit(url, options = {}) {
  const page = await (await browser.newContext({ viewport: { width: 1040, height: 720 }, ...options })).newPage();
  page.setDefaultTimeout(10_000);
  // A server that is away, or that refuses what is wrong, is what some checks are about; Chromium reports it as an error.
  page.on('console', (message) => {
    if (message.type() === 'error' && !expected.test(message.text())) {
      complaints.push(message.text());
    }
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => asked.add(new URL(request.url()).host));
  page.on('websocket', (socket) => asked.add(new URL(socket.url()).host));
  await page.goto(url);
  return page;
}

/// Waits until a condition holds in the page: `condition` runs there, with `argument`.
export async function until(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: 20_000 });
  } catch {
    const shows = await page.locator('body').innerText();
    throw new Error(`waited 20 s for ${what}; the page shows ${JSON.stringify(shows.slice(0, 1500))}`);
  }
}

export const isOpen = (page) => until(page, 'a connection', () => document.querySelector('#state').dataset.state === 'open');

/// Leaves a picture, where a directory for them is named.
export const picture = (page, name) => pictures ? page.screenshot({ path: `${pictures}/${name}.png` }) : undefined;

/// The last checks, which every page passes: as wide as a phone, nothing asked of anybody else, no complaint.
export async function end(program, page) {
  await check('it fits a phone of 375 pixels', async () => {
    await page.setViewportSize({ width: 375, height: 740 });
    const [width, fits] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    equal("the page's width", width, fits);
    await picture(page, `${program.name}-phone`);
  });
  await check('nothing was asked of anybody else, and no page complained', async () => {
    equal('the hosts that were asked', [...asked].join(' '), new URL(program.base).host);
    equal('complaints', complaints.join('; '), '');
  });
  await check('Ctrl-C ends it with its report', () => program.stop());
  await within(20, 'the browser to end', browser.close());
  finish();
}

export { check, equal, within };
