/** `npm run cluster`, and the README's chapter about clusters, run against it as it stands there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { planOf } from '../../cluster/plan';
import { takenPorts } from '../../cluster/ports';
import { blocksOf, missingOf } from '../support/readme';
import { eventually, Stage, type Program } from './program';

const stage = new Stage();
afterAll(() => stage.clear());

interface Place {
  readonly url: string;
  readonly pid: number;
}

/** The first of `count` ports in a row that are free now. */
async function freeRow(count: number): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const row = Array.from({ length: count }, (_, i) => first + i);
    if ((await takenPorts(row)).length === 0) return first;
  }
}

/** Where its parts are, once it says that it is up. */
async function placesOf(cluster: Program): Promise<Record<string, Place>> {
  await eventually(() => Promise.resolve(cluster.hasEnded || cluster.stdout.includes('In another terminal:')));
  if (cluster.hasEnded) throw new Error(`it has ended: ${cluster.stdout}${cluster.stderr}`);
  const lines = cluster.stdout.matchAll(/^ {2}(\S+) +(http:\S+) +pid (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, name, url, pid]) => [name!, { url: url!, pid: Number(pid) }]));
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('npm run cluster', () => {
  let cluster: Program;
  let data: string;
  let ports: string[];
  let places: Record<string, Place>;
  /** A broker that was started again by hand. */
  let again: Program | undefined;

  beforeAll(async () => {
    data = await stage.path('cluster');
    const first = await freeRow(5);
    ports = ['--ports-from', String(first), '--nameserver-ports-from', String(first + 3)];
    cluster = stage.npmRunCluster([...ports, '--data', data]);
    places = await placesOf(cluster);
  });

  const inHere = (script: string): string =>
    [
      ['http://localhost:8080', places['gateway']!.url],
      ['http://localhost:8081', places['broker-a']!.url],
      ['http://localhost:8082', places['broker-b']!.url],
      ['data/cluster/', `${data}/`],
      ['curl -s ', 'curl -sS --fail-with-body '],
    ].reduce((text, [from, to]) => text.replaceAll(from!, to!), script);

  test('starts all parts, and shows what each says under its name', async () => {
    const names = ['nameserver-1', 'nameserver-2', 'broker-a', 'broker-b', 'gateway'];
    expect(Object.keys(places)).toEqual(names);
    for (const name of names) {
      expect((await stage.client(places[name]!.url).call('readyz')).status).toBe(200);
      expect(cluster.stdout).toMatch(new RegExp(`^${name} +\\| Gantry `, 'm'));
      expect(readFileSync(`${data}/${name}.pid`, 'utf8')).toBe(`${places[name]!.pid}\n`);
    }
  });

  test('registers both brokers at both NameServers, by a secret that strangers do not have', async () => {
    for (const name of ['nameserver-1', 'nameserver-2']) {
      const nameserver = stage.client(places[name]!.url);
      const { clusters } = (await nameserver.call('getNameserverCluster')).body;
      expect(clusters.flatMap(({ brokers }) => brokers.map(({ broker }) => broker))).toEqual(['broker-a', 'broker-b']);
      const wipe = await nameserver.call('wipeWritePermission', { path: { broker: 'broker-a' } });
      expect(wipe.problem.code).toBe('UNAUTHENTICATED');
    }
  });

  test('is what the chapter of the README needs, every line of which does what it says', async () => {
    const missing = missingOf('curl', 'jq', 'bash');
    if (missing.length > 0) {
      console.warn(`skipped: ${missing.join(', ')} is not installed`);
      process.kill(places['broker-b']!.pid, 'SIGTERM');
      return;
    }
    const shell = stage.shell(['set -eu -o pipefail', ...blocksOf('A cluster', 'bash')].map(inHere).join('\n'));
    const { code } = await shell.exited;
    const said = shell.stdout + shell.stderr;
    expect([code, said]).toEqual([0, expect.any(String)]);
    for (const broker of ['broker-a', 'broker-b']) {
      expect(said).toContain(`{"status":"OK","broker":"${broker}"}`);
      expect(said).toMatch(new RegExp(`{"broker":"${broker}","queueId":\\d,"queueOffset":\\d+}`));
    }
    expect(said).toContain('{"broker":"broker-b","permission":"R"');
    // At least once each: what was read before it was committed comes again.
    const bodies = said.split('\n').filter((line) => /^parcel \d+$/.test(line));
    expect(new Set(bodies)).toEqual(new Set(Array.from({ length: 11 }, (_, i) => `parcel ${i + 1}`)));
  });

  test('says that a part has ended, goes on without it, and says how to start it again', async () => {
    await eventually(() => Promise.resolve(cluster.stdout.includes('broker-b has ended')));
    expect(existsSync(`${data}/broker-b.pid`)).toBe(false); // the number may be another process's by now
    const front = stage.client(places['gateway']!.url);
    const path = { topic: 'parcels' };
    for (let i = 0; i < 4; i++)
      expect((await front.call('sendMessages', { path, body: { body: 'x' } })).status).toBe(200);

    await eventually(() => Promise.resolve(/^ {2}GANTRY_CLUSTER_SECRET=.*--name broker-b.*\n/m.test(cluster.stdout)));
    again = stage.shell(`exec env ${/^ {2}(GANTRY_CLUSTER_SECRET=.*--name broker-b.*)$/m.exec(cluster.stdout)![1]!}`);
    await again.places();
    const { brokers } = (await stage.client(places['nameserver-1']!.url).call('getNameserverCluster')).body
      .clusters[0]!;
    expect(brokers.map(({ broker }) => broker)).toEqual(['broker-a', 'broker-b']);
  });

  test('does not start where another one is', async () => {
    const second = stage.npmRunCluster([...ports, '--data', data]);
    expect((await second.exited).code).toBe(71);
    expect(second.stderr).toMatch(/^Taken: port \d+.*--ports-from/);
  });

  test('Ctrl-C stops all, the gateway first and the NameServers last, and leaves no process', async () => {
    await again?.stop('SIGINT');
    // What npm and its shell make of the signal is theirs.
    await cluster.stop('SIGINT');
    expect(cluster.stdout).toMatch(/\nStopped\.\n$/);
    const stopped = [...cluster.stdout.matchAll(/^(\S+) +\| {.*"msg":"stopped"}$/gm)].map(([, name]) => name);
    expect(stopped[stopped.length - 4]).toBe('gateway');
    expect(stopped.slice(-3)).toEqual([
      'broker-a',
      expect.stringMatching('nameserver'),
      expect.stringMatching('nameserver'),
    ]);
    expect(Object.values(places).filter(({ pid }) => lives(pid))).toEqual([]);
    expect(readdirSync(data).filter((name) => name.endsWith('.pid'))).toEqual([]);
  });
});

test.each([
  ['--brokers', '0'],
  ['--ports-from', 'x'],
  ['--nothing-like-it', '1'],
])('%s %s is refused with a word about it', async (option, value) => {
  const cluster = stage.npmRunCluster([option, value]);
  expect((await cluster.exited).code).toBe(64);
  expect(cluster.stderr).toContain(option);
});

test('a NameServer that is started again is not believed before the brokers had time to come', () => {
  const [nameservers, brokers] = planOf({ portsFrom: 8080, nameserverPortsFrom: 9876, brokers: 1, data: '/data' });
  const startingMs = (args: readonly string[]) => Number(args[args.indexOf('--nameserver-starting-ms') + 1]);
  for (const { args, againArgs } of nameservers!) {
    expect(startingMs(args)).toBe(0);
    expect(startingMs(againArgs)).toBeGreaterThan(10_000);
  }
  for (const { args, againArgs } of brokers!) expect(againArgs).toEqual(args);
});

test('a port that somebody else has is named', async () => {
  const first = await freeRow(5);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(first + 1, '127.0.0.1', resolve));
  expect(await takenPorts([first, first + 1, first + 2])).toEqual([first + 1]);
  await new Promise((resolve) => server.close(resolve));
});
