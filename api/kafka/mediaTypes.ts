/** Media types of this API: which form records have in a body, and in which type an answer is wanted. */
import { isUtf8Charset, parseMediaType, preferred } from '../mediaType';
import { KafkaFault, notAcceptable } from './faults';

/** How keys and values stand in JSON: base64, as JSON, or as strings. */
export type Format = 'binary' | 'json' | 'text';
/** Formats that need a schema registry, which there is none of: an instance may have one, and no record fits it. */
export type SchemaFormat = 'avro' | 'jsonschema' | 'protobuf';

const FORMATS: readonly Format[] = ['binary', 'json', 'text'];
const SCHEMA_FORMATS: readonly SchemaFormat[] = ['avro', 'jsonschema', 'protobuf'];
/** Formats that an instance can be created with. */
export const INSTANCE_FORMATS: readonly (Format | SchemaFormat)[] = [...FORMATS, ...SCHEMA_FORMATS];

export const needsSchema = (format: Format | SchemaFormat): format is SchemaFormat =>
  SCHEMA_FORMATS.some((one) => one === format);
const TYPE = /^application\/vnd\.kafka(?:\.([a-z]+))?(?:\.v([12]))?\+json$/;
const PLAIN = new Set(['application/json', 'application/octet-stream']);

export interface BodyType {
  /** Undefined: the type names none. */
  readonly format: Format | SchemaFormat | undefined;
  readonly version: 1 | 2;
}

const ANY: BodyType = { format: undefined, version: 2 };

/** What a Content-Type says of the body. Throws 415. */
export function bodyTypeOf(header: string | undefined): BodyType {
  if (header === undefined) return ANY;
  const known = read.get(header);
  if (known) return known;
  const media = parseMediaType(header);
  if (!media || !isUtf8Charset(media.charset)) throw unsupported(header);
  const type = readType(media.type);
  if (!type) throw unsupported(header);
  if (read.size < 1000) read.set(header, type);
  return type;
}

const read = new Map<string, BodyType>();

function readType(type: string): BodyType | undefined {
  if (PLAIN.has(type)) return ANY;
  const [whole, name, version] = TYPE.exec(type) ?? [];
  if (whole === undefined) return undefined;
  const format = INSTANCE_FORMATS.find((one) => one === name);
  if (name !== undefined && !format) return undefined;
  return { format, version: version === '1' ? 1 : 2 };
}

/** The format of records in a body; binary unless the type names another. Throws 415, also for formats with a schema. */
export function recordFormatOf(header: string | undefined): Format {
  const { format = 'binary' } = bodyTypeOf(header);
  if (needsSchema(format)) throw unsupported(header!);
  return format;
}

const unsupported = (header: string): KafkaFault =>
  new KafkaFault(
    415,
    415,
    `HTTP 415 Unsupported Media Type: ${header.slice(0, 100)}; send application/vnd.kafka.json.v2+json, or binary or text instead of json`,
  );

const V2 = 'application/vnd.kafka.v2+json';
const GENERAL = [V2, 'application/vnd.kafka.v1+json', 'application/vnd.kafka+json', 'application/json'];
const EMBEDDED = FORMATS.flatMap((format) => [typeOf(format, 2), typeOf(format, 1)]);
const WITH_SCHEMA = SCHEMA_FORMATS.flatMap((format) => [typeOf(format, 2), typeOf(format, 1)]);

export function typeOf(format: Format | SchemaFormat, version: 1 | 2): string {
  return `application/vnd.kafka.${format}.v${version}+json`;
}

const WITH_EMBEDDED = [...GENERAL, ...EMBEDDED, ...WITH_SCHEMA];

/** The type of an answer without records. Throws 406. Clients that ask for their records' type get it here, too. */
export function answerType(accept: string | undefined): string {
  if (accept === undefined || accept === V2) return V2;
  const type = preferred(accept, WITH_EMBEDDED);
  if (type === undefined) throw notAcceptable();
  return type;
}

/**
 * The type of an answer with records of an instance. Throws 406 when nothing of this API is wanted, and `wrongFormat`
 * when records are, in another format only.
 */
export function recordsType(accept: string | undefined, format: Format | SchemaFormat, wrongFormat: number): string {
  const own = [typeOf(format, 2), typeOf(format, 1)];
  const type = preferred(accept, [...own, ...GENERAL]);
  if (type !== undefined) return type;
  if (preferred(accept, EMBEDDED) === undefined && !/vnd\.kafka\./.test(accept ?? '')) throw notAcceptable();
  throw new KafkaFault(
    406,
    wrongFormat,
    `The requested embedded data format does not match the deserializer for this consumer instance: it gives ${format}`,
  );
}

/** The format that an Accept header asks for where no instance has one; binary unless it names another. */
export function wantedFormat(accept: string | undefined): { format: Format; type: string } {
  const type = preferred(accept, [...EMBEDDED, ...GENERAL]);
  if (type === undefined) throw notAcceptable();
  const format = FORMATS.find((one) => one === readType(type)?.format);
  return { format: format ?? 'binary', type };
}
