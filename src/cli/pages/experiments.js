// What a person can do here: slow clients, messages to a topic, a topic's policy.

/// The places of a slider: bytes a second. Nothing is at its left end, everything at its right.
const rates = [0, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, null];
const rateText = (rate) => rate === null ? 'all that comes' : rate === 0 ? 'nothing' : `${bytes(rate)}/s`;
const policies = ['disconnect', 'drop-oldest', 'drop-newest', 'conflate', 'block:5s'];

const addSaid = () => put($('add-said'), rateText(rates[$('add-rate').value]));
const genSaid = () => put($('gen-said'), $('gen-rate').value);
$('add-rate').oninput = addSaid;
$('gen-rate').oninput = genSaid;
addSaid();
genSaid();

$('add').onsubmit = (event) => {
  event.preventDefault();
  order({ do: 'add-slow', topic: $('topic').value, rate: rates[$('add-rate').value] });
};
$('generate').onsubmit = (event) => {
  event.preventDefault();
  order({ do: 'generate', topic: $('topic').value, rate: Number($('gen-rate').value), size: Number($('gen-size').value) });
};

const slowItems = new Map();
const generatorItems = new Map();
const topicRows = new Map();

function slowItem({ name }) {
  const item = make('li');
  const [who, slider, pause, remove] = [make('span', 'who'), make('input'), make('button', 'plain'), make('button', 'plain', 'Remove')];
  slider.type = 'range';
  slider.min = 0;
  slider.max = rates.length - 1;
  slider.setAttribute('aria-label', `How fast ${name} reads`);
  pause.onclick = () => order({ do: 'set-rate', name, rate: item.isPaused ? item.resume : 0 });
  slider.oninput = () => {
    slider.touched = performance.now();
    order({ do: 'set-rate', name, rate: rates[slider.value] });
  };
  remove.onclick = () => order({ do: 'remove-slow', name });
  remove.setAttribute('aria-label', `Remove ${name}`);
  item.resume = 1024;
  item.dataset.name = name;
  Object.assign(item, { who, slider, pause });
  item.append(who, slider, pause, remove);
  return item;
}

function fillSlow(item, slow) {
  item.isPaused = slow.rate === 0;
  if (slow.rate !== 0) item.resume = slow.rate;
  put(item.who, slow.ended ? `${slow.name} · ${slow.topic} · ${slow.ended}`
    : `${slow.name} · ${slow.topic} · reads ${rateText(slow.rate)} · has read ${bytes(slow.read)}`);
  item.who.classList.toggle('ended', slow.ended !== null);
  put(item.pause, item.isPaused ? 'Go on' : 'Pause');
  item.pause.disabled = item.slider.disabled = slow.ended !== null;
  item.slider.setAttribute('aria-valuetext', rateText(slow.rate));
  const place = String(rates.indexOf(slow.rate));
  // A hand on the slider is not moved by what was there before it.
  if (item.slider.value !== place && !(performance.now() - item.slider.touched < 1000)) item.slider.value = place;
}

function generatorItem({ topic }) {
  const item = make('li');
  const [who, stop] = [make('span', 'who'), make('button', 'plain', 'Stop')];
  stop.onclick = () => order({ do: 'stop', topic });
  stop.setAttribute('aria-label', `Stop sending to ${topic}`);
  item.append(who, make('span'), make('span'), stop);
  return Object.assign(item, { who, stop, rate: '–' });
}

function fillGenerator(item, generator) {
  const now = performance.now();
  item.before ??= { at: now, sent: generator.sent };
  const passed = now - item.before.at;
  if (passed > 900) {
    item.rate = Math.max(0, Math.round((generator.sent - item.before.sent) / passed * 1000));
    item.before = { at: now, sent: generator.sent };
  }
  const waits = generator.waits ? ', the publisher waits' : '';
  put(item.who, `to ${generator.topic}: ${item.rate} of ${generator.rate} a second, ${bytes(generator.size)} each · ${number(generator.sent)} sent · ${time(generator.waited_ms)} spent publishing${waits}${generator.stopping ? ', stopping' : ''}`);
  item.stop.disabled = generator.stopping;
}

function showSlow({ slow, generators }) {
  place($('slow'), slowItems, slow, (slow) => slow.name, slowItem, fillSlow);
  place($('generators'), generatorItems, generators.filter((generator, n) => generators.findLastIndex(({ topic }) => topic === generator.topic) === n),
    (generator) => generator.topic, generatorItem, fillGenerator);
}

function topicRow({ topic }) {
  const row = make('tr');
  row.dataset.topic = topic;
  const parts = { topic: cell(row, 'topic', 'wide-cell'), members: cell(row, 'members', 'n'), rate: cell(row, 'messages/s', 'n') };
  const select = make('select');
  select.setAttribute('aria-label', `The policy of ${topic}`);
  select.onchange = () => order({ do: 'set-policy', topic, policy: select.value });
  cell(row, 'policy', '').append(select);
  for (const name of ['queue', 'history', 'dropped', 'discarded']) parts[name] = cell(row, name, 'n');
  return Object.assign(row, { parts, select });
}

function fillTopic(row, topic) {
  const { parts, select } = row;
  put(parts.topic, topic.topic);
  for (const name of ['members', 'rate', 'queue', 'history', 'dropped', 'discarded']) put(parts[name], number(topic[name]));
  parts.dropped.classList.toggle('hot', row.dropped !== undefined && topic.dropped > row.dropped);
  row.dropped = topic.dropped;
  // An open list is not pulled from under its reader.
  if (document.activeElement === select && select.value !== row.policy && select.value !== topic.policy) return;
  row.policy = topic.policy;
  const choices = policies.includes(topic.policy) ? policies : [topic.policy, ...policies];
  if (select.options.length !== choices.length) select.replaceChildren(...choices.map((policy) => new Option(policy)));
  if (select.value !== topic.policy) select.value = topic.policy;
}

function showTopics(topics) {
  $('no-topics').hidden = topics.length > 0;
  $('topics-table').hidden = topics.length === 0;
  place($('topics-table').tBodies[0], topicRows, topics, (topic) => topic.topic, topicRow, fillTopic);
}

connect();
