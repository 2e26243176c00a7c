/** Requests as bytes, made once and sent many times. */

/** A request with a JSON body, or without one. */
export function requestBytes(method: string, path: string, json?: string): Buffer {
  const head = `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n`;
  if (json === undefined) return Buffer.from(`${head}\r\n`);
  return Buffer.from(
    `${head}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`,
  );
}

export const MESSAGE_BYTES = 1024;

/** A body that needs no escapes, as most text does; it begins with `mark`. */
export function messageText(bytes = MESSAGE_BYTES, mark = ''): string {
  const filler = 'Gantry carries rockets to the sky, one message after another. ';
  return (mark + filler.repeat(Math.ceil(bytes / filler.length))).slice(0, bytes);
}

/** A send of `count` messages without tag, keys and properties. */
export function sendRequest(topic: string, count = 1, bytes = MESSAGE_BYTES): Buffer {
  const messages = Array.from({ length: count }, () => ({ body: messageText(bytes) }));
  return requestBytes('POST', `/v1/topics/${topic}/messages`, JSON.stringify({ messages }));
}
