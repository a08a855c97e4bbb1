// Uses the page as one person with two tabs, a second person, and a backend.
import { Program, check, end, equal, isOpen, picture, until, visit } from '../program.mjs';

const program = await new Program('notifications').start();
const at = (user) => `${program.base}/#${user}`;

/// Publishes, as a backend does.
const post = async (notice) => {
  const answer = await fetch(`${program.base}/publish`, { method: 'POST', body: JSON.stringify(notice) });
  equal('the status', answer.status, 202);
  return answer.json();
};
const row = (page, text) => page.locator('#list li', { hasText: text });
const shows = (page, text, state) => until(page, `${JSON.stringify(text)} to be ${state}`, ([text, state]) =>
  [...document.querySelectorAll('#list li')].some((row) => row.dataset.state === state && row.querySelector('.text').textContent === text),
[text, state]);
const titled = (page, title) => until(page, `the title ${title}`, (title) => document.title === title, title);
const texts = (page) => page.locator('#list .text').allTextContents();

const one = await visit(at('ann'));
let two = await visit(at('ann'));
const bob = await visit(at('bob'));
for (const page of [one, two, bob]) await isOpen(page);

await check('a published notification appears in both tabs of the user only', async () => {
  await bob.fill('#to', 'ann');
  await bob.fill('#text', 'build failed: <b>main</b>');
  await bob.check('#pressing');
  await bob.press('#pressing', 'Enter');
  for (const page of [one, two]) {
    await shows(page, 'build failed: <b>main</b>', 'unread');
    await titled(page, '(1) ann – Notifications');
  }
  await until(bob, 'the answer', () => /^202: kept as \d+, queued for 2 tabs$/.test(document.querySelector('#answer').textContent));
  equal("rows in the inbox of bob", (await texts(bob)).length, 0);
});

await check('marking as read in one tab updates the other and hides the badge', async () => {
  await row(one, 'build failed').getByRole('button').press('Enter');
  for (const page of [one, two]) {
    await shows(page, 'build failed: <b>main</b>', 'read');
    await titled(page, 'ann – Notifications');
    equal('badge is visible', await page.isVisible('#badge'), false);
  }
  equal('focused element', await one.evaluate(() => document.activeElement.id), 'inbox-title');
});

await check('notifications posted while no tab is open are kept, urgent first', async () => {
  await one.context().close();
  await two.context().close();
  await post({ user: 'ann', text: 'Deployed 1.4.2 to staging' });
  await post({ user: 'ann', text: 'Bob asks for your review', id: 'review-7' });
  await post({ user: 'ann', text: 'Bob asks for your review', id: 'review-7' });
  await post({ user: 'ann', text: 'Disk of db-1 is 95 % full', urgent: true });
  two = await visit(at('ann'));
  await titled(two, '(3) ann – Notifications');
  equal('the list', (await texts(two)).join(' | '), 'Disk of db-1 is 95 % full | Bob asks for your review | Deployed 1.4.2 to staging');
});

await check('an unread notification is sent again but shown once', async () => {
  await until(two, 'a resend', () => [...document.querySelectorAll('.meta')].every((meta) => / sent [2-9] times/.test(meta.textContent)));
  equal('rows', (await texts(two)).length, 3);
});

await check('digits and signs are names, texts and dedupe ids', async () => {
  const zero = await visit(at('0'));
  await isOpen(zero);
  await bob.fill('#to', '0');
  for (const text of ['0', '5', '-2', ' 7 ']) {
    await bob.fill('#text', text);
    await bob.fill('#key', text.trim());
    await bob.press('#key', 'Enter');
    await shows(zero, text, 'unread');
  }
  // A repeated dedupe id is not kept again.
  await bob.fill('#text', 'again');
  await bob.fill('#key', '0');
  await bob.press('#key', 'Enter');
  await bob.fill('#key', '');
  await bob.fill('#text', 'the last');
  await bob.press('#key', 'Enter');
  await shows(zero, 'the last', 'unread');
  equal('the texts', (await texts(zero)).join('|'), 'the last| 7 |-2|5|0');
  await zero.context().close();
});

