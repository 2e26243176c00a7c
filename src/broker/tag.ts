/**
 * The one tag of a message. Senders and filters follow the same rules, so that every filter can meet a message: both are
 * read without blanks around and in Unicode's form NFC, and both are refused what the other side cannot say.
 */

/** Characters (UTF-16 units) of a tag. */
const MOST = 128;
const FIRST_BEYOND_ASCII = 0x80;

/** The tag that a text stands for, on either side. */
export function normalTag(text: string): string {
  const tag = text.trim();
  return isAscii(tag) ? tag : tag.normalize('NFC');
}

/** Why no message can have this tag, as a phrase that follows its name; undefined for a tag. Of a normal tag only. */
export function tagFault(tag: string): string | undefined {
  if (tag === '') return 'must not be empty';
  if (tag === '*') return 'must not be *, which stands for all messages in a filter';
  if (tag.length > MOST) return `must have at most ${MOST} characters`;
  for (let i = 0; i < tag.length; i += 1) {
    const code = tag.charCodeAt(i);
    if (code < 0x20 || code === 0x7f || code === BAR) return 'must have neither control characters nor |';
  }
  return undefined;
}

const BAR = 0x7c;

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) if (text.charCodeAt(i) >= FIRST_BEYOND_ASCII) return false;
  return true;
}
