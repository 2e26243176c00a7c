/**
 * The kinds of values an option may have. A kind says in words what it allows and reads text into a value. Flags,
 * environment and file all arrive as text, so what is allowed is the same everywhere.
 */
import { isIP } from 'node:net';

/** What was given: one text, or several where a flag is repeated or the file has a list. */
export type Raw = string | readonly string[];

export interface Kind<T> {
  /** Stands for the value in the help: `<port>`. */
  readonly placeholder: string;
  /** What is allowed, to be read after "expected". */
  readonly allowed: string;
  /** Several values: the flag may be repeated, and commas separate. */
  readonly many: boolean;
  /** The value is never shown. */
  readonly hidden?: boolean;
  /** The value, or undefined when the text is not allowed. */
  read(raw: Raw): T | undefined;
}

const WHOLE_NUMBER = /^(0|[1-9]\d*)$/;

function single<T>(placeholder: string, allowed: string, read: (text: string) => T | undefined): Kind<T> {
  return { placeholder, allowed, many: false, read: (raw) => (typeof raw === 'string' ? read(raw) : undefined) };
}

function within(value: number, min: number, max: number): number | undefined {
  return value >= min && value <= max ? value : undefined;
}

/** A whole number of `unit` from `min` to `max`, both included. */
export function integer(min: number, max: number, unit = ''): Kind<number> {
  const allowed = `a whole number${unit && ` of ${unit}`} from ${min} to ${max}`;
  return single('<number>', allowed, (text) => (WHOLE_NUMBER.test(text) ? within(Number(text), min, max) : undefined));
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d+(\.\d+)?(ms|s|m|h|d))+$/;

/** Milliseconds of `500`, `500ms`, `72h` or `1h30m`; undefined when it is none of them, or no whole number of milliseconds. */
function durationOf(text: string): number | undefined {
  if (WHOLE_NUMBER.test(text)) return Number(text);
  if (!DURATION.test(text)) return undefined;
  const parts = [...text.matchAll(/([\d.]+)([a-z]+)/g)];
  const ms = parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * UNITS_MS[unit!]!, 0);
  const whole = Math.round(ms);
  return Math.abs(ms - whole) < 1e-6 ? whole : undefined;
}

/** A duration, in milliseconds. */
export function milliseconds(min: number, max: number): Kind<number> {
  const { allowed } = integer(min, max, 'milliseconds');
  return single('<ms>', `${allowed}, or with a unit such as 500ms, 10s, 5m, 72h or 1d`, (text) => {
    const value = durationOf(text);
    return value === undefined ? undefined : within(value, min, max);
  });
}

/** A number of bytes, also written with KiB, MiB or GiB. */
export function bytes(min: number, max: number): Kind<number> {
  const units: Record<string, number> = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
  const allowed = `a whole number of bytes from ${min} to ${max}, or one with a unit such as 64MiB (KiB, MiB, GiB)`;
  return single('<bytes>', allowed, (text) => {
    const unit = units[text.slice(-3)];
    const digits = unit === undefined ? text : text.slice(0, -3);
    return WHOLE_NUMBER.test(digits) ? within(Number(digits) * (unit ?? 1), min, max) : undefined;
  });
}

/** A share of a whole, written as a decimal. */
export function ratio(min: number, max: number): Kind<number> {
  return single('<ratio>', `a number from ${min} to ${max}`, (text) =>
    /^\d?\.?\d+$/.test(text) ? within(Number(text), min, max) : undefined,
  );
}

/** A latency and a time that follows from it, `550:2000`, both in whole milliseconds up to an hour. */
export const latencyStep: Kind<string> = single(
  '<latency:ms>',
  'two whole numbers of milliseconds up to 3600000, such as 550:2000 (answers from 550 ms on, 2000 ms)',
  (text) => {
    const [latency = '', time = '', ...more] = text.split(':');
    const fits = (part: string) => WHOLE_NUMBER.test(part) && within(Number(part), 0, 3_600_000) !== undefined;
    return more.length === 0 && fits(latency) && fits(time) ? text : undefined;
  },
);

/** What others must not see. */
export const secret: Kind<string> = {
  ...single('<secret>', '16 to 256 printable characters without blanks', (text) =>
    /^[\x21-\x7e]{16,256}$/.test(text) ? text : undefined,
  ),
  hidden: true,
};

/** A TCP port to listen on. */
export const port: Kind<number> = {
  ...integer(0, 65_535),
  placeholder: '<port>',
  allowed: 'a port from 0 to 65535 (0 takes any free one)',
};

/** One of a few words. */
export function oneOf<const T extends string>(...words: readonly T[]): Kind<T> {
  return single(`<${words.join('|')}>`, `one of ${words.join(', ')}`, (text) => words.find((word) => word === text));
}