await check('an expired notification counts as missed until dismissed', async () => {
  await two.fill('#text', 'Coffee is ready');
  await two.selectOption('#ttl', '5');
  await two.click('#publish button.main');
  await shows(two, 'Coffee is ready', 'unread');
  await shows(two, 'Coffee is ready', 'gone');
  await until(two, 'one missed', () => document.querySelector('#missed-text').textContent.startsWith('1 was never read'));
  await row(two, 'Bob asks').getByRole('button').click();
  await shows(two, 'Bob asks for your review', 'read');
  await picture(two, 'notifications');
  await two.click('#dismiss');
  await until(two, 'the missed count to be hidden', () => document.querySelector('#missed').hidden);
});

await check('an invalid publish is answered with the reason', async () => {
  await bob.fill('#to', 'no such name!');
  await bob.click('#publish button.main');
  await until(bob, 'the reason', () => /^400: `user` must be a name/.test(document.querySelector('#answer').textContent));
});

await check('another name in the hash opens another inbox; a bad name is rejected', async () => {
  await two.fill('#name', 'zoë');
  await two.press('#name', 'Enter');
  await until(two, "zoë's inbox", () => document.title === 'zoë – Notifications' && document.querySelector('#list').children.length === 0);
  await isOpen(two);
  await post({ user: 'zoë', text: 'Hello Zoë' });
  await shows(two, 'Hello Zoë', 'unread');
  await two.fill('#name', 'a b');
  await two.press('#name', 'Enter');
  await until(two, 'the reason', () => document.querySelector('#who-error').textContent.startsWith('A name has'));
  await two.fill('#name', 'ann');
  await two.press('#name', 'Enter');
  await titled(two, '(2) ann – Notifications');
});

await check('the curl command contains the same notice', async () => {
  await two.fill('#text', "it's done");
  const command = await two.textContent('#curl');
  equal('the command', command, `curl -d '{"user":"ann","text":"it'\\''s done","ttl":5}' ${program.base}/publish`);
  await two.selectOption('#ttl', '');
});

await check('an ack waits while the server is down and is sent after reconnecting', async () => {
  await program.stop();
  await until(two, 'the connection to be lost', () => document.querySelector('#state').dataset.state === 'waiting');
  await row(two, 'Deployed').getByRole('button').click();
  await shows(two, 'Deployed 1.4.2 to staging', 'marking');
  await two.click('#publish button.main');
  await until(two, 'no answer', () => document.querySelector('#answer').textContent.startsWith('No answer'));
  await program.start();
  await isOpen(two);
  // The mailbox is in memory, so the restart lost it. The page shows that for the rows it still has.
  await shows(two, 'Deployed 1.4.2 to staging', 'gone');
  await titled(two, 'ann – Notifications');
  await post({ user: 'ann', text: 'After the restart' });
  await shows(two, 'After the restart', 'unread');
});

await check('many unread notifications can all be marked in one step', async () => {
  for (let n = 1; n <= 55; n++) await post({ user: 'eve', text: `Job ${n} is done` });
  const eve = await visit(at('eve'), { colorScheme: 'dark' });
  await titled(eve, '(50) eve – Notifications');
  await until(eve, 'five missed', () => document.querySelector('#missed-text').textContent.startsWith('5 were never read'));
  await picture(eve, 'notifications-dark');
  await eve.click('#all');
  await titled(eve, 'eve – Notifications');
  equal('rows that are read', await eve.locator('#list li[data-state=read]').count(), 50);
});

await post({ user: 'ann', text: 'The last one, with a long wordwithoutanyspacewhichgoesonandonandonandonandon', urgent: true });
await shows(two, 'The last one, with a long wordwithoutanyspacewhichgoesonandonandonandonandon', 'unread');
await end(program, two);
