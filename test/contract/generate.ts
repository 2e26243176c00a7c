/**
 * Requests made at random from the document: each fits the contract. Names are mostly those that exist, so that requests
 * get past the first check, and what an earlier answer gave (cursors, ids, ETags) is brought back.
 */
import fc, { type Arbitrary } from 'fast-check';
import type { Operation, Parameter } from '../../api/contract';
import { isNode, type Node } from '../../api/schema';
import type { RequestParts } from '../support/http';

/** Values of earlier answers, by the name of the field they stood in. */
export class Memory {
  readonly #values = new Map<string, string[]>();

  /** Keeps the last hundred of each. */
  learn(name: string, value: string): void {
    const known = this.#values.get(name) ?? [];
    this.#values.set(name, [...known.slice(-99), value]);
  }

  /** The `nth` of them; `otherwise` before there is any. */
  recall(name: string, nth: number, otherwise: string): string {
    const known = this.#values.get(name) ?? [];
    return known.length === 0 ? otherwise : known[nth % known.length]!;
  }

  /** Learns what a JSON answer holds, at any depth. */
  learnFrom(value: unknown): void {
    if (Array.isArray(value)) return value.forEach((item) => this.learnFrom(item));
    if (!isNode(value)) return;
    for (const [name, part] of Object.entries(value)) {
      if (typeof part === 'string' && LEARNT.has(name)) this.learn(name, part);
      else this.learnFrom(part);
    }
  }
}

const LEARNT = new Set([
  ...['cursor', 'generation', 'messageId', 'offsetMessageId', 'receiptHandle', 'transactionId', 'etag'],
]);

/** Lists whose items are called otherwise than one would guess. */
const ITEMS: Readonly<Record<string, string>> = {
  brokers: 'broker',
  messageIds: 'messageId',
  receiptHandles: 'receiptHandle',
};

const NO_ID = '0'.repeat(32);

const mostly = (known: readonly string[], other: Arbitrary<string>): Arbitrary<string> =>
  fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...known) }, { weight: 1, arbitrary: other });

/** A message with one body and one delay at most. */
function consistent(message: Record<string, unknown>): Record<string, unknown> {
  const { bodyJson: _, bodyEncoding: __, delayMs, deliverAt: ___, delayLevel: ____, ...rest } = message;
  const delay = delayMs === undefined || rest['messageGroup'] !== undefined ? {} : { delayMs };
  return { ...rest, body: 'text', ...delay };
}

