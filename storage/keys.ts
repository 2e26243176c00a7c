/**
 * All keys of both stores, on one page. Numbers are big-endian, so that byte order is number order.
 *
 * Journal store                                   value
 *   'j' position(8)                               record (record.ts): one per message, one per other command
 *   'h'                                           head(8): first index that is not deleted
 *   'l'                                           from(8) to(8), …: indexes given up with --accept-data-loss
 *
 * Tables store (every value is led by a CRC-32 of key and value, tables.ts)
 *   'B' number(8)                                 applied(8) markers(8) isMarker(1): one row per written batch (tables.ts)
 *   'C'                                           batch(8) journal(8) base(8): the checkpoint, verified up to here
 *   'n' family(1)                                 count(8): rows of a family that is loaded whole at start
 *   'm' name                                      JSON: single facts (identity, marks)
 *   't' topic(6)                                  JSON: topic record
 *   'x' name                                      JSON: tombstone of a deleted topic
 *   'G' name                                      JSON: tombstone of a deleted group
 *   'u' name                                      JSON: tombstone of a deleted producer group
 *   'g' group(6)                                  JSON: consumer group record
 *   'o' group(6) topic(6) queue(2)                offset(8) reset(8)?: committed, the next offset to read; the last command that reset it
 *   'D' topic(6) tag                              JSON: declared tag
 *   'S' topic(6) tag                              count(8) lastTime(8): tag seen
 *   'Q' topic(6) queue(2)                         min(8): first offset kept
 *   'q' topic(6) queue(2) first(8)                index segment: entries first, first + 1, … (src/broker/queueIndex.ts)
 *   'i' hour(4) messageId(16) position(8)         run of message ids (src/broker/idIndex.ts)
 *   'k' day(4) topic(6) hash(6) time(6) position(8)  queue(2) offset(8) bytes(4): a message by one of its keys (src/broker/keyIndex.ts)
 *   'd' bucket(4) hash(16)                        answer remembered for an Idempotency-Key
 *   'O' group(6) topic(6) queue(2)                JSON: owner of a queue within a group
 *   'N' group(6) topic(6) queue(2)                next(8) said(8)?: first offset that was never leased; what owners of the queue committed since
 *   'L' group(6) topic(6) queue(2) offset(8)      lease(8) ms(6) attempt(2) groupHash(4) …: a message that is not acknowledged (src/broker/leaseRow.ts)
 *   'A' group(6) hash(16)                         JSON: what a receive with an attemptId was given
 *   'b' group(6) consumer                         JSON: a consumer of a broadcasting group
 *   'P' group(6) topic(6) queue(2) consumer       offset(8): its position
 *   'T' due(8) position(8)                        record: a message that waits for its time
 *   'W' topic(6) due(8) position(8)               empty: a scheduled message, whose record is the row 'T' of the same numbers
 *   'V' topic(6) messageId(16) position(8)        due(8): the same by its id
 *   'w' topic(6)                                  count(8): scheduled messages of a topic
 *   'h' position(8)                               JSON: a prepared message that nobody has decided about
 *   'H' topic(6) position(8)                      record: the same
 *   'Y' hour(4) position(8)                       JSON: what was decided about it, by the hour of that
 *   'p' name                                      JSON: producer group
 *   'e' name                                      JSON: note of a front (src/broker/notes.ts)
 *   'K' group(6) offset(8)                        record: a dead letter; its offset in %DLQ%group
 *   'f' hour(4) position(8) group(6)              JSON: what became of a failed message, by when and where it was first (src/broker/copies.ts)
 *   'c' group(6)                                  JSON: how many messages of a group wait or are dead
 *
 * topic and group are the journal index of the command that created them: a name that is deleted and created again
 * never meets its old rows.
 */

/** A command's records are numbered 0..1023: position = index × 1024 + ordinal, below 2^53 for 2^43 commands. */
export const ORDINALS = 1024;

export const positionOf = (index: number, ordinal: number): number => index * ORDINALS + ordinal;
export const indexOf = (position: number): number => Math.floor(position / ORDINALS);
export const ordinalOf = (position: number): number => position % ORDINALS;

const prefix = (letter: string): number => letter.charCodeAt(0);

