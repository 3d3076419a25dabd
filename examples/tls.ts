// TLS over Confundo, in both roles: node:tls takes any Duplex. The certificate is made here, with node:crypto alone.
import { generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { connect as connectTls, TLSSocket } from "node:tls";
import { connect, createServer } from "confundo";

const { key, cert } = selfSigned("localhost");

const server = createServer((socket) => {
  socket.on("error", console.error);
  const secure = new TLSSocket(socket, { isServer: true, key, cert });
  secure.on("data", (data) => secure.end(`You said: ${data}`));
});
server.listen(0, "127.0.0.1");
await once(server, "listening");

// An idle connection is given up after 10 s of silence; keepAlive asks for signs of life.
const socket = connect({ port: server.address()?.port ?? 0, host: "127.0.0.1", keepAlive: true });
const secure = connectTls({ socket, ca: cert, servername: "localhost" });
await once(secure, "secureConnect");
console.log(`${secure.getProtocol()}, certificate of ${secure.getPeerCertificate().subject.CN} verified`);
secure.write("a secret");
console.log(await text(secure));
server.close();

/** A certificate for one name, valid for a day (X.509 in DER, RFC 5280). Good for an example, not for a service. */
function selfSigned(name: string): { key: string; cert: string } {
  const der = (tag: number, ...parts: (Buffer | string)[]): Buffer => {
    const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
    const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
    return Buffer.concat([Buffer.from([tag, ...length]), body]);
  };
  const hex = (digits: string) => Buffer.from(digits, "hex");
  const time = (at: number) =>
    der(
      0x17,
      `${new Date(at)
        .toISOString()
        .replace(/[-:T]|\..*/g, "")
        .slice(2)}Z`,
    );
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const commonName = der(0x30, der(0x31, der(0x30, hex("0603550403"), der(0x0c, name))));
  const ecdsaWithSha256 = hex("300a06082a8648ce3d040302");
  const toBeSigned = der(
    0x30,
    hex("a003020102020101"),
    ecdsaWithSha256,
    commonName,
    der(0x30, time(Date.now() - 3_600_000), time(Date.now() + 86_400_000)),
    commonName,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(0x30, der(0x30, hex("0603551d11"), der(0x04, der(0x30, der(0x82, name)))))),
  );
  const signature = der(0x03, Buffer.from([0]), sign("sha256", toBeSigned, privateKey));
  const base64 = der(0x30, toBeSigned, ecdsaWithSha256, signature).toString("base64");
  const cert = `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
  return { key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(), cert };
}
