// The game, played by two people with keyboards, one with a phone, and one on a bad connection.
import { spawn } from 'node:child_process';
import { Program, check, end, equal, isOpen, picture, until, visit, within } from '../program.mjs';

const program = await new Program('game').start();

async function join(name, options) {
  const page = await visit(program.base, options);
  await page.fill('#name', name);
  await page.press('#name', 'Enter');
  await hasSeat(page);
  return page;
}
const hasSeat = async (page) => {
  await isOpen(page);
  await until(page, 'its own dot', () => shots[1]?.players.has(game.seat));
};
const seatOf = (page) => page.evaluate(() => game.seat);
const positionOf = (page, seat) => page.evaluate((seat) => ({ x: shots[1].players.get(seat).x, y: shots[1].players.get(seat).y }), seat);
const logShows = (page, text) => until(page, `the log entry ${text}`, (text) => $('log').textContent.includes(text), text);
/// The key that leads away from the nearer wall, and its direction.
const inwards = ({ x }) => x < 800 ? ['ArrowRight', 1] : ['ArrowLeft', -1];
const moves = (page, seat, from, direction) => until(page, `seat ${seat} to move`,
  ([seat, from, direction]) => (shots[1].players.get(seat).x - from) * direction > 60, [seat, from.x, direction]);

const ann = await join('Ann');
const bob = await join('Bob', { colorScheme: 'dark' });

await check('each player sees the other by name in the table', async () => {
  await until(ann, 'Bob', () => $('players').textContent.includes('Bob') && $('players').textContent.includes('Ann (you)'));
  await until(bob, 'Ann', () => $('players').textContent.includes('Ann') && $('players').textContent.includes('Bob (you)'));
  await logShows(ann, 'Bob joined.');
  await logShows(bob, 'You joined as Bob.');
});

await check('a held key moves the dot in the other window, and its release stops the dot', async () => {
  const seat = await seatOf(ann), from = await positionOf(bob, seat), [key, direction] = inwards(from);
  await ann.keyboard.down(key);
  await moves(bob, seat, from, direction);
  await ann.keyboard.up(key);
  await until(bob, 'the dot to stand still', (seat) => {
    const players = shots.map((shot) => shot?.players.get(seat));
    return players[0]?.x === players[1]?.x;
  }, seat);
  await until(ann, 'the time from key to snapshot', () => /^[\d.]+ ms$/.test($('keyed').textContent));
  await until(ann, 'a round trip', () => /^[\d.]+ ms$/.test($('trip').textContent));
});

await check('letter keys steer too, and a short tap is not lost', async () => {
  const seat = await seatOf(bob), from = await positionOf(ann, seat), [, direction] = inwards(from);
  await bob.keyboard.press(direction > 0 ? 'd' : 'a');
  await until(ann, 'a step', ([seat, from, direction]) => (shots[1].players.get(seat).x - from) * direction >= 12, [seat, from.x, direction]);
});

await check('buttons steer on a phone', async () => {
  const phone = await join('Cy', { viewport: { width: 375, height: 740 }, hasTouch: true, isMobile: true });
  const seat = await seatOf(phone), from = await positionOf(ann, seat), [key, direction] = inwards(from);
  const button = phone.getByRole('button', { name: key.slice(5) });
  const box = await button.boundingBox();
  equal('the button is visible', box.y + box.height < 740, true);
  await button.dispatchEvent('pointerdown', { pointerId: 1 });
  await moves(ann, seat, from, direction);
  await button.dispatchEvent('pointerup', { pointerId: 1 });
  const there = await positionOf(ann, seat);
  await button.press('Enter');
  await until(ann, 'a step', ([seat, from, direction]) => (shots[1].players.get(seat).x - from) * direction >= 12, [seat, there.x, direction]);
  await picture(phone, 'game-phone-touch');
  await phone.click('#leave');
  await until(phone, 'the form', () => !$('enter').hidden);
  await logShows(ann, 'Cy left.');
  await phone.context().close();
});

await check('a reloaded page gets its seat back', async () => {
  const before = await seatOf(bob);
  await bob.reload();
  await hasSeat(bob);
  equal('the seat', await seatOf(bob), before);
  await logShows(bob, 'You are back on your seat.');
  await logShows(ann, 'Bob is back.');
});

await check('another window takes over the seat, and the first one does not reconnect', async () => {
  const seat = await seatOf(bob);
  const other = await bob.context().newPage();
  await other.addInitScript((entries) => { for (const [key, value] of entries) sessionStorage.setItem(key, value); },
    await bob.evaluate(() => Object.entries(sessionStorage)));
  await other.goto(program.base);
  await hasSeat(other);
  equal('the seat', await seatOf(other), seat);
  await until(bob, 'the end of its connection', () => $('state').dataset.state === 'ended' && $('state').textContent.includes('4101'));
  await other.close();
  await bob.reload();
  await hasSeat(bob);
  equal('the seat', await seatOf(bob), seat);
});

await check('a slow player increases its own numbers only', async () => {
  const slow = spawn(`${process.argv[2]}/game`, [new URL(program.base).host, 'slow'], { stdio: 'ignore' });
  const ended = new Promise((resolve) => slow.on('close', resolve));
  try {
    await until(ann, 'skipped snapshots of slow', () => [...shots[1].players].some(([seat, { skipped }]) => names.get(seat) === 'slow' && skipped > 60));
    await until(ann, 'that number in the table', () => [...$('players').rows].some((row) => row.textContent.includes('slow') && Number(row.cells[3].textContent) > 60));
    for (const page of [ann, bob]) {
      equal('snapshots skipped for a fast reader', await page.textContent('#skipped'), '0');
    }
    await picture(ann, 'game');
    await picture(bob, 'game-dark');
  } finally {
    slow.kill('SIGKILL');
    await within(20, 'slow to end', ended);
  }
  await logShows(ann, 'slow lost the connection; the seat is kept for 20 s.');
});

await check('after a server restart both continue on new seats', async () => {
  await program.stop();
  await until(ann, 'the loss of the connection', () => $('state').dataset.state === 'waiting');
  await until(ann, 'the message in the arena', () => !$('veil').hidden);
  await program.start();
  for (const page of [ann, bob]) {
    await hasSeat(page);
    await logShows(page, 'Your old seat is gone. You have a new one.');
  }
  const seat = await seatOf(ann), from = await positionOf(bob, seat), [key, direction] = inwards(from);
  await ann.keyboard.down(key);
  await moves(bob, seat, from, direction);
  await ann.keyboard.up(key);
});

await check('a full match refuses a player, who joins when a seat is free', async () => {
  await ann.evaluate(async () => {
    window.others = Array.from({ length: 10 }, (_, n) => new WebSocket(`${location.origin.replace('http', 'ws')}/ws?name=bot${n}`));
    await Promise.all(others.map((socket) => new Promise((resolve) => { socket.onmessage = resolve; })));
  });
  await until(ann, 'twelve players', () => shots[1].players.size === 12);
  await picture(ann, 'game-full');
  const late = await visit(program.base);
  await late.fill('#name', 'Late');
  await late.press('#name', 'Enter');
  await until(late, 'the refusal', () => $('state').textContent.includes('the match is full: 12 players'));
  await until(late, 'the message in the arena', () => !$('veil').hidden && $('veil').textContent.startsWith('The match is full.'));
  await picture(late, 'game-refused');
  await ann.evaluate(() => { for (const socket of others) socket.send(new Uint8Array([3])); });
  await hasSeat(late);
  await late.context().close();
});

await bob.click('#leave');
await logShows(ann, 'Bob left.');
await bob.context().close();
await end(program, ann);
