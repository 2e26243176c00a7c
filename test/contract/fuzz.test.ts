/**
 * Requests at random, half of them with one fault, against a standalone that keeps running: never a fault of the server,
 * nothing undocumented, nothing wrong taken for right. The seed stands in the test's name; FUZZ_SEED repeats a run as far
 * as the ids in answers allow, FUZZ_RUNS makes it longer.
 */
import fc from 'fast-check';
import type { Operation } from '../../api/contract';
import { isNode } from '../../api/schema';
import { http, type Http, type Reply, type RequestParts } from '../support/http';
import { contract, Standalone } from '../support/node';
import { atNameserver, examplesOf } from './examples';
import { faultsOf } from './faults';
import { Memory, Requests } from './generate';
import { patience } from '../support/patience';

const RUNS = Number(process.env['FUZZ_RUNS'] ?? 2000);
const SETUP_EVERY = 50;
const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
/** An answer that takes longer never comes. */
const ANSWER_MS = patience(30_000);
/** What a server may say that is neither right nor wrong. */
const NOT_NOW = [503, 504];

let node: Standalone;
let broker: Http;
let nameserver: Http;

beforeAll(async () => {
  node = await Standalone.start();
  broker = http(node.url, contract);
  nameserver = http(node.nameserverUrl, contract);
  node.closeFirst(() => broker.close());
  node.closeFirst(() => nameserver.close());
});
afterAll(() => node.stop());

/** What most requests take for granted; they also undo it. */
async function setUp(): Promise<void> {
  for (const id of [
    'createTopic',
    'putTag',
    'putGroup',
    'joinGroup',
    'sendMessages',
    'putProducerGroup',
    'prepareTransaction',
  ] as const) {
    for (const { parts } of examplesOf(contract, contract.operation(id))) learn(await broker.call(id, parts));
  }
  await broker.call('setBrokerPermission', { path: { broker: 'broker-a' }, body: { permission: 'RW' } });
  await broker.call('updateTopic', { path: { topic: 'orders' }, body: { permission: 'RW', tagPolicy: 'OPEN' } });
}

class Attempt {
  constructor(
    readonly operation: Operation,
    readonly what: string,
    readonly parts: RequestParts,
    readonly wrong: boolean,
  ) {}

  /** How a failure shows it. */
  [fc.toStringMethod](): string {
    return `${this.operation.id}, ${this.what}: ${JSON.stringify(this.parts).slice(0, 2000)}`;
  }
}

const memory = new Memory();
const requests = new Requests(memory);

/** A broker that was removed serves nothing any more, and cannot be set up again. */
const harmless = (operation: Operation, parts: RequestParts): RequestParts =>
  operation.id === 'removeBroker' ? { ...parts, query: { ...parts.query, dryRun: true } } : parts;

const attempts = fc.constantFrom(...contract.operations.values()).chain((operation) =>
  fc.tuple(requests.of(operation), fc.boolean(), fc.nat()).map(([parts, wrong, nth]): Attempt => {
    if (!wrong) return new Attempt(operation, 'valid', harmless(operation, parts), wrong);
    const faults = faultsOf(operation, parts);
    const fault = faults[nth % faults.length]!;
    return new Attempt(operation, fault.what, fault.parts, wrong);
  }),
);

function learn(reply: Reply): void {
  if (reply.headers['etag']) memory.learn('etag', reply.headers['etag']);
  if (reply.headers['content-type'] === 'application/json' && isNode(JSON.parse(reply.text)))
    memory.learnFrom(JSON.parse(reply.text));
}

test(
  `${RUNS} requests at random, seed ${seed}`,
  async () => {
    const outcomes = { right: 0, refused: 0, wrong: 0 };
    let run = 0;
    await fc.assert(
      fc.asyncProperty(attempts, async ({ operation, parts, wrong }) => {
        if (run++ % SETUP_EVERY === 0) await setUp();
        const server = atNameserver(operation) ? nameserver : broker;
        // The client fails on every status, body and code that is not documented.
        const reply = await server.call(operation.id as 'getVersion', {
          ...parts,
          signal: AbortSignal.timeout(ANSWER_MS),
        });
        learn(reply);
        if (reply.status >= 500 && !NOT_NOW.includes(reply.status)) throw new Error(`${reply.status} ${reply.text}`);
        if (wrong && reply.status < 400) throw new Error(`a wrong request was taken: ${reply.status} ${reply.text}`);
        outcomes[wrong ? 'wrong' : reply.status < 300 ? 'right' : 'refused'] += 1;
      }),
      { numRuns: RUNS, seed, endOnFailure: true, verbose: 1 },
    );
    await setUp();
    // Otherwise it would be a test of refusals only.
    expect(outcomes.right).toBeGreaterThan(RUNS / 6);
    expect(outcomes.wrong).toBeGreaterThan(RUNS / 3);
    expect((await broker.call('readyz')).status).toBe(200);
  },
  RUNS * 60,
);
