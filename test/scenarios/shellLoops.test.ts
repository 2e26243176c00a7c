/**
 * The consumer loops of the README as they stand there, in three copies each, one of them killed half-way: every message
 * is handled, and nothing is left.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Standalone } from '../support/node';
import { blockUnder, killTree, missingOf, until } from '../support/readme';

const MESSAGES = 60;
const COPIES = 3;

describe('three copies of a shell loop drain a topic, one of them killed half-way', () => {
  let node: Standalone;
  let folder: string;
  const shells: ChildProcess[] = [];
  beforeEach(async () => {
    node = await Standalone.start();
    folder = mkdtempSync(join(tmpdir(), 'gantry-loops-'));
    writeFileSync(
      join(folder, 'handle'),
      `#!/bin/sh\nprintf '%s\\n' "$1" | jq -r .body >> '${folder}/handled'\nsleep 0.05\n`,
    );
    chmodSync(join(folder, 'handle'), 0o755);
    writeFileSync(join(folder, 'handled'), '');
  });
  afterEach(async () => {
    for (const shell of shells.splice(0)) killTree(shell);
    await node.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const call = async (method: string, path: string, body?: object) => {
    const response = await fetch(`${node.url}/v1${path}`, {
      method,
      ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    });
    return (await response.json()) as { lag: number; inFlight?: number };
  };
  const handled = (): Set<string> => new Set(readFileSync(join(folder, 'handled'), 'utf8').split('\n').filter(Boolean));

  async function drainBy(loop: string, group: string): Promise<void> {
    await call('POST', '/topics', { name: 'orders', writeQueues: 6 });
    await call('PUT', `/groups/${group}`, { topic: 'orders' });
    for (let i = 0; i < MESSAGES; i++) await call('POST', '/topics/orders/messages', { body: `order ${i}` });
    const script = loop.replaceAll('http://localhost:8080', node.url).replaceAll('./handle', join(folder, 'handle'));
    for (let i = 0; i < COPIES; i++)
      shells.push(spawn('bash', ['-c', script], { cwd: folder, stdio: 'ignore', detached: true }));
    await until(() => handled().size >= MESSAGES / 3);
    killTree(shells.shift()!);
    await until(() => handled().size >= MESSAGES);
    await until(async () => {
      const { lag, inFlight = 0 } = await call('GET', `/groups/${group}/offsets`);
      return lag + inFlight === 0;
    });
    expect([...handled()].sort()).toEqual(Array.from({ length: MESSAGES }, (_, i) => `order ${i}`).sort());
  }

  const missing = missingOf('curl', 'jq', 'bash', 'hostname');
  const run = missing.length === 0 ? test : test.skip;
  if (missing.length > 0) console.warn(`skipped: ${missing.join(', ')} is not installed`);

  run(
    'assigned queues',
    async () => {
      // The dead one's queues move within its lease: here it is short.
      const loop = blockUnder('A consumer in shell').replace('{"topic":"orders"}', '{"topic":"orders","leaseMs":3000}');
      expect(loop).toContain('leaseMs');
      await drainBy(loop, 'billing');
    },
    90_000,
  );

  run(
    'leases',
    async () => {
      const loop = blockUnder('A worker in shell').replace('"max":1,', '"max":1,"invisibleMs":3000,');
      expect(loop).toContain('invisibleMs');
      await drainBy(loop, 'mail');
    },
    90_000,
  );
});
