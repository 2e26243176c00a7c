/**
 * All the ways in which one request can go against the contract, each with the answer it must get. Made from the
 * document, so that a new operation, parameter or field is abused from its first day.
 */
import { bodyLimit } from '../../api/body';
import type { Operation, Parameter } from '../../api/contract';
import { isNode, type Node } from '../../api/schema';
import type { RequestParts } from '../support/http';

/** One wrong request. */
export interface Fault {
  readonly what: string;
  readonly parts: RequestParts;
  readonly code: string;
  /** Where the answer must say it is: `path name`, `query name`, `header name`, a JSON pointer, or undefined. */
  readonly at: string | undefined;
}

type Values = Readonly<Record<string, unknown>>;

const invalid = (what: string, parts: RequestParts, at: string): Fault => ({
  what,
  parts,
  code: 'VALIDATION_FAILED',
  at,
});

/** Every fault of one mutation that can be made of a valid request. */
export function faultsOf(operation: Operation, parts: RequestParts): Fault[] {
  return [
    ...pathFaults(operation, parts),
    ...queryFaults(operation, parts),
    ...headerFaults(operation, parts),
    ...(operation.body
      ? [...jsonFaults(operation, parts), ...textFaults(operation, parts)]
      : bodyWhereNone(operation, parts)),
  ];
}

const of = (operation: Operation, place: Parameter['in']): Parameter[] =>
  operation.parameters.filter((parameter) => parameter.in === place);

function pathFaults(operation: Operation, parts: RequestParts): Fault[] {
  return of(operation, 'path').flatMap(({ name, schema }) =>
    wrongTexts(schema)
      .filter((text) => text !== '') // that is another path
      .map((text) =>
        invalid(`path ${name}=${short(text)}`, { ...parts, path: { ...parts.path, [name]: text } }, `path ${name}`),
      ),
  );
}

function queryFaults(operation: Operation, parts: RequestParts): Fault[] {
  const known = of(operation, 'query');
  const given = (name: string, value: unknown): RequestParts => ({
    ...parts,
    query: { ...parts.query, [name]: value } as NonNullable<RequestParts['query']>,
  });
  return [
    invalid('an unknown query parameter', given('nonsense', '1'), 'query nonsense'),
    invalid('a query parameter of another case', given('LIMIT', '1'), 'query LIMIT'),
    invalid('__proto__ as query parameter', given('__proto__x', '1'), 'query __proto__x'),
    ...known
      .filter(({ schema }) => schema['type'] !== 'array')
      .map(({ name, schema }) => invalid(`${name} twice`, given(name, [fits(schema), fits(schema)]), `query ${name}`)),
    ...known
      .filter(({ schema }) => schema['type'] === 'array')
      .map(({ name, schema }) => {
        const times = (schema['maxItems'] as number) + 1;
        return invalid(`${name} ${times} times`, given(name, Array(times).fill('a:b')), `query ${name}`);
      }),
    ...known
      .filter(({ required }) => required)
      .map(({ name }) => invalid(`${name} missing`, given(name, undefined), `query ${name}`)),
    ...known.flatMap(({ name, schema }) =>
      wrongTexts((schema['type'] === 'array' ? schema['items'] : schema) as Node).map((text) =>
        invalid(`${name}=${short(text)}`, given(name, text), `query ${name}`),
      ),
    ),
  ];
}

function headerFaults(operation: Operation, parts: RequestParts): Fault[] {
  return of(operation, 'header').flatMap(({ name, schema }) =>
    wrongTexts(schema)
      .filter((text) => /^[\x20-\x7e]+$/.test(text)) // the rest is no header at all
      .map((text) =>
        invalid(`${name}: ${short(text)}`, { ...parts, headers: { ...parts.headers, [name]: text } }, `header ${name}`),
      ),
  );
}

/** Texts that are no value of this schema. */
function wrongTexts(schema: Node): string[] {
  if (schema['type'] === 'integer') {
    const { minimum, maximum } = schema as { minimum: number; maximum?: number };
    const beyond = maximum === undefined ? [] : [String(BigInt(maximum) + 1n)];
    return ['x', '', '1.5', '1e2', '0x1', ' 1', 'null', String(minimum - 1), ...beyond, '99999999999999999999'];
  }
  if (schema['type'] === 'boolean') return ['yes', 'TRUE', '1', ''];
  return wrongStrings(schema);
}

function wrongStrings({ pattern, maxLength, enum: values }: Node): string[] {
  if (Array.isArray(values)) return ['NONSENSE', ''];
  const candidates = ['', 'a b', 'ä', 'a|b', 'a\u0000b', 'a\tb', '%', 'a/b', 'x'.repeat(300), 'x'.repeat(5000)];
  const wrong = (text: string) =>
    (typeof pattern === 'string' && !new RegExp(pattern).test(text)) ||
    (typeof maxLength === 'number' && text.length > maxLength);
  return candidates.filter(wrong);
}

