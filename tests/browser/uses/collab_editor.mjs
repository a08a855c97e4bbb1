// A shared text, as two people write it at once; and the page's script by itself, held to what Rust says.
import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import vm from 'node:vm';
import { Program, check, end, equal, isOpen, picture, until, visit } from '../program.mjs';

const here = (path) => new URL(path, import.meta.url);
const script = readFileSync(here('../../../examples/collab_editor/ot.js'), 'utf8');
const ot = vm.runInThisContext(`(() => {${script}\nreturn { Client, Undo, apply, between, caretOf, moved, then, transform, undoing }; })()`);
const same = (what, got, wanted) => equal(what, JSON.stringify(got), JSON.stringify(wanted));

await check('the script says of 200 cases what Rust says', async () => {
  const lines = readFileSync(here('../../examples/collab_editor/cases.jsonl'), 'utf8').trim().split('\n');
  equal('cases', lines.length, 200);
  for (const line of lines) {
    const { text, a, b, next, place, ...said } = JSON.parse(line);
    const [a2, b2] = ot.transform(a, b), after = ot.apply(text, a), endText = ot.apply(after, next);
    same(line, {
      a2, b2, after, merged: ot.apply(after, b2), both: ot.then(a, next), moved: ot.moved(a, place), caret: ot.caretOf(a),
      end: endText, between: ot.between(text, endText),
    }, {
      a2: said.a2, b2: said.b2, after: said.after, merged: said.merged, both: said.both, moved: said.moved, caret: said.caret,
      end: said.end, between: said.between,
    });
    equal('the merged text, the other way', ot.apply(ot.apply(text, b), a2), said.merged);
    equal('the edit taken back', ot.apply(after, ot.undoing(text, a)), text);
  }
});

/// The same numbers for each seed.
const seeded = (seed) => (most) => {
  seed = seed + 0x6d2b79f5 | 0;
  let mixed = Math.imul(seed ^ seed >>> 15, seed | 1);
  mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
  return (mixed ^ mixed >>> 14) >>> 0 & 0x7fffffff ? ((mixed ^ mixed >>> 14) >>> 0) % most : 0;
};

/// Three of the page's clients and a server in a few lines: lost connections, edits sent again, and texts taken anew.
function run(seed) {
  const below = seeded(seed), log = [], server = { text: '', rev: 100, applied: [0, 0, 0] };
  let made = 0;
  const people = [0, 1, 2].map((who) => ({ who, client: new ot.Client(), undo: new ot.Undo(), up: [], down: null, greeted: false }));
  const connect = (one) => {
    if (one.down) return;
    const { client } = one, resumes = client.life && log.length - (client.revision - 100) < 8;
    const hello = { hello: one.who + 1, life: 1, rev: server.rev, applied: server.applied[one.who], known: client.life > 0, lives: [] };
    one.down = [resumes ? hello : { ...hello, text: server.text }];
    if (resumes) one.down.push(...log.filter(({ rev }) => rev > client.revision));
  };
  const serve = (one) => {
    const edit = one.up.shift();
    if (!edit || edit.n <= server.applied[one.who]) return;
    let { op } = edit;
    for (const made of log) if (made.rev > edit.rev) [, op] = ot.transform(made.op, op);
    server.text = ot.apply(server.text, op);
    server.applied[one.who] = edit.n;
    const told = { rev: ++server.rev, by: one.who + 1, n: edit.n, op };
    log.push(told);
    for (const { down } of people) down?.push(told);
  };
  const hear = (one) => {
    const told = one.down?.shift();
    if (!told) return;
    let change;
    if (told.hello) {
      change = one.client.hello(told);
      one.greeted = true;
      const again = one.client.again();
      if (again) one.up.push(again);
    } else change = one.client.told(told);
    if (change) one.undo.others(change);
  };
  const send = (one) => {
    const edit = one.greeted && one.client.next();
    if (edit) one.up.push(edit);
  };
  const write = ({ client, undo }) => {
    const { text } = client, taken = below(5) === 0 && undo[below(2) ? 'undo' : 'redo'](text);
    if (taken) return client.edit(taken);
    const characters = [...text], from = below(characters.length + 1), gone = below(3) && below(4);
    const added = [...Array(below(4))].map(() => String.fromCodePoint((below(3) ? 0x4e00 : 0x1f300) + ++made)).join('');
    const after = [...characters.slice(0, from), added, ...characters.slice(from + gone)].join('');
    const op = ot.between(text, after, characters.slice(0, from).join('').length + added.length);
    undo.made(text, op, made * 400);
    client.edit(op);
  };
  people.forEach((one) => { connect(one); hear(one); });
  for (let step = 0; step < 150; step++) {
    const one = people[below(3)], what = below(100);
    if (what < 30) write(one);
    else if (what < 50) send(one);
    else if (what < 68) serve(one);
    else if (what < 86) hear(one);
    else if (what < 91) {
      // What was on its way up may arrive late, or not at all.
      one.up.length = Math.min(one.up.length, below(3));
      one.down = null;
      one.greeted = false;
    } else connect(one);
  }
  for (let round = 0; round < 2000; round++) for (const one of people) { connect(one); send(one); serve(one); hear(one); }
  const texts = new Set([server.text, ...people.flatMap(({ client }) => [client.text, client.base])]);
  const left = people.some(({ client }) => client.sent || client.typed || client.aside.length || client.mended);
  return texts.size === 1 && !left && server.text.isWellFormed();
}

