/** The process: where it says it is, how it stops, and what it refuses to start with. */
import { existsSync } from 'node:fs';
import { symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { parse } from 'yaml';
import { VERSION } from '../../api/version';
import type { Http } from '../support/http';
import { eventually, Stage, type Program } from './program';

const stage = new Stage();
afterAll(() => stage.clear());

let count = 0;
const folder = () => stage.path(`data-${++count}`);
const standalone = (data: string, ...flags: string[]) => [
  'standalone',
  '--port',
  '0',
  '--nameserver-port',
  '0',
  '--data',
  data,
  '--log-level',
  'info',
  ...flags,
];

/** A standalone with a topic that a consumer has joined. */
async function started(...flags: string[]): Promise<{ program: Program; client: Http; data: string; url: string }> {
  const data = await folder();
  const program = await stage.start(...standalone(data, ...flags));
  const url = await program.url();
  const client = stage.client(url);
  await client.call('createTopic', { body: { name: 'orders', readQueues: 1, writeQueues: 1 } });
  await client.call('joinGroup', { path: worker, body: { topic: 'orders' } });
  return { program, client, data, url };
}

const worker = { group: 'billing', consumerId: 'worker-1' };
const parked = async (client: Http) => (await client.call('listBrokers')).body.brokers[0]!.parkedPolls;

/** A send of which the server has the beginning only; `finish` sends the rest and answers what came back. */
async function sendHalf(url: string): Promise<{ finish: () => Promise<string> }> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let answer = '';
  socket.setEncoding('utf8').on('data', (text: string) => (answer += text));
  const body = '{"body":"in flight"}';
  const head = [
    'POST /v1/topics/orders/messages HTTP/1.1',
    'Host: x',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  ];
  await new Promise<void>((done) => socket.write(`${head.join('\r\n')}\r\n\r\n${body.slice(0, 5)}`, () => done()));
  return {
    finish: () =>
      new Promise((resolve, reject) => {
        socket.once('error', reject).once('close', () => resolve(answer));
        socket.write(body.slice(5));
      }),
  };
}

describe('npm start', () => {
  test('says where API, Swagger UI, NameServer and data are, and stops on Ctrl-C', async () => {
    const data = await folder();
    const program = stage.npmStart(standalone(data));
    const places = await program.places();
    expect(Object.keys(places)).toEqual(['API', 'Swagger UI', 'NameServer', 'Data']);
    expect(program.stdout).toMatch(`Gantry ${VERSION}, standalone broker-a in DefaultCluster\n`);
    const api = stage.client(places['API']!.replace(/\/v1$/, ''));
    expect((await api.call('getVersion')).body.name).toBe('gantry');
    expect((await api.request('GET', '/docs/')).headers['content-type']).toMatch('text/html');
    const nameserver = stage.client(places['NameServer']!);
    expect((await nameserver.call('getNameserverCluster')).body.clusters).toHaveLength(1);
    expect(places['Data']).toBe(data);
    expect(existsSync(data)).toBe(true);
    // What npm and its shell make of the signal is theirs.
    await program.stop('SIGINT');
    expect(program.stderr).toContain('"msg":"stopped"');
  });

  test('a NameServer alone says where its routes are', async () => {
    const program = await stage.start('nameserver', '--port', '0');
    const places = await program.places();
    expect(Object.keys(places)).toEqual(['Routes', 'Swagger UI']);
    const client = stage.client(await program.url());
    expect((await client.call('listNameserverRoutes')).body).toEqual({ routes: [] });
    expect(await program.stop('SIGINT')).toEqual({ code: 0, signal: null });
  });
});

