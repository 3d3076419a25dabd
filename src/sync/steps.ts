/** What a client asks for, sorted by how it is done. */
import { parentOf } from "./path.js";
import type { Message, Request } from "./wire.js";

/** A large file that is about to come. */
export type Announced = Request & { type: "put" | "delta" };

/** What is done in one go. */
export type Step = Exclude<Request, Announced>;

const STEPS: ReadonlySet<string> = new Set(["mkdir", "link", "remove", "touch", "file", "rename", "hold", "move"]);

export function isStep(message: Message): message is Step {
  return STEPS.has(message.type);
}

/** The paths that a step has to do with. */
export function pathsOf(step: Step): string[] {
  return step.type === "move" || step.type === "rename" ? [step.path, step.from] : [step.path];
}

/** The folders whose names a step changes. */
export function foldersOf(step: Step): string[] {
  return step.type === "touch" || step.type === "hold" ? [] : pathsOf(step).map(parentOf);
}
