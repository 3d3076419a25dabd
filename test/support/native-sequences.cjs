// Calls the addon's functions in sequences that a seed makes up, with right and wrong arguments, inside and outside of its callbacks:
// node native-sequences.cjs BINARY SEED COUNT. Nothing may crash; started in a process of its own, under AddressSanitizer where it can be.
"use strict";
const { isMainThread, Worker, workerData } = require("node:worker_threads");

const [binary, seed, count] = isMainThread ? process.argv.slice(2) : workerData;
const native = require(binary);
let state = Number(seed) >>> 0;

function random(most) {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) % most;
}
const oneOf = (list) => list[random(list.length)];

const sockets = [];
let callbacks = 0;
const ODD = [
  undefined,
  null,
  -1,
  0,
  1,
  65_535,
  65_536,
  2 ** 31,
  0.5,
  NaN,
  "",
  "x".repeat(300),
  {},
  [],
  () => {},
  true,
  7n,
  new Uint8Array(70_000),
];
const ADDRESSES = ["127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "192.0.2.1", "nowhere", "fe80::1%lo"];

/** Now and then, an argument is one that it should not be. */
const argument = (right) => (random(12) === 0 ? oneOf(ODD) : right());
const port = () => (random(3) === 0 ? 0 : (portOf(oneOf(sockets)) ?? 9));

function portOf(udp) {
  try {
    const address = udp?.address();
    return Array.isArray(address) ? address[1] : undefined;
  } catch {
    return undefined;
  }
}

/** A packet of the extended edition with data, or noise. */
function datagram() {
  if (random(4) === 0) return new Uint8Array(random(3000));
  const bytes = new Uint8Array(18 + random(1400));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, random(4) * 1000);
  view.setUint32(4, 7);
  view.setUint16(10, 0x8200 | (random(4) === 0 ? 0x0400 : 0));
  view.setUint16(12, random(10) === 0 ? random(65_536) : bytes.length);
  return bytes;
}

function onEvent() {
  callbacks++;
  for (let steps = random(3); steps > 0; steps--) step();
  if (random(200) === 0) throw new Error("of a callback");
}
process.on("uncaughtException", () => {});

const METHODS = {
  bind: () => [argument(() => oneOf(ADDRESSES)), argument(port), argument(() => random(4))],
  connect: () => [argument(() => oneOf(ADDRESSES)), argument(port)],
  allowReuse: () => [argument(() => random(2) === 0)],
  start: () => [argument(() => onEvent)],
  gather: () => [argument(() => random(2) === 0)],
  waitFor: () => [argument(() => random(2) === 0), argument(() => random(2) === 0)],
  read: () => [],
  sender: () => [argument(() => random(40))],
  local: () => [argument(() => random(40))],
  send: () => [argument(datagram), argument(() => 1 + random(2000))],
  sendTo: () => [
    argument(datagram),
    argument(() => 1 + random(2000)),
    argument(() => oneOf(ADDRESSES)),
    argument(port),
    argument(() => oneOf(["", ...ADDRESSES])),
  ],
  mtu: () => [],
  segments: () => [argument(() => random(2) === 0)],
  address: () => [],
  setRef: () => [argument(() => random(2) === 0)],
  close: () => [],
};
const OFTEN = ["bind", "start", "close", "sendTo", "send", "close", "bind", "start", "gather"];

function step() {
  try {
    if (random(8) === 0 && sockets.length < 40) sockets.push(new native.Udp());
    if (random(20) === 0) sockets.splice(random(sockets.length + 1), 1);
    if (random(30) === 0) native.take(argument(() => random(5)));
    if (random(10) === 0) native.room();
    if (random(3000) === 0) structuredClone(native.room(), { transfer: [native.room()] });
    if (random(500) === 0) globalThis.gc?.();
    const udp = oneOf(sockets);
    if (udp === undefined) return;
    const name = random(3) === 0 ? oneOf(Object.keys(METHODS)) : oneOf(OFTEN);
    udp[name](...METHODS[name]());
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError || error.name === "DataCloneError")) throw error;
  }
}

function started() {
  const udp = new native.Udp();
  udp.bind("127.0.0.1", 0, 0);
  udp.start(() => {});
  return udp;
}

/** A socket is closed beside others, these are collected, and it is started again. */
async function again() {
  const kept = [started(), started(), started()];
  let [before, after] = [started(), started()];
  const beside = started();
  for (const udp of [...kept, before, beside, after]) udp.close();
  before = after = undefined;
  for (let turn = 0; turn < 4; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
  }
  for (const udp of [beside, ...kept]) {
    udp.bind("127.0.0.1", 0, 0);
    udp.start(() => {});
  }
  // The one that was started last had a neighbour that is no more.
  for (const udp of [kept[2], beside, ...kept]) udp.close();
}

async function main() {
  native.room();
  if (isMainThread) for (let round = 0; round < 20; round++) await again();
  for (let done = 0; done < Number(count); done++) {
    step();
    if (random(4) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  if (isMainThread) {
    // Sockets that nobody closes end with a worker, in the middle of something.
    const worker = new Worker(__filename, { workerData: [binary, seed + 1, 300] });
    worker.on("error", () => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
    await worker.terminate();
    process.stdout.write(`${callbacks} callbacks\n`);
  }
  // … and with the process.
  if (isMainThread) process.exit(0);
}

void main();
