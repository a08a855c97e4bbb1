'use strict';
const $ = (id) => document.getElementById(id);
const rooms = new Map(); // name → {last, epoch, lines, here, unread, joined}
const waiting = new Map(); // ref → {room, say, line}: sent and not yet acknowledged
const random = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('-');
const key = random(); // identifies the sender of a ref, because names are not unique
let link = null, me = '', current = '';

const room = (name) => {
  if (!rooms.has(name)) rooms.set(name, { last: 0, lines: [], here: new Set(), unread: false, wanted: false });
  return rooms.get(name);
};

const send = (command) => link.send(JSON.stringify(command));
const join = (name) => {
  const { last, epoch } = rooms.get(name);
  send({ do: 'join', room: name, since: last || null, epoch });
};
const say = (ref, { room, say }) => send({ do: 'say', room, say, ref });

function line(name, kind, text, from) {
  const item = document.createElement('li');
  item.className = kind;
  if (from !== undefined) {
    const who = document.createElement('b');
    who.textContent = from;
    item.append(who);
  }
  item.append(text);
  const lines = room(name).lines;
  lines.push(item);
  // Bounds the memory of a page that stays open for days.
  if (lines.length > 500) lines.shift().remove();
  if (name === current) {
    const log = $('log'), atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
    log.append(item);
    if (atEnd || kind.includes('mine')) log.scrollTop = log.scrollHeight;
  } else if (from !== undefined) {
    room(name).unread = true;
    showRooms();
  }
  return item;
}

const on = {
  open() {
    for (const [name, { wanted }] of rooms) if (wanted) join(name);
    send({ do: 'rooms' });
  },
  message(data) {
    const event = JSON.parse(data), at = event.room;
    if (event.say !== undefined) {
      const here = room(at);
      if (event.id <= here.last) return;
      here.last = event.id;
      const own = waiting.get(event.ref);
      if (own && event.from === me) arrived(event.ref);
      else line(at, event.from === me ? 'mine' : '', event.say, event.from);
    } else if (event.gap) {
      line(at, 'gap', 'Messages are missing here: they are no longer in the history of the room.');
      // The ids after the gap may be lower than before, if the server was restarted and its clock was set back.
      Object.assign(room(at), { last: event.gap[1], epoch: event.epoch });
    } else if (event.came || event.went) {
      room(at).here[event.came ? 'add' : 'delete'](event.came ?? event.went);
      line(at, 'note', event.came ? `${event.came} joined` : `${event.went} left`);
      showHere();
    } else if (event.joined) {
      const here = room(event.joined);
      here.here = new Set(event.here);
      here.last = Math.max(here.last, event.last);
      here.epoch = event.epoch;
      showHere();
      // Sends unacknowledged messages again. A message that had already arrived is acknowledged with the id it has.
      for (const [ref, message] of waiting) if (message.room === event.joined) say(ref, message);
    } else if (event.ack) arrived(event.ack);
    else if (event.rooms) { for (const { name } of event.rooms) room(name); showRooms(); }
    else if (event.error) {
      $('error').textContent = event.error;
      const refused = waiting.get(event.ref)?.line;
      if (refused) refused.className = 'mine refused';
      waiting.delete(event.ref);
    }
  },
  ended(code, reason) {
    if (code === 4103) return false; // kicked: do not reconnect automatically
    if (code === 4008) for (const name of rooms.keys()) line(name, 'note', 'This window was too slow and was disconnected. It reconnects and gets the messages that it missed.');
    return true;
  },
};

function arrived(ref) {
  waiting.get(ref)?.line.classList.remove('waits');
  waiting.delete(ref);
}

function showRooms() {
  $('rooms').replaceChildren(...[...rooms].map(([name, { unread }]) => {
    const button = document.createElement('button');
    button.textContent = name;
    button.className = unread ? 'unread' : '';
    button.setAttribute('aria-current', name === current);
    button.onclick = () => enter(name);
    const item = document.createElement('li');
    item.append(button);
    return item;
  }));
}

function showHere() {
  $('here').replaceChildren(...[...room(current).here].sort().map((name) => {
    const item = document.createElement('li');
    item.textContent = name === me ? `${name} (you)` : name;
    return item;
  }));
}

function want(name) {
  if (room(name).wanted) return;
  room(name).wanted = true;
  if (link?.isOpen) join(name);
}

function enter(name) {
  current = name;
  want(name);
  $('leave').hidden = name === 'lobby';
  room(name).unread = false;
  $('title').textContent = name;
  $('log').replaceChildren(...room(name).lines);
  $('log').scrollTop = $('log').scrollHeight;
  showRooms();
  showHere();
  $('say').focus();
}

$('enter').onsubmit = (event) => {
  event.preventDefault();
  me = $('name').value.trim();
  if (!me) return;
  $('enter').hidden = true;
  document.querySelector('main').hidden = false;
  $('me').textContent = me;
  for (const name of ['lobby', 'kitchen']) want(name);
  enter('lobby');
  link = new Link(() => `/ws?name=${encodeURIComponent(me)}&key=${key}`, on);
};
$('join').onsubmit = (event) => {
  event.preventDefault();
  const name = $('room').value.trim();
  if (!name) return;
  $('room').value = '';
  enter(name);
};
$('leave').onclick = () => {
  room(current).wanted = false;
  room(current).here.clear();
  send({ do: 'leave', room: current });
  enter('lobby');
};
$('speak').onsubmit = (event) => {
  event.preventDefault();
  const text = $('say').value.trim();
  if (!text) return;
  // Bounds the messages that wait while the server is unreachable.
  if (waiting.size >= 100) { $('error').textContent = '100 messages are already waiting to be sent.'; return; }
  $('say').value = '';
  $('error').textContent = '';
  // Shown immediately, in grey until it is acknowledged. The ref identifies the message when it is sent again.
  const ref = random();
  const message = { room: current, say: text, line: line(current, 'mine waits', text, me) };
  waiting.set(ref, message);
  if (link.isOpen) say(ref, message);
};