describe('stopping', () => {
  test('SIGINT answers parked polls, finishes what was begun, and keeps it', async () => {
    const { program, client, data, url } = await started();
    const poll = client.call('pollMessages', { path: worker, query: { waitMs: 30_000 } });
    const read = client.call('readQueue', {
      path: { topic: 'orders', broker: 'broker-a', queueId: 0 },
      query: { offset: 0, waitMs: 30_000 },
    });
    await eventually(async () => (await parked(client)) === 2);
    const half = await sendHalf(url);

    program.kill('SIGINT');
    expect((await poll).body).toMatchObject({ messages: [], reason: 'SHUTTING_DOWN', cursor: expect.any(String) });
    expect((await read).body).toMatchObject({ messages: [], nextOffset: 0 });
    // It is stopping, and still waits for the request that had begun.
    const answer = await half.finish();
    expect(answer).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    expect(answer).toContain('SEND_OK');
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect(program.stderr).toContain('"msg":"stopped"');

    const again = await stage.start(...standalone(data));
    const page = await stage.client(await again.url()).call('readQueue', {
      path: { topic: 'orders', broker: 'broker-a', queueId: 0 },
      query: { offset: 0 },
    });
    expect(page.body.messages.map(({ body }) => body)).toEqual(['in flight']);
    await again.stop();
  });

  test('SIGTERM turns readyz to 503, serves on while load balancers look away, then closes', async () => {
    const { program, client } = await started('--drain-ms', '1500');
    const nameserver = stage.client((await program.places())['NameServer']!);
    const poll = client.call('pollMessages', { path: worker, query: { waitMs: 30_000 } });
    await eventually(async () => (await parked(client)) === 1);

    program.kill('SIGTERM');
    const unready = await eventually(async () => {
      const reply = await client.call('readyz');
      return reply.status === 503 && reply;
    });
    expect((unready as { body: unknown }).body).toMatchObject({
      status: 'UNAVAILABLE',
      checks: expect.arrayContaining([{ name: 'draining', ok: false, detail: expect.any(String) }]),
    });
    expect((await nameserver.call('readyz')).status).toBe(503);
    expect((await client.call('livez')).status).toBe(200);
    // Whoever comes by still is served, and the poll still waits: it gets the message.
    const sent = await client.call('sendMessages', { path: { topic: 'orders' }, body: { body: 'late' } });
    expect(sent.status).toBe(200);
    expect((await poll).body.messages.map(({ body }) => body)).toEqual(['late']);

    expect(await program.exited).toEqual({ code: 0, signal: null });
    await expect(client.call('livez')).rejects.toThrow('ECONNREFUSED');
  });

  test.each([
    ['SIGTERM', 'SIGINT'],
    ['SIGINT', 'SIGINT'],
    ['SIGINT', 'SIGTERM'],
  ] as const)('%s drains, and %s after it ends the draining, not the stop', async (first, second) => {
    const { program, client } = await started('--drain-ms', '600000');
    program.kill(first);
    await eventually(async () => (await client.call('readyz')).status === 503);
    const sent = await client.call('sendMessages', { path: { topic: 'orders' }, body: { body: 'meanwhile' } });
    expect(sent.status).toBe(200);
    program.kill(second);
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect(program.stderr).toContain('"msg":"stopped"');
  });

  test('a third signal waits for nothing', async () => {
    const { program, client, url } = await started('--drain-ms', '600000');
    await sendHalf(url);
    program.kill('SIGINT');
    await eventually(async () => (await client.call('readyz')).status === 503);
    program.kill('SIGINT');
    // It waits for the request that has begun.
    await eventually(() =>
      client.call('livez').then(
        () => false,
        () => true,
      ),
    );
    program.kill('SIGINT');
    expect((await program.exited).code).toBe(70);
  });

  test('SIGHUP and SIGUSR2 end nothing, in any role', async () => {
    const { program, url } = await started();
    const nameserver = await stage.start('nameserver', '--port', '0');
    const gateway = await stage.start('gateway', '--port', '0', '--nameservers', await nameserver.url());
    for (const one of [program, nameserver, gateway])
      for (const signal of ['SIGHUP', 'SIGUSR2'] as const) {
        one.kill(signal);
        await eventually(async () => one.stderr.includes(`"signal":"${signal}"`));
        expect((await stage.client(await one.url()).call('livez')).status).toBe(200);
      }
    expect((await stage.client(url).call('readyz')).status).toBe(200);
    for (const one of [program, gateway, nameserver])
      expect(await one.stop('SIGINT')).toEqual({ code: 0, signal: null });
  });
});

