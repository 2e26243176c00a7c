/** A NameServer with ten thousand topics of two brokers: how long it takes to tell it all, to ask for one, and what it holds. */
import { median } from '../alternation';
import { Histogram } from '../histogram';
import { requestBytes } from '../request';
import type { Line, Row } from '../row';
import { freePorts, Served } from '../served';
import type { Session } from '../session';

const TOPICS = 10_000;
const BROKERS = ['broker-a', 'broker-b'];
const QUEUES_EACH = 4;
const REGISTRATIONS = 5;
const CONNECTIONS = 4;
/** Neighbouring look-ups are for topics far from each other. */
const STRIDE = 6_181;
const MIB = 1024 * 1024;

export const routes: Row = { name: 'routes', run };

async function run(session: Session): Promise<Line[]> {
  const [port] = await freePorts(1);
  const nameserver = new Served(port!, ['nameserver', '--port', String(port), '--nameserver-starting-ms', '0']);
  await nameserver.ready();
  const before = nameserver.child.rssBytes ?? NaN;
  const registrations = await registerAll(nameserver);
  const lookUps = { port: port!, connections: CONNECTIONS, request: lookUpOf };
  const latencies = new Histogram();
  await session.warm(lookUps);
  const perSecond = await session.measure(lookUps, latencies);
  const held = ((nameserver.child.rssBytes ?? NaN) - before) / MIB;
  await nameserver.kill();
  const topics = `${TOPICS.toLocaleString('en')} topics`;
  const p99 = latencies.percentile(0.99);
  return [
    {
      what: `one broker registers ${topics}, all anew`,
      value: median(registrations),
      unit: 'ms',
      note: `at most ${Math.max(...registrations).toFixed(0)} ms; the NameServer answers nobody else meanwhile`,
    },
    {
      what: `route of one of ${topics}, ${CONNECTIONS} connections, p99`,
      value: p99,
      unit: 'ms',
      p50: latencies.percentile(0.5),
      p99,
      note: `${Math.round(perSecond).toLocaleString('en')} look-ups/s`,
    },
    {
      what: `memory of a NameServer with ${topics}`,
      value: held,
      unit: 'MiB',
      note: `${BROKERS.length} brokers, ${QUEUES_EACH} queues on each`,
    },
  ];
}

/** Tells it everything several times, as brokers that restart do; milliseconds of each registration. */
async function registerAll(nameserver: Served): Promise<number[]> {
  const took: number[] = [];
  for (let n = 0; n < REGISTRATIONS; n++) {
    for (const [i, broker] of BROKERS.entries()) {
      const path = `/v1/nameserver/brokers/DefaultCluster/${broker}/1`;
      const registration = registrationOf(i, n);
      const began = performance.now();
      const answer = JSON.parse(await nameserver.tell('PUT', path, registration)) as { known: boolean };
      took.push(performance.now() - began);
      if (!answer.known) throw new Error('the NameServer did not take the registration');
    }
  }
  return took;
}

const nameOf = (n: number): string => `bench-${n % TOPICS}`;
const lookUpOf = (n: number): Buffer => requestBytes('GET', `/v1/nameserver/routes/${nameOf(n * STRIDE)}`);

function registrationOf(broker: number, counter: number): object {
  const partitions = BROKERS.flatMap((name) =>
    Array.from({ length: QUEUES_EACH }, (_, queueId) => ({ broker: name, queueId })),
  );
  const counts = { readQueues: QUEUES_EACH, writeQueues: QUEUES_EACH };
  const address = `127.0.0.1:${8081 + broker}`;
  return {
    ...{ mode: 'FULL', address, role: 'MASTER', epoch: 1, messageIdTag: address, permission: 'RW' },
    dataVersion: { stateVersion: 1, timestamp: 1, counter },
    topics: Array.from({ length: TOPICS }, (_, n) => ({
      ...{ name: nameOf(n), id: `id-${n}`, version: 1, type: 'NORMAL', permission: 'RW', ...counts, partitions },
    })),
  };
}
