// The page of `GET /`, driven as two people would, in Chromium:  node page.mjs http://127.0.0.1:9000
// The browser is the system's own; CHROMIUM names it when it is not /usr/bin/chromium.
import { chromium } from 'playwright-core';
import { baseUrl, check, equal, finish, within } from './checks.mjs';

const base = baseUrl();
const limit = 64 * 1024;
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: quiet }));

// Everything any page asked for or complained of; the last check looks at both.
const asked = [];
const complaints = [];

/// One person's page. Every wait says what it waits for.
class Person {
  constructor(name, page) {
    Object.assign(this, { name, page });
    page.setDefaultTimeout(10_000);
    page.on('console', (message) => { if (message.type() === 'error') complaints.push(`${name}: ${message.text()}`); });
    page.on('pageerror', (error) => complaints.push(`${name}: ${error.message}`));
    page.on('request', (request) => asked.push(request.url()));
    page.on('websocket', (socket) => asked.push(socket.url().replace(/^ws/, 'http')));
  }

  static async visits(name, hash = '') {
    const context = await browser.newContext();
    const person = new Person(name, await context.newPage());
    await person.page.goto(base + '/' + hash);
    return person;
  }

  async leaves() {
    await this.page.context().close();
  }

  async until(what, condition, argument) {
    try {
      await this.page.waitForFunction(condition, argument, { timeout: 15_000 });
    } catch {
      const log = await this.page.locator('#log').innerText();
      throw new Error(`${this.name} waited 15 s for ${what}; the log ends with ${JSON.stringify(log.slice(-300))}`);
    }
  }

  state(state) {
    return this.until(`the state ${state}`, (state) => document.querySelector('#state').textContent === state, state);
  }

  /// A line of the log of this kind (in, out, life, bad, or * for any) that holds the text.
  sees(text, kind = 'in') {
    return this.until(`“${text}”`, ([text, kind]) => [...document.querySelectorAll(`#log ${kind === '*' ? '' : '.' + kind} .what`)]
      .some((line) => line.textContent.includes(text)), [text, kind]);
  }

  count(text, kind = 'in') {
    return this.page.locator(`#log .${kind} .what`).filter({ hasText: text }).count();
  }

  async connect() {
    await this.page.click('#connect');
    await this.state('open');
  }

  async says(text) {
    await this.page.fill('#text', text);
    await this.page.press('#text', 'Enter');
  }

  async closes(code, reason) {
    await this.page.fill('#code', String(code));
    await this.page.fill('#reason', reason);
    await this.page.click('#close');
    await this.state('closed');
  }
}

/// Runs `body` with people who leave afterwards.
const withPeople = (people, body) => async () => {
  const here = [];
  try {
    for (const [name, hash] of people) here.push(await Person.visits(name, hash));
    await body(...here);
  } finally {
    for (const person of here) await person.leaves();
  }
};

const topic = `page-${process.pid}`;
const ann = ['Ann', ''];
const members = [['Ann', `#${topic}`], ['Bob', `#${topic}`]];

await check('/echo brings text back, as text and not as markup, with its round trip', withPeople([ann], async (ann) => {
  await ann.connect();
  await ann.says('hello');
  await ann.sees('hello');
  await ann.says('<b id="injected">grüße, 世界 🌍</b>');
  await ann.sees('<b id="injected">grüße, 世界 🌍</b>');
  equal('elements made of a message', await ann.page.locator('#injected').count(), 0);
  await ann.until('a round trip', () => document.querySelector('#round-trip').textContent.endsWith(' ms'));
}));

await check('the keyboard alone connects, sends and closes', withPeople([ann], async (ann) => {
  await ann.page.focus('#connect');
  await ann.page.keyboard.press('Enter');
  await ann.state('open');
  await ann.until('the focus in the text field', () => document.activeElement.id === 'text');
  await ann.page.keyboard.type(' with keys');
  await ann.page.keyboard.press('Enter');
  await ann.sees('with keys');
  await ann.page.focus('#reason');
  await ann.page.keyboard.press('Enter');
  await ann.state('closed');
  await ann.sees('closed with 1000', 'life');
}));

await check('/echo brings binary back', withPeople([ann], async (ann) => {
  await ann.connect();
  for (const bytes of [0, 16, limit]) {
    await ann.page.fill('#bytes', String(bytes));
    await ann.page.click('#send-binary');
    const shown = `binary, ${bytes.toLocaleString('en')} bytes`;
    await ann.sees(shown);
    const [out, back] = await Promise.all(['out', 'in'].map((kind) =>
      ann.page.locator(`#log .${kind} .what`).filter({ hasText: shown }).innerText()));
    equal('what came back', back, out);
  }
}));

