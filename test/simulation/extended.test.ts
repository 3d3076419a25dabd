import { CONTROLLER_NAMES } from "../../src/protocol/index.js";
import { extendedKind } from "../support/extended-hosts.js";
import { declareScenarios } from "../support/scenarios.js";

for (const controller of CONTROLLER_NAMES) declareScenarios(extendedKind(controller), 200);
