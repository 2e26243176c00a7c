/**
 * One keep-alive connection of a client that sends its next request when it has its answer. Request bytes are made
 * before; reading goes through one buffer shared by all connections, without Node's streams.
 */
import { connect, type Socket } from 'node:net';
import { ResponseReader } from './responseReader';

export interface AnswerListener {
  /** The body is lent: it is valid only during the call. */
  answered(status: number, body: Buffer): void;
  failed(error: Error): void;
}

const SHARED = Buffer.allocUnsafeSlow(256 * 1024);

export class Connection {
  readonly #port: number;
  #socket: Socket | undefined;
  #listener: AnswerListener | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  get idle(): boolean {
    return this.#listener === undefined;
  }

  /** Connects if need be: at first, and after the server closed a connection between two requests. */
  send(request: Buffer, listener: AnswerListener): void {
    if (this.#listener) throw new Error('a request is under way on this connection');
    this.#listener = listener;
    this.#socket ??= this.#connect();
    this.#socket.write(request);
  }

  close(): void {
    this.#listener = undefined;
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #connect(): Socket {
    const reader = new ResponseReader((status, body, closes) => this.#onResponse(socket, status, body, closes));
    const onBytes = (count: number) => {
      if (this.#socket === socket) this.#feed(reader, SHARED.subarray(0, count));
      return true;
    };
    const socket = connect({
      port: this.#port,
      host: '127.0.0.1',
      noDelay: true,
      onread: { buffer: SHARED, callback: onBytes },
    });
    socket.on('error', (error) => this.#lost(socket, error));
    socket.on('close', () => this.#lost(socket, new Error('the server closed the connection')));
    return socket;
  }

  #feed(reader: ResponseReader, bytes: Buffer): void {
    try {
      reader.feed(bytes);
    } catch (error) {
      this.#socket?.destroy(error as Error);
    }
  }

  #onResponse(socket: Socket, status: number, body: Buffer, closes: boolean): void {
    if (closes) {
      socket.end();
      this.#socket = undefined;
    }
    const listener = this.#listener;
    this.#listener = undefined;
    listener?.answered(status, body);
  }

  #lost(socket: Socket, error: Error): void {
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    const listener = this.#listener;
    this.#listener = undefined;
    listener?.failed(error);
  }
}
