// A live feed, as two people at a fast line watch it, beside a reader on a slow one.
import { Program, check, end, equal, isOpen, picture, until, visit } from '../program.mjs';

const program = await new Program('live_feed', '60', '20').start();

const isLive = (page) => until(page, 'prices of all symbols', () => quotes.size === 60 && mine.messages > 0 && $('quotes').rows.length === 17);
const choose = (page, policy) => page.selectOption('#policy', policy);
const shownAs = (page, policy) => until(page, `the policy ${policy}`, (policy) => $('policy').value === policy && $('means').textContent === MEANS[policy], policy);
/// The slow reader's cells in the table of readers, as numbers: 1 messages a second, 4 skipped, 5 waiting, 6 cut.
const cell = (page, what, at, is) => until(page, what, ([at, is]) => {
  const row = [...$('readers').tBodies[0].rows].find((row) => row.cells[0].textContent.startsWith('slow 1'));
  const number = Number(row?.cells[at].textContent.replace(/[,×]/g, ''));
  return is === 'more' ? number > 0 : number === 0;
}, [at, is]);
const sum = (page, id) => page.evaluate((id) => told.dropped[id], id);
const grows = async (page, id) => {
  const before = await sum(page, id);
  await until(page, `more that is counted under ${id}`, ([id, before]) => told?.dropped[id] > before + 50, [id, before]);
};
const pauses = async (page) => {
  await page.click('#pause');
  await until(page, 'the pause', () => $('pause').textContent === 'Resume prices' && $('made').textContent === 'paused');
};
const resumes = async (page) => {
  await page.click('#pause');
  await until(page, 'prices again', () => /^[\d,]+$/.test($('made').textContent));
};
/// What a page knows, in one line to compare.
const knows = (page) => page.evaluate(() => [...quotes].sort().map(([symbol, { n, price }]) => `${symbol} ${n} ${price}`).join());

const ann = await visit(program.base);
const bob = await visit(program.base, { colorScheme: 'dark' });
for (const page of [ann, bob]) {
  await isOpen(page);
  await isLive(page);
}

await check('both see all prices move, and how old each is', async () => {
  for (const page of [ann, bob]) {
    await until(page, 'an arrow', () => document.querySelector('#quotes [data-way=up], #quotes [data-way=down]') !== null);
    await until(page, 'an age', () => /^\d+ ms$|^[\d.]+ s$/.test($('quotes').rows[1].cells[2].textContent));
    await until(page, 'its own row', () => /^You this page/.test($('readers').tBodies[0].rows[0].textContent) && Number($('readers').tBodies[0].rows[0].cells[1].textContent.replace(',', '')) > 0);
    await until(page, 'trades', () => $('trades').children.length === TRADES);
  }
});

await check('paused in one window, both stand still at the same prices', async () => {
  await pauses(ann);
  await until(bob, 'the same', () => $('pause').textContent === 'Resume prices');
  await until(ann, 'the answer', () => $('said').textContent === 'The generator stands still.');
  equal('what bob knows', await knows(bob), await knows(ann));
  equal('what bob sees', await bob.locator('#quotes tbody').evaluate((body) => [...body.rows].map((row) => row.cells[1].textContent).join()),
    await ann.locator('#quotes tbody').evaluate((body) => [...body.rows].map((row) => row.cells[1].textContent).join()));
  await resumes(ann);
});

await check('a filter finds symbols, also with no hit, from the keyboard', async () => {
  const symbol = await ann.evaluate(() => symbols[40]);
  await ann.focus('#filter');
  await ann.keyboard.type(symbol.toLowerCase());
  await until(ann, 'one symbol', (symbol) => $('quotes').tBodies[0].innerText.includes(symbol) && $('quotes').rows.length === 2, symbol);
  await ann.keyboard.type('?');
  await until(ann, 'none', () => $('count').textContent === 'No symbol has that in it.');
  await ann.fill('#filter', '');
  await until(ann, 'the first again', () => $('quotes').rows.length === 17);
});

