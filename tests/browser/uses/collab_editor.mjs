// The shared text, edited by several people at the same time. The page's ot.js is also tested alone, against the
// results of the Rust code.
import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import vm from 'node:vm';
import { Program, check, end, equal, isOpen, picture, until, visit } from '../program.mjs';

const here = (path) => new URL(path, import.meta.url);
const script = readFileSync(here('../../../examples/collab_editor/ot.js'), 'utf8');
const ot = vm.runInThisContext(`(() => {${script}\nreturn { Client, Undo, apply, between, caretOf, moved, then, transform, undoing }; })()`);
const same = (what, actual, expected) => equal(what, JSON.stringify(actual), JSON.stringify(expected));

await check('the script gives the same results as Rust in 200 cases', async () => {
  const lines = readFileSync(here('../../examples/collab_editor/cases.jsonl'), 'utf8').trim().split('\n');
  equal('cases', lines.length, 200);
  for (const line of lines) {
    const { text, a, b, next, place, ...expected } = JSON.parse(line);
    const [a2, b2] = ot.transform(a, b), after = ot.apply(text, a), endText = ot.apply(after, next);
    same(line, {
      a2, b2, after, merged: ot.apply(after, b2), both: ot.then(a, next), moved: ot.moved(a, place), caret: ot.caretOf(a),
      end: endText, between: ot.between(text, endText),
    }, {
      a2: expected.a2, b2: expected.b2, after: expected.after, merged: expected.merged, both: expected.both,
      moved: expected.moved, caret: expected.caret, end: expected.end, between: expected.between,
    });
    equal('the merged text in the other order', ot.apply(ot.apply(text, b), a2), expected.merged);
    equal('the text after undo', ot.apply(after, ot.undoing(text, a)), text);
  }
});

/// A random number generator that returns the same numbers for each seed.
const seeded = (seed) => (limit) => {
  seed = seed + 0x6d2b79f5 | 0;
  let mixed = Math.imul(seed ^ seed >>> 15, seed | 1);
  mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
  return (mixed ^ mixed >>> 14) >>> 0 & 0x7fffffff ? ((mixed ^ mixed >>> 14) >>> 0) % limit : 0;
};

/// Runs three of the page's clients with a minimal server: lost connections, repeated edits, and texts that are sent in
/// full.
function run(seed) {
  const below = seeded(seed), log = [], server = { text: '', rev: 100, applied: [0, 0, 0] };
  let made = 0;
  const people = [0, 1, 2].map((who) => ({ who, client: new ot.Client(), undo: new ot.Undo(), up: [], down: null, isReady: false }));
  const connect = (person) => {
    if (person.down) return;
    const { client } = person, resumes = client.life && log.length - (client.revision - 100) < 8;
    const hello = { hello: person.who + 1, life: 1, rev: server.rev, applied: server.applied[person.who], known: client.life > 0, lives: [] };
    person.down = [resumes ? hello : { ...hello, text: server.text }];
    if (resumes) person.down.push(...log.filter(({ rev }) => rev > client.revision));
  };
  const serve = (person) => {
    const edit = person.up.shift();
    if (!edit || edit.n <= server.applied[person.who]) return;
    let { op } = edit;
    for (const earlier of log) if (earlier.rev > edit.rev) [, op] = ot.transform(earlier.op, op);
    server.text = ot.apply(server.text, op);
    server.applied[person.who] = edit.n;
    const published = { rev: ++server.rev, by: person.who + 1, n: edit.n, op };
    log.push(published);
    for (const { down } of people) down?.push(published);
  };
  const receive = (person) => {
    const message = person.down?.shift();
    if (!message) return;
    let change;
    if (message.hello) {
      change = person.client.hello(message);
      person.isReady = true;
      const pending = person.client.pending();
      if (pending) person.up.push(pending);
    } else change = person.client.receive(message);
    if (change) person.undo.transformOver(change);
  };
  const send = (person) => {
    const edit = person.isReady && person.client.next();
    if (edit) person.up.push(edit);
  };
  const write = ({ client, undo }) => {
    const { text } = client, undoing = below(5) === 0 && undo[below(2) ? 'undo' : 'redo'](text);
    if (undoing) return client.edit(undoing);
    const characters = [...text], from = below(characters.length + 1), deleted = below(3) && below(4);
    // Digits, signs and spaces are among the letters, because a script may take a text for a number.
    const letter = () => below(3) ? String.fromCodePoint((below(3) ? 0x4e00 : 0x1f300) + ++made) : '0159-+. '[below(8)];
    const added = [...Array(below(4))].map(letter).join('');
    const after = [...characters.slice(0, from), added, ...characters.slice(from + deleted)].join('');
    const op = ot.between(text, after, characters.slice(0, from).join('').length + added.length);
    undo.record(text, op, made * 400);
    client.edit(op);
  };
  people.forEach((person) => { connect(person); receive(person); });
  for (let step = 0; step < 150; step++) {
    const person = people[below(3)], action = below(100);
    if (action < 30) write(person);
    else if (action < 50) send(person);
    else if (action < 68) serve(person);
    else if (action < 86) receive(person);
    else if (action < 91) {
      // The connection breaks. Edits that were already sent may still arrive, or not.
      person.up.length = Math.min(person.up.length, below(3));
      person.down = null;
      person.isReady = false;
    } else connect(person);
  }
  for (let round = 0; round < 2000; round++) for (const person of people) { connect(person); send(person); serve(person); receive(person); }
  const texts = new Set([server.text, ...people.flatMap(({ client }) => [client.text, client.base])]);
  const isUnfinished = people.some(({ client }) => client.sent || client.typed || client.aside.length || client.corrected);
  return texts.size === 1 && !isUnfinished && server.text.isWellFormed();
}

