// The page's half of text.rs and client.rs, with the same names and the same answers: the tests hold both to the same
// cases. It knows no page. An edit is an array, [5, 'new', -3, 12]: keep 5, insert, delete 3, keep 12. Lengths are
// UTF-16 code units, as a string's `length` is.

const PARTS = 1000; // of an edit that a server takes

/// Puts an edit together: neighbours are joined, and an insertion stands before a deletion at the same place.
class Op {
  constructor(parts = []) {
    this.parts = [];
    for (const part of parts) this.add(part);
  }

  add(part) {
    const { parts } = this, end = parts.length - 1, last = parts[end];
    if (part === 0 || part === '') return this;
    if (typeof part === 'string') {
      if (typeof last === 'string') parts[end] += part;
      else if (last < 0 && typeof parts[end - 1] === 'string') parts[end - 1] += part;
      else if (last < 0) parts.splice(end, 0, part);
      else parts.push(part);
    } else if (typeof last === 'number' && last < 0 === part < 0) parts[end] += part;
    else parts.push(part);
    return this;
  }
}

const join = (parts) => new Op(parts).parts;
const size = (part) => typeof part === 'string' ? part.length : Math.abs(part);
const before = (op) => op.reduce((sum, part) => sum + (typeof part === 'string' ? 0 : Math.abs(part)), 0);
const after = (op) => op.reduce((sum, part) => sum + (part < 0 ? 0 : size(part)), 0);
/// Whether a cut here leaves every surrogate pair whole.
const mayCut = (text, at) => !(at < text.length && (text.charCodeAt(at) & 0xfc00) === 0xdc00);

function apply(text, op) {
  if (before(op) !== text.length) throw new Error(`an edit of ${before(op)} units is none of a text of ${text.length}`);
  let at = 0, result = '';
  for (const part of op) {
    if (typeof part === 'string') result += part;
    else {
      if (part > 0) result += text.slice(at, at + part);
      at += Math.abs(part);
    }
  }
  return result;
}

/// Two edits of one text, of which `first` comes first in the order of all: as they are after the other.
function transform(first, second) {
  if (before(first) !== before(second)) throw new Error('edits of different texts');
  const one = new Op(), two = new Op();
  let i = 0, j = 0, a = first[0], b = second[0];
  for (;;) {
    if (typeof a === 'string') {
      one.add(a); two.add(a.length);
      a = first[++i];
    } else if (typeof b === 'string') {
      one.add(b.length); two.add(b);
      b = second[++j];
    } else if (a === undefined || b === undefined) return [one.parts, two.parts];
    else {
      const n = Math.min(Math.abs(a), Math.abs(b));
      if (a > 0 && b > 0) { one.add(n); two.add(n); }
      else if (b > 0) one.add(-n);
      else if (a > 0) two.add(-n);
      a = (a > 0 ? a - n : a + n) || first[++i];
      b = (b > 0 ? b - n : b + n) || second[++j];
    }
  }
}

/// One edit and then the next, as one.
function then(op, next) {
  if (after(op) !== before(next)) throw new Error('the second edit is none of the text after the first');
  const both = new Op();
  let i = 0, j = 0, a = op[0], b = next[0];
  for (;;) {
    if (a < 0) { both.add(a); a = op[++i]; }
    else if (typeof b === 'string') { both.add(b); b = next[++j]; }
    else if (a === undefined || b === undefined) return both.parts;
    else {
      const n = Math.min(size(a), Math.abs(b));
      if (typeof a === 'string') {
        if (b > 0) both.add(a.slice(0, n));
        a = a.slice(n) || op[++i];
      } else {
        both.add(b > 0 ? n : -n);
        a = a - n || op[++i];
      }
      b = (b > 0 ? b - n : b + n) || next[++j];
    }
  }
}

/// The edit that makes `after` of `before`, by what is the same at both ends. Of several such edits, with a caret the
/// one that ends there: in a row of equal letters only the caret tells which one was typed.
function between(before, after, caret = after.length) {
  const least = Math.min(before.length, after.length);
  let left = 0, right = 0;
  // What is behind the caret was not typed; as much of it as stood at the end is kept first.
  while (right < Math.min(least, after.length - caret) && before.at(-1 - right) === after.at(-1 - right)) right++;
  while (left < least - right && before[left] === after[left]) left++;
  while (!mayCut(before, left) || !mayCut(after, left)) left--;
  while (right < least - left && before.at(-1 - right) === after.at(-1 - right)) right++;
  while (!mayCut(before, before.length - right) || !mayCut(after, after.length - right)) right--;
  return join([left, after.slice(left, after.length - right), left + right - before.length, right]);
}

/// The edit that takes `op` back, which was made on `text`.
function undoing(text, op) {
  let at = 0;
  return join(op.map((part) => {
    if (typeof part === 'string') return -part.length;
    at += Math.abs(part);
    return part > 0 ? part : text.slice(at + part, at);
  }));
}

