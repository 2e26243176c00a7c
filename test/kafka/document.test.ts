/** kafka-rest.yaml: complete, well-formed, and shown beside the native document. */
import Ajv2020 from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { resolveReferences, type Node } from '../../api/schema';
import { http, type Http } from '../support/http';
import { kafkaContract } from '../support/kafka';
import { contract, Standalone } from '../support/node';

let node: Standalone;
let native: Http;

beforeAll(async () => {
  node = await Standalone.start();
  native = http(node.url, contract);
  node.closeFirst(() => native.close());
});
afterAll(() => node.stop());

test('it is served, and both documents can be chosen in Swagger UI', async () => {
  const { status, text } = await native.request('GET', '/kafka-rest.json');
  expect(status).toBe(200);
  expect(JSON.parse(text)).toEqual(kafkaContract.document);
  // Swagger UI calls relative to where the document lies.
  expect(kafkaContract.document['servers']).toEqual([{ url: '.' }]);
  const { text: script } = await native.request('GET', '/docs/swagger-ui-init.js');
  for (const url of ['../openapi.json', '../kafka-rest.json']) expect(script).toContain(url);
});

function newAjv(): Ajv2020 {
  const ajv = new Ajv2020({ strict: false });
  addFormats(ajv);
  return ajv;
}

test('every operation has a summary, a description and its errors, and all schemas compile', () => {
  const ajv = newAjv();
  for (const [path, item] of Object.entries(kafkaContract.document['paths'] as Node))
    for (const [method, operation] of Object.entries(item as Record<string, Node>)) {
      const where = `${method} ${path}`;
      expect([where, typeof operation['summary'], typeof operation['description']]).toEqual([
        where,
        'string',
        'string',
      ]);
      expect(Object.keys(operation['responses'] as Node)).toContain('default');
    }
  for (const operation of kafkaContract.operations.values())
    for (const content of [operation.body?.content, ...operation.answers.values()])
      for (const schema of content?.values() ?? []) if (schema) ajv.compile(schema);
});

test('the 21 operations of Confluent’s v2 API are there, and the root', () => {
  const wanted = [
    ...['GET /', 'POST /', 'GET /brokers', 'GET /topics', 'GET /topics/{topic}', 'POST /topics/{topic}'],
    ...['GET /topics/{topic}/partitions', 'GET /topics/{topic}/partitions/{partition}'],
    ...['POST /topics/{topic}/partitions/{partition}', 'GET /topics/{topic}/partitions/{partition}/offsets'],
    ...['POST /consumers/{group}', 'DELETE /consumers/{group}/instances/{instance}'],
    ...['POST', 'GET', 'DELETE'].map((method) => `${method} /consumers/{group}/instances/{instance}/subscription`),
    ...['POST', 'GET'].map((method) => `${method} /consumers/{group}/instances/{instance}/assignments`),
    ...['', '/beginning', '/end'].map((end) => `POST /consumers/{group}/instances/{instance}/positions${end}`),
    'GET /consumers/{group}/instances/{instance}/records',
    ...['POST', 'GET'].map((method) => `${method} /consumers/{group}/instances/{instance}/offsets`),
  ];
  const found = [...kafkaContract.operations.values()].map(({ method, path }) => `${method.toUpperCase()} ${path}`);
  expect(found).toEqual(expect.arrayContaining(wanted));
});

test('the examples of its bodies are what its schemas allow', () => {
  const ajv = newAjv();
  const document = kafkaContract.document;
  for (const item of Object.values(document['paths'] as Node))
    for (const operation of Object.values(item as Record<string, Node>)) {
      const body = resolveReferences(document, operation['requestBody']) as Node | undefined;
      for (const media of Object.values((body?.['content'] ?? {}) as Record<string, Node>))
        if (media['example'] !== undefined) expect(ajv.validate(media['schema'] as Node, media['example'])).toBe(true);
    }
});
