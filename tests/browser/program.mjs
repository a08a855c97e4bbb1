// Helpers for tests that run an example program and use its page in a browser.
//   node uses/chat.mjs DIRECTORY_OF_EXAMPLES [PICTURES]
// Set CHROMIUM to use a browser other than /usr/bin/chromium.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { check, equal, finish, within } from './checks.mjs';

const [directory, pictures] = process.argv.slice(2);
if (!directory) {
  console.error(`usage: node ${process.argv[1]} target/debug/examples [PICTURES]`);
  process.exit(2);
}

/// A running program. `output` holds the lines that it has printed.
export class Program {
  constructor(name, ...args) {
    Object.assign(this, { name, args, output: [] });
  }

  /// Starts the program and waits until it prints its address. A second start uses the same port as the first.
  async start() {
    const child = this.child = spawn(`${directory}/${this.name}`, [this.base ? new URL(this.base).host : '127.0.0.1:0', ...this.args],
      { stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve) => child.on('close', resolve));
    const lines = createInterface({ input: child.stdout });
    const address = new Promise((resolve) => lines.on('line', (line) => {
      this.output.push(line);
      const found = line.match(/http:\/\/([\d.:]+)\//);
      if (found) resolve(`http://${found[1]}`);
    }));
    const exited = this.ended.then((code) => { throw new Error(`${this.name} exited with ${code}`); });
    exited.catch(() => {});
    this.base = await within(20, `${this.name} to print its address`, Promise.race([address, exited]));
    return this;
  }

  /// Stops the program with Ctrl-C, and checks its exit code and its report.
  async stop() {
    this.child.kill('SIGINT');
    equal('the exit code', await within(20, `${this.name} to end`, this.ended), 0);
    if (!/^drained \d+, lost \d+$/.test(this.output.at(-1))) throw new Error(`its last line is ${this.output.at(-1)}`);
  }

  /// Kills the program, to simulate a crash.
  async kill() {
    this.child.kill('SIGKILL');
    await within(20, `${this.name} to end`, this.ended);
  }
}

const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: quiet }));
const expected = /^WebSocket connection to .*ERR_CONNECTION_(REFUSED|RESET)|^Failed to load resource: (net::ERR_CONNECTION_(REFUSED|RESET)|the server responded with a status of 400)/;
const hosts = new Set();
const errors = [];

/// Opens the page in a new browser context. Contexts share nothing, so two visits are two people. `options` are those
/// of a browser context.
export async function visit(url, options = {}) {
  const page = await (await browser.newContext({ viewport: { width: 1040, height: 720 }, ...options })).newPage();
  page.setDefaultTimeout(10_000);
  // Some checks stop the server or expect a rejected request. Chromium reports both as errors, which are expected here.
  page.on('console', (message) => {
    if (message.type() === 'error' && !expected.test(message.text())) {
      errors.push(message.text());
    }
  });
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('request', (request) => hosts.add(new URL(request.url()).host));
  page.on('websocket', (socket) => hosts.add(new URL(socket.url()).host));
  await page.goto(url);
  return page;
}

/// Waits until a condition is true in the page. `condition` runs in the page, with `argument`.
export async function until(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: 20_000 });
  } catch {
    const shows = await page.locator('body').innerText();
    throw new Error(`waited 20 s for ${what}; the page shows ${JSON.stringify(shows.slice(0, 1500))}`);
  }
}

export const isOpen = (page) => until(page, 'a connection', () => document.querySelector('#state').dataset.state === 'open');

/// Saves a picture if the command line names a directory for pictures.
export const picture = (page, name) => pictures ? page.screenshot({ path: `${pictures}/${name}.png` }) : undefined;

/// The last checks, which are the same for every page: it fits a phone, contacts no other host, and reports no error.
export async function end(program, page) {
  await check('it fits a phone of 375 pixels', async () => {
    await page.setViewportSize({ width: 375, height: 740 });
    const [width, fits] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    equal("the page's width", width, fits);
    await picture(page, `${program.name}-phone`);
  });
  await check('the pages contacted no other host and reported no error', async () => {
    equal('the contacted hosts', [...hosts].join(' '), new URL(program.base).host);
    equal('the reported errors', errors.join('; '), '');
  });
  await check('Ctrl-C ends the program with its report', () => program.stop());
  await within(20, 'the browser to end', browser.close());
  finish();
}

export { check, equal, within };
