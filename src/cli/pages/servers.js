// The servers through which this hub shares its topics with other hubs: one row each.
const serverRows = new Map();
const stateColours = { up: 'good', isolated: 'bad' };
/// The numbers of a row: the field of the snapshot, and the heading of the column.
const serverNumbers = [['nodes', 'hubs'], ['topics', 'topics'], ['queue', 'waiting'], ['published', 'published'], ['received', 'received'],
  ['local_messages', 'only here'], ['gaps', 'gaps']];

function serverRow() {
  const row = tableRow();
  const parts = { address: cell(row, 'server', 'server wide-cell'), state: make('span'), meaning: make('span', 'sub') };
  cell(row, 'state', 'link wide-cell').append(parts.state, parts.meaning);
  parts.silent = cell(row, 'silent for', 'n');
  for (const [field, name] of serverNumbers) parts[field] = cell(row, name, 'n');
  parts.refused = cell(row, 'refused, unknown', 'n');
  return Object.assign(row, { parts });
}

function fillServer(row, { link }) {
  const { parts } = row;
  put(parts.address, link.address);
  put(parts.state, link.isolated_ms === null ? link.state : `${link.state} for ${time(link.isolated_ms)}`);
  parts.state.className = stateColours[link.state] ?? 'wait';
  put(parts.meaning, link.meaning);
  put(parts.silent, time(link.silent_ms));
  for (const [field] of serverNumbers) put(parts[field], number(link[field]));
  put(parts.refused, `${number(link.refused)}, ${number(link.unknown)}`);
}

/// `machines` is undefined if the hub shares its topics with no other.
function showServers(machines) {
  $('servers-card').hidden = machines === undefined;
  if (machines === undefined) return;
  put($('node'), machines.node === null ? '' : `(${machines.node}) `);
  put($('lost'), machines.lost === 'local' ? 'While Redis is away, messages reach only the clients of this hub.' : 'While Redis is away, messages are refused.');
  update($('servers').tBodies[0], serverRows, machines.shards.map((link, n) => ({ link, n })), ({ n }) => n, serverRow, fillServer);
}
