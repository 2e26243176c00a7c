/** The README's own lines, run as they stand: every ```sh block in order, in one shell, against a fresh broker. */
import { spawn } from 'node:child_process';
import { Standalone } from '../support/node';
import { missingOf, README } from '../support/readme';

const blocks = [...README.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1]!);

describe('the README', () => {
  let node: Standalone;
  beforeAll(async () => {
    node = await Standalone.start();
  });
  afterAll(() => node.stop());

  test('has the main job in curl, and every line of it does what it says', async () => {
    const missing = missingOf('curl', 'jq', 'bash');
    if (missing.length > 0) {
      console.warn(`skipped: ${missing.join(', ')} is not installed`);
      return;
    }
    const script = ['set -eu -o pipefail', ...blocks]
      .join('\n')
      .replaceAll('http://localhost:8080', node.url)
      .replaceAll('curl -s ', 'curl -sS --fail-with-body ');
    const { output, status } = await run(script);
    expect(output).toContain('order 1 created');
    expect(output).toContain('"order 6 created"');
    expect(output).toContain('"find me"');
    expect(output).toMatch(/"lag": 0/);
    expect(output).toMatch(/"tag": "paid",\s+"count": 1/);
    expect(output).toContain('"outcome": "RETRY"');
    expect(output).toContain('"outcome": "DEAD_LETTER"');
    expect(output).toMatch(/"inFlight": 1\b/);
    expect(output).toMatch(/"examined": 3,\s+"matched": 1,\s+"failed": 1/);
    expect(output).toMatch(/"order 8, Lyon"\n"order 9, Boston"/);
    expect(output).toContain('{"body":"order 1 paid","tag":"paid","keys":["order-1"]}');
    expect(output).toMatch(/"group": "billing",\s+"status": "CONSUMED"/);
    expect(output).toMatch(/"cart 7 filled","attempt":1}\n{"outcome":"WAITING"}\n{"body":"cart 7 filled","attempt":2}/);
    expect(output).toContain('{"body":"cart 7 ordered","attempt":1}');
    // From two queues, and so in any order.
    for (const body of ['cart 7 was left', 'wake up'])
      expect(output).toMatch(new RegExp(`{"body":"${body}","deliverTimestamp":\\d+,"storeTimestamp":\\d+}`));
    expect(output).toMatch(/{"body":"100 from A to B","transaction":{"transactionId":"[0-9A-F]{32}"/);
    expect(output).toMatch(/"checks":1,"body":"50 from B to C"}\n{"transactionId":"[0-9A-F]{32}","state":"COMMITTED"}/);
    expect(output).toContain('"secret": "whsec_');
    expect(output).toMatch(
      /{"offsets":\[{"partition":\d,"offset":0,"error_code":null,"error":null}\],"key_schema_id":null/,
    );
    expect(output).toMatch(
      /{"instance_id":"my_consumer_instance","base_uri":"http:[^"]+\/instances\/my_consumer_instance"}/,
    );
    expect(output).toMatch(/\[{"topic":"jsontest","key":"alice","value":{"foo":"bar"},"partition":\d,"offset":0}\]/);
    expect(status).toBe(0);
  });
});

/** In the background, because the server under test lives in this very process. */
async function run(script: string): Promise<{ output: string; status: number | null }> {
  const shell = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  shell.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  shell.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const status = await new Promise<number | null>((resolve) => shell.on('close', resolve));
  return { output, status };
}
