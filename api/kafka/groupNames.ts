/**
 * Names of groups. Kafka allows any text; a native group has letters, digits and _ . - and, for all others, their UTF-8
 * bytes as `~` and two hexadecimal digits: `app:orders` is `app~3Aorders` there. Every name of this API has one native
 * name, and that of a native group without `~` is the same.
 */
import { KafkaFault, unprocessable } from './faults';

const PLAIN = /^[A-Za-z0-9_.-]+$/;
/** Characters of a native name (RocketMQ's bound). */
const MOST = 120;

/** The native name of a group. Throws 400 for control characters, 422 when it is too long. */
export function nativeGroup(name: string): string {
  const native = PLAIN.test(name) && name !== '.' && name !== '..' ? name : escaped(name);
  if (native.length <= MOST) return native;
  throw unprocessable(
    `The name of a consumer group has at most ${MOST} characters, of which each that is no letter, digit, _ . or - counts three times for every byte of its UTF-8.`,
  );
}

function escaped(name: string): string {
  if (/\p{Cc}/u.test(name)) throw new KafkaFault(400, 400, 'The name of a consumer group contains control characters.');
  const isDots = name === '.' || name === '..';
  let text = '';
  for (const character of name) text += PLAIN.test(character) && !isDots ? character : bytesOf(character);
  return text;
}

const bytesOf = (character: string): string =>
  [...Buffer.from(character, 'utf8')].map((byte) => `~${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
