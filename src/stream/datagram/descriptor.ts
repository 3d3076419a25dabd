import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { endianness } from "node:os";
import type { DatagramAddress } from "./types.js";

/** A UDP socket of this process as the kernel lists it. */
export interface Descriptor {
  readonly fd: number;
  /** Memory that waiting datagrams take in the kernel, in its own count, which is above that of their bytes. */
  readonly waitingBytes: number;
}

/** An address with a port: one end of a pair. */
interface End {
  readonly address: string;
  readonly port: number;
}

/** One line of the kernel's table of UDP sockets. */
interface UdpRow {
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
export function findDescriptor(local: DatagramAddress, remote: End | null, proc: string = PROC): Descriptor | null {
  if (process.platform !== "linux") return null;
  try {
    const pair = `${hexEnd(local)} ${hexEnd(remote ?? { address: anyOf(local), port: 0 })} `;
    // A busy server has a line for each peer: only those with the pair are taken apart.
    const rows = linesWith(udpTable(local, proc), pair)
      .map(toRow)
      .filter((row) => row !== null);
    const found = rows.length === 0 ? [] : descriptorsOf(rows, proc);
    return found.length === 1 ? (found[0] as Descriptor) : null;
  } catch {
    return null;
  }
}

/** How many sockets, whoever's they are, get what anybody sends to this address. */
export function countListeners(local: DatagramAddress, proc: string = PROC): number {
  const end = hexEnd(local);
  const any = hexEnd({ address: anyOf(local), port: local.port });
  const unconnected = ` ${hexEnd({ address: anyOf(local), port: 0 })} `;
  const table = udpTable(local, proc);
  const ends = end === any ? [`:${hexPort(local.port)}`] : [` ${end}`, ` ${any}`];
  return ends.reduce((count, text) => count + linesWith(table, text + unconnected).length, 0);
}

/** The UDP sockets of this network namespace. */
function udpTable({ family }: DatagramAddress, proc: string): string {
  return readFileSync(`${proc}/self/net/${family === "IPv4" ? "udp" : "udp6"}`, "latin1");
}

function linesWith(table: string, text: string): string[] {
  const lines: string[] = [];
  for (let at = table.indexOf(text); at !== -1; at = table.indexOf(text, at + 1)) {
    const end = table.indexOf("\n", at);
    lines.push(table.slice(table.lastIndexOf("\n", at) + 1, end === -1 ? table.length : end));
  }
  return lines;
}

/** Columns: sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ... */
function toRow(line: string): UdpRow | null {
  const fields = line.trim().split(/\s+/);
  const waitingBytes = Number.parseInt(fields[4]?.split(":")[1] ?? "", 16);
  return fields[9] === undefined || Number.isNaN(waitingBytes) ? null : { inode: fields[9], waitingBytes };
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

function anyOf({ family }: DatagramAddress): string {
  return family === "IPv4" ? "0.0.0.0" : "::";
}

function hexEnd({ address, port }: End): string {
  return `${hexAddress(address)}:${hexPort(port)}`;
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