/// Where a place in the text is after an edit. What is inserted right there comes after it.
function moved(op, place) {
  let at = 0, result = place;
  for (const part of op) {
    if (typeof part === 'string') { if (at < place) result += part.length; continue; }
    if (part < 0) result -= Math.min(-part, Math.max(0, place - at));
    at += Math.abs(part);
  }
  return result;
}

/// Where the caret of its author is after it: behind its last change.
function caretOf(op) {
  const last = op.at(-1);
  return after(op) - (last > 0 ? last : 0);
}

const withinLimits = (text, op) => op.length <= PARTS ? op : between(text, apply(text, op));

/// Something is missing: come again without a revision.
class Lost extends Error {}

/// One edit on its way, all later ones in one that waits. What is shown is `base`, then `sent`, then `typed`.
class Client {
  constructor() {
    Object.assign(this, { life: 0, revision: 0, base: '', text: '', sent: null, typed: null, aside: [], you: 0, n: 0, mended: 0 });
  }

  /// Edits what is shown.
  edit(op) {
    this.text = apply(this.text, op);
    this.typed = this.typed ? then(this.typed, op) : op;
  }

  /// What is to be sent now, if nothing is on its way.
  next() {
    if (this.sent || !this.typed) return null;
    this.sent = { n: ++this.n, op: withinLimits(this.base, this.typed) };
    this.typed = null;
    return this.again();
  }

  /// What is on its way, to be sent again on a new connection.
  again() {
    return this.sent && { n: this.sent.n, rev: this.revision, op: withinLimits(this.base, this.sent.op) };
  }

  /// A new connection. Gives the edit that it is for what is shown, if any.
  hello({ hello, life, rev, text, applied, known, lives }) {
    this.you = hello;
    if (text === undefined) return null; // The edits since our revision follow, and what is applied is among them.
    // Where nobody knows whether what we sent is in, it is not sent again: better once aside than twice in.
    const unsure = this.sent !== null && !known;
    if (this.sent && (unsure || this.sent.n <= applied)) {
      this.base = apply(this.base, this.sent.op);
      this.sent = null;
    }
    const goesOn = this.life === life || lives.some(([life, rev]) => this.life === life && this.revision <= rev);
    const isOther = this.life !== 0 && this.base !== text;
    if (isOther && (unsure || !goesOn) && this.text !== text) this.putAside();
    // What happened meanwhile as one edit: coarser than the many that it was, and the same in the end.
    const change = this.goesUnder(between(this.base, text));
    Object.assign(this, { life, revision: rev, base: text });
    return change;
  }

  /// An edit has come. Gives what it is for what is shown; `null`: it is our own.
  told({ rev, by, n, op }) {
    if (rev !== this.revision + 1) throw new Lost();
    const base = apply(this.base, op);
    let change = null;
    if (this.sent && by === this.you && n === this.sent.n) {
      const ours = apply(this.base, this.sent.op);
      this.sent = null;
      // Only where an edit was made coarser on its way it is not what we have.
      if (ours !== base) {
        this.mended++;
        change = this.goesUnder(between(ours, base));
      }
    } else change = this.goesUnder(op);
    this.revision = rev;
    this.base = base;
    return change;
  }

  /// The server does not take what is on its way. It stays in sight, and the text is the server's.
  refused() {
    this.putAside();
    const change = between(this.text, this.base);
    Object.assign(this, { text: this.base, sent: null, typed: null });
    return change;
  }

  /// Of what nobody looks at, the last ten are kept.
  putAside() {
    this.aside = [...this.aside.slice(-9), this.text];
  }

  /// Where a place in the server's text is in what is shown.
  shown(place) {
    for (const op of [this.sent?.op, this.typed]) if (op) place = moved(op, place);
    return place;
  }

  goesUnder(op) {
    if (this.sent) [op, this.sent.op] = transform(op, this.sent.op);
    if (this.typed) [op, this.typed] = transform(op, this.typed);
    this.text = apply(this.text, op);
    return op;
  }
}

/// What is one's own to take back, under what the others do meanwhile.
class Undo {
  constructor() { Object.assign(this, { done: [], undone: [], at: 0 }); }

  /// One made this edit of this text. What is typed in one go is taken back in one.
  made(text, op, now = Date.now()) {
    const back = undoing(text, op), last = this.done.at(-1);
    if (last && now - this.at < 700) this.done.push(then(back, this.done.pop()));
    else this.done.push(back);
    if (this.done.length > 200) this.done.shift();
    this.undone = [];
    this.at = now;
  }

  /// Others made this edit of what is shown.
  others(op) {
    for (const stack of [this.done, this.undone]) {
      let under = op;
      for (let i = stack.length - 1; i >= 0; i--) [under, stack[i]] = transform(under, stack[i]);
    }
    this.at = 0;
  }

  undo(text) { return this.take(text, this.done, this.undone); }
  redo(text) { return this.take(text, this.undone, this.done); }

  take(text, from, to) {
    let op;
    // Of some edits the others have left nothing.
    do op = from.pop(); while (op && op.every((part) => part > 0));
    this.at = 0;
    if (!op) return null;
    to.push(undoing(text, op));
    return op;
  }
}