/** A text that is a value of this schema, for parameters that are given twice. */
function fits(schema: Node): string {
  if (schema['type'] === 'boolean') return 'true';
  if (schema['type'] === 'integer') return String(Math.max(1, schema['minimum'] as number));
  return 'EARLIEST';
}

const short = (text: string): string =>
  JSON.stringify(text.length > 20 ? `${text.slice(0, 5)}… (${text.length})` : text);

/** What a JSON body can say wrongly. */
function jsonFaults(operation: Operation, parts: RequestParts): Fault[] {
  const schema = operation.body?.content.get('application/json');
  if (!schema || parts.body === undefined) return [];
  return wrongValues(schema, parts.body, '').map(({ what, value, pointer }) => {
    // An object without messages is one message.
    const alone = operation.id === 'sendMessages' && isNode(value) && !('messages' in value);
    const at = alone ? '#/messages/0/body' : `#${pointer}`;
    return invalid(what, { ...parts, contentType: 'application/json', body: value }, at);
  });
}

interface WrongValue {
  readonly what: string;
  readonly value: unknown;
  readonly pointer: string;
}

/** The value with one thing wrong, in every place where it can be. */
export function wrongValues(schema: Node, value: unknown, pointer: string): WrongValue[] {
  const here = wrongHere(schema).map(([what, wrong]) => ({
    what: `${pointer === '' ? 'the body' : pointer} ${what}`,
    value: wrong,
    pointer,
  }));
  const { additionalProperties: inside } = schema;
  if (isNode(inside)) {
    // A map: what is wrong is a value in it.
    const within = wrongHere(inside).map(([what, wrong]) => ({
      what: `${pointer}/p ${what}`,
      value: { ...(isNode(value) ? value : {}), p: wrong },
      pointer: `${pointer}/p`,
    }));
    return [...here, ...within];
  }
  if (isNode(value) && isNode(schema['properties'])) return [...here, ...wrongFields(schema, value, pointer)];
  if (Array.isArray(value) && isNode(schema['items'])) {
    const inside = value.slice(0, 3).flatMap((item, i) =>
      wrongValues(schema['items'] as Node, item, `${pointer}/${i}`).map((wrong) => ({
        ...wrong,
        value: value.with(i, wrong.value),
      })),
    );
    return [...here, ...inside];
  }
  return here;
}

function wrongFields(schema: Node, value: Values, pointer: string): WrongValue[] {
  const properties = schema['properties'] as Record<string, Node>;
  const required = (schema['required'] ?? []) as string[];
  const missing = required.map((name) => {
    const { [name]: _, ...rest } = value;
    return { what: `${pointer}/${name} missing`, value: rest, pointer: `${pointer}/${name}` };
  });
  const surplus =
    schema['additionalProperties'] === false
      ? ['nonsense', 'toString', 'constructor'].map((name) => ({
          what: `${pointer}/${name} unknown`,
          value: { ...value, [name]: 1 },
          pointer: `${pointer}/${name}`,
        }))
      : [];
  const fields = Object.entries(properties).flatMap(([name, part]) =>
    wrongValues(part, value[name], `${pointer}/${name}`).map((wrong) => ({
      ...wrong,
      value: { ...value, [name]: wrong.value },
    })),
  );
  return [...missing, ...surplus, ...fields];
}

/** Values that do not fit this very schema, whatever is inside. */
function wrongHere(schema: Node): [string, unknown][] {
  const wrong: [string, unknown][] = [];
  const { type, minimum, maximum, minItems, maxItems, maxProperties } = schema as Record<string, number | string>;
  if (type === undefined) return [];
  if (schema['x-nullable'] !== true) wrong.push(['null', null]);
  if (type === 'string') {
    wrong.push(['a number', 5], ['a list', ['x']]);
    for (const text of wrongStrings(schema)) wrong.push([short(text), text]);
  }
  if (type === 'integer') {
    wrong.push(['a text', '1'], ['a fraction', 1.5], ['too small', (minimum as number) - 1]);
    if (maximum !== undefined)
      wrong.push(['too large', maximum === Number.MAX_SAFE_INTEGER ? 2 ** 53 : (maximum as number) + 1]);
  }
  if (type === 'boolean') wrong.push(['a text', 'true'], ['a number', 1]);
  if (type === 'array') {
    wrong.push(['an object', {}], ['a text', 'x']);
    if (minItems !== undefined) wrong.push(['empty', []]);
    if (typeof maxItems === 'number' && maxItems <= 1024)
      wrong.push(['too long', Array.from({ length: maxItems + 1 }, () => 'x')]);
  }
  if (type === 'object') {
    wrong.push(['a list', []], ['a text', 'x'], ['true', true]);
    if (typeof maxProperties === 'number') {
      wrong.push([
        'with too many fields',
        Object.fromEntries(Array.from({ length: maxProperties + 1 }, (_, i) => [`p${i}`, 'v'])),
      ]);
    }
  }
  return wrong;
}

