/** compose.yaml, as far as it can be checked without Docker: each part starts with what it is given, and finds the others. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config';

const ROOT = join(__dirname, '../..');
const read = (name: string) => readFileSync(join(ROOT, name), 'utf8');

interface Service {
  readonly command: string[];
  readonly environment: Record<string, string | number>;
  readonly volumes?: string[];
  readonly ports?: string[];
  readonly depends_on?: string[];
  readonly healthcheck: { readonly test: string[] };
}

const file = parse(read('compose.yaml'), { merge: true }) as {
  services: Record<string, Service>;
  volumes: Record<string, null>;
};
const services = Object.entries(file.services);

/** What the image sets, and what Compose makes of `${NAME:-default}` when nobody sets NAME. */
function environmentOf({ environment }: Service): Record<string, string> {
  const image = [...read('Dockerfile').matchAll(/\b(GANTRY_\w+)=(\S+)/g)].map(([, name, value]) => [name!, value!]);
  const own = Object.entries(environment).map(([name, value]) => [
    name,
    String(value).replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1'),
  ]);
  return Object.fromEntries([...image, ...own]) as Record<string, string>;
}

/** The configuration of a part, with the keys that its role has. */
function configOf(service: Service): Record<string, unknown> & { role: string; port: number; clusterSecret: string } {
  const parsed = parseConfig(service.command, environmentOf(service), () => '');
  if (parsed.command !== 'run') throw new Error('text' in parsed ? parsed.text : parsed.command);
  return { ...parsed.config, clusterSecret: parsed.config.clusterSecret ?? '' };
}

test('there are two NameServers, two brokers and a gateway', () => {
  expect(services.map(([name, { command }]) => [name, command[0]])).toEqual([
    ['nameserver-1', 'nameserver'],
    ['nameserver-2', 'nameserver'],
    ['broker-a', 'broker'],
    ['broker-b', 'broker'],
    ['gateway', 'gateway'],
  ]);
});

describe.each(services)('%s', (name, service) => {
  test('starts with what it is given, and listens for the others', () => {
    expect(configOf(service)).toMatchObject({ role: service.command[0], host: '0.0.0.0' });
  });

  test('finds its NameServers, all of them', () => {
    const { role, nameservers } = configOf(service);
    const all = services.filter(([, { command }]) => command[0] === 'nameserver');
    if (role !== 'nameserver')
      expect(nameservers).toEqual(all.map(([other, theirs]) => `http://${other}:${configOf(theirs).port}`));
  });

  test('is called by its name, if it is a broker, and keeps its data in a volume of its own', () => {
    const { role, port, name: called, advertise, data } = configOf(service);
    if (role !== 'broker') return expect(service.volumes).toBeUndefined();
    expect([called, advertise]).toEqual([name, `${name}:${port}`]);
    expect(service.volumes).toEqual([`${name}:${String(data)}`]);
    expect(Object.keys(file.volumes)).toContain(name);
  });

  test('waits for parts that exist, and shows the port that it listens on', () => {
    for (const other of service.depends_on ?? []) expect(file.services).toHaveProperty([other]);
    for (const published of service.ports ?? [])
      expect(published).toMatch(new RegExp(`^127\\.0\\.0\\.1:\\d+:${configOf(service).port}$`));
  });
});

test('all share one secret, which says that it must be replaced', () => {
  const secrets = new Set(services.map(([, service]) => configOf(service).clusterSecret));
  expect([...secrets]).toEqual([expect.stringContaining('replace')]);
  expect(services[0]![1].environment['GANTRY_CLUSTER_SECRET']).toContain('${GANTRY_CLUSTER_SECRET:-');
});

test('ports differ, so labels in message ids do, whatever addresses the containers get', () => {
  const ports = services.map(([, service]) => configOf(service).port);
  expect(new Set(ports).size).toBe(ports.length);
});

describe('the health check', () => {
  let server: Server;
  let status = 200;
  beforeAll(async () => {
    server = createServer((request, response) => response.writeHead(request.url === '/readyz' ? status : 404).end());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  test.each([
    ['is good when the part is ready', 200, 0],
    ['is bad when it is not', 503, 1],
  ])('%s', async (_, answered, code) => {
    status = answered;
    const [how, command, ...args] = services[0]![1].healthcheck.test;
    expect([how, command]).toEqual(['CMD', 'node']);
    const GANTRY_PORT = String((server.address() as AddressInfo).port);
    const check = spawn(process.execPath, args, { env: { GANTRY_PORT }, stdio: 'ignore' });
    expect(await new Promise((resolve) => check.once('exit', resolve))).toBe(code);
  });
});