const DIALECT_PART =
  /^(confluent|karapace|strimzi|redpanda|commitOffset=(last|next)|missingTopic=(404|perRecord)|partialFailure=(200|422)|unassignedSeek=(404|409)|commitAnswer=(200|204)|waitMs=(30000|[12]?\d{1,4}))$/;

/** What api/kafka/dialects.ts reads; checked here so that a mistake is found before anything starts. */
export const kafkaDialect: Kind<string> = single(
  '<dialect>',
  'confluent, karapace, strimzi or redpanda, and after commas commitOffset=last|next, missingTopic=404|perRecord, partialFailure=200|422, unassignedSeek=404|409, commitAnswer=200|204, waitMs=0..30000',
  (text) => (text.split(',').every((part) => DIALECT_PART.test(part)) ? text : undefined),
);

/** The name of a broker or a cluster (api.md, rule 18). It stands in paths, where `.` and `..` would vanish. */
export const resourceName: Kind<string> = single(
  '<name>',
  '1 to 128 of the characters A-Z a-z 0-9 _ . : @ - (but not "." or "..")',
  (text) => (/^[A-Za-z0-9_.:@-]{1,128}$/.test(text) && text !== '.' && text !== '..' ? text : undefined),
);

/** The path of a folder. */
export const folder: Kind<string> = single('<folder>', 'the path of a folder, without control characters', (text) =>
  text !== '' && !/\p{Cc}/u.test(text) ? text : undefined,
);

const LABEL = /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

function isHost(text: string): boolean {
  if (isIP(text) !== 0) return true;
  const labels = text.split('.');
  // A name that ends in a number is a mistyped address, and resolvers disagree about what it means.
  return text.length <= 253 && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '');
}

/** True for 0.0.0.0 and every way to write ::, on which one can listen but which nobody can call. */
export function isWildcard(host: string): boolean {
  if (isIP(host) === 4) return host === '0.0.0.0';
  return isIP(host) === 6 && /^\[::(ffff:0:0)?\]$/.test(new URL(`http://[${host.split('%')[0]}]`).hostname);
}

/** `host:port`, with brackets around an IPv6 address; its zone (%eth0) is this machine's own and no part of a URL. */
export function joinHostPort(host: string, portNumber: number): string {
  return isIP(host) === 6 ? `[${host.split('%')[0]}]:${portNumber}` : `${host}:${portNumber}`;
}

/** An address to listen on. */
export const host: Kind<string> = single('<host>', 'a host name or an IP address (IPv6 without brackets)', (text) =>
  isHost(text) ? text : undefined,
);

/** A host name, or all names below one. */
export const hostPattern: Kind<string> = single(
  '<host>',
  'a host name without a port, such as mq.example.org, .example.org for all names below it, or * for any',
  (text) => (text === '*' || isHost(text.startsWith('.') ? text.slice(1) : text) ? text.toLowerCase() : undefined),
);

/** `host:port` where others can reach something. */
export const hostPort: Kind<string> = single(
  '<host:port>',
  'host:port that others can call, such as broker-a:8080 or [2001:db8::1]:8080 (port 1 to 65535, not 0.0.0.0 or ::)',
  (text) => {
    const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):([1-9]\d{0,4})$/.exec(text) ?? [];
    const name = bracketed ?? plain ?? '';
    if (!isHost(name) || isWildcard(name) || (bracketed !== undefined && isIP(bracketed) !== 6)) return undefined;
    return within(Number(digits), 1, 65_535) === undefined ? undefined : text;
  },
);

/** Where a NameServer answers. A slash at the end is dropped. */
export const serverUrl: Kind<string> = single('<url>', 'http://host:port', (text) => {
  const address = /^http:\/\/([^/]*)\/?$/.exec(text)?.[1];
  return address !== undefined && hostPort.read(address) !== undefined ? `http://${address}` : undefined;
});

/** A web origin exactly as browsers send it, so that it can be compared as text. */
export const origin: Kind<string> = single(
  '<origin>',
  'https://host or http://host:port as browsers send it',
  (text) => (URL.canParse(text) && /^https?:/.test(text) && new URL(text).origin === text ? text : undefined),
);

/** At least `min` values, separated by commas; one that is given twice counts once. */
export function list<T>(element: Kind<T>, min: number): Kind<readonly T[]> {
  return {
    placeholder: `${element.placeholder},...`,
    allowed: `${min > 0 ? `at least ${min} value` : 'any number of values'}, separated by commas, each ${element.allowed}`,
    many: true,
    read(raw) {
      const texts = (typeof raw === 'string' ? [raw] : raw).flatMap((text) => text.split(','));
      const values = new Set(
        texts
          .map((text) => text.trim())
          .filter((text) => text !== '')
          .map((text) => element.read(text)),
      );
      const good = [...values].filter((value) => value !== undefined);
      return good.length === values.size && good.length >= min ? good : undefined;
    },
  };
}
