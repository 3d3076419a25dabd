/** What a client asks for, sorted by how it is done. */
import { SyncError } from "./errors.js";
import { type StepEvent, storedFile, storedFolder } from "./hosting.js";
import { parentOf } from "./path.js";
import type { Message, Request } from "./wire.js";

/** A large file that is about to come. */
export type Announced = Request & { type: "put" | "delta" };

/** What is done in one go. */
export type Step = Exclude<Request, Announced>;

const STEPS: ReadonlySet<string> = new Set([
  "mkdir",
  "link",
  "remove",
  "touch",
  "file",
  "rename",
  "hold",
  "move",
  "clone",
]);

export function isStep(message: Message): message is Step {
  return STEPS.has(message.type);
}

/** The paths that a step has to do with. */
export function pathsOf(step: Step): string[] {
  const two = step.type === "move" || step.type === "rename" || step.type === "clone";
  return two ? [step.path, step.from] : [step.path];
}

/** The folders whose names a step changes. */
export function foldersOf(step: Step): string[] {
  if (step.type === "touch") return step.kind === "directory" ? [step.path] : [];
  if (step.type === "clone") return [parentOf(step.path)];
  return step.type === "hold" ? [] : pathsOf(step).map(parentOf);
}

/** What a host is told of a step that is done. */
export function eventOf(step: Step): StepEvent | undefined {
  const { path } = step;
  switch (step.type) {
    case "hold":
      return undefined;
    case "mkdir": {
      const entry = { kind: "directory", path, size: 0, executable: false, mode: 0o700 } as const;
      return { type: "stored", path, bytes: 0, entry };
    }
    case "link": {
      const bytes = Buffer.byteLength(step.target);
      const { target, mtimeNs } = step;
      const entry = { kind: "symlink", path, size: bytes, executable: false, target, mtimeNs } as const;
      return { type: "stored", path, bytes, entry };
    }
    case "file": {
      const bytes = step.content.length;
      return { type: "stored", path, bytes, entry: storedFile({ ...step, size: bytes }, step.sha256) };
    }
    case "clone":
      return { type: "stored", path, bytes: step.size, entry: storedFile(step, step.sha256) };
    case "touch":
      if (step.kind === "file") return { type: "changed", path, entry: storedFile(step) };
      return { type: "changed", path, entry: storedFolder(step) };
    case "remove":
      return { type: "removed", path, kind: step.kind };
    case "rename":
      return { type: "moved", path, from: step.from, kind: "directory" };
    case "move": {
      const entry = storedFile(step, step.sha256);
      if (step.held !== 0) return { type: "stored", path, bytes: step.size, entry };
      if (step.from === path) return { type: "changed", path, entry };
      return { type: "moved", path, from: step.from, kind: "file", entry };
    }
  }
}

export function unexpected({ type }: { type: string }): SyncError {
  return new SyncError("ERR_PROTOCOL", `a ${type} message at a time when none is expected`);
}
