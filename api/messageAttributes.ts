/** What stands beside a message's body: tag, keys, properties, messageGroup, and what they may not be. */
import { LIMITS } from '../src/base/limits';
import { tagFault } from '../src/broker/tag';
import { isReservedProperty } from './reservedProperties';
import { below } from './schemaCheck';

/** A fault of one field of a message. */
export interface FieldFault {
  /** JSON pointer below the message. */
  readonly field: string;
  readonly detail: string;
}

/** Fault of a message beside its body, or undefined. `tag` is a normal one (src/broker/tag.ts). */
export function attributeFault(
  tag: string | undefined,
  keys: readonly string[] | undefined,
  properties: Readonly<Record<string, string>> | undefined,
  messageGroup: string | undefined,
): FieldFault | undefined {
  let characters = 0;
  if (tag !== undefined) {
    characters += tag.length;
    const detail = tagFault(tag);
    if (detail !== undefined) return { field: '/tag', detail };
  }
  if (messageGroup !== undefined && (messageGroup === '' || hasControl(messageGroup))) {
    return { field: '/messageGroup', detail: 'must have characters, none of them a control character' };
  }
  if (keys) {
    for (let i = 0; i < keys.length; i += 1) {
      const key = keys[i]!;
      characters += key.length;
      if (key === '' || hasControl(key))
        return { field: `/keys/${i}`, detail: 'must have characters, none of them a control character' };
    }
  }
  if (properties) {
    let count = 0;
    for (const name in properties) {
      count += 1;
      characters += name.length + properties[name]!.length;
      if (name === '' || hasControl(name))
        return {
          field: below('/properties', name),
          detail: 'the name must have characters, none of them a control character',
        };
      if (isReservedProperty(name)) return { field: below('/properties', name), detail: 'this name is reserved' };
    }
    if (count > LIMITS.messageProperties)
      return { field: '/properties', detail: `at most ${LIMITS.messageProperties} properties, not ${count}` };
  }
  // A character is at most three bytes, so nearly every message is done without counting them.
  if (characters * 3 <= LIMITS.messagePropertiesBytes) return undefined;
  const bytes = attributeBytes(tag, keys, properties);
  if (bytes <= LIMITS.messagePropertiesBytes) return undefined;
  return {
    field: '/properties',
    detail: `tag, keys and properties have at most ${LIMITS.messagePropertiesBytes} bytes together, not ${bytes}`,
  };
}

function attributeBytes(
  tag = '',
  keys: readonly string[] = [],
  properties: Readonly<Record<string, string>> = {},
): number {
  return [tag, ...keys, ...Object.entries(properties).flat()].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
