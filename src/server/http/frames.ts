/** Events as WebSocket frames (RFC 6455 section 5.2), made once for all who get them: a server's frames are not masked. */

/** A text message. */
export function textFrame(value: unknown): Buffer {
  const payload = Buffer.from(JSON.stringify(value));
  const { length } = payload;
  const header = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  header[0] = 0x81; // FIN, text
  if (length < 126) header[1] = length;
  else if (length < 65_536) {
    header[1] = 126;
    header.writeUInt16BE(length, 2);
  } else {
    header[1] = 127;
    header.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([header, payload]);
}