await check('1000 random runs of the script converge', async () => {
  const failed = [];
  for (let seed = 1; seed <= 1000; seed++) {
    let good = false;
    try { good = run(seed); } catch (error) { failed.push(`${seed}: ${error.message}`); continue; }
    if (!good) failed.push(seed);
  }
  equal('seeds that do not converge', failed.slice(0, 5).join(' '), '');
});

const storage = mkdtempSync(join(tmpdir(), 'collab_editor-'));
process.on('exit', () => rmSync(storage, { recursive: true, force: true }));
const program = await new Program('collab_editor', storage).start();

async function open(name, text = 'notes', options) {
  const page = await visit(`${program.base}/#${text}`, options);
  await page.fill('#name', name);
  await page.press('#name', 'Enter');
  await isOpen(page);
  await until(page, 'the text', () => !document.querySelector('#text').disabled);
  return page;
}
const value = (page) => page.inputValue('#text');
const shows = (page, text) => until(page, `the text ${JSON.stringify(text)}`, (text) => document.querySelector('#text').value === text, text);
const saved = (page) => until(page, '"Saved"', () => document.querySelector('#saved').textContent === 'Saved');
const selection = (page) => page.$eval('#text', ({ selectionStart, selectionEnd }) => `${selectionStart}-${selectionEnd}`);
const select = (page, from, to = from) => page.$eval('#text', (area, [from, to]) => { area.focus(); area.setSelectionRange(from, to); }, [from, to]);
const isAt = (page, name, where) => until(page, `${name} at ${where}`, ([name, where]) =>
  [...document.querySelectorAll('#people li')].some((row) => row.firstChild.textContent === name && row.lastChild.textContent === where), [name, where]);
/// Presses the online/offline button, and waits until it has the label `next`.
const toggleOffline = async (page, next) => { await page.focus('#offline'); await page.keyboard.press('Enter'); await until(page, next, (next) => document.querySelector('#offline').textContent === next, next); };

/// Waits until all pages have saved their edits and show the same text, and returns it.
async function agree(...pages) {
  for (const page of pages) await saved(page);
  const text = await value(pages[0]);
  for (const page of pages.slice(1)) await shows(page, text);
  return text;
}

const ann = await open('Ann');
const bob = await open('Bob', 'notes', { colorScheme: 'dark' });

