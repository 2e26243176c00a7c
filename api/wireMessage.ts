/** A message that was read, as the contract's JSON describes it: what messageBodies.ts reads of it is the same message. */
import type { OutgoingMessage } from '../src/broker/message';
import type { WireMessage } from './messageBodies';

/** Of a message in JSON or NDJSON; a level of delay has become its milliseconds. */
export function toWire({ body, text, ...described }: OutgoingMessage): WireMessage {
  const given = Object.fromEntries(Object.entries(described).filter(([, value]) => value !== undefined));
  if (!text) return { ...given, body: Buffer.from(body).toString('base64'), bodyEncoding: 'BASE64' };
  return { ...given, body: typeof body === 'string' ? body : body.toString('utf8') };
}