await check('a slow reader gets fewer messages, and paused it ends at the same prices', async () => {
  await ann.selectOption('#kib', '5');
  await ann.focus('#add');
  await ann.keyboard.press('Enter');
  for (const page of [ann, bob]) {
    await cell(page, 'messages for slow 1', 1, 'more');
    await cell(page, 'skipped prices of slow 1', 4, 'more');
    await until(page, 'it beside the own prices', () => $('theirs').textContent === 'slow 1 shows' && looked.size === 60);
  }
  equal('the policy', await ann.inputValue('#policy'), 'conflate');
  await picture(bob, 'live_feed-dark');
  await pauses(ann);
  await cell(ann, 'nothing to wait for slow 1', 5, 'none');
  await until(ann, 'the newest prices there too', () => [...quotes].every(([symbol, { price, t }]) => looked.get(symbol)?.price === price && looked.get(symbol).t === t));
  await resumes(bob);
});

await check('under drop-newest, chosen in the other window, it stays in the past', async () => {
  await choose(bob, 'drop-newest');
  await shownAs(ann, 'drop-newest');
  await grows(ann, 'drop-newest');
  await until(ann, 'that in the table of the server', () => $('drop-newest').textContent !== '0');
  await pauses(ann);
  await cell(ann, 'nothing to wait for slow 1', 5, 'none');
  await until(ann, 'prices that differ', () => document.querySelectorAll('#quotes .differs').length > 0);
  await picture(ann, 'live_feed-past');
  await resumes(ann);
});

await check('under drop-oldest each is counted too', async () => {
  await choose(ann, 'drop-oldest');
  await shownAs(bob, 'drop-oldest');
  await grows(bob, 'drop-oldest');
});

await check('under block everybody is as slow as the slowest', async () => {
  await choose(ann, 'block');
  for (const page of [ann, bob]) {
    await shownAs(page, 'block');
    // It takes some 200 a second; without it there are 1200.
    await until(page, 'a slow feed', () => mine.rate > 0 && mine.rate < 600);
  }
  await picture(ann, 'live_feed-block');
});

await check('under disconnect it is cut, comes back, and is cut again', async () => {
  await choose(ann, 'disconnect');
  await cell(bob, 'a cut', 6, 'more');
  await until(bob, 'why', () => [...$('readers').rows].some((row) => row.cells[6].title.startsWith('4008 slow consumer')));
  await until(bob, 'another', () => told.readers[0].cuts > 1);
  await choose(ann, 'conflate');
  await shownAs(bob, 'conflate');
});

await check('a command that nobody knows is answered, and nothing else happens', async () => {
  await ann.evaluate(() => command({ policy: '<img src=x>' }));
  await until(ann, 'the answer', () => /^Not done: unknown variant `<img src=x>`/.test($('said').textContent));
  equal('the state', await ann.getAttribute('#state', 'data-state'), 'open');
});

await check('removed from the keyboard it is gone in both windows', async () => {
  await ann.getByRole('button', { name: 'Remove slow 1' }).press('Enter');
  for (const page of [ann, bob]) {
    await until(page, 'its row to go', () => $('readers').tBodies[0].rows.length === 1 && !$('quotes').hasAttribute('data-compared'));
  }
  equal('what has the focus', await ann.evaluate(() => document.activeElement.id), 'add');
});

await check('server gone and back, both take a new snapshot and go on', async () => {
  const before = await ann.evaluate(() => quotes.get(symbols[0]).n);
  await program.stop();
  for (const page of [ann, bob]) {
    await until(page, 'the loss', () => $('state').dataset.state === 'waiting' && $('prices').hasAttribute('data-dead') && $('control').disabled);
  }
  await picture(bob, 'live_feed-dead');
  await program.start();
  for (const page of [ann, bob]) {
    await isOpen(page);
    await isLive(page);
    await until(page, 'numbers that began anew', (before) => !isFresh && quotes.get(symbols[0]).n < before, before);
    await until(page, 'controls', () => !$('control').disabled && !$('prices').hasAttribute('data-dead'));
  }
});

await ann.click('#add');
await cell(ann, 'messages for slow 1', 1, 'more');
await picture(ann, 'live_feed');
await bob.context().close();
await end(program, ann);
