/** Media types: what a body claims to be, and what a client is ready to read (RFC 9110, 8.3 and 12.5.1). */
export interface MediaType {
  /** Lower case, without parameters: `application/json`. */
  readonly type: string;
  /** Lower case; undefined when not given. */
  readonly charset: string | undefined;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+\/[!#$%&'*+.^_`|~0-9a-z-]+$/;
const CHARSET = /;\s*charset\s*=\s*"?([^";\s]+)"?/i;
const JSON_TYPE: MediaType = { type: 'application/json', charset: undefined };

/** Reads a Content-Type; undefined when it is none. */
export function parseMediaType(header: string): MediaType | undefined {
  if (header === 'application/json') return JSON_TYPE;
  const end = header.indexOf(';');
  const type = (end < 0 ? header : header.slice(0, end)).trim().toLowerCase();
  if (!TOKEN.test(type)) return undefined;
  return { type, charset: end < 0 ? undefined : CHARSET.exec(header)?.[1]?.toLowerCase() };
}

export const isJsonType = (type: string): boolean => type === 'application/json' || type.endsWith('+json');
/** Names of JSON Lines, one JSON text a line, as tools write them; the first is the one to advise. */
const LINES = new Set([
  ...['application/x-ndjson', 'application/ndjson', 'application/nd-json', 'text/x-ndjson', 'text/ndjson'],
  ...['application/jsonl', 'application/x-jsonl', 'text/jsonl', 'text/x-jsonl'],
  ...['application/jsonlines', 'application/x-jsonlines', 'text/jsonlines', 'text/x-jsonlines'],
  ...['application/json-lines', 'application/x-json-lines', 'text/json-lines', 'text/x-json-lines'],
]);
export const isJsonLines = (type: string): boolean => LINES.has(type);

/** Types below `application` that are text, although only some of their kind say so with `+xml`, `+yaml` or `text/`. */
const TEXTS = new Set(
  (
    'xml xml-dtd xml-external-parsed-entity xhtml javascript x-javascript ecmascript typescript yaml x-yaml toml json5 ' +
    'jsonc csv sql graphql sparql-query sparql-update x-sh x-perl x-tex x-httpd-php rtf n-triples n-quads trig'
  )
    .split(' ')
    .map((name) => `application/${name}`),
);

/** Whether a body of this type is text if it is UTF-8. It may be something else: XML names its encoding inside. */
export const mayBeText = (type: string): boolean => TEXTS.has(type) || type.endsWith('+xml') || type.endsWith('+yaml');

export const isUtf8Charset = (charset: string | undefined): boolean =>
  charset === undefined || charset === 'utf-8' || charset === 'utf8' || charset === 'us-ascii';

interface Range {
  readonly type: string;
  readonly quality: number;
}

function parseAccept(accept: string): Range[] {
  return accept.split(',').map((part) => {
    const [type = '', ...parameters] = part.split(';').map((piece) => piece.trim().toLowerCase());
    const weight = parameters.find((parameter) => parameter.startsWith('q='));
    const quality = weight === undefined ? 1 : Number(weight.slice(2));
    return { type, quality: Number.isNaN(quality) ? 1 : quality };
  });
}

/** 0..1: how much the client wants `type`; the most precise range that names it decides. */
function qualityOf(ranges: readonly Range[], type: string): number {
  const family = `${type.slice(0, type.indexOf('/'))}/*`;
  for (const wanted of [type, family, '*/*']) {
    const range = ranges.find((candidate) => candidate.type === wanted);
    if (range) return range.quality;
  }
  return 0;
}

/** Whether the client reads at least one of `types`. Without an Accept header it reads anything. */
export function acceptsAny(accept: string | undefined, types: readonly string[]): boolean {
  if (accept === undefined || accept === '*/*' || accept === 'application/json' || types.length === 0) {
    return accept !== 'application/json' || types.length === 0 || types.includes(accept);
  }
  const ranges = parseAccept(accept);
  return types.some((type) => qualityOf(ranges, type) > 0);
}

/** The one of `types` that the client wants most, of several the first; undefined when it reads none of them. */
export function preferred(accept: string | undefined, types: readonly string[]): string | undefined {
  if (accept === undefined || accept === '*/*' || accept.trim() === '') return types[0];
  const ranges = parseAccept(accept);
  const best = Math.max(...types.map((type) => qualityOf(ranges, type)));
  return best > 0 ? types.find((type) => qualityOf(ranges, type) === best) : undefined;
}

/** Whether the client would rather read HTML than JSON: a browser. */
export function prefersHtml(accept: string | undefined): boolean {
  if (accept === undefined) return false;
  const ranges = parseAccept(accept);
  return qualityOf(ranges, 'text/html') > qualityOf(ranges, 'application/json');
}
