// The experiments: slow clients, message generators, and changing a topic's policy.

/// The slider's positions, in bytes per second. The left end reads nothing; the right end (`null`) has no limit.
const rates = [0, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, null];
const rateText = (rate) => rate === null ? 'no limit' : `${bytes(rate)}/s`;
const policies = ['disconnect', 'drop-oldest', 'drop-newest', 'conflate', 'block:5s'];

const showAddRate = () => put($('add-rate-text'), rateText(rates[$('add-rate').value]));
const showGenRate = () => put($('gen-rate-text'), $('gen-rate').value);
$('add-rate').oninput = showAddRate;
$('gen-rate').oninput = showGenRate;
showAddRate();
showGenRate();

$('add').onsubmit = (event) => {
  event.preventDefault();
  sendCommand({ do: 'add-slow', topic: $('topic').value, rate: rates[$('add-rate').value] });
};
$('generate').onsubmit = (event) => {
  event.preventDefault();
  sendCommand({ do: 'generate', topic: $('topic').value, rate: Number($('gen-rate').value), size: Number($('gen-size').value) });
};

const slowItems = new Map();
const generatorItems = new Map();
const topicRows = new Map();

function slowItem({ name }) {
  const item = make('li');
  const [label, slider, pause, remove] = [make('span', 'what'), make('input'), make('button', 'plain'), make('button', 'plain', 'Remove')];
  slider.type = 'range';
  slider.min = 0;
  slider.max = rates.length - 1;
  slider.setAttribute('aria-label', `Read rate of ${name}`);
  pause.onclick = () => sendCommand({ do: 'set-rate', name, rate: item.isPaused ? item.resume : 0 });
  slider.oninput = () => {
    slider.changedAt = performance.now();
    sendCommand({ do: 'set-rate', name, rate: rates[slider.value] });
  };
  remove.onclick = () => sendCommand({ do: 'remove-slow', name });
  remove.setAttribute('aria-label', `Remove ${name}`);
  item.resume = 1024;
  item.dataset.name = name;
  Object.assign(item, { label, slider, pause });
  item.append(label, slider, pause, remove);
  return item;
}

function fillSlow(item, slow) {
  item.isPaused = slow.rate === 0;
  if (slow.rate !== 0) item.resume = slow.rate;
  put(item.label, slow.ended ? `${slow.name} · topic ${slow.topic} · disconnected: ${slow.ended}`
    : `${slow.name} · topic ${slow.topic} · read rate: ${rateText(slow.rate)} · ${bytes(slow.read)} read`);
  item.label.classList.toggle('ended', slow.ended !== null);
  put(item.pause, item.isPaused ? 'Resume' : 'Pause');
  item.pause.disabled = item.slider.disabled = slow.ended !== null;
  item.slider.setAttribute('aria-valuetext', rateText(slow.rate));
  const position = String(rates.indexOf(slow.rate));
  // The slider is left alone while the user moves it, because a snapshot may still have the previous rate.
  if (item.slider.value !== position && !(performance.now() - item.slider.changedAt < 1000)) item.slider.value = position;
}

function generatorItem({ topic }) {
  const item = make('li');
  const [label, stop] = [make('span', 'what'), make('button', 'plain', 'Stop')];
  stop.onclick = () => sendCommand({ do: 'stop', topic });
  stop.setAttribute('aria-label', `Stop sending to ${topic}`);
  item.append(label, make('span'), make('span'), stop);
  return Object.assign(item, { label, stop, rate: '–' });
}

function fillGenerator(item, generator) {
  const now = performance.now();
  item.before ??= { at: now, sent: generator.sent };
  const elapsed = now - item.before.at;
  if (elapsed > 900) {
    item.rate = Math.max(0, Math.round((generator.sent - item.before.sent) / elapsed * 1000));
    item.before = { at: now, sent: generator.sent };
  }
  const waits = generator.waits ? ' · the publisher is waiting' : '';
  put(item.label, `sending to ${generator.topic}: ${item.rate} of ${generator.rate} messages/s, ${bytes(generator.size)} each · ${number(generator.sent)} sent · ${time(generator.waited_ms)} spent publishing${waits}${generator.stopping ? ' · stopping' : ''}`);
  item.stop.disabled = generator.stopping;
}

function showExperiments({ slow, generators }) {
  update($('slow'), slowItems, slow, (slow) => slow.name, slowItem, fillSlow);
  update($('generators'), generatorItems, generators.filter((generator, n) => generators.findLastIndex(({ topic }) => topic === generator.topic) === n),
    (generator) => generator.topic, generatorItem, fillGenerator);
}

function topicRow({ topic }) {
  const row = tableRow();
  row.dataset.topic = topic;
  const parts = { topic: cell(row, 'topic', 'wide-cell'), members: cell(row, 'members', 'n'), rate: cell(row, 'messages/s', 'n') };
  const select = make('select');
  select.setAttribute('aria-label', `Policy of ${topic}`);
  select.onchange = () => sendCommand({ do: 'set-policy', topic, policy: select.value });
  cell(row, 'policy', '').append(select);
  for (const [key, name] of [['queue', 'queue limit'], ['history', 'history'], ['dropped', 'dropped'], ['discarded', 'discarded']]) parts[key] = cell(row, name, 'n');
  return Object.assign(row, { parts, select });
}

function fillTopic(row, topic) {
  const { parts, select } = row;
  put(parts.topic, topic.topic);
  for (const name of ['members', 'rate', 'queue', 'history', 'dropped', 'discarded']) put(parts[name], number(topic[name]));
  parts.dropped.classList.toggle('hot', row.dropped !== undefined && topic.dropped > row.dropped);
  row.dropped = topic.dropped;
  // The list is left alone while the user has it open.
  if (document.activeElement === select && select.value !== row.policy && select.value !== topic.policy) return;
  row.policy = topic.policy;
  const choices = policies.includes(topic.policy) ? policies : [topic.policy, ...policies];
  if (select.options.length !== choices.length) select.replaceChildren(...choices.map((policy) => new Option(policy)));
  if (select.value !== topic.policy) select.value = topic.policy;
}

function showTopics(topics) {
  $('no-topics').hidden = topics.length > 0;
  $('topics-table').hidden = topics.length === 0;
  update($('topics-table').tBodies[0], topicRows, topics, (topic) => topic.topic, topicRow, fillTopic);
}

connect();
