// The live feed, watched by two people with fast connections, and by a reader with a slow one.
import { Program, check, end, equal, isOpen, picture, until, visit } from '../program.mjs';

const program = await new Program('live_feed', '60', '20').start();

const isLive = (page) => until(page, 'prices of all symbols', () => quotes.size === 60 && mine.messages > 0 && $('quotes').rows.length === 17);
const choose = (page, policy) => page.selectOption('#policy', policy);
const shownAs = (page, policy) => until(page, `the policy ${policy}`, (policy) => $('policy').value === policy && $('means').textContent === POLICY_TEXTS[policy], policy);
/// Waits for a number in the slow reader's row: cell 1 is messages per second, 4 skipped, 5 waiting, 6 disconnected.
const cell = (page, what, at, is) => until(page, what, ([at, is]) => {
  const row = [...$('readers').tBodies[0].rows].find((row) => row.cells[0].textContent.startsWith('slow 1'));
  const number = Number(row?.cells[at].textContent.replace(/[,×]/g, ''));
  return is === 'more' ? number > 0 : number === 0;
}, [at, is]);
const sum = (page, id) => page.evaluate((id) => current.dropped[id], id);
const increases = async (page, id) => {
  const before = await sum(page, id);
  await until(page, `more quotes dropped by ${id}`, ([id, before]) => current?.dropped[id] > before + 50, [id, before]);
};
const pause = async (page) => {
  await page.click('#pause');
  await until(page, 'the pause', () => $('pause').textContent === 'Resume prices' && $('made').textContent === 'paused');
};
const resume = async (page) => {
  await page.click('#pause');
  await until(page, 'prices again', () => /^[\d,]+$/.test($('made').textContent));
};
/// All quotes of a page, in one line to compare.
const quotesOf = (page) => page.evaluate(() => [...quotes].sort().map(([symbol, { n, price }]) => `${symbol} ${n} ${price}`).join());

const ann = await visit(program.base);
const bob = await visit(program.base, { colorScheme: 'dark' });
for (const page of [ann, bob]) {
  await isOpen(page);
  await isLive(page);
}

await check('both pages show changing prices and their ages', async () => {
  for (const page of [ann, bob]) {
    await until(page, 'an arrow', () => document.querySelector('#quotes [data-way=up], #quotes [data-way=down]') !== null);
    await until(page, 'an age', () => /^\d+ ms$|^[\d.]+ s$/.test($('quotes').rows[1].cells[2].textContent));
    await until(page, 'its own row', () => /^You this page/.test($('readers').tBodies[0].rows[0].textContent) && Number($('readers').tBodies[0].rows[0].cells[1].textContent.replace(',', '')) > 0);
    await until(page, 'trades', () => $('trades').children.length === TRADES);
  }
});

await check('a pause in one window stops both at the same prices', async () => {
  await pause(ann);
  await until(bob, 'the pause', () => $('pause').textContent === 'Resume prices');
  await until(ann, 'the answer', () => $('result').textContent === 'The generator is paused.');
  equal('the quotes of bob', await quotesOf(bob), await quotesOf(ann));
  equal('the displayed prices of bob', await bob.locator('#quotes tbody').evaluate((body) => [...body.rows].map((row) => row.cells[1].textContent).join()),
    await ann.locator('#quotes tbody').evaluate((body) => [...body.rows].map((row) => row.cells[1].textContent).join()));
  await resume(ann);
});

await check('the filter finds one symbol, or none', async () => {
  const symbol = await ann.evaluate(() => symbols[40]);
  await ann.focus('#filter');
  await ann.keyboard.type(symbol.toLowerCase());
  await until(ann, 'one symbol', (symbol) => $('quotes').tBodies[0].innerText.includes(symbol) && $('quotes').rows.length === 2, symbol);
  await ann.keyboard.type('?');
  await until(ann, 'no symbol', () => $('count').textContent === 'No symbol matches.');
  await ann.fill('#filter', '');
  await until(ann, 'the first symbols again', () => $('quotes').rows.length === 17);
});