const DEEP = 40_000;
const LONE = '\ud800';

/** What a body can be that is no JSON, or JSON of a hostile kind. */
function textFaults(operation: Operation, parts: RequestParts): Fault[] {
  const as = (what: string, bytes: Buffer | string, code: string, at: string | undefined): Fault => {
    const { body: _, ...rest } = parts;
    return { what, parts: { ...rest, bytes, contentType: 'application/json' }, code, at };
  };
  const typed = (contentType: string): Fault => {
    const { body, ...rest } = parts;
    return {
      what: `content type ${contentType}`,
      parts: { ...rest, bytes: JSON.stringify(body ?? {}), contentType },
      code: 'UNSUPPORTED_MEDIA_TYPE',
      at: undefined,
    };
  };
  const sends = operation.id === 'sendMessages';
  const alone = sends ? '#/messages/0' : '#';
  const small = bodyLimit(operation.id) < 70_000 ? [70_000] : [];
  return [
    ...(operation.body!.required ? [as('no body', '', 'BODY_EMPTY', '#')] : []),
    as('half an object', '{"a":', 'MALFORMED_JSON', '#'),
    as('two objects', '{}{}', 'MALFORMED_JSON', '#'),
    as('a comma too many', '{"a":1,}', 'MALFORMED_JSON', '#'),
    as('single quotes', "{'a':1}", 'MALFORMED_JSON', '#'),
    as('NaN', '{"a":NaN}', 'MALFORMED_JSON', '#'),
    as('spaces only', '   ', 'MALFORMED_JSON', '#'),
    as(
      'lists nested 40,000 deep',
      '['.repeat(DEEP) + ']'.repeat(DEEP),
      small.length > 0 ? 'BODY_TOO_LARGE' : 'JSON_TOO_DEEP',
      small.length > 0 ? undefined : '#',
    ),
    as('objects nested 40 deep', '{"a":'.repeat(40) + '1' + '}'.repeat(40), 'JSON_TOO_DEEP', '#'),
    as('lists that are never closed', '['.repeat(DEEP), 'JSON_TOO_DEEP', '#'),
    as('__proto__', '{"__proto__":{"x":1}}', 'VALIDATION_FAILED', '#/__proto__'),
    as('__proto__ in escapes', '{"\\u005f_proto__":{"x":1}}', 'VALIDATION_FAILED', '#/__proto__'),
    as('constructor.prototype', '{"constructor":{"prototype":{"x":1}}}', 'VALIDATION_FAILED', '#/constructor'),
    as('constructor', '{"constructor":1}', 'VALIDATION_FAILED', `${alone}/constructor`),
    as('half a surrogate pair', `{"a":"${JSON.stringify(LONE).slice(1, -1)}"}`, 'ENCODING_INVALID', '#/a'),
    as('half a surrogate pair in a name', `{"${JSON.stringify(LONE).slice(1, -1)}":1}`, 'ENCODING_INVALID', '#'),
    as(
      'bytes that are no UTF-8',
      Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
      'ENCODING_INVALID',
      undefined,
    ),
    ...small.map((bytes) =>
      as(`${bytes} bytes`, JSON.stringify({ a: 'x'.repeat(bytes) }), 'BODY_TOO_LARGE', undefined),
    ),
    typed('application/x-www-form-urlencoded'),
    typed('multipart/form-data; boundary=x'),
    typed('application/json; charset=utf-16'),
    typed('application/json; charset="iso-8859-1"'),
    typed('json'),
    ...(sends
      ? []
      : ['text/plain', 'application/xml', 'application/octet-stream', 'application/x-ndjson', 'text/json'].map(typed)),
  ];
}

/** A body where the operation takes none. */
function bodyWhereNone(_: Operation, parts: RequestParts): Fault[] {
  return [
    { what: 'a body', parts: { ...parts, body: {} }, code: 'MALFORMED_REQUEST', at: undefined },
    {
      what: 'a body of another kind',
      parts: { ...parts, bytes: 'x', contentType: 'text/plain' },
      code: 'MALFORMED_REQUEST',
      at: undefined,
    },
  ];
}
