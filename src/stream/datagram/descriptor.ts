import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { endianness } from "node:os";
import type { DatagramAddress } from "./types.js";

/** A UDP socket of this process as the kernel lists it. */
export interface Descriptor {
  readonly fd: number;
  /** Memory that waiting datagrams take in the kernel, in its own count, which is above that of their bytes. */
  readonly waitingBytes: number;
}

interface Peer {
  readonly address: string;
  readonly port: number;
}

/** One line of the kernel's table of UDP sockets. */
interface UdpRow {
  /** In the kernel's notation: see {@link hexAddress}. */
  readonly localAddress: string;
  readonly inode: string;
  readonly waitingBytes: number;
}

/** Where the kernel lists things. Tests point it elsewhere. */
const PROC = "/proc";

/**
 * The descriptor of a UDP socket of ours, which node:dgram does not tell: the kernel's table of UDP sockets has the
 * socket's inode, and the links of /proc/self/fd say which descriptor has that inode.
 * @returns null where /proc does not tell exactly one, as in some sandboxes and everywhere but on Linux
 */
export function findDescriptor(local: DatagramAddress, remote: Peer | null, proc: string = PROC): Descriptor | null {
  if (process.platform !== "linux") return null;
  try {
    const address = hexAddress(local.address);
    const rows = udpRows(local, remote, proc).filter((row) => row.localAddress === address);
    const found = rows.length === 0 ? [] : descriptorsOf(rows, proc);
    return found.length === 1 ? (found[0] as Descriptor) : null;
  } catch {
    return null;
  }
}

/** How many sockets, whoever's they are, get what anybody sends to this address. */
export function countListeners(local: DatagramAddress, proc: string = PROC): number {
  const address = hexAddress(local.address);
  const any = (hex: string): boolean => /^0+$/.test(hex);
  return udpRows(local, null, proc).filter(
    (row) => row.localAddress === address || any(row.localAddress) || any(address),
  ).length;
}

/** The UDP sockets of this network namespace with this local port and this peer, or not connected. */
function udpRows(local: DatagramAddress, remote: Peer | null, proc: string): UdpRow[] {
  const table = readFileSync(`${proc}/self/net/${local.family === "IPv4" ? "udp" : "udp6"}`, "latin1");
  const localPort = hexPort(local.port);
  const peer = remote === null ? null : `${hexAddress(remote.address)}:${hexPort(remote.port)}`;
  const rows: UdpRow[] = [];
  for (const line of table.split("\n")) {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...
    const fields = line.trim().split(/\s+/);
    const [localAddress, port] = fields[1]?.split(":") ?? [];
    if (localAddress === undefined || port !== localPort) continue;
    const matches = peer === null ? fields[2]?.endsWith(":0000") : fields[2] === peer;
    const waitingBytes = Number.parseInt(fields[4]?.split(":")[1] ?? "", 16);
    if (matches && fields[9] !== undefined) rows.push({ localAddress, inode: fields[9], waitingBytes });
  }
  return rows;
}

function descriptorsOf(rows: UdpRow[], proc: string): Descriptor[] {
  const wanted = new Map(rows.map((row) => [`socket:[${row.inode}]`, row]));
  const found: Descriptor[] = [];
  // A socket just made mostly has the highest number, so the search from there is short in a process with many.
  const fds = readdirSync(`${proc}/self/fd`).map(Number);
  for (const fd of fds.sort((a, b) => b - a)) {
    const row = wanted.get(linkOf(`${proc}/self/fd/${fd}`));
    if (row === undefined) continue;
    found.push({ fd, waitingBytes: row.waitingBytes });
    if (found.length === rows.length) break;
  }
  return found;
}

/** A descriptor may be closed while the list is read: the one that read the list is. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function hexPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}

/** The kernel prints an address as 32-bit words in the machine's order. */
function hexAddress(address: string): string {
  const bytes = address.includes(":") ? ipv6Bytes(address) : ipv4Bytes(address);
  let hex = "";
  for (let word = 0; word < bytes.length; word += 4) {
    const four = bytes.slice(word, word + 4);
    if (endianness() === "LE") four.reverse();
    for (const byte of four) hex += byte.toString(16).toUpperCase().padStart(2, "0");
  }
  return hex;
}

function ipv4Bytes(address: string): number[] {
  return address.split(".").map(Number);
}

function ipv6Bytes(address: string): number[] {
  const [head = "", tail] = (address.split("%")[0] as string).split("::");
  const front = groupBytes(head);
  const back = groupBytes(tail ?? "");
  return [...front, ...new Array<number>(16 - front.length - back.length).fill(0), ...back];
}

function groupBytes(part: string): number[] {
  if (part === "") return [];
  return part.split(":").flatMap((group) => {
    if (group.includes(".")) return ipv4Bytes(group);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}
