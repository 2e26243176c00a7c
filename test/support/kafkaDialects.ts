/**
 * A client of each of the servers of the Kafka REST API, and rows of the table of differences between them
 * (rest-gateways.md, section 1.0): what a client of each sees.
 */
import type { Http } from './http';
import { JSON_V2, type Kafka, type KafkaParts, type KafkaReply } from './kafka';

export const NAMES = ['confluent', 'strimzi', 'karapace', 'redpanda'] as const;
export type Name = (typeof NAMES)[number];

export interface Site {
  readonly rest: Kafka;
  readonly native: Http;
}

let names = 0;
export const next = (word: string) => `${word}-${names++}`;

/** A client of one of the servers. */
export class Client {
  readonly dialect: string;
  readonly group = next('group');
  readonly #site: Site;
  instance = next('instance');

  constructor(site: Site, dialect: string) {
    this.#site = site;
    this.dialect = dialect;
  }

  request(method: string, path: string, parts: KafkaParts = {}): Promise<KafkaReply> {
    return this.#site.rest.request(method, path, { dialect: this.dialect, ...parts });
  }

  create(settings: object = {}): Promise<KafkaReply> {
    const body = { name: this.instance, format: 'json', 'auto.offset.reset': 'earliest', ...settings };
    return this.request('POST', `/consumers/${this.group}`, { body });
  }

  call(method: string, path: string, parts: KafkaParts = {}): Promise<KafkaReply> {
    return this.request(method, `/consumers/${this.group}/instances/${this.instance}${path}`, parts);
  }

  async newTopic(type = 'NORMAL', writeQueues = 1): Promise<string> {
    const name = next('topic');
    await this.#site.native.call('createTopic', { body: { name, type, writeQueues } });
    return name;
  }

  async subscribed(settings: object = {}, ...values: unknown[]): Promise<string> {
    const topic = await this.newTopic();
    if (values.length > 0) await this.produce(topic, values);
    expect((await this.create(settings)).status).toBe(200);
    expect((await this.call('POST', '/subscription', { body: { topics: [topic] } })).status).toBe(204);
    return topic;
  }

  produce(topic: string, values: unknown[], type = JSON_V2): Promise<KafkaReply> {
    return this.request('POST', `/topics/${topic}`, { body: { records: values.map((value) => ({ value })) }, type });
  }

  async values(query = ''): Promise<unknown[]> {
    const { body } = await this.call('GET', `/records${query}`);
    return (body as { value: unknown }[]).map(({ value }) => value);
  }

  async committed(topic: string): Promise<number> {
    const { offsets } = (await this.#site.native.call('getOffsets', { path: { group: this.group } })).body;
    return offsets.find((one) => one.topic === topic)!.committed;
  }
}

/** For each dialect what a client of it sees; one value: all see that. */
export type Row<T> = readonly [what: string, seen: Record<Name, T> | (() => T), look: (client: Client) => Promise<T>];

export const row = <T>(what: string, seen: Record<Name, T>, look: (client: Client) => Promise<T>): Row<T> => [
  what,
  seen,
  look,
];
export const alike = <T>(what: string, seen: T, look: (client: Client) => Promise<T>): Row<T> => [
  what,
  () => seen,
  look,
];

/** A test for each row and dialect. */
export function testRows(rows: readonly Row<unknown>[], site: () => Site): void {
  const cases = rows.flatMap(([what, seen, look]) =>
    NAMES.map((name) => [what, name, typeof seen === 'function' ? seen() : seen[name], look] as const),
  );
  test.each(cases)('%s: %s', async (_, name, expected, look) =>
    expect(await look(new Client(site(), name))).toEqual(expected),
  );
}

export const codeOf = ({ status, body }: KafkaReply) => [
  status,
  (body as { error_code?: number } | undefined)?.error_code,
];
export const offsetsOf = ({ body }: KafkaReply) => (body as { offsets: object[] }).offsets;
