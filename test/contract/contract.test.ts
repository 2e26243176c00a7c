/**
 * The rules of the document itself (api.md, rules 2 and 3), and that what is served is what is written: no operation is
 * renamed, no code is undocumented, no route stands beside the contract.
 */
import type { Express } from 'express';
import { BROKER_TAGS } from '../../api/brokerNode';
import { createApp } from '../../api/app';
import { Contract, type Operation } from '../../api/contract';
import { NAMESERVER_TAGS } from '../../api/nameserverNode';
import { STATUS } from '../../api/problem';
import { isNode, resolveReferences, type Node } from '../../api/schema';
import { systemChance } from '../../src/base/chance';
import { systemClock } from '../../src/base/clock';
import { CODES, type Code } from '../../src/base/errors';
import { silentLog } from '../../src/base/log';
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';

const { document } = contract;
const operations = [...contract.operations.values()];
const each = operations.map((operation) => [operation.id, operation] as const);
const MAX_SAFE = Number.MAX_SAFE_INTEGER;
const MAX_INT32 = 2 ** 31 - 1;

/** The operation as the document writes it, references resolved. */
const written = ({ path, method }: Operation): Node =>
  resolveReferences(document, ((document['paths'] as Node)[path] as Node)[method]) as Node;

interface Spot {
  readonly where: string;
  readonly schema: Node;
}

/** A schema and all schemas inside it. */
function schemasIn(where: string, schema: unknown): Spot[] {
  if (!isNode(schema)) return [];
  const inside = ['properties', '$defs', 'patternProperties'].flatMap((key) =>
    Object.entries((schema[key] ?? {}) as Node).flatMap(([name, part]) => schemasIn(`${where}/${name}`, part)),
  );
  const parts = ['items', 'additionalProperties', 'not', 'contains', 'if', 'then', 'else', 'propertyNames'].flatMap(
    (key) => schemasIn(`${where}/${key}`, schema[key]),
  );
  const lists = ['allOf', 'anyOf', 'oneOf', 'prefixItems'].flatMap((key) =>
    ((schema[key] ?? []) as unknown[]).flatMap((part, i) => schemasIn(`${where}/${key}/${i}`, part)),
  );
  return [{ where, schema }, ...inside, ...parts, ...lists];
}

const inMedia = (where: string, holder: unknown): Spot[] =>
  Object.entries((isNode(holder) ? (holder['content'] ?? {}) : {}) as Node).flatMap(([type, media]) =>
    schemasIn(`${where} ${type}`, (media as Node)['schema']),
  );

const requestSchemas = operations.flatMap((operation) => inMedia(operation.id, written(operation)['requestBody']));
const answerSchemas = operations.flatMap((operation) =>
  Object.entries(written(operation)['responses'] as Node).flatMap(([status, answer]) => [
    ...inMedia(`${operation.id} ${status}`, answer),
    ...Object.entries(((answer as Node)['headers'] ?? {}) as Node).flatMap(([name, header]) =>
      schemasIn(`${operation.id} ${status} ${name}`, (header as Node)['schema']),
    ),
  ]),
);
const parameterSchemas = operations.flatMap((operation) =>
  operation.parameters.flatMap(({ name, schema }) => schemasIn(`${operation.id}?${name}`, schema)),
);
const asked = [...requestSchemas, ...parameterSchemas];
const all = [...asked, ...answerSchemas];

/** Where a rule does not hold. */
const breaking = (spots: readonly Spot[], breaks: (schema: Node) => boolean): string[] => [
  ...new Set(spots.filter(({ schema }) => breaks(schema)).map(({ where }) => where)),
];

