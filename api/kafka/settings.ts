/** What an instance is created with. Names are Kafka's; both spellings of auto commit, text and JSON values are taken. */
import type { Dialect } from './dialects';
import { invalidConfig, unprocessable } from './faults';
import type { Reset } from './groupSetup';
import { INSTANCE_FORMATS, type Format, type SchemaFormat } from './mediaTypes';

export interface Settings {
  readonly format: Format | SchemaFormat;
  readonly autoCommit: boolean;
  readonly reset: Reset;
  /** Longest wait of a call for records, milliseconds; undefined: as the dialect says. */
  readonly waitMs?: number;
  /** Bytes of records to wait for; 0: the first record will do. */
  readonly minBytes: number;
}

type Fields = Readonly<Record<string, unknown>>;

const NAME = /^[A-Za-z0-9_.:@-]{1,128}$/;

/** The name in a creation; undefined: one is to be made up. Throws 422. */
export function nameIn(fields: Fields): string | undefined {
  const name = fields['name'] ?? fields['id'];
  if (name === undefined || name === null || name === '') return undefined;
  if (typeof name === 'string' && NAME.test(name)) return name;
  throw unprocessable('name must be 1 to 128 of the characters A-Z a-z 0-9 _ . : @ -');
}

/** Whether there may be an instance of that name. */
export const canBe = (name: string): boolean => NAME.test(name);

/** Throws 422 / 42204 for a value that cannot be meant; what nobody knows is ignored. */
export function readSettings(fields: Fields, dialect: Dialect): Settings {
  const waitMs = number(fields, 'consumer.request.timeout.ms') ?? number(fields, 'requestWaitMs');
  const minBytes = number(fields, 'fetch.min.bytes') ?? number(fields, 'responseMinBytes');
  return {
    format: formatOf(fields['format']),
    autoCommit: boolean(fields, 'auto.commit.enable') ?? boolean(fields, 'enable.auto.commit') ?? true,
    reset: resetOf(fields['auto.offset.reset']) ?? dialect.reset,
    ...(waitMs === undefined ? {} : { waitMs }),
    minBytes: minBytes ?? 0,
  };
}

function formatOf(value: unknown): Settings['format'] {
  if (value === undefined || value === null) return 'binary';
  const format = INSTANCE_FORMATS.find((one) => typeof value === 'string' && one === value.toLowerCase());
  if (!format) throw invalidConfig(`format must be one of ${INSTANCE_FORMATS.join(', ')}`);
  return format;
}

function resetOf(value: unknown): Reset | undefined {
  switch (value) {
    case undefined:
    case null:
      return undefined;
    case 'earliest':
    case 'smallest': // v1
      return 'earliest';
    case 'latest':
    case 'largest': // v1
    case 'none':
      return 'latest';
    default:
      throw invalidConfig('auto.offset.reset must be earliest or latest');
  }
}

function boolean(fields: Fields, name: string): boolean | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  const given = typeof value === 'string' ? value.toLowerCase() : value;
  if (given === true || given === 'true') return true;
  if (given === false || given === 'false') return false;
  throw invalidConfig(`${name} must be true or false`);
}

function number(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  const parsed = typeof value === 'string' && /^-?[0-9]{1,10}$/.test(value) ? Number(value) : value;
  if (typeof parsed === 'number' && Number.isSafeInteger(parsed) && parsed >= -1)
    return parsed < 0 ? undefined : parsed;
  throw invalidConfig(`${name} must be a whole number`);
}
