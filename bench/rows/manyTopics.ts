/** The same single sends, to one topic and spread over 1,000. */
import { alternate } from '../alternation';
import { Connection } from '../connection';
import { sendRequest } from '../request';
import type { Line, Row } from '../row';
import { askOn, checked } from '../served';
import type { Session } from '../session';

const TOPICS = 1000;
const CONNECTIONS = 256;
const CREATORS = 16;

export const manyTopics: Row = { name: 'topics', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('topics');
  const names = Array.from({ length: TOPICS }, (_, i) => `bench-${i}`);
  await createAll(broker.port, names);
  const requests = names.map((name) => sendRequest(name));
  const one = { port: broker.port, connections: CONNECTIONS, request: () => requests[0]! };
  const many = { ...one, request: (n: number) => requests[n % TOPICS]! };
  await session.warm(one);
  await session.warm(many);
  const { a, b, ratio } = await alternate(
    session.rounds,
    () => session.measure(one),
    () => session.measure(many),
  );
  await session.discard(broker);
  return [
    {
      what: `single sends over ${TOPICS.toLocaleString('en')} topics, ${CONNECTIONS} connections`,
      value: b,
      unit: 'msg/s',
      baseline: { name: 'one topic', value: a },
      ratio,
      target: { of: 'ratio', atLeast: 0.85 },
    },
  ];
}

async function createAll(port: number, names: readonly string[]): Promise<void> {
  const left = [...names];
  const create = async () => {
    const connection = new Connection(port);
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      const body = { name, writeQueues: 8, readQueues: 8 };
      checked(await askOn(connection, 'POST', '/v1/topics', body), 'POST', '/v1/topics');
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: CREATORS }, create));
}
