/**
 * What waits to be written to the database, in files under `write-behind/`: it survives the end of the program. Each line is a
 * number and what it is about, as JSON. A file is removed when everything in it is in the database.
 *
 * What is appended is handed to the system by {@link WriteBehindLog.flush}, and not flushed to the disk: after a power failure the
 * folders are looked through, as they are marked.
 */

import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { makeFolder } from "../../files/make-folder.js";
import { linesOrNothing, listOrNothing } from "../../files/read-or-nothing.js";
import { isRunning } from "./running.js";

/** Then another file is begun. */
const SEGMENT_BYTES = 4 * 1024 * 1024;
const NAME = /^(\d+-[0-9a-f]+)\.(\d+)\.log$/;

/** A line of a file, found by a later run. */
export interface LoggedLine {
  readonly run: string;
  readonly number: number;
  readonly bytes: number;
  readonly value: unknown;
}

interface Segment {
  readonly file: string;
  /** The number of its last line. */
  last: number;
  bytes: number;
}

export class WriteBehindLog {
  /** Tells this run of the program from others. */
  readonly run = `${process.pid}-${randomBytes(4).toString("hex")}`;
  readonly #dir: string;
  readonly #onError: (error: unknown) => void;
  readonly #segments: Segment[] = [];
  #fd: number | undefined;
  #lines: string[] = [];
  #number = 0;
  #segmentNumber = 0;
  #failed = false;

  /** `dir` is made when something is appended. `onError` is called once for a series of failed writes. */
  constructor(dir: string, onError: (error: unknown) => void) {
    this.#dir = dir;
    this.#onError = onError;
  }

  /** Whether something was appended. */
  get isUsed(): boolean {
    return this.#number > 0;
  }

  /** Returns the number of the line, and how many bytes it has. */
  append(value: unknown): { readonly number: number; readonly bytes: number } {
    const number = ++this.#number;
    const line = `${JSON.stringify([number, value])}\n`;
    this.#lines.push(line);
    return { number, bytes: line.length };
  }

  /** Hands what was appended to the system. What cannot be written is not lost while the program runs. */
  flush(): void {
    if (this.#lines.length === 0) return;
    const content = Buffer.from(this.#lines.join(""));
    this.#lines = [];
    try {
      const segment = this.#openSegment();
      segment.last = this.#number;
      segment.bytes += content.length;
      for (let at = 0; at < content.length; ) at += fs.writeSync(this.#fd as number, content, at);
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) this.#onError(error);
      this.#failed = true;
      this.#endSegment();
    }
  }

  /** Everything up to that line is in the database. */
  written(number: number): void {
    while (this.#segments[0] !== undefined && this.#segments[0].last <= number) {
      const [segment] = this.#segments;
      const isCurrent = this.#segments.length === 1 && this.#fd !== undefined;
      if (isCurrent && segment.bytes < SEGMENT_BYTES / 4) return;
      if (isCurrent) this.#endSegment();
      fs.rmSync(segment.file, { force: true });
      this.#segments.shift();
    }
  }

  /** Ends the file; it stays. */
  close(): void {
    this.flush();
    this.#endSegment();
  }

  /** Removes what is left of this run: everything is in the database. */
  remove(): void {
    this.#endSegment();
    for (const { file } of this.#segments.splice(0)) fs.rmSync(file, { force: true });
  }

  /** The earlier runs that have left something. */
  earlierRuns(): string[] {
    return [...new Set(this.#earlierFiles().map(({ run }) => run))];
  }

  /** The lines that earlier runs, of programs that have ended, have left, in order. */
  *earlier(): Generator<LoggedLine> {
    for (const { run, file } of this.#earlierFiles()) {
      for (const line of linesOrNothing(file)) {
        const parsed = parse(line);
        if (parsed !== undefined) yield { run, number: parsed[0], bytes: line.length, value: parsed[1] };
      }
    }
  }

  /** Removes the files of earlier runs. */
  forgetEarlier(): void {
    for (const { file } of this.#earlierFiles()) fs.rmSync(file, { force: true });
  }

  #openSegment(): Segment {
    const present = this.#segments.at(-1);
    if (this.#fd !== undefined && present !== undefined && present.bytes < SEGMENT_BYTES) return present;
    this.#endSegment();
    makeFolder(this.#dir, 0o700);
    const file = `${this.#dir}/${this.run}.${++this.#segmentNumber}.log`;
    this.#fd = fs.openSync(file, "ax", 0o600);
    const segment = { file, last: this.#number, bytes: 0 };
    this.#segments.push(segment);
    return segment;
  }

  #endSegment(): void {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }

  #earlierFiles(): { readonly run: string; readonly file: string }[] {
    return listOrNothing(this.#dir)
      .map((name) => ({ name, match: NAME.exec(name) }))
      .flatMap(({ name, match }) =>
        match === null ? [] : [{ run: match[1] as string, segment: Number(match[2]), file: `${this.#dir}/${name}` }],
      )
      .filter(({ run }) => run !== this.run && !isRunning(Number(run.slice(0, run.indexOf("-")))))
      .sort((a, b) => (a.run === b.run ? a.segment - b.segment : a.run < b.run ? -1 : 1));
  }
}

/** The last line of a program that was killed may be half a one: then nobody was told that it was written. */
function parse(line: string): [number, unknown] | undefined {
  try {
    const value = JSON.parse(line) as unknown;
    return Array.isArray(value) && value.length === 2 && Number.isSafeInteger(value[0])
      ? (value as [number, unknown])
      : undefined;
  } catch {
    return undefined;
  }
}
