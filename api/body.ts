/**
 * Reads a request's body, bounded. A body whose Content-Length is over the limit is not read at all; one without a
 * length is dropped as soon as it passes it. Whoever answers before a body is read ends the connection (answer.ts).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { GantryError } from '../src/base/errors';
import { LIMITS } from '../src/base/limits';
import type { Operation } from './contract';
import { isJsonLines, isJsonType, isUtf8Charset, parseMediaType } from './mediaType';
import { ClientGone } from './operation';

/** The operations whose bodies may be larger than a resource. */
const BODY_LIMITS: Readonly<Record<string, number>> = {
  sendMessages: LIMITS.sendRequestBytes,
  prepareTransaction: LIMITS.sendRequestBytes,
  registerBroker: LIMITS.registrationBytes,
  installDefinitions: LIMITS.registrationBytes,
  sendBack: LIMITS.sendRequestBytes,
  ackMessages: LIMITS.bulkRequestBytes,
  nackMessages: LIMITS.sendRequestBytes,
  giveBackReceipts: LIMITS.bulkRequestBytes,
  extendReceipts: LIMITS.sendRequestBytes,
  endTransactions: LIMITS.bulkRequestBytes,
};

/** Most bytes a request of this operation may bring. */
export const bodyLimit = (operationId: string): number => BODY_LIMITS[operationId] ?? LIMITS.adminRequestBytes;

const NOTHING = Buffer.alloc(0);

/** Whether the request brings a body of at least one byte, as far as its headers tell. */
export function bringsBody(req: IncomingMessage): boolean {
  const length = req.headers['content-length'];
  if (length !== undefined) return length !== '0' && Number(length) > 0;
  return req.headers['transfer-encoding'] !== undefined;
}

/** The whole body, at most `limit` bytes. Rejects with ClientGone when the connection ends first. */
export async function readBody(req: IncomingMessage, res: ServerResponse, limit: number): Promise<Buffer> {
  const encoding = req.headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new GantryError(
      'UNSUPPORTED_MEDIA_TYPE',
      `Content-Encoding ${encoding} is not read here: send the body as it is.`,
    );
  }
  if (Number(req.headers['content-length'] ?? 0) > limit) throw tooLarge(limit);
  if (req.headers.expect !== undefined) res.writeContinue();
  return collect(req, limit);
}

const tooLarge = (limit: number): GantryError =>
  new GantryError('BODY_TOO_LARGE', `A body of this operation has at most ${limit} bytes.`);

function collect(req: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let first: Buffer = NOTHING;
    let more: Buffer[] | undefined;
    let size = 0;
    const onData = (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) return settle(tooLarge(limit));
      if (first.length === 0) first = chunk;
      else (more ??= [first]).push(chunk);
    };
    const onEnd = () => settle();
    const onClose = () => settle(new ClientGone());
    const settle = (error?: Error) => {
      req.off('data', onData).off('end', onEnd).off('close', onClose);
      if (error) {
        req.pause();
        reject(error);
      } else resolve(more ? Buffer.concat(more, size) : first);
    };
    req.on('data', onData).on('end', onEnd).on('close', onClose);
  });
}

/** The `-H` that curl needs, because its `-d` claims to send a form. */
const HINT = "add -H 'content-type: application/json'";
const FORMS = new Set(['application/x-www-form-urlencoded', 'multipart/form-data']);

/**
 * Refuses a content type the operation does not take. Only sendMessages takes anything, and it, too, takes no forms:
 * they are what a client sends that did not say what it sends.
 */
export function checkContentType(operation: Operation, header: string | undefined): void {
  if (header === 'application/json') return;
  const sends = operation.id === 'sendMessages';
  if (header === undefined) {
    if (sends) return;
    throw unsupported(`The content type is missing: ${HINT}.`);
  }
  const media = parseMediaType(header);
  if (!media) throw unsupported(`Content-Type "${header.slice(0, 100)}" is no media type: ${HINT}.`);
  if (FORMS.has(media.type)) {
    const text = sends ? ", or -H 'content-type: text/plain' for a body that is the message itself" : '';
    throw unsupported(`${media.type} is not taken here: ${HINT}${text}.`);
  }
  const readAsText = isJsonType(media.type) || isJsonLines(media.type);
  if (readAsText && !isUtf8Charset(media.charset)) {
    throw unsupported(`The charset ${media.charset} is not read here: send UTF-8.`);
  }
  if (!sends && !operation.body?.content.has(media.type)) {
    throw unsupported(`${media.type} is not taken here: ${HINT}.`);
  }
}

const unsupported = (detail: string): GantryError => new GantryError('UNSUPPORTED_MEDIA_TYPE', detail);