for (const many of [1000, 20_000]) {
  await check(`${many} messages sent at once come back in order`, withPeople([ann], async (ann) => {
    await ann.connect();
    await ann.page.fill('#count', String(many));
    await ann.page.click('#send-many');
    const all = many.toLocaleString('en');
    await ann.sees(`${all} of ${all} back, in order`);
    equal('the count of what was received', await ann.page.locator('#received').innerText(), all);
    await ann.says('and after them');
    await ann.sees('and after them');
  }));
}

await check('two people on a topic see what both say, in one order', withPeople(members, async (ann, bob) => {
  await ann.connect();
  await bob.connect();
  await ann.says('hello Bob');
  await bob.sees('hello Bob');
  await ann.sees('hello Bob');
  await bob.says('hello Ann');
  await ann.sees('hello Ann');
  await Promise.all([ann, bob].map(async (person) => {
    for (let n = 0; n < 20; n++) await person.says(`${person.name} ${n}.`);
  }));
  await Promise.all([ann, bob].map(async (person) => {
    await person.sees('Ann 19.');
    await person.sees('Bob 19.');
  }));
  const heard = (person) => person.page.locator('#log .in .what').allInnerTexts();
  equal('what Bob heard', JSON.stringify(await heard(bob)), JSON.stringify(await heard(ann)));
}));

await check('many messages to a topic reach everyone', withPeople(members, async (ann, bob) => {
  await ann.connect();
  await bob.connect();
  await ann.page.fill('#count', '1000');
  await ann.page.click('#send-many');
  await ann.sees('1,000 of 1,000 back, in order');
  await bob.until('1,000 received', () => document.querySelector('#received').textContent === '1,000');
  equal('the lines in the log of Bob', await bob.page.locator('#log li').count(), 500);
}));

await check('with echo=false what one sends does not come back', withPeople(members, async (ann, bob) => {
  await ann.page.check('#no-echo');
  await ann.connect();
  await bob.connect();
  await ann.says('for others only');
  await bob.sees('for others only');
  // What Bob says comes after it in the topic's order, so Ann's own would have come first.
  await bob.says('heard you');
  await ann.sees('heard you');
  equal('how often Ann heard herself', await ann.count('for others only'), 0);
}));

await check('people on different topics do not hear each other', withPeople(
  [['Ann', `#${topic}-a`], ['Bob', `#${topic}-%C3%BC%20%2F%3F`]], async (ann, bob) => {
    await ann.connect();
    await bob.connect();
    await ann.says('in a');
    await ann.sees('in a');
    await bob.says('in the other');
    await bob.sees('in the other');
    equal('what Ann heard', await ann.count(''), 1);
    equal('what Bob heard', await bob.count(''), 1);
  }));

await check('a close comes back with its code and reason', withPeople([ann], async (ann) => {
  await ann.connect();
  await ann.closes(4321, 'good night, 世界');
  await ann.sees('closed with 4321 “good night, 世界”', 'life');
  await ann.connect();
  await ann.says('again');
  await ann.sees('again');
}));

await check('a close that no page may send is explained', withPeople([ann], async (ann) => {
  await ann.connect();
  await ann.page.fill('#code', '1001');
  await ann.page.click('#close');
  await ann.until('the explanation', () => document.querySelector('#close-problem').textContent.includes('3000 to 4999'));
  await ann.state('open');
}));

await check('a message over the limit ends the connection with 1009', withPeople([ann], async (ann) => {
  // As much as the server still reads after its Close; beyond that it resets, and the code may be lost.
  for (const over of [1, 100_000]) {
    await ann.connect();
    await ann.page.fill('#bytes', String(limit + over));
    await ann.page.click('#send-binary');
    await ann.state('closed');
    // Whether the browser calls it clean depends on whether it had sent everything by then.
    await ann.sees('closed with 1009 (message too big)', '*');
    await ann.page.click('#clear');
  }
}));

await check('it fits a phone of 360 pixels', withPeople([ann], async (ann) => {
  await ann.page.setViewportSize({ width: 360, height: 740 });
  await ann.connect();
  await ann.says('w'.repeat(300));
  await ann.sees('www');
  equal('the page width', await ann.page.evaluate(() => document.documentElement.scrollWidth), 360);
}));

await check('the links lead to 200', async () => {
  for (const path of ['/healthz', '/readyz']) {
    equal(path, (await fetch(base + path, { signal: AbortSignal.timeout(5000) })).status, 200);
  }
});

await check('nothing was asked of anybody else, and no page complained', async () => {
  equal('whether anything was asked at all', asked.length > 0, true);
  equal('requests elsewhere', asked.filter((url) => new URL(url).origin !== base).join(' '), '');
  equal('requests but for the page and its sockets',
    asked.filter((url) => !/^\/(echo|ws\/.*)?$/.test(new URL(url).pathname)).join(' '), '');
  equal('complaints', complaints.join('; '), '');
});

await within(20, 'the browser to end', browser.close());
finish();
