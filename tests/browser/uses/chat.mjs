import { Program, check, end, equal, isOpen, picture, until, visit } from '../program.mjs';

const chat = await new Program('chat').start();

async function enter(name, options) {
  const page = await visit(chat.base, options);
  await page.fill('#name', name);
  await page.keyboard.press('Enter');
  await isOpen(page);
  return page;
}
async function say(page, text) {
  await page.fill('#say', text);
  await page.keyboard.press('Enter');
}
const shows = (page, text) => until(page, `the message ${text}`, (text) => document.querySelector('#log').textContent.includes(text), text);
const settled = (page) => until(page, 'all messages to be acknowledged', () => document.querySelector('#log .waits') === null);

const ann = await enter('Ann');
const bob = await enter('Bob', { colorScheme: 'dark' });

await check('a message appears in both windows, and the list of members is shown', async () => {
  await until(ann, 'Bob in the list of members', () => document.querySelector('#here').textContent.includes('Bob'));
  await say(ann, 'Is anybody there?');
  await shows(bob, 'Is anybody there?');
  await say(bob, 'Yes, <b>Bob</b> is.');
  await shows(ann, 'Yes, <b>Bob</b> is.');
  await settled(bob);
});

await check('digits and signs are messages and names of rooms', async () => {
  for (const page of [ann, bob]) {
    await page.fill('#room', '0');
    await page.keyboard.press('Enter');
  }
  const last = (page, text) => until(page, `the message ${text}`, (text) =>
    document.querySelector('#log li:last-child')?.lastChild.textContent === text, text);
  for (const text of ['0', '5', '-2', '+1', '1e3']) {
    await say(ann, text);
    await last(bob, text);
    await settled(ann);
  }
  for (const page of [ann, bob]) await page.click('#rooms button:text("lobby")');
});

await check('messages in another room are marked until they are read', async () => {
  await bob.click('#rooms button:text("kitchen")');
  await say(bob, 'Tea is ready');
  await until(ann, 'the mark of an unread room', () => document.querySelector('#rooms .unread')?.textContent === 'kitchen');
  await picture(ann, 'chat');
  await ann.click('#rooms button:text("kitchen")');
  await shows(ann, 'Tea is ready');
  await picture(bob, 'chat-dark');
});

await check('messages sent while the server is down arrive once after it is back', async () => {
  await chat.stop();
  await until(ann, 'the connection to be lost', () => document.querySelector('#state').dataset.state !== 'open');
  await say(ann, 'Sent while the server is down');
  await chat.start();
  await isOpen(ann);
  await isOpen(bob);
  await shows(bob, 'Sent while the server is down');
  await settled(ann);
  for (const page of [ann, bob]) {
    const count = await page.evaluate(() => document.querySelector('#log').textContent.split('Sent while the server is down').length - 1);
    equal('number of times the message is shown', count, 1);
  }
});

await bob.context().close();
await end(chat, ann);
