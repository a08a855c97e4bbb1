// npm `ws` against a running standpipe's /echo:  node ws_client.mjs http://127.0.0.1:9000
import { once } from 'node:events';
import WebSocket from 'ws';
import { baseUrl, check, equal, finish, within } from './checks.mjs';

const echo = baseUrl().replace(/^http/, 'ws') + '/echo';
const limit = 64 * 1024;

/// A client that keeps what comes, so that nothing is missed between two waits.
class Client {
  constructor() {
    this.socket = new WebSocket(echo);
    // Whoever waits is told by the end of its wait; an error nobody listens to would end this process.
    this.socket.on('error', () => {});
    this.came = [];
    this.arrived = () => {};
    this.socket.on('message', (data, isBinary) => {
      this.came.push({ data, isBinary });
      this.arrived();
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  static async open() {
    const client = new Client();
    await within(5, 'the 101', once(client.socket, 'open'));
    return client;
  }

  async receive(what) {
    if (this.came.length === 0) await within(10, what, new Promise((resolve) => { this.arrived = resolve; }));
    return this.came.shift();
  }

  end(what = 'the end of the connection') {
    return within(10, what, this.closed);
  }
}

async function comesBack(client, message, isBinary = false) {
  client.socket.send(message, { binary: isBinary });
  const back = await client.receive(`${message.length} back`);
  equal('the kind', back.isBinary, isBinary);
  equal('what came back', Buffer.compare(back.data, Buffer.from(message)), 0);
}

/// Runs `body` with a client, which is closed afterwards and must end with a normal Close.
const withClient = (body) => async () => {
  const client = await Client.open();
  try {
    await body(client);
    client.socket.close(1000);
    equal('the closing code', (await client.end()).code, 1000);
  } finally {
    client.socket.terminate();
  }
};

await check('text comes back', withClient(async (client) => {
  for (const text of ['hello', '', 'grüße, 世界 🌍', 'x'.repeat(65_535)]) await comesBack(client, text);
}));

await check('binary comes back', withClient(async (client) => {
  for (const length of [0, 1, 125, 126, 65_535]) await comesBack(client, Buffer.alloc(length, 0xa5), true);
}));

await check('a message of exactly the limit comes back', withClient(async (client) => {
  await comesBack(client, Buffer.alloc(limit, 7), true);
}));

await check('fragments come back as one message, with a ping between them', withClient(async (client) => {
  const pong = once(client.socket, 'pong');
  client.socket.send('one, ', { fin: false });
  client.socket.send('', { fin: false });
  client.socket.ping('between');
  client.socket.send('two, ', { fin: false });
  client.socket.send('three', { fin: true });
  equal('the message', (await client.receive('the message')).data.toString(), 'one, two, three');
  equal('the pong', (await within(5, 'the pong', pong))[0].toString(), 'between');
}));

await check('a ping is answered with what it said', withClient(async (client) => {
  for (const data of ['', 'are you there', 'p'.repeat(125)]) {
    const pong = once(client.socket, 'pong');
    client.socket.ping(data);
    equal('the pong', (await within(5, 'the pong', pong))[0].toString(), data);
  }
}));

await check('1000 messages in one burst come back in order', withClient(async (client) => {
  for (let n = 0; n < 1000; n++) client.socket.send(`number ${n}`);
  for (let n = 0; n < 1000; n++) equal('the next', (await client.receive(`number ${n}`)).data.toString(), `number ${n}`);
}));

// As much as the server still reads after its Close; beyond that it resets, and the code may be lost.
for (const [name, length] of [['one byte', limit + 1], ['100,000 bytes', limit + 100_000]]) {
  await check(`a message ${name} over the limit is answered with 1009`, async () => {
    const client = await Client.open();
    try {
      client.socket.send(Buffer.alloc(length), { binary: true });
      equal('the closing code', (await client.end('the Close with 1009')).code, 1009);
      equal('what came back', client.came.length, 0);
    } finally {
      client.socket.terminate();
    }
  });
}

await check('fragments over the limit together are answered with 1009', async () => {
  const client = await Client.open();
  try {
    for (let n = 0; n < 3; n++) client.socket.send(Buffer.alloc(limit / 2), { binary: true, fin: false });
    equal('the closing code', (await client.end('the Close with 1009')).code, 1009);
  } finally {
    client.socket.terminate();
  }
});

await check('a Close comes back with its code and reason', async () => {
  for (const [code, reason] of [[1000, ''], [4321, 'good night, 世界'], [3000, 'r'.repeat(123)]]) {
    const client = await Client.open();
    try {
      client.socket.close(code, reason);
      const end = await client.end(`the Close with ${code}`);
      equal('the closing code', end.code, code);
      equal('the reason', end.reason, reason);
    } finally {
      client.socket.terminate();
    }
  }
});

finish();