await check('a slow reader skips prices, and after a pause it has the newest', async () => {
  await ann.selectOption('#kib', '5');
  await ann.focus('#add');
  await ann.keyboard.press('Enter');
  for (const page of [ann, bob]) {
    await cell(page, 'messages for slow 1', 1, 'more');
    await cell(page, 'skipped prices of slow 1', 4, 'more');
    await until(page, 'its prices beside those of the page', () => $('theirs').textContent === 'slow 1 shows' && comparedQuotes.size === 60);
  }
  equal('the policy', await ann.inputValue('#policy'), 'conflate');
  await picture(bob, 'live_feed-dark');
  await pause(ann);
  await cell(ann, 'an empty queue of slow 1', 5, 'none');
  await until(ann, 'the newest prices at slow 1', () => [...quotes].every(([symbol, { price, t }]) => comparedQuotes.get(symbol)?.price === price && comparedQuotes.get(symbol).t === t));
  await resume(bob);
});

await check('drop-newest, chosen in the other window, leaves it with old prices', async () => {
  await choose(bob, 'drop-newest');
  await shownAs(ann, 'drop-newest');
  await increases(ann, 'drop-newest');
  await until(ann, 'the number in the table of the server', () => $('drop-newest').textContent !== '0');
  await pause(ann);
  await cell(ann, 'an empty queue of slow 1', 5, 'none');
  await until(ann, 'prices that differ', () => document.querySelectorAll('#quotes .differs').length > 0);
  await picture(ann, 'live_feed-past');
  await resume(ann);
});

await check('drop-oldest counts its dropped quotes', async () => {
  await choose(ann, 'drop-oldest');
  await shownAs(bob, 'drop-oldest');
  await increases(bob, 'drop-oldest');
});

await check('block makes all readers as slow as the slowest', async () => {
  await choose(ann, 'block');
  for (const page of [ann, bob]) {
    await shownAs(page, 'block');
    // The slow reader takes about 200 messages per second. Without it, the feed has 1200.
    await until(page, 'a slow feed', () => mine.rate > 0 && mine.rate < 600);
  }
  await picture(ann, 'live_feed-block');
});

await check('disconnect closes the slow reader again and again', async () => {
  await choose(ann, 'disconnect');
  await cell(bob, 'a disconnect', 6, 'more');
  await until(bob, 'the reason', () => [...$('readers').rows].some((row) => row.cells[6].title.startsWith('4008 slow consumer')));
  await until(bob, 'a second disconnect', () => current.readers[0].disconnects > 1);
  await choose(ann, 'conflate');
  await shownAs(bob, 'conflate');
});

await check('an unknown command shows an error and keeps the connection', async () => {
  await ann.evaluate(() => command({ policy: '<img src=x>' }));
  await until(ann, 'the answer', () => /^Command failed: unknown variant `<img src=x>`/.test($('result').textContent));
  equal('the state', await ann.getAttribute('#state', 'data-state'), 'open');
});

await check('a reader removed with the keyboard disappears in both windows', async () => {
  await ann.getByRole('button', { name: 'Remove slow 1' }).press('Enter');
  for (const page of [ann, bob]) {
    await until(page, 'its row to disappear', () => $('readers').tBodies[0].rows.length === 1 && !$('quotes').hasAttribute('data-compared'));
  }
  equal('the focused element', await ann.evaluate(() => document.activeElement.id), 'add');
});

await check('after a server restart both take a new snapshot', async () => {
  const before = await ann.evaluate(() => quotes.get(symbols[0]).n);
  await program.stop();
  for (const page of [ann, bob]) {
    await until(page, 'the loss of the connection', () => $('state').dataset.state === 'waiting' && $('prices').hasAttribute('data-dead') && $('control').disabled);
  }
  await picture(bob, 'live_feed-dead');
  await program.start();
  for (const page of [ann, bob]) {
    await isOpen(page);
    await isLive(page);
    // Until the page has painted the new list, it has no symbols.
    await until(page, 'quote numbers that started again', (before) => !isFresh && symbols && quotes.get(symbols[0]).n < before, before);
    await until(page, 'enabled controls', () => !$('control').disabled && !$('prices').hasAttribute('data-dead'));
  }
});

await ann.click('#add');
await cell(ann, 'messages for slow 1', 1, 'more');
await picture(ann, 'live_feed');
await bob.context().close();
await end(program, ann);
