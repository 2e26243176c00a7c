/**
 * Parameters of a path, a query or the headers, from text to values. Strict and ours: an integer is `-?[0-9]+` and
 * exact, a time may be a text (timeField.ts), a boolean is `true` or `false`, an array is a repeated parameter, a scalar stands once, an unknown name in a
 * query is refused. Then the schema has its say. Defaults are filled in.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { GantryError, type ErrorLocation } from '../src/base/errors';
import { LIMITS } from '../src/base/limits';
import type { Operation, Parameter } from './contract';
import { DEFAULTED } from './operation';
import type { Schema } from './schema';
import { SchemaCheck } from './schemaCheck';
import { isTime } from './timeField';

type Place = Parameter['in'];
export type Values = Record<string, unknown>;

const INTEGER = /^-?[0-9]+$/;
const NUMBER = /^-?[0-9]+(\.[0-9]+)?$/;

/** The parameters of one place ('path', 'query' or 'header') of one operation. */
class ParameterSet {
  readonly place: Place;
  readonly known: ReadonlyMap<string, Parameter>;
  readonly defaults: Values;
  readonly #check: SchemaCheck;

  constructor(operation: Operation, place: Place) {
    const parameters = operation.parameters.filter((parameter) => parameter.in === place);
    this.place = place;
    this.known = new Map(parameters.map((parameter) => [parameter.name, parameter]));
    this.#check = new SchemaCheck({
      type: 'object',
      properties: Object.fromEntries(parameters.map((parameter) => [parameter.name, parameter.schema])),
      required: parameters.filter((parameter) => parameter.required).map((parameter) => parameter.name),
    });
    this.defaults = {};
    for (const { name, schema } of parameters) {
      if (schema['default'] !== undefined) this.defaults[name] = schema['default'];
    }
  }

  /** `values` when they fit, else a GantryError that names each parameter at fault. */
  checked(values: Values): Values {
    if (this.#check.accepts(values)) return values;
    throw this.refusal(
      this.#check.faults(values, true).map(({ pointer, detail }) => this.fault(pointer.split('/')[1] ?? '', detail)),
    );
  }

  fault(parameter: string, detail: string): ErrorLocation {
    return { parameter, in: this.place, detail };
  }

  refusal(errors: ErrorLocation[]): GantryError {
    const first = errors[0] as { parameter: string; detail: string };
    return new GantryError('VALIDATION_FAILED', `${NAMES[this.place]} ${first.parameter}: ${first.detail}.`, {
      errors,
    });
  }
}

const NAMES: Readonly<Record<Place, string>> = { path: 'Path parameter', query: 'Query parameter', header: 'Header' };

/** The text as the schema's type, or a sentence that says what it must be. */
function coerce(text: string, schema: Schema): { value: unknown } | { detail: string } {
  switch (schema['type']) {
    case 'integer': {
      if (isTime(schema) && !INTEGER.test(text)) return { value: text };
      const value = INTEGER.test(text) ? Number(text) : NaN;
      return Number.isSafeInteger(value) ? { value } : { detail: 'must be an integer' };
    }
    case 'number':
      return NUMBER.test(text) ? { value: Number(text) } : { detail: 'must be a number' };
    case 'boolean':
      if (text !== 'true' && text !== 'false') return { detail: 'must be true or false' };
      return { value: text === 'true' };
    default:
      return { value: text };
  }
}

/** Reads path, query and headers of one operation's requests. */
export class ParameterReader {
  readonly #path: ParameterSet;
  readonly #query: ParameterSet;
  readonly #headers: ParameterSet;
  readonly #headerNames: readonly (readonly [string, string, Parameter])[];
  readonly #pathSchemas: readonly Parameter[];

