/**
 * A compiled request schema. The fast check stops at the first fault and is what every request pays for; only when it
 * fails is a second, explaining one compiled that names all faults with JSON pointers. Nothing is coerced but
 * the text of a time (timeField.ts); defaults of the schema are filled in.
 */
import Ajv2020, { type ErrorObject, type Options, type ValidateFunction } from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { withNulls, type Schema } from './schema';
import { addTimeKeyword } from './timeField';

export interface Fault {
  /** JSON pointer below the checked value; '' is the value itself. */
  readonly pointer: string;
  readonly detail: string;
}

/** Faults named in one answer; the rest only repeat. */
const MAX_FAULTS = 20;
const SHARED: Options = { strict: false, useDefaults: true, unicode: false, logger: false };

const fast = new Ajv2020(SHARED);
const explaining = new Ajv2020({ ...SHARED, verbose: true, allErrors: true });
const explainingFirst = new Ajv2020({ ...SHARED, verbose: true });
for (const ajv of [fast, explaining, explainingFirst]) {
  addFormats(ajv);
  addTimeKeyword(ajv);
}

/** One schema, compiled when the process starts. */
export class SchemaCheck {
  readonly #schema: Schema;
  /** True when the value fits. Fills in defaults. */
  readonly accepts: (value: unknown) => boolean;

  constructor(schema: Schema) {
    this.#schema = withNulls(schema) as Schema;
    this.accepts = fast.compile(this.#schema) as (value: unknown) => boolean;
  }

  /** Why the value does not fit. `all` lists every fault and is for small values only: its cost grows with them. */
  faults(value: unknown, all: boolean): Fault[] {
    const validate: ValidateFunction = (all ? explaining : explainingFirst).compile(this.#schema);
    validate(value);
    return (validate.errors ?? []).slice(0, MAX_FAULTS).map(describe);
  }
}

const escaped = (token: string): string => token.replaceAll('~', '~0').replaceAll('/', '~1');

/** The pointer of a field inside the value at `pointer`. */
export const below = (pointer: string, token: string | number): string =>
  `${pointer}/${typeof token === 'number' ? token : escaped(token)}`;

function describe(error: ErrorObject): Fault {
  const pointer = error.instancePath;
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'required':
      return { pointer: below(pointer, String(params['missingProperty'])), detail: 'is required' };
    case 'additionalProperties': {
      const known = Object.keys((error.parentSchema?.['properties'] ?? {}) as object);
      const allowed = known.length > 0 ? `allowed are ${known.join(', ')}` : 'none is allowed here';
      return { pointer: below(pointer, String(params['additionalProperty'])), detail: `unknown field; ${allowed}` };
    }
    case 'enum':
      return { pointer, detail: `must be one of ${(params['allowedValues'] as unknown[]).join(', ')}` };
    case 'type':
      return { pointer, detail: `must be ${[params['type']].flat().join(' or ')}` };
    case 'pattern':
      return { pointer, detail: `must match ${String(params['pattern'])}` };
    case 'format':
      return { pointer, detail: `must be ${String(params['format'])}` };
    case 'propertyNames':
      return { pointer: below(pointer, String(params['propertyName'])), detail: 'this name is not allowed' };
    default:
      return { pointer, detail: error.message ?? 'does not fit' };
  }
}
