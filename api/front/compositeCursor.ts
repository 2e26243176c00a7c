/**
 * One cursor that holds those of several brokers. Each part is signed by its broker and means something to it alone;
 * here they are only put together and taken apart. In base64url, once:
 *
 *   mark 1 · for each broker [length of its name 1 · name · length of its cursor 2 · cursor]
 */
import { cursorInvalid, type CursorSource } from '../../src/broker/cursor';
import { LIMITS } from '../../src/base/limits';

/** Cursors by the names of their brokers. */
export type CursorParts = ReadonlyMap<string, string>;

/** No broker's own cursor begins so: they begin with a version, which is small. */
const MARK = 0xc1;

/** Whether all of it fits into one cursor. */
export function fits(parts: CursorParts): boolean {
  let bytes = 1;
  for (const [broker, cursor] of parts) bytes += 3 + Buffer.byteLength(broker) + Math.floor((cursor.length * 3) / 4);
  return Math.ceil((bytes * 4) / 3) <= LIMITS.compositeCursorCharacters;
}

/** They must fit. Parts that are empty are left out. */
export function packCursors(parts: CursorParts): string {
  const pieces = [Buffer.from([MARK])];
  for (const [broker, text] of parts) {
    if (text === '') continue;
    const name = Buffer.from(broker);
    const cursor = Buffer.from(text, 'base64url');
    const head = Buffer.from([name.length, ...name, 0, 0]);
    head.writeUInt16BE(cursor.length, 1 + name.length);
    pieces.push(head, cursor);
  }
  return Buffer.concat(pieces).toString('base64url');
}

/** Whether it was put together here; a broker's own is not. */
export const isComposite = (text: string): boolean => Buffer.from(text.slice(0, 2), 'base64url')[0] === MARK;

/**
 * A broker's own cursor is that of `home`: the group was on that broker alone when it was made. What the parts are worth
 * their brokers tell. Throws CURSOR_INVALID.
 */
export function unpackCursors(text: string, home: string, from: CursorSource): CursorParts {
  if (text === '') return new Map();
  if (!isComposite(text)) return new Map([[home, text]]);
  const bytes = Buffer.from(text, 'base64url');
  const parts = new Map<string, string>();
  let at = 1;
  while (at < bytes.length) {
    const name = at + 1;
    const length = name + bytes[at]!;
    const cursor = length + 2;
    const end = cursor <= bytes.length ? cursor + bytes.readUInt16BE(length) : Infinity;
    if (end > bytes.length) break;
    parts.set(bytes.toString('utf8', name, length), bytes.toString('base64url', cursor, end));
    at = end;
  }
  if (at === bytes.length && packCursors(parts) === text) return parts;
  throw cursorInvalid('it was not made by this cluster', from);
}
