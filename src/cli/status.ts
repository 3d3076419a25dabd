/** What a mirror is doing, as lines for a terminal. Pure: time is an argument. */
import type { MirrorEvent } from "../sync/index.js";
import { bar, formatBytes, formatSeconds } from "./progress.js";
import { shownPath } from "./report.js";

interface UnderWay {
  readonly startedMs: number;
  bytes: number;
  size: number;
}

/** The speed is that of the last seconds, so that it tells how it goes now. */
const SPEED_WINDOW_MS = 4000;
/** A round that is over sooner shows nothing: lines that flash up and go tell nobody anything. */
const SHOWN_AFTER_MS = 150;

export class Status {
  readonly #underWay = new Map<string, UnderWay>();
  #round: { startedMs: number; files: number; filesDone: number } | undefined;
  #progress: Extract<MirrorEvent, { type: "progress" }> | undefined;
  #samples: { atMs: number; bytes: number }[] = [];
  #note = "";
  /** From then on, looking through the folder is nothing to tell. */
  #followed = false;

  take(event: MirrorEvent, nowMs: number): void {
    switch (event.type) {
      case "connecting":
        this.#note = event.attempt === 1 ? "connecting" : `connecting, attempt ${event.attempt}`;
        break;
      case "walking":
        if (!this.#followed) this.#note = `looking through the folder: ${event.reason}`;
        break;
      case "scanned":
        if (!this.#followed) this.#note = `comparing ${event.files} files`;
        break;
      case "planned":
        this.#round = { startedMs: nowMs, files: event.files, filesDone: 0 };
        this.#progress = undefined;
        this.#samples = [{ atMs: nowMs, bytes: 0 }];
        this.#underWay.clear();
        break;
      case "sending": {
        const { path, bytes, size } = event;
        const known = this.#underWay.get(path);
        if (known === undefined) this.#underWay.set(path, { startedMs: nowMs, bytes, size });
        else Object.assign(known, { bytes, size });
        break;
      }
      case "pushed":
        if (event.kind === "file" && this.#round !== undefined) this.#round.filesDone++;
        this.#underWay.delete(event.path);
        break;
      case "failed":
      case "superseded":
        this.#underWay.delete(event.path);
        break;
      case "progress":
        this.#progress = event;
        this.#samples.push({ atMs: nowMs, bytes: event.bytes });
        while (this.#samples.length > 2 && (this.#samples[0]?.atMs ?? 0) < nowMs - SPEED_WINDOW_MS)
          this.#samples.shift();
        break;
      case "retrying":
        this.#round = undefined;
        this.#progress = undefined;
        this.#underWay.clear();
        this.#note = `not connected (${event.code}): attempt ${event.attempt} in ${(event.delayMs / 1000).toFixed(1)} s`;
        break;
      case "synced":
        this.#followed = true;
        this.#round = undefined;
        this.#progress = undefined;
        this.#underWay.clear();
        this.#note = "";
        break;
    }
  }

  /** At most `rows` lines: the transfers, the largest first, and the whole last. None where there is nothing to tell. */
  lines(nowMs: number, rows: number): string[] {
    if (this.#round === undefined) return this.#note === "" ? [] : [this.#note];
    if (nowMs - this.#round.startedMs < SHOWN_AFTER_MS) return [];
    const transfers = [...this.#underWay].sort(([, a], [, b]) => b.size - a.size);
    const room = Math.max(0, rows - 1);
    const shown = transfers.slice(0, transfers.length > room ? Math.max(0, room - 1) : room);
    const more = transfers.length - shown.length;
    return [
      ...shown.map(([path, transfer]) => transferLine(path, transfer, nowMs)),
      ...(more > 0 && room > 0 ? [`  and ${more} more`] : []),
      this.#whole(this.#round, nowMs),
    ];
  }

  #whole({ files, filesDone }: { files: number; filesDone: number }, nowMs: number): string {
    const { bytes = 0, bytesTotal = 0, bytesSaved = 0, steps = 0, stepsTotal = 0 } = this.#progress ?? {};
    const share = bytesTotal > 0 ? bytes / bytesTotal : stepsTotal > 0 ? steps / stepsTotal : 0;
    const [first] = this.#samples;
    const seconds = first === undefined ? 0 : (nowMs - first.atMs) / 1000;
    const speed = seconds > 0 && first !== undefined ? (bytes - first.bytes) / seconds : 0;
    const left = speed > 0 && bytesTotal > bytes ? `  ${formatSeconds((bytesTotal - bytes) / speed)} left` : "";
    const saved = bytesSaved > 0 ? `  ${formatBytes(bytesSaved)} not sent again` : "";
    const content = `${formatBytes(bytes)} of ${formatBytes(bytesTotal)}  ${formatBytes(Math.round(speed))}/s`;
    return `${bar(share)}  ${filesDone} of ${Math.max(files, filesDone)} files  ${content}${left}${saved}`;
  }
}

function transferLine(path: string, { startedMs, bytes, size }: UnderWay, nowMs: number): string {
  const seconds = (nowMs - startedMs) / 1000;
  const left = seconds > 1 && bytes > 0 ? `  ${formatSeconds(((size - bytes) * seconds) / bytes)} left` : "";
  const share = size === 0 ? 1 : bytes / size;
  return `  ${String(Math.floor(share * 100)).padStart(3)} %  ${formatBytes(size).padStart(9)}${left}  ${shownPath(path)}`;
}
