/** One exchange byte by byte, for requests that no decent client sends. The answer is read to the end of the connection. */
import { connect } from 'node:net';
import type { Problem } from '../../api/problem';

export interface RawReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  readonly problem: Problem;
}

/** Sends `head` (lines without the empty one at the end) and `body` as they are; asks for the connection to be closed. */
export function raw(baseUrl: string, head: readonly string[], body: string | Buffer = ''): Promise<RawReply> {
  const { hostname, port } = new URL(baseUrl);
  const lines = [...head, 'Connection: close', '', ''];
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(Number(port), hostname);
    socket.once('error', reject);
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.once('close', () => {
      try {
        resolve(read(Buffer.concat(chunks)));
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.write(Buffer.concat([Buffer.from(lines.join('\r\n'), 'latin1'), Buffer.from(body)]));
  });
}

function read(bytes: Buffer): RawReply {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) throw new Error(`no HTTP answer: ${bytes.toString('latin1')}`);
  const [start = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const text = bytes.subarray(end + 4).toString('utf8');
  return {
    status: Number(start.split(' ')[1]),
    headers,
    text,
    get problem() {
      return JSON.parse(text) as Problem;
    },
  };
}
