import { expect, test } from "vitest";
import { DEFAULT_EDITION, Endpoint, type EndpointOptions, editionNamed } from "../../../src/protocol/index.js";
import { type DatagramPort, Driver } from "../../../src/stream/driver.js";
import { Random } from "../../support/random.js";
import { TestClock } from "../../support/test-clock.js";

function endpoint(options: Partial<EndpointOptions>, seed: number): Endpoint {
  const random = new Random(seed);
  const extended = { random: () => random.next(), required: true, maxDatagramBytes: () => 1472 };
  return new Endpoint({ edition: editionNamed(DEFAULT_EDITION), extended, ...options });
}

/** Keeps what is sent. */
class TestPort implements DatagramPort {
  readonly transmissionBytes = 65_536;
  readonly repeatsResets = false;
  readonly sent: Uint8Array[] = [];
  send(bytes: Uint8Array): boolean {
    this.sent.push(bytes.slice());
    return true;
  }
  sendTo(bytes: Uint8Array): void {
    this.sent.push(bytes.slice());
  }
  forget(): void {}
  setRef(): void {}
  close(): void {}
}

test("a timer that fires before a batch has ended ends it, and what is due is sent", () => {
  const clock = new TestClock();
  const port = new TestPort();
  const driver = new Driver(endpoint({ accept: true }, 1), port, clock, (connection) => driver.detach(connection));
  driver.retain(true);
  const client = endpoint({}, 2);
  const connection = client.connect("server", 5000);
  connection.open(clock.now());
  const out = new Uint8Array(1472);
  const deliver = (endBatch: boolean) => {
    for (
      let length = connection.transmit(out, clock.now());
      length > 0;
      length = connection.transmit(out, clock.now())
    ) {
      driver.receive(out.slice(0, length), "client", 4000);
    }
    if (endBatch) driver.endBatch();
    for (const datagram of port.sent.splice(0)) client.receive(datagram, "server", 5000, clock.now());
  };
  for (let round = 0; round < 4; round++) deliver(true);
  expect(connection.connected).toBe(true);
  connection.write(new Uint8Array(600), clock.now());
  deliver(false);
  expect(connection.stats.bytesAcknowledged).toBe(0);
  // As where timers run between two datagrams: the end of the batch is yet to come, and the acknowledgement is due.
  clock.advance(Math.ceil(driver.endpoint.deadline() - clock.now()));
  deliver(false);
  expect(connection.stats.bytesAcknowledged).toBe(600);
});
