/** The guide to taking a broker away: every ```sh block in order, in one shell, against three brokers and a gateway. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { execFile } from 'node:child_process';
import { TestCluster } from '../support/cluster';
import { missingOf } from '../support/readme';

const GUIDE = readFileSync(join(__dirname, '../../docs/decommissioning.md'), 'utf8');
const blocks = [...GUIDE.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1]!);
const run = promisify(execFile);

test('the guide to taking a broker away does what it says', async () => {
  const missing = missingOf('curl', 'jq', 'bash');
  if (missing.length > 0) {
    console.warn(`skipped: ${missing.join(', ')} is not installed`);
    return;
  }
  const cluster = await TestCluster.start({ brokers: ['broker-a', 'broker-b', 'broker-c'], gateways: 1 });
  try {
    await cluster.client('gw1').call('createTopic', { body: { name: 'orders', writeQueues: 1 } });
    const script = ['set -eu -o pipefail', ...blocks]
      .join('\n')
      .replaceAll('http://localhost:8080', cluster.url('gw1'))
      .replaceAll('curl -s ', 'curl -sS --fail-with-body ');
    const { stdout } = await run('bash', ['-c', script]);
    expect(stdout).toContain('{"broker":"broker-c","permission":"R"}');
    expect(stdout).toMatch(
      /"safe": true,\s+"permission": "R",\s+"holdings": \[\],\s+"topics": \[\s+{\s+"topic": "orders"/,
    );
    expect(stdout).toMatch(/"removed": true/);
    expect(stdout).toContain('["broker-a","broker-b"]');
  } finally {
    await cluster.stop();
  }
});
