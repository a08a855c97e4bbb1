// ── The list of the server's topics, refreshed while it is shown ────────────────────────────────────────────────────
const topicList = {
  interval: 3000,
  timer: 0,
  isLoading: false,
  /// The list needs the key of the server, which this page does not have. The server is not asked again.
  isRefused: false,
  rows: new Map(),
  policies: new Map(),

  get isShown() { return !target.isEcho && !document.hidden; },

  /// Loads the list now, and then every few seconds until it is hidden or the server refuses.
  async refresh() {
    clearTimeout(this.timer);
    if (!this.isShown || this.isLoading || this.isRefused) return;
    this.isLoading = true;
    try {
      const answer = await target.fetch('/topics');
      this.isRefused = [401, 403, 404].includes(answer.status);
      if (this.isRefused) throw new Error('it needs the key of the server. The dashboard shows all topics.');
      if (!answer.ok) throw new Error((await answer.text()).trim());
      this.show(await answer.json());
      this.timer = setTimeout(() => this.refresh(), this.interval);
    } catch (error) {
      $('topics-note').textContent = 'The list is not available: ' + error.message;
    } finally {
      this.isLoading = false;
    }
  },

  show(topics) {
    $('topics-note').textContent = topics.length ? '' : 'There are no topics yet. A topic is created when somebody connects or subscribes to it.';
    this.policies = new Map(topics.map(({ topic, policy }) => [topic, policy]));
    const removed = new Set(this.rows.keys());
    for (const topic of topics) {
      removed.delete(topic.topic);
      if (!this.rows.has(topic.topic)) this.rows.set(topic.topic, this.row(topic.topic));
      const { row, details } = this.rows.get(topic.topic);
      details.textContent = number(topic.members) + (topic.members === 1 ? ' member' : ' members') + ' · ' + topic.policy
        + (topic.history ? ' · ' + number(topic.history) + ' in history' : '');
      $('topics').append(row);
    }
    for (const name of removed) {
      this.rows.get(name).row.remove();
      this.rows.delete(name);
    }
    $('known-topics').replaceChildren(...topics.map(({ topic }) => Object.assign(document.createElement('option'), { value: topic })));
  },

  row(name) {
    const [row, button, details] = ['li', 'button', 'span'].map((tag) => document.createElement(tag));
    Object.assign(button, { type: 'button', className: 'pick', textContent: name });
    details.className = 'muted';
    button.append(' ', details);
    button.addEventListener('click', () => this.pick(name));
    row.append(button);
    return { row, details };
  },

  /// Puts the topic's name into the form.
  pick(name) {
    const field = $(target.isJson ? 'sub-topic' : 'topic');
    field.value = name;
    if (target.isJson) $('pub-topic').value = name;
    target.show();
    field.focus();
  },
};

/// Parses JSON. Numbers inside `data` keep every digit when they are turned into text again, if the browser can do that.
function parseExactly(text) {
  const message = JSON.parse(text);
  if (typeof message.data !== 'object' && typeof message.data !== 'number' || !JSON.rawJSON) return message;
  const keep = (_, value, { source }) => typeof value === 'number' ? JSON.rawJSON(source) : value;
  return { ...message, data: JSON.parse(text, keep).data };
}