describe('the document is written for generators', () => {
  test.each(['const', 'oneOf', 'anyOf', 'prefixItems', 'patternProperties'])('%s is used nowhere', (keyword) => {
    expect(breaking(all, (schema) => keyword in schema)).toEqual([]);
  });

  test('no schema has a list of types', () => {
    expect(breaking(all, ({ type }) => Array.isArray(type))).toEqual([]);
  });

  test('every media type is named, none is a range', () => {
    const types = operations.flatMap(({ body, answers }) => [
      ...(body?.content.keys() ?? []),
      ...[...answers.values()].flatMap((content) => [...content.keys()]),
    ]);
    expect(types.filter((type) => type.includes('*'))).toEqual([]);
  });

  test('every reference leads somewhere, and every component is used', () => {
    const used = new Set<string>();
    const look = (value: unknown): void => {
      if (Array.isArray(value)) return value.forEach(look);
      if (!isNode(value)) return;
      if (typeof value['$ref'] === 'string') used.add(value['$ref']);
      Object.values(value).forEach(look);
    };
    look(document);
    const components = Object.entries(document['components'] as Node)
      .filter(([kind]) => kind !== 'securitySchemes')
      .flatMap(([kind, entries]) => Object.keys(entries as Node).map((name) => `#/components/${kind}/${name}`));
    expect([...used].filter((reference) => !components.includes(reference))).toEqual([]);
    expect(components.filter((component) => !used.has(component))).toEqual([]);
  });

  test('request objects are closed, or are maps', () => {
    expect(
      breaking(
        requestSchemas,
        ({ type, additionalProperties }) => type === 'object' && additionalProperties === undefined,
      ),
    ).toEqual([]);
    expect(
      breaking(
        requestSchemas,
        ({ properties, additionalProperties }) => properties !== undefined && additionalProperties !== false,
      ),
    ).toEqual([]);
  });

  test('answers are open and have no enum: both may grow', () => {
    expect(breaking(answerSchemas, ({ additionalProperties }) => additionalProperties === false)).toEqual([]);
    expect(
      breaking(answerSchemas, (schema) => 'enum' in schema || 'pattern' in schema || 'maxLength' in schema),
    ).toEqual([]);
  });

  test('enum values of requests are UPPER_SNAKE', () => {
    const wrong = (value: unknown) => typeof value !== 'string' || !/^[A-Z][A-Z0-9_]*$/.test(value);
    expect(breaking(asked, (schema) => ((schema['enum'] ?? []) as unknown[]).some(wrong))).toEqual([]);
  });

  test('integers say how large they get: int64 for offsets, times, sizes and lag, int32 for counts', () => {
    const integers = all.filter(({ schema }) => schema['type'] === 'integer');
    expect(breaking(integers, ({ format }) => format !== 'int32' && format !== 'int64')).toEqual([]);
    expect(breaking(integers, ({ minimum }) => !((minimum as number) >= 0))).toEqual([]);
    expect(breaking(integers, ({ format, maximum }) => format === 'int64' && maximum !== MAX_SAFE)).toEqual([]);
    expect(
      breaking(
        asked,
        ({ type, format, maximum }) => type === 'integer' && format === 'int32' && !((maximum as number) <= MAX_INT32),
      ),
    ).toEqual([]);
    const wide =
      /(offset|Offset|Timestamp|^lag|^timestamp|^offset|At|messagesIn|messagesOut|bytesIn|bytesOut|epoch|committed)$/;
    expect(
      integers
        .filter(({ where, schema }) => wide.test(where.split(/[/?]/).at(-1)!) && schema['format'] !== 'int64')
        .map(({ where }) => where),
    ).toEqual([]);
  });

  test('strings and lists of requests are bounded', () => {
    // A body is bounded by the request; NDJSON and text are bodies themselves.
    const body = /\/(body|bodyJson)$| (application\/x-ndjson|text\/plain|application\/octet-stream)$/;
    const strings = asked.filter(({ where, schema }) => schema['type'] === 'string' && !body.test(where));
    const bounded = ({ maxLength, enum: values, pattern }: Node) =>
      maxLength !== undefined || values !== undefined || typeof pattern === 'string';
    expect(
      breaking(strings, (schema) => !bounded(schema)).filter((where) => !where.endsWith('additionalProperties')),
    ).toEqual([]);
    expect(breaking(asked, ({ type, maxItems }) => type === 'array' && maxItems === undefined)).toEqual([]);
  });

  test('every field of a received message may be given back with it', () => {
    const schemas = (document['components'] as Node)['schemas'] as Record<string, Node>;
    const fieldsOf = (name: string) => Object.keys(schemas[name]!['properties'] as Node);
    const leased = [...fieldsOf('Message'), 'receiptHandle', 'invisibleUntil'];
    expect(fieldsOf('FailedMessage')).toEqual(expect.arrayContaining(fieldsOf('Message')));
    expect(fieldsOf('FailedReceipt')).toEqual(expect.arrayContaining(leased));
    expect(fieldsOf('ReceiptExtension')).toEqual(expect.arrayContaining(leased));
  });

  test('security is declared where a secret counts, and optional there', () => {
    expect(document['security']).toBeUndefined();
    for (const operation of operations)
      expect([operation.id, written(operation)['security'] ?? []]).toEqual([
        operation.id,
        operation.guarded ? [{}, { bearerAuth: [] }] : [],
      ]);
    expect(Object.keys((document['components'] as Node)['securitySchemes'] as Node)).toEqual(['bearerAuth']);
    const open = operations.filter((operation) => JSON.stringify(written(operation)['security']) === '[]');
    expect(open.map(({ id }) => id).sort()).toEqual(['livez', 'metrics', 'readyz']);
  });

  test('servers are relative, so that a proxy may put a prefix before everything', () => {
    expect(document['servers']).toMatchObject([{ url: '.' }]);
  });
});