/** Requests of one operation. `memory` is asked when a request is made, not before. */
export class Requests {
  readonly #memory: Memory;
  readonly #known: Readonly<Record<string, readonly string[]>> = {
    topic: ['orders', 'orders', 'payments', 'reminders', 'transfers', 'other'],
    name: ['orders', 'payments', 'reminders', 'transfers', 'other'],
    producerGroup: ['banks', 'shops'],
    group: ['billing', 'accounting', 'mailing'],
    consumerId: ['worker-1', 'worker-2'],
    broker: ['broker-a', 'broker-a', 'broker-a', 'broker-b'],
    cluster: ['DefaultCluster'],
    tag: ['created', 'paid'],
    at: ['EARLIEST', 'LATEST', '1767261600000'],
    // Of both kinds: the one is refused as the other now and then.
    expression: ['*', 'created || paid', '', 'TRUE', "region = 'eu'", 'TAGS IS NULL'],
    sql: ['TRUE', "region = 'eu' AND total > 10", "KEYS CONTAINS 'a'"],
    address: ['127.0.0.1:8082', '127.0.0.1:8083'],
    'Idempotency-Key': ['key-1', 'key-2'],
    'If-None-Match': ['*', '"x"'],
  };

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  of(operation: Operation): Arbitrary<RequestParts> {
    return fc
      .tuple(this.#parameters(operation), this.#body(operation))
      .map(([parameters, body]) => ({ ...parameters, ...body }));
  }

  #parameters(operation: Operation): Arbitrary<RequestParts> {
    const inPlace = (place: Parameter['in']) =>
      fc.record(
        Object.fromEntries(
          operation.parameters.filter((parameter) => parameter.in === place).map((p) => [p.name, this.#parameter(p)]),
        ),
        // waitMs is always there: its default waits longer than a test wants to.
        {
          requiredKeys: operation.parameters
            .filter((p) => p.in === place && (p.required || p.name === 'waitMs'))
            .map((p) => p.name),
        },
      );
    return fc
      .tuple(inPlace('path'), inPlace('query'), inPlace('header'))
      .map(([path, query, headers]) => ({ path, query, headers }) as RequestParts);
  }

  #parameter({ name, in: place, schema }: Parameter): Arbitrary<unknown> {
    if (name === 'If-Match') return fc.oneof(fc.constantFrom('*', '"x.1"'), this.#earlier('etag', '"x.2"'));
    const value = this.#value(schema, name);
    // A header is ASCII; elsewhere half a surrogate pair cannot even be sent.
    const sendable = (one: unknown): unknown => {
      if (Array.isArray(one)) return one.map(sendable);
      if (typeof one !== 'string') return one;
      return place === 'header' ? one.replaceAll(/[^\x21-\x7e]/g, '.') : one.toWellFormed();
    };
    return value.map(sendable);
  }

  #earlier(name: string, otherwise: string): Arbitrary<string> {
    return fc.nat(99).map((nth) => this.#memory.recall(name, nth, otherwise));
  }

  #value(schema: Node, name: string): Arbitrary<unknown> {
    if (name === 'cursor')
      return fc.oneof(this.#earlier('cursor', ''), fc.constant(''), fc.base64String({ maxLength: 60 }));
    if (name === 'waitMs') return fc.nat(10);
    if (name === 'receiptHandle') return fc.oneof(this.#earlier('receiptHandle', 'AAAA'), fc.constant('AAAA'));
    if (name === 'transactionId') return fc.oneof(this.#earlier('transactionId', NO_ID), fc.constant(NO_ID));
    // Refused, all of them: a webhook that is called, or a name that is looked up, would leave this machine.
    if (name === 'url') return fc.constantFrom('http://10.0.0.1/', 'http://localhost/', 'ftp://a', 'x');
    if (name === 'generation') return fc.oneof(this.#earlier('generation', '2'), fc.constant('1'));
    if (name === 'messageId')
      return fc.oneof(this.#earlier('messageId', NO_ID), this.#earlier('offsetMessageId', NO_ID), fc.constant(NO_ID));
    if (Array.isArray(schema['enum'])) return fc.constantFrom(...(schema['enum'] as string[]));
    switch (schema['type']) {
      case 'integer':
        return integer(schema);
      case 'boolean':
        return fc.boolean();
      case 'string':
        return this.#known[name] ? mostly(this.#known[name], text(schema)) : text(schema);
      case 'array':
        return this.#list(schema, name);
      case 'object':
        return this.#object(schema);
      default:
        return fc.jsonValue({ maxDepth: 4 });
    }
  }

  #list(schema: Node, name: string): Arbitrary<unknown[]> {
    const {
      minItems = 0,
      maxItems = 8,
      uniqueItems,
    } = schema as { minItems?: number; maxItems?: number; uniqueItems?: boolean };
    const item = this.#value(schema['items'] as Node, ITEMS[name] ?? name);
    const bounds = { minLength: minItems, maxLength: Math.min(maxItems, 4) };
    return uniqueItems ? fc.uniqueArray(item, bounds) : fc.array(item, bounds);
  }

  #object(schema: Node): Arbitrary<unknown> {
    const {
      properties,
      additionalProperties,
      required = [],
    } = schema as { properties?: Record<string, Node>; additionalProperties?: Node; required?: string[] };
    if (!properties) {
      return fc.dictionary(fc.string({ minLength: 1, maxLength: 8 }), this.#value(additionalProperties ?? {}, ''), {
        maxKeys: 3,
      });
    }
    const fields = Object.entries(properties).map(([name, part]): [string, Arbitrary<unknown>] => {
      const value = this.#value(part, name);
      return [
        name,
        part['x-nullable'] === true
          ? fc.oneof({ weight: 4, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) })
          : value,
      ];
    });
    // As with parameters.
    const always = 'waitMs' in properties ? ['waitMs'] : [];
    const record = fc.record(Object.fromEntries(fields), { requiredKeys: [...required, ...always] });
    if (!('bodyJson' in properties)) return record;
    // Of what excludes each other mostly one is there, or hardly a message would be taken.
    return fc.tuple(record, fc.nat(9)).map(([message, n]) => (n === 0 ? message : consistent(message)));
  }

  #body(operation: Operation): Arbitrary<RequestParts> {
    if (!operation.body) return fc.constant({});
    const json = this.#value(operation.body.content.get('application/json')!, '').map((body): RequestParts => ({
      body,
    }));
    if (operation.id !== 'sendMessages') return json;
    const message = this.#value(messageSchema(operation), '');
    return fc.oneof(
      json,
      message.map((body): RequestParts => ({ body })),
      fc.array(message, { minLength: 1, maxLength: 3 }).map((lines): RequestParts => ({
        bytes: lines.map((line) => JSON.stringify(line)).join('\n'),
        contentType: 'application/x-ndjson',
      })),
      fc.string({ minLength: 1, unit: 'binary' }).map((bytes): RequestParts => ({ bytes, contentType: 'text/plain' })),
      fc
        .uint8Array({ minLength: 1, maxLength: 50 })
        .map((bytes): RequestParts => ({ bytes: Buffer.from(bytes), contentType: 'image/png' })),
    );
  }
}

function messageSchema(operation: Operation): Node {
  const { properties } = operation.body!.content.get('application/json') as {
    properties: { messages: { items: Node } };
  };
  return properties.messages.items;
}

/** Small numbers mostly, the bounds now and then. */
function integer({
  minimum = 0,
  maximum = Number.MAX_SAFE_INTEGER,
}: {
  readonly minimum?: number;
  readonly maximum?: number;
}): Arbitrary<number> {
  return fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: minimum, max: Math.min(maximum, minimum + 4) }) },
    { weight: 1, arbitrary: fc.constantFrom(minimum, maximum) },
    { weight: 1, arbitrary: fc.maxSafeNat().map((number) => minimum + (number % (maximum - minimum + 1))) },
  );
}

function text({
  pattern,
  minLength = 0,
  maxLength = 40,
}: Node & { readonly minLength?: number; readonly maxLength?: number }): Arbitrary<string> {
  if (typeof pattern === 'string') return fc.stringMatching(new RegExp(pattern));
  return fc.string({ minLength, maxLength: Math.min(maxLength, 40), unit: 'grapheme' });
}
