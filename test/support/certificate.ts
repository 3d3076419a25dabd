import { generateKeyPairSync, sign } from "node:crypto";

/** A self-signed certificate for one name, valid for a day (X.509 in DER, RFC 5280). */
export function selfSigned(name: string): { key: string; cert: string } {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const commonName = der(0x30, der(0x31, der(0x30, hex("0603550403"), der(0x0c, Buffer.from(name)))));
  const ecdsaWithSha256 = hex("300a06082a8648ce3d040302");
  const subjectAltName = der(0x30, hex("0603551d11"), der(0x04, der(0x30, der(0x82, Buffer.from(name)))));
  const toBeSigned = der(
    0x30,
    hex("a003020102020101"),
    ecdsaWithSha256,
    commonName,
    der(0x30, utcTime(Date.now() - 3_600_000), utcTime(Date.now() + 86_400_000)),
    commonName,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(0x30, subjectAltName)),
  );
  const signature = der(0x03, Buffer.from([0]), sign("sha256", toBeSigned, privateKey));
  const base64 = der(0x30, toBeSigned, ecdsaWithSha256, signature).toString("base64");
  const cert = `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
  return { key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(), cert };
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

function hex(digits: string): Buffer {
  return Buffer.from(digits, "hex");
}

function utcTime(at: number): Buffer {
  const digits = new Date(at).toISOString().replace(/[-:T]|\..*/g, "");
  return der(0x17, Buffer.from(`${digits.slice(2)}Z`));
}
