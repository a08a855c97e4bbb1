// A game, as two people at keyboards, one with a phone, and one on a bad line play it.
import { spawn } from 'node:child_process';
import { Program, check, end, equal, isOpen, picture, until, visit, within } from '../program.mjs';

const program = await new Program('game').start();

async function enter(name, options) {
  const page = await visit(program.base, options);
  await page.fill('#name', name);
  await page.press('#name', 'Enter');
  await seated(page);
  return page;
}
const seated = async (page) => {
  await isOpen(page);
  await until(page, 'its own dot', () => shots[1]?.players.has(game.seat));
};
const seatOf = (page) => page.evaluate(() => game.seat);
const at = (page, seat) => page.evaluate((seat) => ({ x: shots[1].players.get(seat).x, y: shots[1].players.get(seat).y }), seat);
const noted = (page, text) => until(page, `the note ${text}`, (text) => $('log').textContent.includes(text), text);
const row = (page, name) => page.locator('#players tbody tr', { hasText: name });
/// A key, and where it leads, into the arena.
const inwards = ({ x }) => x < 800 ? ['ArrowRight', 1] : ['ArrowLeft', -1];
const moved = (page, seat, from, way) => until(page, `seat ${seat} to move`,
  ([seat, from, way]) => (shots[1].players.get(seat).x - from) * way > 60, [seat, from.x, way]);

const ann = await enter('Ann');
const bob = await enter('Bob', { colorScheme: 'dark' });

await check('each stands in the other\'s table, by name', async () => {
  await until(ann, 'Bob', () => $('players').textContent.includes('Bob') && $('players').textContent.includes('Ann (you)'));
  await until(bob, 'Ann', () => $('players').textContent.includes('Ann') && $('players').textContent.includes('Bob (you)'));
  await noted(ann, 'Bob joined.');
  await noted(bob, 'You play, Bob.');
});

await check('a key held in one window moves the dot in the other, and let go it stands still', async () => {
  const seat = await seatOf(ann), from = await at(bob, seat), [key, way] = inwards(from);
  await ann.keyboard.down(key);
  await moved(bob, seat, from, way);
  await ann.keyboard.up(key);
  await until(bob, 'it to stand still', (seat) => {
    const players = shots.map((shot) => shot?.players.get(seat));
    return players[0]?.x === players[1]?.x;
  }, seat);
  await until(ann, 'the time from key to picture', () => /^[\d.]+ ms$/.test($('keyed').textContent));
  await until(ann, 'a round trip', () => /^[\d.]+ ms$/.test($('trip').textContent));
});

await check('letters steer as arrows do, and a short tap is not lost', async () => {
  const seat = await seatOf(bob), from = await at(ann, seat), [, way] = inwards(from);
  await bob.keyboard.press(way > 0 ? 'd' : 'a');
  await until(ann, 'a step', ([seat, from, way]) => (shots[1].players.get(seat).x - from) * way >= 12, [seat, from.x, way]);
});

await check('a phone steers with its buttons', async () => {
  const phone = await enter('Cy', { viewport: { width: 375, height: 740 }, hasTouch: true, isMobile: true });
  const seat = await seatOf(phone), from = await at(ann, seat), [key, way] = inwards(from);
  const button = phone.getByRole('button', { name: key.slice(5) });
  const box = await button.boundingBox();
  equal('the button is in sight', box.y + box.height < 740, true);
  await button.dispatchEvent('pointerdown', { pointerId: 1 });
  await moved(ann, seat, from, way);
  await button.dispatchEvent('pointerup', { pointerId: 1 });
  const there = await at(ann, seat);
  await button.press('Enter');
  await until(ann, 'a push', ([seat, from, way]) => (shots[1].players.get(seat).x - from) * way >= 12, [seat, there.x, way]);
  await picture(phone, 'game-phone-touch');
  await phone.click('#leave');
  await until(phone, 'the form', () => !$('enter').hidden);
  await noted(ann, 'Cy left.');
  await phone.context().close();
});

await check('reloaded, the page has its seat and its score again', async () => {
  const before = await seatOf(bob);
  await bob.reload();
  await seated(bob);
  equal('the seat', await seatOf(bob), before);
  await noted(bob, 'You are back on your seat.');
  await noted(ann, 'Bob is back.');
});

await check('the seat is taken over by another window, and the first one does not fight for it', async () => {
  const seat = await seatOf(bob);
  const other = await bob.context().newPage();
  await other.addInitScript((kept) => { for (const [key, value] of kept) sessionStorage.setItem(key, value); },
    await bob.evaluate(() => Object.entries(sessionStorage)));
  await other.goto(program.base);
  await seated(other);
  equal('the seat', await seatOf(other), seat);
  await until(bob, 'its end', () => $('state').dataset.state === 'ended' && $('state').textContent.includes('4001'));
  await other.close();
  await bob.reload();
  await seated(bob);
  equal('the seat', await seatOf(bob), seat);
});

await check('a player that does not read makes its own numbers grow and nobody else\'s', async () => {
  const slow = spawn(`${process.argv[2]}/game`, [new URL(program.base).host, 'slow'], { stdio: 'ignore' });
  const ended = new Promise((resolve) => slow.on('close', resolve));
  try {
    await until(ann, 'skipped snapshots of slow', () => [...shots[1].players].some(([seat, { skipped }]) => names.get(seat) === 'slow' && skipped > 60));
    await until(ann, 'that in the table', () => [...$('players').rows].some((row) => row.textContent.includes('slow') && Number(row.cells[3].textContent) > 60));
    for (const page of [ann, bob]) {
      equal('snapshots skipped for those who read', await page.textContent('#skipped'), '0');
    }
    await picture(ann, 'game');
    await picture(bob, 'game-dark');
  } finally {
    slow.kill('SIGKILL');
    await within(20, 'slow to end', ended);
  }
  await noted(ann, 'slow lost the connection; the seat is kept for 20 s.');
});

await check('server gone and back, both play on, on new seats', async () => {
  await program.stop();
  await until(ann, 'the loss', () => $('state').dataset.state === 'waiting');
  await until(ann, 'the same in the arena', () => !$('veil').hidden);
  await program.start();
  for (const page of [ann, bob]) {
    await seated(page);
    await noted(page, 'Your old seat was not kept: this is a new one.');
  }
  const seat = await seatOf(ann), from = await at(bob, seat), [key, way] = inwards(from);
  await ann.keyboard.down(key);
  await moved(bob, seat, from, way);
  await ann.keyboard.up(key);
});

await check('a full match says so, and lets in by itself when there is room', async () => {
  await ann.evaluate(async () => {
    window.others = Array.from({ length: 10 }, (_, n) => new WebSocket(`${location.origin.replace('http', 'ws')}/ws?name=bot${n}`));
    await Promise.all(others.map((socket) => new Promise((resolve) => { socket.onmessage = resolve; })));
  });
  await until(ann, 'twelve players', () => shots[1].players.size === 12);
  await picture(ann, 'game-full');
  const late = await visit(program.base);
  await late.fill('#name', 'Late');
  await late.press('#name', 'Enter');
  await until(late, 'the refusal', () => $('state').textContent.includes('the match is full: 12 play'));
  await until(late, 'the same in the arena', () => !$('veil').hidden && $('veil').textContent.startsWith('The match is full.'));
  await picture(late, 'game-refused');
  await ann.evaluate(() => { for (const socket of others) socket.send(new Uint8Array([3])); });
  await seated(late);
  await late.context().close();
});

await bob.click('#leave');
await noted(ann, 'Bob left.');
await bob.context().close();
await end(program, ann);