await check('text and caret of one person appear in the other window', async () => {
  await ann.keyboard.type('Shopping\n\n- bread\n- tea\n');
  await shows(bob, 'Shopping\n\n- bread\n- tea\n');
  await isAt(bob, 'Ann', 'line 5, column 1');
  await isAt(ann, 'Bob', 'line 1, column 1');
  equal('names at carets', await bob.$$eval('#mirror .caret', (all) => all.map(({ dataset }) => dataset.name).join()), 'Ann');
  await saved(ann);
});

// JavaScript converts a string that is compared with a number: '5' > 0 and '-2' < 0 are true.
const NUMBERLIKE = ['0', '5', '-2', '+1', '1e3', '.5', ' ', ' 7 ', 'Infinity', '0x10', '12'];

await check('typed digits, signs and spaces appear in the other window', async () => {
  const [liz, max] = [await open('Liz', 'digits'), await open('Max', 'digits')];
  let text = '';
  for (const typed of NUMBERLIKE) {
    // One key at a time, at the end, at the beginning, and in place of a selection.
    await select(liz, text.length);
    await liz.keyboard.type(typed);
    text += typed;
    await shows(liz, text);
    await agree(liz, max);
    await select(max, 0);
    await max.keyboard.insertText(typed);
    text = typed + text;
    await shows(max, text);
    await agree(max, liz);
    await select(liz, 0, typed.length + 1);
    await liz.keyboard.insertText(typed);
    text = typed + text.slice(typed.length + 1);
    equal(`the text after ${JSON.stringify(typed)}`, await agree(liz, max), text);
  }
  await picture(liz, 'collab_editor-digits');
  // A third window fetches the text from the server, so the server has it too.
  const nil = await open('Nil', 'digits');
  await shows(nil, text);
  for (const page of [liz, max, nil]) await page.context().close();
});

await check('undo, redo and offline edits keep digits, signs and spaces', async () => {
  const [liz, max] = [await open('Liz', 'more-digits'), await open('Max', 'more-digits')];
  for (const typed of NUMBERLIKE) {
    await liz.keyboard.insertText(typed);
    await shows(max, typed);
    await liz.keyboard.press('Control+z');
    await shows(max, '');
    await liz.keyboard.press('Control+y');
    await shows(max, typed);
    await select(liz, 0, typed.length);
    await liz.keyboard.press('Delete');
    await shows(max, '');
    await liz.keyboard.press('Control+z');
    await shows(max, typed);
    // While Max is offline, several of its edits are combined into one.
    await toggleOffline(max, 'Go online');
    await select(max, 0);
    await max.keyboard.type(`${typed}3`);
    await max.keyboard.press('Backspace');
    await max.keyboard.type(typed);
    await select(liz, typed.length);
    await liz.keyboard.type(typed);
    await saved(liz);
    await toggleOffline(max, 'Go offline');
    for (const page of [liz, max]) await shows(page, typed.repeat(4));
    await agree(liz, max);
    // Max deletes it, because edits of Liz in quick succession would be undone together.
    await select(max, 0, typed.length * 4);
    await max.keyboard.press('Delete');
    await shows(liz, '');
    await agree(liz, max);
  }
  for (const page of [liz, max]) await page.context().close();
});

await check('a selection keeps its text when others edit before it', async () => {
  await select(ann, 12, 17); // "bread"
  await select(bob, 0);
  await bob.keyboard.type('🙂 Our ');
  await shows(ann, '🙂 Our Shopping\n\n- bread\n- tea\n');
  equal("Ann's selection", await selection(ann), '19-24');
  await isAt(bob, 'Ann', 'line 3, column 8');
  await until(bob, 'the selection', () => document.querySelector('#mirror .selected')?.textContent === 'bread');
  await ann.keyboard.type('rye bread');
  await shows(bob, '🙂 Our Shopping\n\n- rye bread\n- tea\n');
});

await check('the mirror with the carets has the size of the text area', async () => {
  const differences = await bob.evaluate(() => {
    const area = document.querySelector('#text'), mirror = document.querySelector('#mirror');
    return [area.clientWidth - mirror.clientWidth, area.clientHeight - mirror.clientHeight, area.scrollHeight - mirror.scrollHeight];
  });
  equal('the differences', differences.join(), '0,0,0');
});

