/** Every example of openapi.yaml is true: requests are sent and succeed, answers fit their schemas. */
import Ajv2020, { type ValidateFunction } from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { closed, withNulls, type Node } from '../../api/schema';
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';
import { atNameserver, examplesOf, parametersOf, placedExamples, Walk, walkthrough } from './examples';

const operations = [...contract.operations.values()];
const inOrder = walkthrough(contract);

describe('every request example, one after the other, against a fresh standalone', () => {
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

  const walk = new Walk(contract, (operation) => (atNameserver(operation) ? nameserver : broker));
  const steps = inOrder.flatMap((operation) => examplesOf(contract, operation));

  test.each(steps.map((step) => [`${step.operation.id} ${step.name}`.trim(), step] as const))('%s', async (_, step) => {
    const reply = await walk.send(step);
    if (reply.status >= 300) throw new Error(`${reply.status} ${reply.text}`);
  });
});

describe('the walk through the document', () => {
  test('comes by every operation once: a new one has its place in x-walkthrough', () => {
    expect(inOrder.map(({ id }) => id).sort()).toEqual(operations.map(({ id }) => id).sort());
  });

  test.each(operations.map((operation) => [operation.id, operation] as const))(
    '%s has an example for all that it needs',
    (_, operation) => {
      const without = parametersOf(contract, operation)
        .filter((parameter) => parameter['required'] === true && parameter['example'] === undefined)
        .map((parameter) => parameter['name']);
      expect(without).toEqual([]);
      expect(examplesOf(contract, operation).length).toBeGreaterThan(0);
    },
  );

  test('shows nothing that must differ from call to call', () => {
    const shown = operations.flatMap((operation) =>
      parametersOf(contract, operation).filter(
        ({ name, example }) =>
          example !== undefined && ['cursor', 'Idempotency-Key', 'If-Match'].includes(name as string),
      ),
    );
    expect(shown).toEqual([]);
  });
});

describe('every example fits its schema', () => {
  const ajv = new Ajv2020({ strict: false, allErrors: true, logger: false });
  addFormats(ajv);
  const compiled = new Map<string, ValidateFunction>();
  /** Most answers are the same problem: it is compiled once. */
  const validatorOf = (schema: unknown): ValidateFunction => {
    const key = JSON.stringify(schema);
    const validate = compiled.get(key) ?? ajv.compile(withNulls(closed(schema)) as Node);
    compiled.set(key, validate);
    return validate;
  };

  test.each(operations.map((operation) => [operation.id, operation] as const))('%s', (_, operation) => {
    const wrong = placedExamples(contract, operation).flatMap(({ where, value, schema }) => {
      const validate = validatorOf(schema);
      return validate(operation.id === 'sendMessages' ? value : value)
        ? []
        : [`${where}: ${ajv.errorsText(validate.errors, { dataVar: '' })}`];
    });
    expect(wrong).toEqual([]);
  });

  test.each(operations.map((operation) => [operation.id, operation] as const))(
    '%s shows an answer of each kind that has a body',
    (_, operation) => {
      const shown = placedExamples(contract, operation).map(({ where }) => where);
      const missing = [...operation.answers].flatMap(([status, content]) =>
        [...content.keys()].filter((type) => !shown.some((where) => where.startsWith(`answer ${status} ${type}`))),
      );
      expect(missing).toEqual([]);
    },
  );
});
