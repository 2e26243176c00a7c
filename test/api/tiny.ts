/** A contract small enough to be read whole, and a server on it: what the rim's own tests run against. */
import { connect } from 'node:net';
import { createApp, type AppOptions } from '../../api/app';
import { Contract } from '../../api/contract';
import type { Answer, Handlers } from '../../api/operation';
import type { Schema } from '../../api/schema';
import { HttpServer, type HttpServerOptions } from '../../api/server';
import { systemChance } from '../../src/base/chance';
import { systemClock } from '../../src/base/clock';
import { silentLog } from '../../src/base/log';
import { http, type Http } from '../support/http';
import { patience } from '../support/patience';

const name = { type: 'string', pattern: '^[A-Za-z0-9_.-]{1,127}$' };
const topicName = { type: 'string', pattern: '^(~(RETRY|DLQ)~)?[A-Za-z0-9_.-]{1,127}$' };
const inPath = (parameter: string, schema: Schema = topicName) => ({
  name: parameter,
  in: 'path',
  required: true,
  schema,
});
const inQuery = (parameter: string, schema: Schema) => ({ name: parameter, in: 'query', schema });
const json = (schema: Schema) => ({ content: { 'application/json': { schema } } });
const anything = { type: 'object', additionalProperties: true };
const answers = (schema: Schema = anything) => ({
  '200': { description: 'ok', ...json(schema) },
  '201': { description: 'made', ...json(schema) },
  '204': { description: 'gone' },
  '207': { description: 'mixed', ...json(schema) },
  default: { description: 'problem', content: { 'application/problem+json': { schema: anything } } },
});

const message = {
  type: 'object',
  additionalProperties: false,
  properties: {
    body: { type: 'string' },
    bodyJson: {},
    bodyEncoding: { type: 'string', enum: ['TEXT', 'BASE64'] },
    contentType: { type: 'string', maxLength: 255 },
    tag: { type: 'string', maxLength: 128 },
    keys: { type: 'array', maxItems: 128, items: { type: 'string' } },
    properties: { type: 'object', additionalProperties: { type: 'string' } },
    messageGroup: { type: 'string' },
    messageId: { type: 'string', pattern: '^[0-9A-F]{32}$' },
    queue: {
      type: 'object',
      additionalProperties: false,
      required: ['broker', 'queueId'],
      properties: { broker: name, queueId: { type: 'integer', minimum: 0 } },
    },
  },
};

export const tinyDocument = {
  openapi: '3.1.0',
  info: { title: 'tiny', version: '1' },
  servers: [{ url: './' }],
  tags: [{ name: 'Topics' }, { name: 'Health' }, { name: 'Other' }],
  paths: {
    '/v1': { get: { operationId: 'getVersion', tags: ['Topics'], responses: answers() } },
    '/v1/topics': {
      get: {
        operationId: 'listTopics',
        tags: ['Topics'],
        parameters: [
          inQuery('limit', { type: 'integer', minimum: 1, maximum: 1000, default: 100 }),
          inQuery('cursor', { type: 'string', maxLength: 4096 }),
          inQuery('force', { type: 'boolean', default: false }),
          inQuery('tag', { type: 'array', items: { type: 'string' } }),
          { name: 'Idempotency-Key', in: 'header', schema: { type: 'string', pattern: '^[A-Za-z0-9_.:-]{1,128}$' } },
        ],
        responses: answers(),
      },
      post: {
        operationId: 'createTopic',
        tags: ['Topics'],
        requestBody: { required: true, ...json({ $ref: '#/components/schemas/CreateTopic' }) },
        responses: answers({
          type: 'object',
          required: ['name'],
          properties: { name, writeQueues: { type: 'integer' } },
        }),
      },
    },
    '/v1/topics/{topic}': {
      parameters: [inPath('topic')],
      get: { operationId: 'getTopic', tags: ['Topics'], responses: answers() },
      patch: {
        operationId: 'updateTopic',
        tags: ['Topics'],
        requestBody: {
          required: true,
          ...json({
            type: 'object',
            additionalProperties: false,
            properties: {
              description: { type: 'string', 'x-nullable': true },
              type: { type: 'string', enum: ['NORMAL', 'FIFO'] },
            },
          }),
        },
        responses: answers(),
      },
      delete: { operationId: 'deleteTopic', tags: ['Topics'], responses: answers() },
    },
    '/v1/topics/{topic}/messages': {
      post: {
        operationId: 'sendMessages',
        tags: ['Topics'],
        parameters: [
          inPath('topic'),
          inQuery('tag', { type: 'string' }),
          inQuery('key', { type: 'array', items: { type: 'string' } }),
          inQuery('property', { type: 'array', items: { type: 'string' } }),
          inQuery('messageGroup', { type: 'string' }),
        ],
        requestBody: {
          required: true,
          content: {
            'application/json': {
              schema: {
                type: 'object',
                additionalProperties: false,
                required: ['messages'],
                properties: {
                  messages: {
                    type: 'array',
                    minItems: 1,
                    maxItems: 1000,
                    items: { $ref: '#/components/schemas/Message' },
                  },
                },
              },
            },
            'application/x-ndjson': { schema: { type: 'string' } },
            'text/plain': { schema: { type: 'string' } },
          },
        },
        responses: answers(),
      },
    },
    '/v1/groups/{group}/consumers/{consumerId}/messages': {
      get: {
        operationId: 'pollMessages',
        tags: ['Topics'],
        parameters: [inPath('group'), inPath('consumerId', { type: 'string', pattern: '^[A-Za-z0-9_.:@-]{1,128}$' })],
        responses: answers(),
      },
    },
    '/v1/groups/{group}/receipts': {
      post: {
        operationId: 'receiveMessages',
        tags: ['Topics'],
        parameters: [inPath('group')],
        requestBody: {
          required: false,
          ...json({ type: 'object', additionalProperties: false, properties: { max: { type: 'integer' } } }),
        },
        responses: answers(),
      },
    },
    '/v1/peer/journal': {
      put: { operationId: 'pullJournal', tags: ['Topics'], 'x-internal': true, responses: answers() },
    },
    '/v1/elsewhere': { get: { operationId: 'elsewhere', tags: ['Other'], responses: answers() } },
    '/livez': { get: { operationId: 'livez', tags: ['Health'], responses: answers() } },
    '/metrics': {
      get: {
        operationId: 'metrics',
        tags: ['Health'],
        responses: {
          '200': { description: 'ok', content: { 'text/plain': {} } },
          '406': { description: 'problem', content: { 'application/problem+json': { schema: anything } } },
        },
      },
    },
  },
  components: {
    schemas: {
      Message: message,
      CreateTopic: {
        type: 'object',
        additionalProperties: false,
        required: ['name'],
        properties: {
          name,
          writeQueues: { type: 'integer', minimum: 1, maximum: 1024, default: 8 },
          nested: { type: 'object', additionalProperties: false, properties: { 'a/b': { type: 'boolean' } } },
          free: {},
        },
      },
    },
  },
};