await check('two people type fast in the same place and lose nothing', async () => {
  await select(ann, (await value(ann)).length);
  await select(bob, (await value(bob)).length);
  await Promise.all([
    ann.keyboard.type('- apples 🍎🍏 from the market\n', { delay: 4 }),
    bob.keyboard.type('- cheese 🧀 a piece of it\n', { delay: 5 }),
  ]);
  const text = await agree(ann, bob);
  // The letters of the two may be interleaved, but those of each person are complete and in order.
  for (const own of ['- apples 🍎🍏 from the market\n', '- cheese 🧀 a piece of it\n']) {
    let at = -1;
    for (const letter of own) at = text.indexOf(letter, at + 1) < 0 ? Infinity : text.indexOf(letter, at + 1);
    equal(`the text contains ${own.trim()}`, at < Infinity, true);
  }
});

await check('undo and redo affect only the edits of one person', async () => {
  await select(ann, 0, (await value(ann)).length);
  await ann.keyboard.type('one');
  await agree(ann, bob);
  await select(bob, 3);
  await bob.keyboard.type(' two');
  await shows(ann, 'one two');
  await ann.keyboard.press('Control+z');
  await until(ann, 'the older text', () => document.querySelector('#text').value.includes('Shopping'));
  const text = await agree(ann, bob);
  equal("the text contains Bob's edit", text.includes(' two'), true);
  await ann.keyboard.press('Control+Shift+z');
  await shows(bob, 'one two');
});

await check('offline edits are counted as unsaved and merged later', async () => {
  await toggleOffline(bob, 'Go online');
  await until(ann, 'that Bob left', () => document.querySelector('#news').textContent.includes('Bob left.'));
  await select(bob, 0);
  await bob.keyboard.type('Bob was offline. ');
  await until(bob, 'the number of unsaved edits', () => document.querySelector('#saved').textContent === '17 unsaved edits');
  await picture(bob, 'collab_editor-dark');
  await select(ann, 7);
  await ann.keyboard.type(' three');
  await saved(ann);
  equal("Ann's text", await value(ann), 'one two three');
  await toggleOffline(bob, 'Go offline');
  for (const page of [ann, bob]) await shows(page, 'Bob was offline. one two three');
  await agree(ann, bob);
});

await check('edits of others do not disturb an input method', async () => {
  await select(ann, 0, (await value(ann)).length);
  await ann.keyboard.type('start end');
  await agree(ann, bob);
  const ime = await ann.context().newCDPSession(ann);
  await select(ann, 6);
  await ime.send('Input.imeSetComposition', { text: 'にほ', selectionStart: 2, selectionEnd: 2 });
  await select(bob, 0);
  await bob.keyboard.type('<b> ');
  await saved(bob);
  await until(ann, "Bob's caret to have moved", () => document.querySelector('#people').textContent.includes('line 1, column 5'));
  equal("Ann's text", await value(ann), 'start にほend');
  await ime.send('Input.insertText', { text: '日本 ' });
  for (const page of [ann, bob]) await shows(page, '<b> start 日本 end');
  equal("Ann's caret", await selection(ann), '13-13');
});

await check('invalid characters are replaced, and a full text refuses an edit', async () => {
  await select(ann, 0, (await value(ann)).length);
  await ann.$eval('#text', (area) => { area.setRangeText('a\u0007b\ud83d', 0, area.value.length, 'end'); area.dispatchEvent(new InputEvent('input')); });
  for (const page of [ann, bob]) await shows(page, 'a\ufffdb\ufffd');
  await select(ann, 0, 4);
  await ann.keyboard.insertText('x'.repeat(19_999));
  await agree(ann, bob);
  // The text has room for one more character, but both type one.
  await toggleOffline(ann, 'Go online');
  await select(ann, 0);
  await ann.keyboard.type('A');
  await select(bob, 0);
  await bob.keyboard.type('B');
  await saved(bob);
  await toggleOffline(ann, 'Go offline');
  await until(ann, 'the reason', () => document.querySelector('#error').textContent.startsWith('Edit refused: the text would be longer'));
  equal('the beginning of the text that was set aside', (await ann.inputValue('#kept')).slice(0, 3), 'BAx');
  await shows(ann, `B${'x'.repeat(19_999)}`);
  await picture(ann, 'collab_editor-aside');
  await ann.click('#dismiss');
  await until(ann, 'the end of the notice', () => document.querySelector('#aside').hidden);
});