// ── JSON mode: many topics on one connection, as described in src/PROTOCOL.md ───────────────────────────────────────
const jsonMode = {
  /// The subscriptions. They outlive a connection: the next connection resumes each of them after its last message.
  topics: new Map(),
  /// Callbacks for the answers to commands, by ref.
  commands: new Map(),
  lastRef: 0,
  retries: 0,
  timer: 0,

  get isOpen() { return client.isOpen && client.isJson; },

  command(fields, done, failed = () => {}, data = undefined) {
    this.commands.set(++this.lastRef, { done, failed });
    const command = JSON.stringify({ ...fields, ref: this.lastRef });
    client.socket.send(data === undefined ? command : command.slice(0, -1) + ',"data":' + data + '}');
    client.sent++;
    figures.show();
  },

  // Connecting and reconnecting.

  opened() {
    this.retries = 0;
    // In a conflating topic, messages with different keys may arrive out of id order. So the last id does not tell what was
    // missed, and the whole history is requested.
    for (const topic of this.topics.values()) this.subscribe(topic, topicList.policies.get(topic.name) === 'conflate' ? 0 : topic.last);
  },

  closed(code, byUs) {
    this.commands.clear();
    for (const topic of this.topics.values()) this.pause(topic);
    // After these codes a new connection would probably fail in the same way.
    if (byUs || !$('reconnect').checked || [1002, 1007, 1008, 1009, 1013, 4001, 4003].includes(code)) return;
    // The delay is partly random, so that clients that were disconnected together do not all reconnect together.
    const delay = Math.min(500 * 2 ** this.retries++, 10_000) * (0.75 + Math.random() / 2);
    log.add('status', 'reconnecting in ' + milliseconds(delay));
    this.timer = setTimeout(() => { if (!client.socket && target.isJson) client.connect(); }, delay);
  },

  cancelReconnect() {
    clearTimeout(this.timer);
  },

  /// Sends a newer token on the open connection, so that it does not end when the old token expires.
  renewToken(token) {
    this.command({ token }, ({ exp, ended }) => {
      log.add('status', 'the new token is in force until ' + new Date(exp * 1000).toLocaleTimeString());
      for (const name of ended ?? []) {
        log.add('status', 'unsubscribed, because the new token does not allow this topic', name);
        if (this.topics.has(name)) this.forget(this.topics.get(name));
      }
    });
    log.add('out', 'a new token');
  },

  // Subscriptions.

  add(name, since, presence) {
    const topic = this.topics.get(name) ?? { name, last: undefined, messages: 0, gaps: 0, names: new Set(), isActive: false, view: this.view(name) };
    topic.presence = presence;
    this.topics.set(name, topic);
    this.subscribe(topic, since);
  },

  subscribe(topic, since) {
    // The epoch is undefined, and so left out, until the first answer has told it.
    const resume = since !== undefined && { since, epoch: topic.epoch };
    const command = { sub: topic.name, ...resume, ...(topic.presence && { presence: true }) };
    this.command(command, ({ id, epoch }) => {
      topic.isActive = true;
      topic.epoch = epoch;
      topic.last ??= id;
      log.add('status', 'subscribed' + (since === undefined ? '' : since === 0 ? ', with the whole history' : ', with messages after id ' + since),
        topic.name + ' · ' + id);
      this.show(topic);
      this.loadPresence(topic);
      topicList.refresh();
    }, () => this.forget(topic));
    this.show(topic);
  },

  unsubscribe(topic) {
    if (!this.isOpen || !topic.isActive) return this.forget(topic);
    this.command({ unsub: topic.name }, () => {
      log.add('status', 'unsubscribed', topic.name);
      this.forget(topic);
      topicList.refresh();
    });
  },

  /// Shows the subscription as inactive until the next connection resumes it.
  pause(topic) {
    topic.isActive = false;
    topic.names.clear();
    this.show(topic);
  },

  forget(topic) {
    this.topics.delete(topic.name);
    topic.view.row.remove();
    figures.show();
  },

  /// Loads the names of the present members. It runs after the subscription, so that no later join is missed.
  async loadPresence(topic) {
    // A browser resolves these two path segments, so the request would go to another path.
    if (!topic.presence || topic.name === '.' || topic.name === '..') return;
    try {
      const answer = await target.fetch('/topics/' + encodeURIComponent(topic.name) + '/presence');
      if (!answer.ok) throw new Error((await answer.text()).trim());
      if (!topic.isActive) return;
      topic.names = new Set(await answer.json());
    } catch (error) {
      log.add('error', 'cannot load the present members: ' + error.message, topic.name);
    }
    this.show(topic);
  },

  // Messages.

  /// Publishes a text, or JSON exactly as it was typed: parsing it would change numbers such as 21.50 and 2⁶³.
  publish(name, text, isJson, key) {
    const sentAt = performance.now();
    const fields = { pub: name, ...(key !== '' && { key }) };
    this.command(fields, () => {
      $('round-trip').textContent = milliseconds(performance.now() - sentAt);
    }, undefined, isJson ? text : JSON.stringify(text));
    log.add('out', text, name + (key && ' · key ' + key));
  },

  receive(text) {
    const message = parseExactly(text);
    const topic = this.topics.get(message.topic ?? message.presence);
    if ('error' in message) log.add('error', message.error);
    if ('error' in message || 'ack' in message) {
      const { done, failed } = this.commands.get(message.ack ?? message.ref) ?? {};
      this.commands.delete(message.ack ?? message.ref);
      if ('ack' in message) done?.(message);
      else failed?.();
    } else if ('data' in message) this.message(topic, message);
    else if ('gap' in message) this.gap(topic, message);
    else if ('join' in message || 'leave' in message) this.presence(topic, message);
    if (topic) this.show(topic);
  },

  message(topic, { topic: name, id, data, base64 }) {
    if (topic) Object.assign(topic, { last: id, messages: topic.messages + 1 });
    const text = base64 ? 'binary, base64: ' + data : typeof data === 'string' ? data : JSON.stringify(data);
    log.add('in', text, name + ' · ' + id);
  },

  gap(topic, { topic: name, gap: [first, last], epoch }) {
    const count = last - first + 1;
    // A gap from id 1 follows `since: 0`. It only says where the history begins, so it is not counted as a loss. It also
    // follows a restart of the server, and is a loss then.
    const begins = first === 1 && topic?.last === undefined;
    if (topic) Object.assign(topic, { last, epoch, gaps: topic.gaps + (begins ? 0 : 1) });
    // A topic's first id is a time in microseconds. So a very large range includes numbers below the first id, and its
    // length is not a number of messages.
    const lost = count < 1_000_000 ? number(count) + (count === 1 ? ' message' : ' messages') : 'an unknown number of messages';
    log.add('gap', begins ? 'gap: the history begins after id ' + last : 'gap: ' + lost + ' lost, ids ' + first + ' to ' + last, name);
  },

  presence(topic, message) {
    const joined = 'join' in message;
    const name = joined ? message.join : message.leave;
    if (joined) topic?.names.add(name);
    else topic?.names.delete(name);
    log.add('presence', name + (joined ? ' joined' : ' left'), message.presence);
  },

  // The row of a subscription.

  view(name) {
    const make = (tag, className, ...children) => {
      const element = Object.assign(document.createElement(tag), { className });
      element.append(...children);
      return element;
    };
    const [figures, names] = [make('span', 'muted'), make('span', 'names')];
    const button = make('button', 'plain', 'Unsubscribe');
    button.type = 'button';
    button.setAttribute('aria-label', 'Unsubscribe from ' + name);
    button.addEventListener('click', () => this.unsubscribe(this.topics.get(name)));
    const row = make('li', '', make('div', 'grow', make('strong', '', name), figures, names), button);
    row.dataset.topic = name;
    $('subscriptions').append(row);
    return { row, figures, names };
  },

  show({ name, last, messages, gaps, names, isActive, presence, view }) {
    view.row.classList.toggle('inactive', !isActive);
    view.figures.textContent = (isActive ? '' : 'not connected · ') + number(messages) + ' received · ' + number(gaps) + (gaps === 1 ? ' gap' : ' gaps')
      + ' · last id ' + (last ?? '–');
    view.names.hidden = !presence;
    view.names.textContent = names.size ? 'present: ' + [...names].sort().join(', ') : 'no member has given a name';
    figures.show();
  },
};