  constructor(operation: Operation) {
    this.#path = new ParameterSet(operation, 'path');
    this.#query = new ParameterSet(operation, 'query');
    this.#headers = new ParameterSet(operation, 'header');
    this.#headerNames = [...this.#headers.known.values()].map((p) => [p.name, p.name.toLowerCase(), p]);
    this.#pathSchemas = [...this.#path.known.values()];
    for (const name of DEFAULTED) {
      if (!this.#query.known.has(name) || name in this.#query.defaults) continue;
      throw new Error(`openapi.yaml: the query parameter ${name} of ${operation.id} needs a default`);
    }
  }

  /** `decoded`: the router's strings. `~RETRY~group` and `~DLQ~group` come out as the names they stand for. */
  path(decoded: Readonly<Record<string, string | string[]>>): Values {
    const values: Values = {};
    for (const { name, schema } of this.#pathSchemas) {
      const text = String(decoded[name]);
      const read = text === '.' || text === '..' ? { detail: 'must not be . or ..' } : coerce(text, schema);
      if ('detail' in read) throw this.#path.refusal([this.#path.fault(name, read.detail)]);
      values[name] = read.value;
    }
    this.#path.checked(values);
    for (const name in values) {
      const value = values[name];
      if (typeof value === 'string' && value.charCodeAt(0) === 0x7e) values[name] = systemName(value);
    }
    return values;
  }

  /** `search`: what follows the question mark; '' when there is none. */
  query(search: string): Values {
    const values: Values = { ...this.#query.defaults };
    if (search === '') return this.#query.known.size === 0 ? values : this.#query.checked(values);
    const given = splitQuery(search);
    const errors: ErrorLocation[] = [];
    for (const [name, texts] of given) {
      const detail = this.#readQuery(name, texts, values);
      if (detail !== undefined) errors.push(this.#query.fault(name.slice(0, 128), detail));
    }
    if (errors.length > 0) throw this.#query.refusal(errors.slice(0, 20));
    return this.#query.checked(values);
  }

  #readQuery(name: string, texts: readonly string[], values: Values): string | undefined {
    const parameter = this.#query.known.get(name);
    if (!parameter) {
      const known = [...this.#query.known.keys()];
      return known.length === 0 ? 'unknown; this operation takes none' : `unknown; known are ${known.join(', ')}`;
    }
    const { schema } = parameter;
    const many = schema['type'] === 'array';
    if (!many && texts.length > 1) return 'must not be given more than once';
    const read = texts.map((text) => coerce(text, many ? ((schema['items'] ?? {}) as Schema) : schema));
    const wrong = read.find((item) => 'detail' in item);
    if (wrong && 'detail' in wrong) return wrong.detail;
    const items = read.map((item) => (item as { value: unknown }).value);
    values[name] = many ? items : items[0];
    return undefined;
  }

  /** The declared headers, under the names of the contract. */
  headers(headers: IncomingHttpHeaders): Values {
    const values: Values = {};
    if (this.#headerNames.length === 0) return values;
    for (const [name, key, parameter] of this.#headerNames) {
      const text = headers[key];
      if (text === undefined) continue;
      const read = coerce(key === QUOTABLE ? unquoted(String(text)) : String(text), parameter.schema);
      if ('detail' in read) throw this.#headers.refusal([this.#headers.fault(name, read.detail)]);
      values[name] = read.value;
    }
    return this.#headers.checked(values);
  }
}

/** The draft of the IETF writes this header as a structured field, a string between quotation marks; most clients write the bare key. */
const QUOTABLE = 'idempotency-key';
const unquoted = (text: string): string => /^"([^"\\]*)"$/.exec(text)?.[1] ?? text;

/** `%RETRY%group` cannot stand in a path as it is (api.md, rule 18). */
function systemName(text: string): string {
  if (text.startsWith('~RETRY~')) return `%RETRY%${text.slice(7)}`;
  if (text.startsWith('~DLQ~')) return `%DLQ%${text.slice(5)}`;
  return text;
}

/** Decodes a query; each name with its values in their order. */
function splitQuery(search: string): Map<string, string[]> {
  const given = new Map<string, string[]>();
  let count = 0;
  for (const pair of search.split('&')) {
    if (pair === '') continue;
    if (++count > LIMITS.queryParameters) {
      throw new GantryError('VALIDATION_FAILED', `A query has at most ${LIMITS.queryParameters} parameters.`);
    }
    const equals = pair.indexOf('=');
    const name = decodeQuery(equals < 0 ? pair : pair.slice(0, equals), pair);
    const value = equals < 0 ? '' : decodeQuery(pair.slice(equals + 1), pair);
    const others = given.get(name);
    if (others) others.push(value);
    else given.set(name, [value]);
  }
  return given;
}

function decodeQuery(text: string, pair: string): string {
  try {
    return text.includes('%') || text.includes('+') ? decodeURIComponent(text.replaceAll('+', ' ')) : text;
  } catch {
    const parameter = pair.split('=')[0]!.slice(0, 128);
    throw new GantryError('VALIDATION_FAILED', `The query cannot be decoded at ${parameter}.`, {
      errors: [{ parameter, in: 'query', detail: 'is not percent-encoded UTF-8' }],
    });
  }
}