export const tinyContract = new Contract(tinyDocument);
export const TAGS = ['Topics', 'Health'];

const ok = (): Answer => ({ status: 200, body: {} });

/** Handlers that answer `{}`, with those given in their place. */
export const tinyHandlers = (own: Handlers = {}): Handlers => ({
  ...Object.fromEntries(tinyContract.of(TAGS).map(({ id }) => [id, ok])),
  metrics: () => ({ status: 200, text: 'up 1\n', headers: { 'Content-Type': 'text/plain; version=0.0.4' } }),
  ...own,
});

export interface Tiny {
  readonly url: string;
  readonly port: number;
  readonly server: HttpServer;
  readonly http: Http;
  stop(): Promise<void>;
}

export interface TinyOptions {
  readonly handlers?: Handlers;
  readonly app?: Partial<AppOptions>;
  readonly server?: Partial<HttpServerOptions>;
}

/** A server on a free port. */
export async function startTiny({ handlers, app, server: own }: TinyOptions = {}): Promise<Tiny> {
  const shared = { clock: systemClock, chance: systemChance, log: silentLog };
  const server = new HttpServer({ host: '127.0.0.1', port: 0, ...shared, drainMs: 500, ...own });
  server.serve(createApp({ contract: tinyContract, tags: TAGS, handlers: tinyHandlers(handlers), ...shared, ...app }));
  await server.start();
  const { url, port } = server.address();
  const client = http(url, tinyContract);
  return {
    url,
    port,
    server,
    http: client,
    async stop() {
      await client.close();
      await server.stop();
    },
  };
}

/** Writes bytes on a bare connection and gives what comes back until the server closes it, or `waitMs` passed. */
export function speak(
  port: number,
  bytes: string | Buffer | readonly (string | Buffer)[],
  waitMs = 1500,
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const parts = Array.isArray(bytes) ? (bytes as (string | Buffer)[]) : [bytes as string];
    let heard = '';
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(heard);
    };
    const timer = setTimeout(done, patience(waitMs));
    socket.on('connect', () => parts.forEach((part) => socket.write(part)));
    socket.on('data', (data) => (heard += data.toString('latin1')));
    socket.on('close', done).on('error', () => undefined);
  });
}

/** Writes a request on a bare connection and gives the first answer, as soon as all of it has come. */
export function answerTo(port: number, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(request));
    let heard = '';
    socket.on('data', (data) => {
      heard += data.toString('latin1');
      const [head = '', body] = heard.split('\r\n\r\n', 2);
      const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
      if (body !== undefined && body.length >= length) socket.destroy();
    });
    socket.on('close', () => resolve(heard)).on('error', reject);
  });
}

/** The status of the first answer, and its problem code. */
export function outcome(heard: string): { status: number; code: string | undefined } {
  return { status: Number(heard.slice(9, 12)), code: /"code":"([A-Z_]+)"/.exec(heard)?.[1] };
}
