// Uses the page of `GET /` in Chromium as one or two people would:  node page.mjs http://127.0.0.1:9000
// CHROMIUM is the path of the browser if it is not /usr/bin/chromium.
import { chromium } from 'playwright-core';
import { baseUrl, check, equal, finish, within } from './checks.mjs';

const base = baseUrl();
const limit = 64 * 1024;
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browserFlags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await within(60, `${executablePath} to start`, chromium.launch({ executablePath, args: browserFlags }));

// All requests and errors of all pages. The last check examines both.
const requests = [];
const errors = [];

/// One person's page. Every wait names what it waits for.
class Person {
  constructor(name, page) {
    Object.assign(this, { name, page });
    page.setDefaultTimeout(10_000);
    page.on('console', (message) => { if (message.type() === 'error') errors.push(`${name}: ${message.text()}`); });
    page.on('pageerror', (error) => errors.push(`${name}: ${error.message}`));
    page.on('request', (request) => requests.push(request.url()));
    page.on('websocket', (socket) => requests.push(socket.url().replace(/^ws/, 'http')));
  }

  static async visit(name, hash = '') {
    const context = await browser.newContext();
    const person = new Person(name, await context.newPage());
    await person.page.goto(base + '/' + hash);
    return person;
  }

  async leave() {
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

  /// Waits for a log line that contains the text. The kind is in, out, status, gap, presence, error, or * for any.
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

  async sends(text) {
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

/// Runs `body` with people's pages, which are closed afterwards.
const withPeople = (people, body) => async () => {
  const open = [];
  try {
    for (const [name, hash] of people) open.push(await Person.visit(name, hash));
    await body(...open);
  } finally {
    for (const person of open) await person.leave();
  }
};

const topic = `page-${process.pid}`;
const ann = ['Ann', ''];
const members = [['Ann', `#${topic}`], ['Bob', `#${topic}`]];

await check('/echo returns text, which is shown as text and not as markup', withPeople([ann], async (ann) => {
  await ann.connect();
  await ann.sends('hello');
  await ann.sees('hello');
  await ann.sends('<b id="injected">grüße, 世界 🌍</b>');
  await ann.sees('<b id="injected">grüße, 世界 🌍</b>');
  equal('elements created from a message', await ann.page.locator('#injected').count(), 0);
  await ann.until('a round trip', () => document.querySelector('#round-trip').textContent.endsWith(' ms'));
}));

await check('connect, send and close work with the keyboard alone', withPeople([ann], async (ann) => {
  await ann.page.focus('#connect');
  await ann.page.keyboard.press('Enter');
  await ann.state('open');
  await ann.until('the text field to have the focus', () => document.activeElement.id === 'text');
  await ann.page.keyboard.type(' with keys');
  await ann.page.keyboard.press('Enter');
  await ann.sees('with keys');
  await ann.page.focus('#reason');
  await ann.page.keyboard.press('Enter');
  await ann.state('closed');
  await ann.sees('closed with 1000', 'status');
}));

await check('/echo returns binary data', withPeople([ann], async (ann) => {
  await ann.connect();
  for (const bytes of [0, 16, limit]) {
    await ann.page.fill('#bytes', String(bytes));
    await ann.page.click('#send-binary');
    const description = `binary, ${bytes.toLocaleString('en')} bytes`;
    await ann.sees(description);
    const [sent, echoed] = await Promise.all(['out', 'in'].map((kind) =>
      ann.page.locator(`#log .${kind} .what`).filter({ hasText: description }).innerText()));
    equal('the echo', echoed, sent);
  }
}));

for (const count of [1000, 20_000]) {
  await check(`a burst of ${count} messages comes back in order`, withPeople([ann], async (ann) => {
    await ann.connect();
    await ann.page.fill('#count', String(count));
    await ann.page.click('#send-burst');
    const all = count.toLocaleString('en');
    await ann.sees(`${all} of ${all} back, in order`);
    equal('the number of messages received', await ann.page.locator('#received').innerText(), all);
    await ann.sends('after the burst');
    await ann.sees('after the burst');
  }));
}

await check('two members of a topic see all messages in the same order', withPeople(members, async (ann, bob) => {
  await ann.connect();
  await bob.connect();
  await ann.sends('hello Bob');
  await bob.sees('hello Bob');
  await ann.sees('hello Bob');
  await bob.sends('hello Ann');
  await ann.sees('hello Ann');
  await Promise.all([ann, bob].map(async (person) => {
    for (let n = 0; n < 20; n++) await person.sends(`${person.name} ${n}.`);
  }));
  await Promise.all([ann, bob].map(async (person) => {
    await person.sees('Ann 19.');
    await person.sees('Bob 19.');
  }));
  const received = (person) => person.page.locator('#log .in .what').allInnerTexts();
  equal('what Bob received', JSON.stringify(await received(bob)), JSON.stringify(await received(ann)));
}));

await check('a burst reaches every member', withPeople(members, async (ann, bob) => {
  await ann.connect();
  await bob.connect();
  await ann.page.fill('#count', '1000');
  await ann.page.click('#send-burst');
  await ann.sees('1,000 of 1,000 back, in order');
  await bob.until('1,000 messages received', () => document.querySelector('#received').textContent === '1,000');
  equal("the lines in Bob's log", await bob.page.locator('#log li').count(), 500);
}));

await check('with echo=false a sender does not receive its own messages', withPeople(members, async (ann, bob) => {
  await ann.page.check('#no-echo');
  await ann.connect();
  await bob.connect();
  await ann.sends('for others only');
  await bob.sees('for others only');
  // Bob's message comes later in the topic's order, so Ann's own message would have arrived before it.
  await bob.sends('received');
  await ann.sees('received');
  equal('copies of her own message that Ann received', await ann.count('for others only'), 0);
}));

await check('members of different topics do not receive each other’s messages', withPeople(
  [['Ann', `#${topic}-a`], ['Bob', `#${topic}-%C3%BC%20%2F%3F`]], async (ann, bob) => {
    await ann.connect();
    await bob.connect();
    await ann.sends('in a');
    await ann.sees('in a');
    await bob.sends('in the other');
    await bob.sees('in the other');
    equal('messages that Ann received', await ann.count(''), 1);
    equal('messages that Bob received', await bob.count(''), 1);
  }));

await check('a Close is answered with its code and reason', withPeople([ann], async (ann) => {
  await ann.connect();
  await ann.closes(4321, 'good night, 世界');
  await ann.sees('closed with 4321 “good night, 世界”', 'status');
  await ann.connect();
  await ann.sends('again');
  await ann.sees('again');
}));

await check('a close code that pages may not use is explained', withPeople([ann], async (ann) => {
  await ann.connect();
  await ann.page.fill('#code', '1001');
  await ann.page.click('#close');
  await ann.until('the explanation', () => document.querySelector('#close-problem').textContent.includes('3000 to 4999'));
  await ann.state('open');
}));

await check('a message that is too large closes the connection with 1009', withPeople([ann], async (ann) => {
  // After its Close the server still reads this much. With more, it resets the connection and the code may be lost.
  for (const over of [1, 100_000]) {
    await ann.connect();
    await ann.page.fill('#bytes', String(limit + over));
    await ann.page.click('#send-binary');
    await ann.state('closed');
    // The browser reports a clean close only if it had already sent everything, so the kind of the line varies.
    await ann.sees('closed with 1009 (message too big)', '*');
    await ann.page.click('#clear');
  }
}));

// ── JSON mode: many topics on one connection. These checks need a history of 100 messages, which .ci/clients sets. ──

/// Connects in JSON mode under the person's name.
async function connectJson(person) {
  await person.page.check('#target-many');
  await person.page.fill('#name', person.name);
  await person.connect();
}

async function subscribe(person, topic, from = 'now') {
  await person.page.fill('#sub-topic', topic);
  await person.page.selectOption('#from', from);
  await person.page.click('#subscribe');
  await person.until(`a subscription to ${topic}`, (topic) =>
    document.querySelector(`#subscriptions li[data-topic="${topic}"]:not(.inactive)`) !== null, topic);
}

async function publishFromPage(person, topic, data, key = '') {
  for (const [field, value] of [['#pub-topic', topic], ['#data', data], ['#key', key]]) await person.page.fill(field, value);
  await person.page.press('#data', 'Enter');
}

/// Waits until a subscription's row contains the text: counts, gaps or names.
const subscriptionShows = (person, topic, text) => person.until(`“${text}” in the row of ${topic}`, ([topic, text]) =>
  document.querySelector(`#subscriptions li[data-topic="${topic}"]`)?.textContent.includes(text), [topic, text]);

const publishOverHttp = async (topic, data) => {
  const answer = await fetch(`${base}/publish/${topic}`, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: data });
  equal('the status of a publish', answer.status, 202);
  return (await answer.json()).id;
};

const two = [['Ann', ''], ['Bob', '']];

await check('each message is shown with its topic and id', withPeople(two, async (ann, bob) => {
  const [first, second] = [`${topic}-first`, `${topic}-second`];
  for (const person of [ann, bob]) {
    await connectJson(person);
    await subscribe(person, first);
    await subscribe(person, second);
  }
  await publishFromPage(ann, first, 'to the first');
  await publishFromPage(bob, second, 'to the second');
  for (const person of [ann, bob]) {
    await person.sees('to the first');
    await person.sees('to the second');
    await subscriptionShows(person, first, '1 received · 0 gaps');
    await subscriptionShows(person, second, '1 received · 0 gaps');
    const note = await person.page.locator('#log .in').filter({ hasText: 'to the first' }).locator('.note').innerText();
    equal('whether the note is topic and id', /^\S+-first · \d{16}$/.test(note), true);
  }
  await ann.page.click(`[aria-label="Unsubscribe from ${second}"]`);
  await ann.sees('unsubscribed', 'status');
  await publishFromPage(bob, second, 'without Ann');
  await bob.sees('without Ann');
  await publishFromPage(bob, first, 'with Ann');
  await ann.sees('with Ann');
  equal('messages of a topic that Ann has left', await ann.count('without Ann'), 0);
}));

await check('data is sent as text or as JSON, with a key', withPeople([ann], async (ann) => {
  await connectJson(ann);
  await subscribe(ann, `${topic}-json`);
  await ann.page.check('#is-json');
  await publishFromPage(ann, `${topic}-json`, '{"x":[1,2]}', 'a');
  await ann.sees('{"x":[1,2]}');
  await publishFromPage(ann, `${topic}-json`, '{"x":');
  await ann.until('the explanation', () => document.querySelector('#pub-problem').textContent.includes('not JSON'));
  await ann.page.uncheck('#is-json');
  await publishFromPage(ann, `${topic}-json`, '{"x":<i>');
  await ann.sees('{"x":<i>');
  await ann.until('a round trip', () => document.querySelector('#round-trip').textContent.endsWith(' ms'));
}));

await check('published data keeps every digit, sign and space', withPeople([ann], async (ann) => {
  const room = `${topic}-digits`;
  await connectJson(ann);
  await subscribe(ann, room);
  let received = 0;
  const publishes = async (data, key = '', expected = data) => {
    await publishFromPage(ann, room, data, key);
    await ann.until(`message ${++received}`, (count) => document.querySelectorAll('#log .in').length === count, received);
    equal('the received data', await ann.page.locator('#log .in .what').last().textContent(), expected);
  };
  for (const text of ['0', '5', '-2', ' ', ' 7 ', '1e3']) await publishes(text, '0');
  await ann.page.check('#is-json');
  for (const json of ['0', '21.50', '9223372036854775807', '{"a":[1.0,-0,1e400]}', 'false', 'null']) await publishes(json);
  await publishes('"0"', '', '0');
}));

await check('joining and leaving are shown, a short reconnect is not', withPeople(two, async (ann, bob) => {
  const room = `${topic}-presence`;
  await connectJson(ann);
  await subscribe(ann, room);
  await subscriptionShows(ann, room, 'present: Ann');
  await connectJson(bob);
  await subscribe(bob, room);
  await ann.sees('Bob joined', 'presence');
  await subscriptionShows(ann, room, 'present: Ann, Bob');
  await subscriptionShows(bob, room, 'present: Ann, Bob');
  await bob.closes(1000, '');
  await bob.connect();
  await subscriptionShows(bob, room, 'present: Ann, Bob');
  // Longer than the server keeps a name without a connection, because the check is that no event arrives.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  equal('leave events of Bob', await ann.count('Bob left', 'presence'), 0);
  await bob.closes(1000, '');
  await ann.sees('Bob left', 'presence');
  await subscriptionShows(ann, room, 'present: Ann');
}));

await check('a reconnect resumes without loss or duplicates', withPeople([ann], async (ann) => {
  const room = `${topic}-resume`;
  await connectJson(ann);
  await subscribe(ann, room);
  await publishOverHttp(room, 'before.');
  await ann.sees('before.');
  await ann.closes(1000, '');
  for (let n = 0; n < 20; n++) await publishOverHttp(room, `missed ${n}.`);
  await ann.connect();
  await ann.sees('missed 19.');
  await subscriptionShows(ann, room, '21 received · 0 gaps');
  await publishOverHttp(room, 'live.');
  await ann.sees('live.');
  const received = await ann.page.locator('#log .in .what').allInnerTexts();
  equal('what Ann received', received.join(' '), ['before.', ...Array.from({ length: 20 }, (_, n) => `missed ${n}.`), 'live.'].join(' '));
}));

await check('messages missing from the history are shown as a gap', withPeople([ann], async (ann) => {
  const room = `${topic}-gap`;
  await connectJson(ann);
  await subscribe(ann, room);
  const last = await publishOverHttp(room, 'before.');
  await ann.sees('before.');
  await ann.closes(1000, '');
  for (let n = 0; n < 103; n++) await publishOverHttp(room, `missed ${n}.`);
  await ann.connect();
  await ann.sees('missed 102.');
  await ann.sees(`gap: 3 messages lost, ids ${last + 1} to ${last + 3}`, 'gap');
  await subscriptionShows(ann, room, `101 received · 1 gap · last id ${last + 103}`);
}));

await check('a late subscriber receives the history', withPeople([ann], async (ann) => {
  const room = `${topic}-late`;
  const first = await publishOverHttp(room, 'long ago');
  await publishOverHttp(room, 'not so long ago');
  await connectJson(ann);
  await subscribe(ann, room, 'all');
  await ann.sees('long ago');
  await ann.sees('not so long ago');
  await ann.page.click(`[aria-label="Unsubscribe from ${room}"]`);
  await ann.sees('unsubscribed', 'status');
  await ann.page.click('#clear');
  await ann.page.selectOption('#from', 'id');
  await ann.page.fill('#since', String(first));
  await subscribe(ann, room, 'id');
  await ann.sees('not so long ago');
  equal('lines with the older message', await ann.count('long ago'), 1);
}));

await check('a lost connection is reopened and resumed', withPeople([ann], async (ann) => {
  const room = `${topic}-again`;
  let disconnects = true;
  await ann.page.routeWebSocket(/\/ws\b/, (socket) => {
    const server = socket.connectToServer();
    socket.onMessage((message) => server.send(message));
    server.onMessage((message) => {
      if (disconnects && message.includes('the last message')) {
        disconnects = false;
        socket.close({ code: 4008, reason: 'slow consumer' });
        server.close();
      } else socket.send(message);
    });
  });
  // The route applies only to pages that are loaded after it was set.
  await ann.page.reload();
  await connectJson(ann);
  await subscribe(ann, room);
  await publishOverHttp(room, 'the first message');
  await ann.sees('the first message');
  await publishOverHttp(room, 'the last message');
  await ann.sees('closed with 4008 (slow consumer)', '*');
  await ann.state('open');
  await ann.sees('the last message');
  await subscriptionShows(ann, room, '2 received · 0 gaps');
}));

await check('existing topics are listed and can be picked', withPeople(two, async (ann, bob) => {
  const room = `${topic}-listed`;
  await connectJson(ann);
  await subscribe(ann, room);
  await bob.page.check('#target-topic');
  const row = bob.page.locator('#topics .pick').filter({ hasText: room });
  await row.filter({ hasText: '1 member · disconnect' }).waitFor();
  await row.click();
  equal('the topic', await bob.page.inputValue('#topic'), room);
  await bob.connect();
  await row.filter({ hasText: '2 members' }).waitFor();
  await bob.sends('picked');
  await ann.sees('picked');
}));

await check('subscribe and publish work with the keyboard alone', withPeople([ann], async (ann) => {
  await ann.page.check('#target-many');
  await ann.page.focus('#connect');
  await ann.page.keyboard.press('Enter');
  await ann.state('open');
  await ann.until('the topic field to have the focus', () => document.activeElement.id === 'sub-topic');
  await ann.page.keyboard.type('room-keys');
  await ann.page.keyboard.press('Enter');
  await subscriptionShows(ann, 'room-keys', '0 received');
  await ann.page.focus('#data');
  await ann.page.keyboard.press('End');
  await ann.page.keyboard.type(' by hand');
  await ann.page.keyboard.press('Enter');
  await ann.sees('hello by hand');
}));

await check('an error is shown and the connection stays open', withPeople([ann], async (ann) => {
  await connectJson(ann);
  await subscribe(ann, `${topic}-error`);
  await ann.page.fill('#sub-topic', 'x'.repeat(201));
  await ann.page.click('#subscribe');
  await ann.sees('a topic has 1 to 200 bytes', 'error');
  equal('subscriptions', await ann.page.locator('#subscriptions li').count(), 1);
  await publishFromPage(ann, `${topic}-error`, 'still here');
  await ann.sees('still here');
}));

await check('every control has an accessible name', withPeople([ann], async (ann) => {
  const devtools = await ann.page.context().newCDPSession(ann.page);
  const roles = ['button', 'link', 'textbox', 'combobox', 'spinbutton', 'radio', 'checkbox', 'log', 'img'];
  await ann.page.getByRole('group', { name: 'Connect to' }).waitFor();
  for (const target of ['#target-echo', '#target-topic', '#target-many']) {
    await ann.page.check(target);
    const { nodes } = await devtools.send('Accessibility.getFullAXTree');
    const controls = nodes.filter((node) => !node.ignored && roles.includes(node.role?.value));
    equal(`whether ${target} has controls`, controls.length > 10, true);
    equal(`controls without a name with ${target}`, controls.filter((node) => !node.name?.value.trim()).map((node) => node.role.value).join(' '), '');
  }
}));

await check('it fits a phone of 360 pixels', withPeople([ann], async (ann) => {
  await ann.page.setViewportSize({ width: 360, height: 740 });
  await ann.connect();
  await ann.sends('w'.repeat(300));
  await ann.sees('www');
  equal('the page width', await ann.page.evaluate(() => document.documentElement.scrollWidth), 360);
  await ann.closes(1000, '');
  await connectJson(ann);
  await subscribe(ann, `${topic}-${'t'.repeat(120)}`);
  await publishFromPage(ann, `${topic}-${'t'.repeat(120)}`, 'm'.repeat(300));
  await ann.sees('mmm');
  equal('the page width in JSON mode', await ann.page.evaluate(() => document.documentElement.scrollWidth), 360);
}));

await check('all links work', async () => {
  const html = await (await fetch(base, { signal: AbortSignal.timeout(5000) })).text();
  const paths = [...html.matchAll(/<a href="([^"]+)"/g)].map(([, path]) => path);
  equal('the links', paths.join(' '), '/dashboard /healthz /readyz');
  for (const path of paths) {
    equal(path, (await fetch(base + path, { signal: AbortSignal.timeout(5000) })).status, 200);
  }
});

await check('the page loads nothing from elsewhere and logs no errors', async () => {
  equal('whether there were requests at all', requests.length > 0, true);
  equal('requests to other servers', requests.filter((url) => new URL(url).origin !== base).join(' '), '');
  equal('requests other than the page, its WebSockets and its topics',
    requests.filter((url) => !/^\/(echo|ws(\/.*)?|topics(\/.*)?)?$/.test(new URL(url).pathname)).join(' '), '');
  equal('errors', errors.join('; '), '');
});

await within(20, 'the browser to end', browser.close());
finish();