await check('edits typed during a server restart are applied once', async () => {
  await select(ann, 0, 20_000);
  await ann.keyboard.type('before. ');
  await agree(ann, bob);
  await program.stop();
  for (const page of [ann, bob]) await until(page, 'the loss of the connection', () => document.querySelector('#state').dataset.state !== 'open');
  await ann.keyboard.type('Ann meanwhile. ');
  await select(bob, 0);
  await bob.keyboard.type('Bob meanwhile. ');
  await program.start();
  for (const page of [ann, bob]) { await isOpen(page); await shows(page, 'Bob meanwhile. before. Ann meanwhile. '); }
  await agree(ann, bob);
  for (const page of [ann, bob]) equal('a text is set aside', await page.isVisible('#aside'), false);
});

await check('a text lost by a crash is set aside and can be restored', async () => {
  rmSync(storage, { recursive: true, force: true });
  await program.kill();
  await program.start();
  await until(ann, 'the text that was set aside', () => !document.querySelector('#aside').hidden);
  equal('the text that was set aside', (await ann.inputValue('#kept')).slice(0, 100), 'Bob meanwhile. before. Ann meanwhile. ');
  await isOpen(bob);
  await until(bob, 'the text that was set aside', () => !document.querySelector('#aside').hidden);
  await bob.click('#dismiss');
  await ann.click('#put');
  for (const page of [ann, bob]) await shows(page, 'Bob meanwhile. before. Ann meanwhile. ');
  await agree(ann, bob);
});

await check('three people see each other, and a name is not markup', async () => {
  const [cat, eve] = [await open('Cat', 'trip'), await open('<i>Eve</i>', 'trip')];
  await cat.keyboard.insertText('Trip to the sea\n\nWhen: the first weekend of June, if it does not rain\nHow: by train, with bicycles\n\nTo bring:\n- towels\n- a kite\n- sun cream and hats for everybody\n');
  const text = await agree(cat, eve), dan = await open('Dan', 'trip', { colorScheme: 'dark' });
  await shows(dan, text);
  await select(dan, text.indexOf('first'), text.indexOf('weekend') + 7);
  await select(eve, text.indexOf('a kite') + 6);
  await isAt(cat, '<i>Eve</i>', 'line 8, column 9');
  await isAt(cat, 'Dan', 'line 3, column 24');
  await select(cat, text.length);
  await isAt(dan, 'Cat', 'line 10, column 1');
  await picture(dan, 'collab_editor-dark-three');
  await eve.context().close();
  await until(cat, 'that Eve left', () => document.querySelector('#news').textContent.includes('<i>Eve</i> left.'));
  const flo = await open('Flo', 'trip');
  await select(flo, text.indexOf('a kite') + 6);
  await isAt(cat, 'Flo', 'line 8, column 9');
  await picture(cat, 'collab_editor');
  for (const page of [cat, dan, flo]) await page.context().close();
});

await check('another name is another text, and an invalid name is rejected', async () => {
  const other = await open('Dan', 'other-text');
  equal('its text', await value(other), '');
  await other.context().close();
  const wrong = await visit(`${program.base}/#No Such`);
  equal('the proposed name', await wrong.inputValue('#which'), 'notes');
  await wrong.fill('#name', 'Dan');
  await wrong.fill('#which', 'No Such');
  await wrong.press('#which', 'Enter');
  equal('a text is open', await wrong.isVisible('main'), false);
  await picture(wrong, 'collab_editor-enter');
  await wrong.context().close();
});

await bob.context().close();
await end(program, ann);
