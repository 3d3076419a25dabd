/** The client behind the proxies that are trusted: X-Forwarded-For, and Forwarded (RFC 7239). */
import { BlockList, isIP, SocketAddress } from "node:net";

/** The end of a request's way that is not one of ours. */
export interface ClientAddress {
  readonly address: string;
  /** Whether the client came over HTTPS to the proxy; undefined where no trusted proxy says it. */
  readonly https: boolean | undefined;
}

type Header = (name: string) => string | undefined;

/** One step of a request's way, as a proxy has noted it. `address` is undefined where that is hidden or no address. */
interface Hop {
  readonly address: string | undefined;
  readonly proto: string | undefined;
}

/** A set of addresses and networks whose word about their clients is taken. */
export class TrustedProxies {
  readonly #list = new BlockList();

  /** @throws TypeError that names what is neither an IP address nor a network such as `10.0.0.0/8` */
  constructor(addresses: readonly string[] = []) {
    for (const text of addresses) {
      const parsed = parseNetwork(text);
      if (parsed === undefined)
        throw new TypeError(`"${text}" is neither an IP address nor a network such as 10.0.0.0/8`);
      this.#list.addSubnet(parsed.address, parsed.bits, parsed.family);
    }
  }

  trusts(address: string): boolean {
    const plain = plainAddress(address);
    return plain !== undefined && this.#list.check(plain, isIP(plain) === 6 ? "ipv6" : "ipv4");
  }

  /**
   * The client of a request that came from `socketAddress`: the last address on the way that is not a trusted proxy's. Where
   * Forwarded and X-Forwarded-For name different ones, one of the two came from the client itself, so that neither counts.
   */
  clientOf(socketAddress: string, header: Header): ClientAddress {
    const direct = { address: plainAddress(socketAddress) ?? socketAddress, https: undefined };
    if (!this.trusts(socketAddress)) return direct;
    const forwarded = header("forwarded");
    const xForwardedFor = header("x-forwarded-for");
    const found = [
      ...(forwarded === undefined ? [] : [this.#follow(direct.address, parseForwarded(forwarded))]),
      ...(xForwardedFor === undefined ? [] : [this.#follow(direct.address, parseList(xForwardedFor, header))]),
    ];
    const [first, second] = found;
    if (first === undefined) return { ...direct, https: protoOf(header) };
    if (second !== undefined && second.address !== first.address) return direct;
    return { address: first.address, https: first.https ?? second?.https };
  }

  /** From the nearest hop on, as long as it is a trusted proxy that speaks. */
  #follow(nearest: string, hops: readonly Hop[]): ClientAddress {
    let address = nearest;
    let https: boolean | undefined;
    for (const hop of hops.toReversed()) {
      if (!this.trusts(address) || hop.address === undefined) break;
      address = hop.address;
      if (hop.proto !== undefined) https = hop.proto === "https";
    }
    return { address, https };
  }
}

/** Whether it is an IP address or a network in CIDR notation. */
export function isNetwork(text: string): boolean {
  return parseNetwork(text) !== undefined;
}

function parseNetwork(text: string): { address: string; bits: number; family: "ipv4" | "ipv6" } | undefined {
  const [, address = "", suffix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const version = isIP(address);
  if (version === 0 || address.includes("%")) return undefined;
  const most = version === 6 ? 128 : 32;
  const bits = suffix === undefined ? most : Number(suffix);
  return bits > most ? undefined : { address, bits, family: version === 6 ? "ipv6" : "ipv4" };
}

function parseList(value: string, header: Header): Hop[] {
  const addresses = value.split(",").map((text) => addressOf(text.trim()));
  const https = protoOf(header);
  const proto = https === undefined ? undefined : https ? "https" : "http";
  return addresses.map((address, index) => ({ address, proto: index === addresses.length - 1 ? proto : undefined }));
}

function protoOf(header: Header): boolean | undefined {
  const proto = header("x-forwarded-proto")?.split(",").at(-1)?.trim().toLowerCase();
  return proto === undefined ? undefined : proto === "https";
}

const ELEMENT = /\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*))\s*([,;]|$)/y;

/** RFC 7239, 4. What does not parse ends the way: nothing before it counts. */
function parseForwarded(value: string): Hop[] {
  const hops: Hop[] = [];
  let hop: { address?: string | undefined; proto?: string } = {};
  ELEMENT.lastIndex = 0;
  while (ELEMENT.lastIndex < value.length) {
    const [all, name = "", quoted, token = "", end] = ELEMENT.exec(value) ?? [];
    if (all === undefined) return [{ address: undefined, proto: undefined }];
    const text = quoted === undefined ? token : quoted.replace(/\\(.)/g, "$1");
    if (name.toLowerCase() === "for") hop.address = addressOf(text);
    else if (name.toLowerCase() === "proto") hop.proto = text.toLowerCase();
    if (end === ";") continue;
    hops.push({ address: hop.address, proto: hop.proto });
    hop = {};
  }
  return hops;
}

/** An address with or without a port: `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`. */
function addressOf(text: string): string | undefined {
  const [, bracketed] = /^\[([^\]]+)\](?::\d+)?$/.exec(text) ?? [];
  return plainAddress(bracketed ?? text.replace(/^([\d.]+):\d+$/, "$1"));
}

/** In its shortest form, without a zone; an IPv4 address that is written as an IPv6 one, in whichever form, as what it is. */
function plainAddress(text: string): string | undefined {
  const address = text.replace(/%.*$/, "");
  const version = isIP(address);
  if (version !== 6) return version === 4 ? address : undefined;
  return new SocketAddress({ address, family: "ipv6" }).address.replace(/^::ffff:(\d+\.\d+\.\d+\.\d+)$/, "$1");
}
