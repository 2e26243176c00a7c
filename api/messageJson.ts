/**
 * Messages as JSON, written straight from their records. The poll path answers hundreds of them at a time, so nothing is
 * built that is only taken apart again: fixed text, and one JSON.stringify for each value that needs escaping.
 */
import { hexOf } from '../src/base/messageId';
import type { Broker } from '../src/broker/broker';
import type { TransactionCheck } from '../src/broker/checkbacks';
import type { LeasedDelivery } from '../src/broker/leases';
import { decodeMessage, type Prepared, type StoredMessage } from '../src/broker/message';
import { offsetMessageId } from '../src/broker/offsetMessageId';
import type { Delivery } from '../src/broker/reader';
import type { Scheduled } from '../src/broker/schedule';
import { topicName } from './places';

/** A message that its group gave up. */
export interface DeadDelivery {
  readonly delivery: Delivery;
  readonly deadTimestamp: number;
  readonly reason?: string | undefined;
}

/** Writes the messages of one answer. Messages of one poll may come from several topics. */
export class MessageWriter {
  readonly #broker: Broker;
  readonly #idTag: Buffer;
  /** The constant part of all messages of a topic, by its number. */
  readonly #heads = new Map<number, string>();

  constructor(broker: Broker) {
    this.#broker = broker;
    this.#idTag = broker.rooms.core.idTag;
  }

  /** One message as a JSON object. */
  one(delivery: Delivery): string {
    const message = decodeMessage(delivery.record);
    return `${this.#open(delivery, message, delivery.attempt ?? message.attempt)}}`;
  }

  /** A JSON array. */
  many(deliveries: readonly Delivery[]): string {
    return arrayOf(deliveries, (delivery) => this.one(delivery));
  }

  /** A JSON array of messages with their leases. Handles and numbers need no escaping. */
  leased(deliveries: readonly LeasedDelivery[]): string {
    return arrayOf(deliveries, (delivery) => {
      const json = this.#open(delivery, decodeMessage(delivery.record), delivery.attempt);
      return `${json},"receiptHandle":"${delivery.receiptHandle}","invisibleUntil":${delivery.invisibleUntil}}`;
    });
  }

  /** A JSON array of messages that were given up. */
  dead(letters: readonly DeadDelivery[]): string {
    return arrayOf(letters, (letter) => this.deadLetter(letter));
  }

  deadLetter({ delivery, deadTimestamp, reason }: DeadDelivery): string {
    const message = decodeMessage(delivery.record);
    const json = `${this.#open(delivery, message, message.attempt)},"deadTimestamp":${deadTimestamp}`;
    return reason === undefined ? `${json}}` : `${json},"reason":${JSON.stringify(reason)}}`;
  }

  /** A JSON array of messages that wait for their time. */
  scheduled(waiting: readonly Scheduled[]): string {
    return arrayOf(waiting, ({ record, due }) => {
      const message = decodeMessage(record);
      return `${this.#head(message.topic)},"messageId":"${hexOf(message.messageId)}"${contentOf(message)},"deliverTimestamp":${due}}`;
    });
  }

  /** A half message as a JSON object. */
  prepared(record: Buffer): string {
    const message = decodeMessage(record);
    return `{"messageId":"${hexOf(message.messageId)}"${contentOf(message)}}`;
  }

  /** A JSON array of questions about transactions. */
  checks(checks: readonly TransactionCheck[]): string {
    return arrayOf(checks, (check) => this.check(check));
  }

  check({ transactionId, half, record }: TransactionCheck): string {
    const { topicName: topic, producerGroup, checks, preparedAt } = half;
    const head = JSON.stringify({ transactionId, topic, producerGroup, checks, preparedTimestamp: preparedAt });
    return `${head.slice(0, -1)},"message":${this.prepared(record)}}`;
  }

  /** All that every message has, without the brace at the end. */
  #open({ queue, queueOffset }: Delivery, message: StoredMessage, attempt: number): string {
    const { origin, deliverTimestamp, prepared } = message;
    let json =
      `${this.#head(queue.topic)},"queueId":${queue.queueId},"queueOffset":${queueOffset}` +
      `,"messageId":"${hexOf(message.messageId)}","offsetMessageId":"${offsetMessageId(this.#idTag, message.position)}"` +
      `${contentOf(message)},"attempt":${attempt}`;
    if (deliverTimestamp !== undefined) json += `,"deliverTimestamp":${deliverTimestamp}`;
    if (prepared) json += `,"transaction":${this.#transaction(message, prepared)}`;
    return origin === undefined ? json : `${json},"origin":${this.#origin(origin)}`;
  }

  /** A retry, or a dead letter, was committed where it was first. */
  #transaction({ origin, storeTimestamp }: StoredMessage, { position, timestamp }: Prepared): string {
    return (
      `{"transactionId":"${offsetMessageId(this.#idTag, position)}","preparedTimestamp":${timestamp}` +
      `,"commitTimestamp":${origin?.storeTimestamp ?? storeTimestamp}}`
    );
  }

  #head(topic: number): string {
    let head = this.#heads.get(topic);
    if (head === undefined) {
      head = `{"topic":${JSON.stringify(topicName(this.#broker, topic))},"broker":${JSON.stringify(this.#broker.name)}`;
      this.#heads.set(topic, head);
    }
    return head;
  }

  /** A copy stays on the broker of the message that it was made of. */
  #origin({ topic, queueId, queueOffset, position, storeTimestamp }: NonNullable<StoredMessage['origin']>): string {
    return (
      `{"topic":${JSON.stringify(topic)},"broker":${JSON.stringify(this.#broker.name)},"queueId":${queueId},"queueOffset":${queueOffset}` +
      `,"offsetMessageId":"${offsetMessageId(this.#idTag, position)}","storeTimestamp":${storeTimestamp}}`
    );
  }
}

/** What a message is wherever it lies: its content and its times. */
function contentOf(message: StoredMessage): string {
  const { tag, keys, properties, contentType, messageGroup } = message;
  let json = message.text
    ? `,"body":${JSON.stringify(message.body.toString('utf8'))}`
    : `,"body":"${message.body.toString('base64')}","bodyEncoding":"BASE64"`;
  if (contentType !== undefined) json += `,"contentType":${JSON.stringify(contentType)}`;
  if (tag !== undefined) json += `,"tag":${JSON.stringify(tag)}`;
  json += keys ? `,"keys":${JSON.stringify(keys)}` : ',"keys":[]';
  json += properties ? `,"properties":${JSON.stringify(properties)}` : ',"properties":{}';
  if (messageGroup !== undefined) json += `,"messageGroup":${JSON.stringify(messageGroup)}`;
  return `${json},"bornTimestamp":${message.bornTimestamp},"storeTimestamp":${message.storeTimestamp}`;
}

function arrayOf<T>(items: readonly T[], write: (item: T) => string): string {
  let json = '[';
  for (let i = 0; i < items.length; i++) json += i === 0 ? write(items[i]!) : `,${write(items[i]!)}`;
  return `${json}]`;
}
