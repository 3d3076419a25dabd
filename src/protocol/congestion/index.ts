import { Bbr } from "./bbr.js";
import type { CongestionController } from "./controller.js";
import { Cubic } from "./cubic.js";
import { ExtendedTahoe } from "./tahoe.js";

export type { AckSample, CongestionController } from "./controller.js";
export { emptyAckSample } from "./controller.js";

export type ControllerName = CongestionController["name"];

export const CONTROLLER_NAMES: readonly ControllerName[] = ["tahoe", "cubic", "bbr"];

export interface ControllerOptions {
  readonly segmentBytes: number;
  readonly initialCwnd: number;
  /** In [0, 1): what spreads the probes of flows that share a bottleneck. */
  readonly random: () => number;
}

export function createController(name: ControllerName, options: ControllerOptions): CongestionController {
  const { segmentBytes, initialCwnd, random } = options;
  switch (name) {
    case "tahoe":
      return new ExtendedTahoe(segmentBytes, initialCwnd);
    case "cubic":
      return new Cubic(segmentBytes, initialCwnd);
    case "bbr":
      return new Bbr(segmentBytes, initialCwnd, random);
  }
}
