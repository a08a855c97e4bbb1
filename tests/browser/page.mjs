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

// ── JSON mode: many topics on one connection. The server keeps 100 messages of each: .ci/clients starts it so. ──────

/// A person who is in JSON mode, connected, under her name.
async function isPresent(person) {
  await person.page.check('#target-many');
  await person.page.fill('#name', person.name);
  await person.connect();
}

async function subscribes(person, topic, from = 'now') {
  await person.page.fill('#sub-topic', topic);
  await person.page.selectOption('#from', from);
  await person.page.click('#subscribe');
  await person.until(`${topic} to be subscribed to`, (topic) =>
    document.querySelector(`#subscriptions li[data-topic="${topic}"]:not(.off)`) !== null, topic);
}

async function publishes(person, topic, data, key = '') {
  for (const [field, value] of [['#pub-topic', topic], ['#data', data], ['#key', key]]) await person.page.fill(field, value);
  await person.page.press('#data', 'Enter');
}

/// What stands beside a subscription: how much came, the gaps, the names.
const beside = (person, topic, text) => person.until(`“${text}” beside ${topic}`, ([topic, text]) =>
  document.querySelector(`#subscriptions li[data-topic="${topic}"]`)?.textContent.includes(text), [topic, text]);

const published = async (topic, data) => {
  const answer = await fetch(`${base}/publish/${topic}`, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: data });
  equal('the answer to a publish', answer.status, 202);
  return (await answer.json()).id;
};

const two = [['Ann', ''], ['Bob', '']];

await check('two people on two topics: each message in its topic, with its id', withPeople(two, async (ann, bob) => {
  const [first, second] = [`${topic}-first`, `${topic}-second`];
  for (const person of [ann, bob]) {
    await isPresent(person);
    await subscribes(person, first);
    await subscribes(person, second);
  }
  await publishes(ann, first, 'to the first');
  await publishes(bob, second, 'to the second');
  for (const person of [ann, bob]) {
    await person.sees('to the first');
    await person.sees('to the second');
    await beside(person, first, '1 received · 0 gaps');
    await beside(person, second, '1 received · 0 gaps');
    const note = await person.page.locator('#log .in').filter({ hasText: 'to the first' }).locator('.note').innerText();
    equal('what stands beside the message', /^\S+-first · \d{16}$/.test(note), true);
  }
  await ann.page.click(`[aria-label="Unsubscribe from ${second}"]`);
  await ann.sees('unsubscribed', 'life');
  await publishes(bob, second, 'without Ann');
  await bob.sees('without Ann');
  await publishes(bob, first, 'with Ann');
  await ann.sees('with Ann');
  equal('how often Ann heard what was not for her', await ann.count('without Ann'), 0);
}));

await check('data is a text, or JSON as it is, with a key', withPeople([ann], async (ann) => {
  await isPresent(ann);
  await subscribes(ann, `${topic}-json`);
  await ann.page.check('#is-json');
  await publishes(ann, `${topic}-json`, '{"x":[1,2]}', 'a');
  await ann.sees('{"x":[1,2]}');
  await publishes(ann, `${topic}-json`, '{"x":');
  await ann.until('the explanation', () => document.querySelector('#pub-problem').textContent.includes('not JSON'));
  await ann.page.uncheck('#is-json');
  await publishes(ann, `${topic}-json`, '{"x":<i>');
  await ann.sees('{"x":<i>');
  await ann.until('a round trip', () => document.querySelector('#round-trip').textContent.endsWith(' ms'));
}));

await check('who comes and who leaves is seen, and a reload is neither', withPeople(two, async (ann, bob) => {
  const room = `${topic}-presence`;
  await isPresent(ann);
  await subscribes(ann, room);
  await beside(ann, room, 'here: Ann');
  await isPresent(bob);
  await subscribes(bob, room);
  await ann.sees('Bob has come', 'who');
  await beside(ann, room, 'here: Ann, Bob');
  await beside(bob, room, 'here: Ann, Bob');
  await bob.closes(1000, '');
  await bob.connect();
  await beside(bob, room, 'here: Ann, Bob');
  // Longer than a name stays without a connection: it is the absence of an event that is looked at.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  equal('how often Bob has left', await ann.count('Bob has left', 'who'), 0);
  await bob.closes(1000, '');
  await ann.sees('Bob has left', 'who');
  await beside(ann, room, 'here: Ann');
}));

await check('after a reconnect comes what was missed, once', withPeople([ann], async (ann) => {
  const room = `${topic}-resume`;
  await isPresent(ann);
  await subscribes(ann, room);
  await published(room, 'before.');
  await ann.sees('before.');
  await ann.closes(1000, '');
  for (let n = 0; n < 20; n++) await published(room, `missed ${n}.`);
  await ann.connect();
  await ann.sees('missed 19.');
  await beside(ann, room, '21 received · 0 gaps');
  await published(room, 'live.');
  await ann.sees('live.');
  const heard = await ann.page.locator('#log .in .what').allInnerTexts();
  equal('what Ann heard', heard.join(' '), ['before.', ...Array.from({ length: 20 }, (_, n) => `missed ${n}.`), 'live.'].join(' '));
}));