describe('every operation is described', () => {
  test.each(each)('%s', (_, operation) => {
    const { summary, description, tags, responses } = written(operation);
    expect(summary).toEqual(expect.stringMatching(/^.{3,60}$/));
    expect(description).toEqual(expect.stringMatching(/.{20,}/));
    expect(tags).toHaveLength(1);
    const names = (document['tags'] as Node[]).map(({ name }) => name);
    expect(names).toContain((tags as string[])[0]);
    for (const answer of Object.values(responses as Node)) {
      expect((answer as Node)['description']).toBeTruthy();
      expect(Object.keys(((answer as Node)['headers'] ?? {}) as Node)).toContain('X-Request-Id');
    }
  });

  test('every field and parameter says what it is', () => {
    const silent = all.filter(
      ({ where, schema }) =>
        !schema['description'] &&
        !where.includes('?') &&
        !/ (X-Request-Id|ETag|Retry-After|Allow|Idempotency-Replayed|WWW-Authenticate)$/.test(where),
    );
    expect([...new Set(silent.map(({ where }) => where))]).toEqual([]);
    const parameters = operations.flatMap((operation) => {
      const item = (document['paths'] as Node)[operation.path] as Node;
      const listed = resolveReferences(document, [item['parameters'] ?? [], written(operation)['parameters'] ?? []]);
      return (listed as Node[][]).flat().filter(({ description }) => !description);
    });
    expect(parameters).toEqual([]);
  });
});

describe('errors', () => {
  const codesOf = (operation: Operation): Code[] => written(operation)['x-codes'] as Code[];
  /** The prose of each shared answer ends in the codes it may carry. */
  const listed = Object.entries((document['components'] as Node)['responses'] as Node).map(
    ([name, answer]) =>
      [
        name,
        /Codes: ([A-Z_, \n]+)\./.exec((answer as Node)['description'] as string)?.[1]?.split(/,\s*/) ?? [],
        answer,
      ] as const,
  );
  /** What no operation can answer: there is none at that path. */
  const OUTSIDE: readonly string[] = ['PATH_NOT_FOUND'];

  test('every code the program can answer is documented, and every documented one exists', () => {
    const known = Object.keys(CODES).sort();
    const named = new Set(operations.flatMap(codesOf));
    expect([...named, ...OUTSIDE].sort()).toEqual(known);
    expect([...new Set(listed.flatMap(([, codes]) => codes)), ...OUTSIDE].sort()).toEqual(known);
  });

  test('what no operation answers is documented where all errors are', () => {
    const { description } = document['info'] as { description: string };
    for (const code of OUTSIDE) expect(description).toContain(code);
  });

  test.each(listed)('the codes of %s have one status, which its example shows', (_, codes, answer) => {
    const statuses = new Set(codes.map((code) => STATUS[code as Code]));
    expect(statuses.size).toBe(1);
    const media = ((answer as Node)['content'] as Node)['application/problem+json'] as Node;
    const example = media['example'] as { code: Code; status: number; title: string; type: string; retryable: boolean };
    expect(codes).toContain(example.code);
    expect(example).toMatchObject({
      status: [...statuses][0],
      title: CODES[example.code].title,
      type: `urn:gantry:problem:${example.code}`,
      retryable: CODES[example.code].retryable,
    });
  });

  test.each(each)('the codes of %s and its answers say the same', (_, operation) => {
    const ofCodes = [...new Set(codesOf(operation).map((code) => String(STATUS[code])))].sort();
    const ofAnswers = [...operation.answers]
      .filter(([status, content]) => Number(status) >= 400 && content.has('application/problem+json'))
      .map(([status]) => status)
      .sort();
    expect(ofCodes).toEqual(ofAnswers);
    expect(new Set(codesOf(operation)).size).toBe(codesOf(operation).length);
  });
});