/** Writes a whole number below 2^53 as 8 bytes. */
export function writeNumber(buffer: Buffer, value: number, offset: number): void {
  buffer.writeUInt32BE(Math.floor(value / 0x1_0000_0000), offset);
  buffer.writeUInt32BE(value % 0x1_0000_0000, offset + 4);
}

export const readNumber = (buffer: Buffer, offset: number): number =>
  buffer.readUInt32BE(offset) * 0x1_0000_0000 + buffer.readUInt32BE(offset + 4);

export function numberValue(value: number): Buffer {
  const buffer = Buffer.allocUnsafe(8);
  writeNumber(buffer, value, 0);
  return buffer;
}

function single(letter: string): Buffer {
  return Buffer.from(letter, 'latin1');
}

function numbered(letter: string, number: number): Buffer {
  const key = Buffer.allocUnsafe(9);
  key[0] = prefix(letter);
  writeNumber(key, number, 1);
  return key;
}

function named(letter: string, name: string): Buffer {
  return Buffer.from(letter + name, 'utf8');
}

function owned(letter: string, owner: number, extra: number): Buffer {
  const key = Buffer.allocUnsafe(7 + extra);
  key[0] = prefix(letter);
  key.writeUIntBE(owner, 1, 6);
  return key;
}

/** The beginning of all keys of an hour, or of another stretch of time. */
function stretch(letter: string, number: number): Buffer {
  const key = Buffer.allocUnsafe(5);
  key[0] = prefix(letter);
  key.writeUInt32BE(number, 1);
  return key;
}

/** Rows of a group about one queue. */
function groupQueueKey(letter: string, group: number, topic: number, queueId: number, extra = 0): Buffer {
  const key = owned(letter, group, 8 + extra);
  key.writeUIntBE(topic, 7, 6);
  key.writeUInt16BE(queueId, 13);
  return key;
}

function queueKey(letter: string, topic: number, queueId: number, extra = 0): Buffer {
  const key = owned(letter, topic, 2 + extra);
  key.writeUInt16BE(queueId, 7);
  return key;
}

/** The first key behind all keys that begin with `start`: an exclusive upper bound. */
export function after(start: Buffer): Buffer {
  const end = Buffer.from(start);
  for (let i = end.length - 1; i >= 0; i--) {
    if (end[i] !== 0xff) {
      end[i] = end[i]! + 1;
      return end.subarray(0, i + 1);
    }
  }
  throw new Error('no key is behind a key of 0xff bytes only');
}

export const journalKeys = {
  record: (position: number) => numbered('j', position),
  positionOfKey: (key: Buffer) => readNumber(key, 1),
  head: single('h'),
  lost: single('l'),
  allRecords: { gte: single('j'), lt: single('k') },
};