await check('what the history has no more is shown as a gap', withPeople([ann], async (ann) => {
  const room = `${topic}-gap`;
  await isPresent(ann);
  await subscribes(ann, room);
  const last = await published(room, 'before.');
  await ann.sees('before.');
  await ann.closes(1000, '');
  for (let n = 0; n < 103; n++) await published(room, `missed ${n}.`);
  await ann.connect();
  await ann.sees('missed 102.');
  await ann.sees(`gap: 3 messages will never come, ${last + 1} to ${last + 3}`, 'gap');
  await beside(ann, room, `101 received · 1 gap · last id ${last + 103}`);
}));

await check('history is there for who comes late', withPeople([ann], async (ann) => {
  const room = `${topic}-late`;
  const first = await published(room, 'long ago');
  await published(room, 'not so long ago');
  await isPresent(ann);
  await subscribes(ann, room, 'all');
  await ann.sees('long ago');
  await ann.sees('not so long ago');
  await ann.page.click(`[aria-label="Unsubscribe from ${room}"]`);
  await ann.sees('unsubscribed', 'life');
  await ann.page.click('#clear');
  await ann.page.selectOption('#from', 'id');
  await ann.page.fill('#since', String(first));
  await subscribes(ann, room, 'id');
  await ann.sees('not so long ago');
  equal('lines that are older', await ann.count('long ago'), 1);
}));

await check('a connection that is cut comes back by itself, and goes on', withPeople([ann], async (ann) => {
  const room = `${topic}-again`;
  let cut = true;
  await ann.page.routeWebSocket(/\/ws\b/, (socket) => {
    const server = socket.connectToServer();
    socket.onMessage((message) => server.send(message));
    server.onMessage((message) => {
      if (cut && message.includes('the last word')) {
        cut = false;
        socket.close({ code: 4008, reason: 'slow consumer' });
        server.close();
      } else socket.send(message);
    });
  });
  // The route holds for pages that are loaded after it.
  await ann.page.reload();
  await isPresent(ann);
  await subscribes(ann, room);
  await published(room, 'the first word');
  await ann.sees('the first word');
  await published(room, 'the last word');
  await ann.sees('closed with 4008 (slow consumer)', '*');
  await ann.state('open');
  await ann.sees('the last word');
  await beside(ann, room, '2 received · 0 gaps');
}));

await check('the topics that are there are listed, and can be picked', withPeople(two, async (ann, bob) => {
  const room = `${topic}-listed`;
  await isPresent(ann);
  await subscribes(ann, room);
  await bob.page.check('#target-topic');
  const row = bob.page.locator('#topics .pick').filter({ hasText: room });
  await row.filter({ hasText: '1 member · disconnect' }).waitFor();
  await row.click();
  equal('the topic', await bob.page.inputValue('#topic'), room);
  await bob.connect();
  await row.filter({ hasText: '2 members' }).waitFor();
  await bob.says('picked');
  await ann.sees('picked');
}));

await check('the keyboard alone subscribes and publishes', withPeople([ann], async (ann) => {
  await ann.page.check('#target-many');
  await ann.page.focus('#connect');
  await ann.page.keyboard.press('Enter');
  await ann.state('open');
  await ann.until('the focus in the topic field', () => document.activeElement.id === 'sub-topic');
  await ann.page.keyboard.type('room-keys');
  await ann.page.keyboard.press('Enter');
  await beside(ann, 'room-keys', '0 received');
  await ann.page.focus('#data');
  await ann.page.keyboard.press('End');
  await ann.page.keyboard.type(' by hand');
  await ann.page.keyboard.press('Enter');
  await ann.sees('hello by hand');
}));

await check('an error is shown, and nothing else happens', withPeople([ann], async (ann) => {
  await isPresent(ann);
  await subscribes(ann, `${topic}-error`);
  await ann.page.fill('#sub-topic', 'x'.repeat(201));
  await ann.page.click('#subscribe');
  await ann.sees('a topic has 1 to 200 bytes', 'bad');
  equal('subscriptions', await ann.page.locator('#subscriptions li').count(), 1);
  await publishes(ann, `${topic}-error`, 'still here');
  await ann.sees('still here');
}));

await check('it fits a phone of 360 pixels', withPeople([ann], async (ann) => {
  await ann.page.setViewportSize({ width: 360, height: 740 });
  await ann.connect();
  await ann.says('w'.repeat(300));
  await ann.sees('www');
  equal('the page width', await ann.page.evaluate(() => document.documentElement.scrollWidth), 360);
  await ann.closes(1000, '');
  await isPresent(ann);
  await subscribes(ann, `${topic}-${'t'.repeat(120)}`);
  await publishes(ann, `${topic}-${'t'.repeat(120)}`, 'm'.repeat(300));
  await ann.sees('mmm');
  equal('the page width in JSON mode', await ann.page.evaluate(() => document.documentElement.scrollWidth), 360);
}));

await check('the links lead to 200', async () => {
  for (const path of ['/topics', '/dashboard', '/debug/clients', '/metrics', '/healthz', '/readyz']) {
    equal(path, (await fetch(base + path, { signal: AbortSignal.timeout(5000) })).status, 200);
  }
});

await check('nothing was asked of anybody else, and no page complained', async () => {
  equal('whether anything was asked at all', asked.length > 0, true);
  equal('requests elsewhere', asked.filter((url) => new URL(url).origin !== base).join(' '), '');
  equal('requests but for the page, its sockets and its topics',
    asked.filter((url) => !/^\/(echo|ws(\/.*)?|topics(\/.*)?)?$/.test(new URL(url).pathname)).join(' '), '');
  equal('complaints', complaints.join('; '), '');
});

await within(20, 'the browser to end', browser.close());
finish();