describe('what is refused', () => {
  test('a folder that another process has: exit 69', async () => {
    const { program, data, client } = await started();
    const second = stage.spawn(standalone(data));
    expect(await second.exited).toEqual({ code: 69, signal: null });
    expect(second.stderr).toContain(data);
    expect(second.stderr).toMatch(/Gantry cannot start: .*(in use|another process|already)/i);
    expect(second.stderr).not.toMatch(/\n\s+at /);
    expect(second.stdout).toBe('');
    // The first one did not notice.
    expect((await client.call('readyz')).status).toBe(200);
    await program.stop();
  });

  test('a port that is taken: exit 71', async () => {
    const { program, url } = await started();
    const { port } = new URL(url);
    const data = await folder();
    for (const [option, flags] of [
      ['--port', ['standalone', '--port', port, '--nameserver-port', '0', '--data', data]],
      ['--nameserver-port', ['standalone', '--port', '0', '--nameserver-port', port, '--data', data]],
      ['--port', ['broker', '--port', port, '--data', data]],
      ['--port', ['nameserver', '--port', port]],
      ['--port', ['gateway', '--port', port]],
    ] as const) {
      const second = stage.spawn(flags);
      expect([flags[0], await second.exited]).toEqual([flags[0], { code: 71, signal: null }]);
      expect(second.stderr).toContain(
        `Gantry cannot start: port ${port} of 127.0.0.1 is in use by another process: stop that process, or choose another ${option} (EADDRINUSE)`,
      );
      expect(second.stderr).not.toMatch(/\n\s+at /);
    }
    await program.stop();
  });

  test('a configuration that is wrong: exit 64, all of it named, nothing begun', async () => {
    const data = await folder();
    const program = stage.spawn(['standalone', '--prot', '80', '--flush', 'sometimes', '--data', data], {
      GANTRY_NAME: 'ä',
    });
    expect(await program.exited).toEqual({ code: 64, signal: null });
    for (const part of ['--prot', '--port', 'sometimes', 'sync', 'async', 'GANTRY_NAME', 'gantry standalone --help']) {
      expect(program.stderr).toContain(part);
    }
    expect(program.stdout).toBe('');
    expect(existsSync(data)).toBe(false);
  });

  test('a folder that cannot be one: exit 69', async () => {
    const file = await folder();
    await writeFile(file, 'not a folder');
    const link = await folder();
    await symlink('/nowhere/disk', link);
    // Node's own recursive mkdir never ends below /proc.
    for (const data of [file, `${file}/below`, link, `${link}/below`, '/proc/nope', `/tmp/${'n'.repeat(300)}`]) {
      const program = stage.spawn(standalone(data));
      expect([data, await program.exited]).toEqual([data, { code: 69, signal: null }]);
      expect(program.stderr).toMatch(`Gantry cannot start: the data folder ${data} cannot be used, `);
      expect(program.stderr).toContain('another --data');
      expect(program.stderr).not.toMatch(/\n\s+at /);
    }
  });

  test('an address that is not this machine’s: exit 71', async () => {
    for (const [host, reason] of [
      ['192.0.2.1', 'is no address of this machine: choose another --host (0.0.0.0 or :: for all) (EADDRNOTAVAIL)'],
      ['nowhere.invalid', 'leads to no address: choose another --host, or mend the name service (E'],
    ] as const) {
      const program = stage.spawn(['nameserver', '--port', '0', '--host', host]);
      expect([host, await program.exited]).toEqual([host, { code: 71, signal: null }]);
      expect(program.stderr).toContain(`${host} ${reason}`);
    }
  });
});

describe('IPv6', () => {
  test('every role prints URLs that lead to it, and brokers are registered by them', async () => {
    const nameserver = await stage.start('nameserver', '--host', '::1', '--port', '0', '--nameserver-starting-ms', '0');
    const nameservers = await nameserver.url();
    expect(nameservers).toMatch(/^http:\/\/\[::1\]:\d+$/);
    const data = await folder();
    const broker = await stage.start(
      ...['broker', '--host', '::1', '--port', '0', '--nameservers', nameservers, '--data', data],
    );
    const gateway = await stage.start('gateway', '--host', '::1', '--port', '0', '--nameservers', nameservers);
    for (const program of [nameserver, broker, gateway])
      expect((await stage.client(await program.url()).call('livez')).status).toBe(200);
    const client = stage.client(await gateway.url());
    const { brokers } = (await client.call('listBrokers')).body;
    expect(brokers.map(({ address }) => `http://${address}`)).toEqual([await broker.url()]);
    await client.call('createTopic', { body: { name: 'orders' } });
    expect((await client.call('sendMessages', { path: { topic: 'orders' }, body: { body: 'x' } })).status).toBe(200);
    const standaloneProgram = await stage.start(...standalone(await folder(), '--host', '::1'));
    expect((await standaloneProgram.places())['NameServer']).toMatch(/^http:\/\/\[::1\]:\d+$/);
    for (const program of [standaloneProgram, gateway, broker, nameserver]) await program.stop();
  });
});

describe('what prints and ends', () => {
  /** Output of a command that ends by itself. */
  async function printed(args: string[], environment: Record<string, string> = {}): Promise<string> {
    const program = stage.spawn(args, environment);
    expect([args, await program.exited, program.stderr]).toEqual([args, { code: 0, signal: null }, '']);
    return program.stdout;
  }

  test('config: YAML that says what would be, and can be used as the file', async () => {
    const text = await printed(['config', 'broker', '--port', '8081', '--flush', 'async'], { GANTRY_NAME: 'broker-z' });
    expect(parse(text)).toMatchObject({
      host: '127.0.0.1',
      port: 8081,
      name: 'broker-z',
      flush: 'async',
      nameservers: ['http://127.0.0.1:9876'],
      drainMs: 5000,
    });
    expect(text).toContain('GANTRY_NAME');
    const file = await stage.path('gantry.yaml');
    await writeFile(file, text);
    expect(parse(await printed(['config', 'broker', '--config', file]))).toEqual(parse(text));
    expect(parse(await printed(['config', 'broker', '--port', '1'], { GANTRY_CONFIG: file }))).toEqual({
      ...parse(text),
      port: 1,
    });
  });

  test('help and version', async () => {
    const help = await printed(['--help']);
    for (const word of ['standalone', 'nameserver', 'broker', '--data', 'GANTRY_PORT', '--drain-ms'])
      expect(help).toContain(word);
    expect(await printed(['nameserver', '--help'])).not.toContain('--data');
    expect(await printed(['--version'])).toBe(`gantry ${VERSION}\n`);
  });
});
