/** Every example and default in both documents fits the schema that it stands beside, wherever that is. */
import Ajv2020, { type ValidateFunction } from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { isNode, resolveReferences, withNulls, type Node } from '../../api/schema';
import { kafkaContract } from '../support/kafka';
import { contract } from '../support/node';

/** A value of the document, and the schema that it must fit. */
interface Shown {
  readonly where: string;
  readonly schema: Node;
  readonly value: unknown;
}

/** Keys whose values are data, and not part of the document's own structure. */
const DATA = new Set(['example', 'examples', 'default', 'value', 'x-path', 'enum']);

function shownIn(part: unknown, where: string): Shown[] {
  if (Array.isArray(part)) return part.flatMap((item, i) => shownIn(item, `${where}/${i}`));
  if (!isNode(part)) return [];
  const inside = Object.entries(part).flatMap(([key, value]) =>
    DATA.has(key) ? [] : shownIn(value, `${where}/${key}`),
  );
  // A parameter, header or body has its schema beside the examples; a schema is its own.
  const schema = isNode(part['schema']) ? part['schema'] : typeof part['type'] === 'string' ? part : undefined;
  if (!schema) return inside;
  const own: Shown[] = [];
  if ('example' in part) own.push({ where, schema, value: part['example'] });
  if ('default' in part) own.push({ where: `${where} default`, schema, value: part['default'] });
  for (const [name, example] of Object.entries(isNode(part['examples']) ? part['examples'] : {}))
    own.push({ where: `${where} ${name}`, schema, value: (example as Node)['value'] });
  return [...own, ...inside];
}

const ajv = new Ajv2020({ strict: false, allErrors: true, unicodeRegExp: false, logger: false });
addFormats(ajv);

const compiled = new Map<string, ValidateFunction>();

/** Most answers are the same problem: it is compiled once. Times stand as integers: their keyword is the server's own. */
function validatorOf(schema: Node): ValidateFunction {
  const text = JSON.stringify(withNulls(schema)).replaceAll('"x-time":true', '"type":"integer","minimum":0');
  const validate = compiled.get(text) ?? ajv.compile(JSON.parse(text) as Node);
  compiled.set(text, validate);
  return validate;
}

test.each([
  ['openapi.yaml', contract.document, 1000],
  ['kafka-rest.yaml', kafkaContract.document, 20],
])('%s', (_, document, least) => {
  const shown = shownIn(resolveReferences(document, document), '');
  const misfits = shown.flatMap(({ where, schema, value }) => {
    const validate = validatorOf(schema);
    return validate(value) ? [] : [`${where}: ${ajv.errorsText(validate.errors)}`];
  });
  expect(misfits).toEqual([]);
  expect(shown.length).toBeGreaterThan(least);
});