export const tableKeys = {
  batch: (number: number) => numbered('B', number),
  allBatches: { gte: single('B'), lt: single('C') },
  checkpoint: single('C'),
  familyCount: (letter: string) => Buffer.from(`n${letter}`, 'latin1'),
  fact: (name: string) => named('m', name),
  topic: (topic: number) => owned('t', topic, 0),
  tombstone: (name: string) => named('x', name),
  note: (name: string) => named('e', name),
  groupTombstone: (name: string) => named('G', name),
  producerGroupTombstone: (name: string) => named('u', name),
  group: (group: number) => owned('g', group, 0),
  offset: (group: number, topic: number, queueId: number) => groupQueueKey('o', group, topic, queueId),
  owner: (group: number, topic: number, queueId: number) => groupQueueKey('O', group, topic, queueId),
  leaseNext: (group: number, topic: number, queueId: number) => groupQueueKey('N', group, topic, queueId),
  lease(group: number, topic: number, queueId: number, offset: number): Buffer {
    const key = groupQueueKey('L', group, topic, queueId, 8);
    writeNumber(key, offset, 15);
    return key;
  },
  attempt(group: number, hash: Buffer): Buffer {
    const key = owned('A', group, 16);
    hash.copy(key, 7, 0, 16);
    return key;
  },
  listener: (group: number, consumer: string) => Buffer.concat([owned('b', group, 0), Buffer.from(consumer, 'utf8')]),
  listenerPosition: (group: number, topic: number, queueId: number, consumer: string) =>
    Buffer.concat([groupQueueKey('P', group, topic, queueId), Buffer.from(consumer, 'utf8')]),
  timer(due: number, position: number): Buffer {
    const key = Buffer.allocUnsafe(17);
    key[0] = prefix('T');
    writeNumber(key, due, 1);
    writeNumber(key, position, 9);
    return key;
  },
  timersFrom: (due: number) => numbered('T', due),
  scheduled(topic: number, due: number, position: number): Buffer {
    const key = owned('W', topic, 16);
    writeNumber(key, due, 7);
    writeNumber(key, position, 15);
    return key;
  },
  scheduledOf: (topic: number) => owned('W', topic, 0),
  scheduledId(topic: number, messageId: Buffer, position: number): Buffer {
    const key = owned('V', topic, 24);
    messageId.copy(key, 7, 0, 16);
    writeNumber(key, position, 23);
    return key;
  },
  scheduledIdsOf: (topic: number) => owned('V', topic, 0),
  scheduledCount: (topic: number) => owned('w', topic, 0),
  half: (position: number) => numbered('h', position),
  halfRecord(topic: number, position: number): Buffer {
    const key = owned('H', topic, 8);
    writeNumber(key, position, 7);
    return key;
  },
  halfRecordsOf: (topic: number) => owned('H', topic, 0),
  decision(hour: number, position: number): Buffer {
    const key = Buffer.allocUnsafe(13);
    key[0] = prefix('Y');
    key.writeUInt32BE(hour, 1);
    writeNumber(key, position, 5);
    return key;
  },
  decisionsOfHour(hour: number): Buffer {
    const key = Buffer.allocUnsafe(5);
    key[0] = prefix('Y');
    key.writeUInt32BE(hour, 1);
    return key;
  },
  producerGroup: (name: string) => named('p', name),
  deadLetter(group: number, offset: number): Buffer {
    const key = owned('K', group, 8);
    writeNumber(key, offset, 7);
    return key;
  },
  deadLettersOf: (group: number) => owned('K', group, 0),
  groupCounts: (group: number) => owned('c', group, 0),
  declaredTag: (topic: number, tag: string) => Buffer.concat([owned('D', topic, 0), Buffer.from(tag, 'utf8')]),
  seenTag: (topic: number, tag: string) => Buffer.concat([owned('S', topic, 0), Buffer.from(tag, 'utf8')]),
  queueMin: (topic: number, queueId: number) => queueKey('Q', topic, queueId),
  segment(topic: number, queueId: number, first: number): Buffer {
    const key = queueKey('q', topic, queueId, 8);
    writeNumber(key, first, 9);
    return key;
  },
  segmentsOf: (topic: number, queueId: number) => queueKey('q', topic, queueId),
  idRun(hour: number, messageId: Buffer, position: number): Buffer {
    const key = Buffer.allocUnsafe(29);
    key[0] = prefix('i');
    key.writeUInt32BE(hour, 1);
    messageId.copy(key, 5);
    writeNumber(key, position, 21);
    return key;
  },
  idRunsOfHour: (hour: number) => stretch('i', hour),
  messageKey(day: number, topic: number, hash: number, time: number, position: number): Buffer {
    const key = Buffer.allocUnsafe(31);
    key[0] = prefix('k');
    key.writeUInt32BE(day, 1);
    key.writeUIntBE(topic, 5, 6);
    key.writeUIntBE(hash, 11, 6);
    key.writeUIntBE(time, 17, 6);
    writeNumber(key, position, 23);
    return key;
  },
  messageKeysOfDay: (day: number) => stretch('k', day),
  failedCopy(hour: number, position: number, group: number): Buffer {
    const key = Buffer.allocUnsafe(19);
    key[0] = prefix('f');
    key.writeUInt32BE(hour, 1);
    writeNumber(key, position, 5);
    key.writeUIntBE(group, 13, 6);
    return key;
  },
  failedCopiesOfHour: (hour: number) => stretch('f', hour),
  answer(bucket: number, hash: Buffer): Buffer {
    const key = Buffer.allocUnsafe(21);
    key[0] = prefix('d');
    key.writeUInt32BE(bucket, 1);
    hash.copy(key, 5, 0, 16);
    return key;
  },
  answersOfBucket: (number: number) => stretch('d', number),
  /** All keys of a family, by its letter. */
  family: (letter: string) => ({ gte: single(letter), lt: after(single(letter)) }),
};