describe('/v1 changes by addition only', () => {
  test('no operation is renamed, moved or lost', () => {
    const shown = operations.map(({ id, method, path }) => `${id} ${method.toUpperCase()} ${path}`);
    // Add lines here for new operations. Changing or removing one breaks every client that was generated from it.
    expect(shown.sort()).toEqual([
      'ackMessages POST /v1/groups/{group}/acks',
      'awaitMessages GET /v1/peer/groups/{group}/readiness',
      'awaitTransactionChecks GET /v1/peer/producer-groups/{producerGroup}/readiness',
      'commitOffsets POST /v1/groups/{group}/offsets',
      'createTopic POST /v1/topics',
      'deleteDeadLetter DELETE /v1/groups/{group}/dead-letters/{messageId}',
      'deleteGroup DELETE /v1/groups/{group}',
      'deleteProducerGroup DELETE /v1/producer-groups/{producerGroup}',
      'deleteTag DELETE /v1/topics/{topic}/tags/{tag}',
      'deleteTopic DELETE /v1/topics/{topic}',
      'endTransaction POST /v1/transactions/{transactionId}/resolution',
      'endTransactions POST /v1/transactions/resolutions',
      'exportDeadLetter GET /v1/groups/{group}/dead-letters/{messageId}/body',
      'extendReceipts POST /v1/groups/{group}/extensions',
      'getCluster GET /v1/cluster',
      'getDeadLetter GET /v1/groups/{group}/dead-letters/{messageId}',
      'getGroup GET /v1/groups/{group}',
      'getMessage GET /v1/topics/{topic}/messages/{messageId}',
      'getMessageTrace GET /v1/topics/{topic}/messages/{messageId}/trace',
      'getNameserverCluster GET /v1/nameserver/cluster',
      'getNameserverRoute GET /v1/nameserver/routes/{topic}',
      'getNote GET /v1/peer/notes/{note}',
      'getOffsets GET /v1/groups/{group}/offsets',
      'getProducerGroup GET /v1/producer-groups/{producerGroup}',
      'getTopic GET /v1/topics/{topic}',
      'getTopicRoute GET /v1/topics/{topic}/route',
      'getTransaction GET /v1/transactions/{transactionId}',
      'getVersion GET /v1',
      'giveBackReceipts POST /v1/peer/groups/{group}/give-backs',
      'installDefinitions POST /v1/peer/definitions',
      'joinGroup PUT /v1/groups/{group}/consumers/{consumerId}',
      'leaveGroup DELETE /v1/groups/{group}/consumers/{consumerId}',
      'leaveTopic POST /v1/peer/topics/{topic}/departure',
      'listBrokers GET /v1/brokers',
      'listConsumers GET /v1/groups/{group}/consumers',
      'listDeadLetters GET /v1/groups/{group}/dead-letters',
      'listDefinitions GET /v1/peer/definitions',
      'listGroups GET /v1/groups',
      'listHoldings GET /v1/peer/topics/{topic}/holdings',
      'listNameserverRoutes GET /v1/nameserver/routes',
      'listProducerGroups GET /v1/producer-groups',
      'listQueues GET /v1/topics/{topic}/queues',
      'listScheduled GET /v1/topics/{topic}/scheduled',
      'listTags GET /v1/topics/{topic}/tags',
      'listTopics GET /v1/topics',
      'listTransactions GET /v1/transactions',
      'livez GET /livez',
      'metrics GET /metrics',
      'nackMessages POST /v1/groups/{group}/nacks',
      'pollMessages GET /v1/groups/{group}/consumers/{consumerId}/messages',
      'pollTransactionChecks GET /v1/producer-groups/{producerGroup}/transaction-checks',
      'prepareTransaction POST /v1/topics/{topic}/transactions',
      'purgeTopic POST /v1/topics/{topic}/purges',
      'putGroup PUT /v1/groups/{group}',
      'putNote PUT /v1/peer/notes/{note}',
      'putProducerGroup PUT /v1/producer-groups/{producerGroup}',
      'putTag PUT /v1/topics/{topic}/tags/{tag}',
      'queryMessages GET /v1/topics/{topic}/messages',
      'readQueue GET /v1/topics/{topic}/queues/{broker}/{queueId}/messages',
      'readyz GET /readyz',
      'recallScheduled DELETE /v1/topics/{topic}/scheduled/{messageId}',
      'receiveMessages POST /v1/groups/{group}/receipts',
      'redriveDeadLetters POST /v1/groups/{group}/dead-letters/redrives',
      'registerBroker PUT /v1/nameserver/brokers/{cluster}/{broker}/{brokerId}',
      'removeBroker DELETE /v1/brokers/{broker}',
      'resetOffsets POST /v1/groups/{group}/offset-resets',
      'restoreWritePermission PUT /v1/nameserver/brokers/{broker}/write-permission',
      'searchOffset GET /v1/topics/{topic}/queues/{broker}/{queueId}/offset',
      'seekConsumer POST /v1/groups/{group}/consumers/{consumerId}/cursors',
      'sendBack POST /v1/groups/{group}/retries',
      'sendMessages POST /v1/topics/{topic}/messages',
      'setBrokerPermission PUT /v1/brokers/{broker}/permission',
      'testFilter POST /v1/topics/{topic}/filter-tests',
      'unregisterBroker DELETE /v1/nameserver/brokers/{cluster}/{broker}/{brokerId}',
      'updateGroup PATCH /v1/groups/{group}',
      'updateProducerGroup PATCH /v1/producer-groups/{producerGroup}',
      'updateTopic PATCH /v1/topics/{topic}',
      'wipeWritePermission DELETE /v1/nameserver/brokers/{broker}/write-permission',
    ]);
  });

  test('the types of a body stand in the order of rule 12', () => {
    expect([...contract.operation('sendMessages').body!.content.keys()]).toEqual([
      'application/json',
      'application/x-ndjson',
      'text/plain',
      'application/octet-stream',
    ]);
  });

  test('paths have neither verbs with a colon nor a slash at their end', () => {
    expect(operations.map(({ path }) => path).filter((path) => /:|.\/$/.test(path))).toEqual([]);
  });

  test('no GET and no DELETE takes a body', () => {
    expect(operations.filter(({ method, body }) => body && (method === 'get' || method === 'delete'))).toEqual([]);
  });
});