await check('1000 of 1000 runs of the script converge, with lost connections and undo', async () => {
  const failed = [];
  for (let seed = 1; seed <= 1000; seed++) {
    let good = false;
    try { good = run(seed); } catch (error) { failed.push(`${seed}: ${error.message}`); continue; }
    if (!good) failed.push(seed);
  }
  equal('seeds that do not', failed.slice(0, 5).join(' '), '');
});

const shelf = mkdtempSync(join(tmpdir(), 'shelf-'));
process.on('exit', () => rmSync(shelf, { recursive: true, force: true }));
const program = await new Program('collab_editor', shelf).start();

async function enter(name, text = 'notes', options) {
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
const press = async (page, name) => { await page.focus('#offline'); await page.keyboard.press('Enter'); await until(page, name, (name) => document.querySelector('#offline').textContent === name, name); };

/// Both show the same, and all of it is saved.
async function agree(...pages) {
  for (const page of pages) await saved(page);
  const text = await value(pages[0]);
  for (const page of pages.slice(1)) await shows(page, text);
  return text;
}

const ann = await enter('Ann');
const bob = await enter('Bob', 'notes', { colorScheme: 'dark' });

await check('what one types stands in the other, which sees who and where', async () => {
  await ann.keyboard.type('Shopping\n\n- bread\n- tea\n');
  await shows(bob, 'Shopping\n\n- bread\n- tea\n');
  await isAt(bob, 'Ann', 'line 5, column 1');
  await isAt(ann, 'Bob', 'line 1, column 1');
  equal('names at carets', await bob.$$eval('#mirror .caret', (all) => all.map(({ dataset }) => dataset.name).join()), 'Ann');
  await saved(ann);
});

await check('caret and selection stay where they are in the text when others edit before them', async () => {
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

await check('the carets lie where the text area has its text', async () => {
  const off = await bob.evaluate(() => {
    const area = document.querySelector('#text'), mirror = document.querySelector('#mirror');
    return [area.clientWidth - mirror.clientWidth, area.clientHeight - mirror.clientHeight, area.scrollHeight - mirror.scrollHeight];
  });
  equal('what the sizes differ by', off.join(), '0,0,0');
});

await check('both type at once, fast, in the same place', async () => {
  await select(ann, (await value(ann)).length);
  await select(bob, (await value(bob)).length);
  await Promise.all([
    ann.keyboard.type('- apples 🍎🍏 from the market\n', { delay: 4 }),
    bob.keyboard.type('- cheese 🧀 a piece of it\n', { delay: 5 }),
  ]);
  const text = await agree(ann, bob);
  // Letters of the two may stand between each other, but each has all of its own in its order.
  for (const own of ['- apples 🍎🍏 from the market\n', '- cheese 🧀 a piece of it\n']) {
    let at = -1;
    for (const letter of own) at = text.indexOf(letter, at + 1) < 0 ? Infinity : text.indexOf(letter, at + 1);
    equal(`${own.trim()} is in it`, at < Infinity, true);
  }
});

await check('one’s own edits are taken back and done again, not those of others', async () => {
  await select(ann, 0, (await value(ann)).length);
  await ann.keyboard.type('one');
  await agree(ann, bob);
  await select(bob, 3);
  await bob.keyboard.type(' two');
  await shows(ann, 'one two');
  await ann.keyboard.press('Control+z');
  await until(ann, 'the older text', () => document.querySelector('#text').value.includes('Shopping'));
  const text = await agree(ann, bob);
  equal("Bob's word is still there", text.includes(' two'), true);
  await ann.keyboard.press('Control+Shift+z');
  await shows(bob, 'one two');
});

await check('offline, both write on; back, both have both, and it is said what is not saved', async () => {
  await press(bob, 'Come back');
  await until(ann, 'that Bob left', () => document.querySelector('#news').textContent.includes('Bob left.'));
  await select(bob, 0);
  await bob.keyboard.type('Bob was offline. ');
  await until(bob, 'what is not saved', () => document.querySelector('#saved').textContent === '17 unsaved edits');
  await picture(bob, 'collab_editor-dark');
  await select(ann, 7);
  await ann.keyboard.type(' three');
  await saved(ann);
  equal('what Ann shows', await value(ann), 'one two three');
  await press(bob, 'Go offline');
  for (const page of [ann, bob]) await shows(page, 'Bob was offline. one two three');
  await agree(ann, bob);
});

await check('what an input method composes is not touched by what others type meanwhile', async () => {
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
  equal('what Ann shows', await value(ann), 'start にほend');
  await ime.send('Input.insertText', { text: '日本 ' });
  for (const page of [ann, bob]) await shows(page, '<b> start 日本 end');
  equal("Ann's caret", await selection(ann), '13-13');
});

await check('what the server would not take is cleaned, and a text that is full is said to be', async () => {
  await select(ann, 0, (await value(ann)).length);
  await ann.$eval('#text', (area) => { area.setRangeText('a\u0007b\ud83d', 0, area.value.length, 'end'); area.dispatchEvent(new InputEvent('input')); });
  for (const page of [ann, bob]) await shows(page, 'a\ufffdb\ufffd');
  await select(ann, 0, 4);
  await ann.keyboard.insertText('x'.repeat(19_999));
  await agree(ann, bob);
  // Each has room for one more, and together they have not.
  await press(ann, 'Come back');
  await select(ann, 0);
  await ann.keyboard.type('A');
  await select(bob, 0);
  await bob.keyboard.type('B');
  await saved(bob);
  await press(ann, 'Go offline');
  await until(ann, 'the reason', () => document.querySelector('#error').textContent.startsWith('Not taken: the text would be longer'));
  equal('how what was set aside begins', (await ann.inputValue('#kept')).slice(0, 3), 'BAx');
  await shows(ann, `B${'x'.repeat(19_999)}`);
  await picture(ann, 'collab_editor-aside');
  await ann.click('#dismiss');
  await until(ann, 'that it is gone', () => document.querySelector('#aside').hidden);
});

await check('the server ends and comes back: what was typed meanwhile is there, once', async () => {
  await select(ann, 0, 20_000);
  await ann.keyboard.type('before. ');
  await agree(ann, bob);
  await program.stop();
  for (const page of [ann, bob]) await until(page, 'the loss', () => document.querySelector('#state').dataset.state !== 'open');
  await ann.keyboard.type('Ann meanwhile. ');
  await select(bob, 0);
  await bob.keyboard.type('Bob meanwhile. ');
  await program.start();
  for (const page of [ann, bob]) { await isOpen(page); await shows(page, 'Bob meanwhile. before. Ann meanwhile. '); }
  await agree(ann, bob);
  for (const page of [ann, bob]) equal('something is set aside', await page.isVisible('#aside'), false);
});

await check('a crash takes the text: what is lost stays in sight, and is put back', async () => {
  rmSync(shelf, { recursive: true, force: true });
  await program.kill();
  await program.start();
  await until(ann, 'what was set aside', () => !document.querySelector('#aside').hidden);
  equal('it', (await ann.inputValue('#kept')).slice(0, 100), 'Bob meanwhile. before. Ann meanwhile. ');
  await isOpen(bob);
  await until(bob, 'the same', () => !document.querySelector('#aside').hidden);
  await bob.click('#dismiss');
  await ann.click('#put');
  for (const page of [ann, bob]) await shows(page, 'Bob meanwhile. before. Ann meanwhile. ');
  await agree(ann, bob);
});

await check('three people, and one whose name would be markup', async () => {
  const [cat, eve] = [await enter('Cat', 'trip'), await enter('<i>Eve</i>', 'trip')];
  await cat.keyboard.insertText('Trip to the sea\n\nWhen: the first weekend of June, if it does not rain\nHow: by train, with bicycles\n\nTo bring:\n- towels\n- a kite\n- sun cream and hats for everybody\n');
  const text = await agree(cat, eve), dan = await enter('Dan', 'trip', { colorScheme: 'dark' });
  await shows(dan, text);
  await select(dan, text.indexOf('first'), text.indexOf('weekend') + 7);
  await select(eve, text.indexOf('a kite') + 6);
  await isAt(cat, '<i>Eve</i>', 'line 8, column 9');
  await isAt(cat, 'Dan', 'line 3, column 24');
  await select(cat, text.length);
  await isAt(dan, 'Cat', 'line 10, column 1');
  await picture(dan, 'collab_editor-dark-three');
  await eve.context().close();
  await until(cat, 'that she left', () => document.querySelector('#news').textContent.includes('<i>Eve</i> left.'));
  const flo = await enter('Flo', 'trip');
  await select(flo, text.indexOf('a kite') + 6);
  await isAt(cat, 'Flo', 'line 8, column 9');
  await picture(cat, 'collab_editor');
  for (const page of [cat, dan, flo]) await page.context().close();
});

await check('another text is another text, and a name that is none is not taken', async () => {
  const other = await enter('Dan', 'other-text');
  equal('its text', await value(other), '');
  await other.context().close();
  const wrong = await visit(`${program.base}/#No Such`);
  equal('the name that is offered', await wrong.inputValue('#which'), 'notes');
  await wrong.fill('#name', 'Dan');
  await wrong.fill('#which', 'No Such');
  await wrong.press('#which', 'Enter');
  equal('it is open', await wrong.isVisible('main'), false);
  await picture(wrong, 'collab_editor-enter');
  await wrong.context().close();
});

await bob.context().close();
await end(program, ann);
