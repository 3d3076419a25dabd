import {
  ACK,
  type Connection,
  decodeHeader,
  EDITIONS,
  type Edition,
  type EditionName,
  Endpoint,
  type EndpointOptions,
  emptyHeader,
  encodeHeader,
  FIN,
  HEADER_BYTES,
  SYN,
} from "../../src/protocol/index.js";

/** A datagram in words: `"seq ack id FLAGS +bytes"`, flags in the order of the trace lines. */
export function words(datagram: Uint8Array): string {
  const header = emptyHeader();
  decodeHeader(datagram, header);
  const { sequence, acknowledgement, connectionId, flags } = header;
  const names = [flags & ACK && "ACK", flags & SYN && "SYN", flags & FIN && "FIN"].filter(Boolean);
  const data = datagram.length > HEADER_BYTES ? ` +${datagram.length - HEADER_BYTES}` : "";
  return [sequence, acknowledgement, connectionId, ...names].join(" ") + data;
}

/** The datagram of such words; its data is `data`, or so many zeros as the words say. */
export function packet(text: string, data?: Uint8Array): Uint8Array {
  const [sequence, acknowledgement, connectionId, ...rest] = text.split(" ");
  let flags = 0;
  let length = data?.length ?? 0;
  for (const word of rest) {
    if (word.startsWith("+")) length = data?.length ?? Number(word);
    else flags |= { ACK, SYN, FIN }[word] ?? 0;
  }
  const datagram = new Uint8Array(HEADER_BYTES + length);
  encodeHeader(datagram, Number(sequence), Number(acknowledgement), Number(connectionId), flags);
  if (data !== undefined) datagram.set(data, HEADER_BYTES);
  return datagram;
}

export const PEER = "peer";
export const PORT = 5000;

/** One endpoint, with the test as everybody else: it is told datagrams and says, in words, what it sends. */
export class Bench {
  now = 0;
  readonly endpoint: Endpoint;
  readonly edition: Edition;
  readonly trace: string[] = [];
  readonly #out = new Uint8Array(2048);

  constructor(edition: EditionName | Edition, options: Partial<EndpointOptions> = {}) {
    this.edition = typeof edition === "string" ? EDITIONS[edition] : edition;
    this.endpoint = new Endpoint({ edition: this.edition, trace: (line) => this.trace.push(line), ...options });
  }

  /** A client whose SYN is on its way. */
  client(options: { sendOnly?: boolean; address?: string } = {}): Connection {
    const connection = this.endpoint.connect(options.address ?? PEER, PORT, options);
    connection.open(this.now);
    return connection;
  }

  /** Hands a datagram to the endpoint and returns what its connection answers. */
  receive(datagram: string | Uint8Array, address = PEER, port = PORT): string[] {
    const bytes = typeof datagram === "string" ? packet(datagram) : datagram;
    const connection = this.endpoint.receive(bytes, address, port, this.now);
    return connection === null ? [] : this.drain(connection);
  }

  /** Hands over a datagram and returns the connection it was for. */
  route(datagram: string | Uint8Array, address = PEER, port = PORT): Connection | null {
    const bytes = typeof datagram === "string" ? packet(datagram) : datagram;
    return this.endpoint.receive(bytes, address, port, this.now);
  }

  /** What a connection sends now, in words. */
  drain(connection: Connection): string[] {
    return this.drainBytes(connection).map(words);
  }

  drainBytes(connection: Connection): Uint8Array[] {
    const sent: Uint8Array[] = [];
    for (;;) {
      const length = connection.transmit(this.#out, this.now);
      if (length === 0) break;
      sent.push(this.#out.slice(0, length));
    }
    this.endpoint.settle(connection);
    return sent;
  }

  /** Lets so much time pass and returns what is sent meanwhile, each with its time: `"500: words"`. */
  wait(ms: number): string[] {
    const end = this.now + ms;
    const sent: string[] = [];
    for (;;) {
      const deadline = this.endpoint.deadline();
      if (deadline > end) break;
      this.now = Math.max(this.now, deadline);
      for (let due = this.endpoint.expire(this.now); due !== null; due = this.endpoint.expire(this.now)) {
        for (const text of this.drain(due)) sent.push(`${this.now}: ${text}`);
      }
    }
    this.now = end;
    return sent;
  }

  /** Writes and returns what is sent at once. */
  write(connection: Connection, bytes: Uint8Array | number): string[] {
    connection.write(typeof bytes === "number" ? new Uint8Array(bytes) : bytes, this.now);
    return this.drain(connection);
  }

  end(connection: Connection): string[] {
    connection.end(this.now);
    return this.drain(connection);
  }

  /** Everything that waits for the reader. */
  read(connection: Connection): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let part = connection.read(); part !== null; part = connection.read()) parts.push(part);
    return Buffer.concat(parts);
  }
}

/** A client that has been answered and has sent its bare ACK: connection 1 of `ucla-2019` unless told otherwise. */
export function connectedClient(edition: EditionName = "ucla-2019", options: Partial<EndpointOptions> = {}) {
  const bench = new Bench(edition, options);
  const connection = bench.client();
  bench.drain(connection);
  const { serverIsn, clientIsn, modulus } = bench.edition;
  bench.receive(`${serverIsn} ${(clientIsn + 1) % modulus} 1 ACK SYN`);
  connection.signals();
  return { bench, connection };
}

/** A server's connection 1 whose client has sent its bare ACK. */
export function connectedServer(edition: EditionName = "ucla-2019", options: Partial<EndpointOptions> = {}) {
  const bench = new Bench(edition, { accept: true, ...options });
  const { serverIsn, clientIsn, modulus } = bench.edition;
  const connection = bench.route(`${clientIsn} 0 0 SYN`) as Connection;
  bench.drain(connection);
  bench.receive(`${(clientIsn + 1) % modulus} ${serverIsn + 1} 1 ACK`);
  connection.signals();
  return { bench, connection };
}