const PROCESSES = [
  ['the broker', BROKER_TAGS, (node: Standalone) => node.url],
  ['the NameServer', NAMESERVER_TAGS, (node: Standalone) => node.nameserverUrl],
] as const;

/** The application of a process with handlers that do nothing: only its routes are of interest. */
function appOf(document: Contract, tags: readonly string[]): Express {
  const handlers = Object.fromEntries(document.of(tags).map(({ id }) => [id, () => ({ status: 204 })]));
  return createApp({ contract: document, tags, handlers, clock: systemClock, chance: systemChance, log: silentLog });
}

interface Layer {
  readonly route?: { readonly path: string; readonly methods: Readonly<Record<string, boolean>> };
}

/** `GET /v1/topics/{topic}` for each route of the application that is one of its own. */
function routesOf(app: Express): string[] {
  const { stack } = (app as unknown as { router: { stack: Layer[] } }).router;
  return stack.flatMap(({ route }) =>
    route
      ? Object.keys(route.methods)
          .filter((method) => !['_all', 'head'].includes(method))
          .map((method) => `${method.toUpperCase()} ${route.path.replaceAll(/:(\w+)/g, '{$1}')}`)
      : [],
  );
}

/** Pages about the API, no part of it. */
const PAGES = ['/', '/openapi.json', '/docs'];

