/**
 * Messages as JSON, written straight from their records. The poll path answers hundreds of them at a time, so nothing is
 * built that is only taken apart again: fixed text, and one JSON.stringify for each value that needs escaping.
 */
import { decodeMessage } from '../src/broker/message';
import { hexOf } from '../src/base/messageId';
import { offsetMessageId } from '../src/broker/offsetMessageId';
import type { Delivery } from '../src/broker/reader';

/** The constant part of all messages of one topic on one broker. */
export class MessageWriter {
  readonly #head: string;
  readonly #idTag: Buffer;

  constructor(topic: string, broker: string, idTag: Buffer) {
    this.#head = `{"topic":${JSON.stringify(topic)},"broker":${JSON.stringify(broker)},"queueId":`;
    this.#idTag = idTag;
  }

  /** One message as a JSON object. */
  one({ queue, queueOffset, record }: Delivery): string {
    const message = decodeMessage(record);
    const { tag, keys, properties, contentType, messageGroup } = message;
    let json =
      `${this.#head}${queue.queueId},"queueOffset":${queueOffset}` +
      `,"messageId":"${hexOf(message.messageId)}","offsetMessageId":"${offsetMessageId(this.#idTag, message.position)}"` +
      (message.text
        ? `,"body":${JSON.stringify(message.body.toString('utf8'))}`
        : `,"body":"${message.body.toString('base64')}","bodyEncoding":"BASE64"`);
    if (contentType !== undefined) json += `,"contentType":${JSON.stringify(contentType)}`;
    if (tag !== undefined) json += `,"tag":${JSON.stringify(tag)}`;
    json += keys ? `,"keys":${JSON.stringify(keys)}` : ',"keys":[]';
    json += properties ? `,"properties":${JSON.stringify(properties)}` : ',"properties":{}';
    if (messageGroup !== undefined) json += `,"messageGroup":${JSON.stringify(messageGroup)}`;
    return `${json},"bornTimestamp":${message.bornTimestamp},"storeTimestamp":${message.storeTimestamp},"attempt":1}`;
  }

  /** A JSON array. */
  many(deliveries: readonly Delivery[]): string {
    let json = '[';
    for (let i = 0; i < deliveries.length; i++)
      json += i === 0 ? this.one(deliveries[i]!) : `,${this.one(deliveries[i]!)}`;
    return `${json}]`;
  }
}