describe.each(PROCESSES)('what %s serves is what is written', (_, tags, urlOf) => {
  let node: Standalone;
  let client: Http;
  const own = contract.of(tags);
  const foreign = operations.filter((operation) => !own.includes(operation));

  beforeAll(async () => {
    node = await Standalone.start();
    client = http(urlOf(node), contract);
    node.closeFirst(() => client.close());
  });
  afterAll(() => node.stop());

  test('its routes are the operations of its tags, neither more nor fewer', () => {
    const routes = routesOf(appOf(contract, tags)).filter((route) => !PAGES.some((page) => route.endsWith(` ${page}`)));
    expect(routes.sort()).toEqual(own.map(({ method, path }) => `${method.toUpperCase()} ${path}`).sort());
  });

  test.each([...new Set(own.map(({ path }) => path))])('OPTIONS %s lists its methods', async (path) => {
    const reply = await client.request('OPTIONS', path.replaceAll(/[{}]/g, ''));
    expect(reply.status).toBe(204);
    const methods = own.filter((operation) => operation.path === path).map(({ method }) => method.toUpperCase());
    const allowed = reply.headers['allow']!.split(', ').filter((method) => method !== 'HEAD');
    expect(allowed.sort()).toEqual([...methods, 'OPTIONS'].sort());
  });

  test('the operations of the other process are not here', async () => {
    for (const { path } of foreign) {
      const reply = await client.request('OPTIONS', path.replaceAll(/[{}]/g, ''));
      expect([path, reply.problem.code]).toEqual([path, 'PATH_NOT_FOUND']);
    }
    expect(foreign.length).toBeGreaterThan(0);
  });

  test('GET /openapi.json is this document, cut to what is here', async () => {
    const reply = await client.request('GET', '/openapi.json');
    expect(reply.headers['content-type']).toBe('application/json');
    const served = new Contract(reply.body as Node);
    const shown = own.filter(({ internal }) => !internal);
    expect([...served.operations.keys()]).toEqual(shown.map(({ id }) => id));
    for (const operation of shown) {
      expect((served.document['paths'] as Node)[operation.path]).toMatchObject({
        [operation.method]: ((document['paths'] as Node)[operation.path] as Node)[operation.method],
      });
    }
    const named = (served.document['tags'] as Node[]).map(({ name }) => name);
    expect(named.sort()).toEqual(tags.filter((tag) => tag !== 'Peers').sort());
    const { securitySchemes, ...components } = document['components'] as Node;
    const secured = shown.some(({ guarded }) => guarded);
    expect(served.document['components']).toEqual({ ...components, ...(secured && { securitySchemes }) });
    expect(reply.text).not.toContain('x-internal');
  });

  test('an internal operation is bound but not shown', () => {
    const [first, ...rest] = own.filter(({ internal }) => !internal);
    const paths = structuredClone(document['paths']) as Record<string, Record<string, Record<string, unknown>>>;
    paths[first!.path]![first!.method]!['x-internal'] = true;
    const changed = new Contract({ ...document, paths });
    expect(routesOf(appOf(changed, tags))).toContain(`${first!.method.toUpperCase()} ${first!.path}`);
    const shown = new Contract(changed.served(tags));
    expect([...shown.operations.keys()]).toEqual(rest.map(({ id }) => id));
  });
});

test('each operation is served by a process', () => {
  const served = new Set([...contract.of(BROKER_TAGS), ...contract.of(NAMESERVER_TAGS)]);
  expect(operations.filter((operation) => !served.has(operation))).toEqual([]);
});

test('a missing or a surplus handler does not start', () => {
  const handlers = Object.fromEntries(contract.of(BROKER_TAGS).map(({ id }) => [id, () => ({ status: 204 })]));
  const { getTopic, ...fewer } = handlers;
  const options = { contract, tags: BROKER_TAGS, clock: systemClock, chance: systemChance, log: silentLog };
  expect(() => createApp({ ...options, handlers: fewer })).toThrow('getTopic');
  expect(() => createApp({ ...options, handlers: { ...handlers, paintTopic: getTopic! } })).toThrow('paintTopic');
});
