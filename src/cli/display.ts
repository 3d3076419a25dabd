import type { MirrorEvent, Step, SyncedSummary } from "../sync/index.js";
import { formatBytes, ProgressLine, progressText } from "./progress.js";
import { escaped, printWarning, sentence, shownPath } from "./report.js";

export interface DisplayOptions {
  /** One summary line and nothing else. */
  readonly once: boolean;
  readonly dryRun: boolean;
  /** Begins each line, where several mirrors write. */
  readonly label?: string;
}

/** A round of at most so many steps is told path by path; a larger one by its sum. */
const TOLD_BY_PATH = 20;

/** What happens, for people: lines on stdout, a progress bar on stderr where that is a terminal. */
export class Display {
  readonly #options: DisplayOptions;
  readonly #progress = new ProgressLine();
  #roundStartedAt = 0;
  #tellsPaths = false;
  #synced = false;

  constructor(options: DisplayOptions) {
    this.#options = options;
  }

  show(event: MirrorEvent): void {
    switch (event.type) {
      case "connected":
        if (event.reconnected) this.#say("connected again, going on");
        break;
      case "retrying":
        this.#note(`${sentence(event.reason)} Trying again in ${(event.delayMs / 1000).toFixed(1)} s. (${event.code})`);
        break;
      case "walking":
        if (this.#synced) break;
        this.#progress.show(`looking through the folder: ${event.reason}`);
        break;
      case "planned":
        this.#plan(event);
        break;
      case "progress":
        this.#advance(event);
        break;
      case "resumed":
        this.#note(
          `${shownPath(event.path)} goes on at ${formatBytes(event.offset)} of ${formatBytes(event.size)} that have arrived already`,
        );
        break;
      case "pushed":
        if (this.#tellsPaths) this.#say(`sent     ${shownPath(event.path)}`);
        break;
      case "moved":
        if (this.#tellsPaths) this.#say(`moved    ${shownPath(event.from)} to ${shownPath(event.path)}`);
        break;
      case "deleted":
        if (this.#tellsPaths) this.#say(`deleted  ${shownPath(event.path)}`);
        break;
      case "failed":
        this.#progress.clear();
        printWarning(`${shownPath(event.path)}: ${sentence(event.message)} (${event.code}) It is tried again later.`);
        break;
      case "notice":
        this.#progress.clear();
        printWarning(
          event.path === undefined ? sentence(event.message) : `${shownPath(event.path)}: ${sentence(event.message)}`,
        );
        break;
      case "synced":
        this.#finishRound(event);
        break;
    }
  }

  /** Nothing more comes. */
  end(): void {
    this.#progress.clear();
  }

  #plan(event: Extract<MirrorEvent, { type: "planned" }>): void {
    const { files, directories, links, touched, moved, removed } = event;
    this.#roundStartedAt = performance.now();
    const steps = files + directories + links + touched + moved + removed;
    this.#tellsPaths = !this.#options.once && steps <= TOLD_BY_PATH;
    if (!this.#options.dryRun) return;
    for (const step of event.steps ?? []) this.#say(planned(step));
    this.#say(
      `would send ${files} files (${formatBytes(event.bytes)}), make ${directories} folders and ${links} links, ` +
        `update ${touched}, ${moved > 0 ? `move ${moved}, ` : ""}delete ${removed}`,
    );
  }

  #advance(event: Extract<MirrorEvent, { type: "progress" }>): void {
    const seconds = (performance.now() - this.#roundStartedAt) / 1000;
    this.#progress.show(`${progressText(event.bytes, event.bytesTotal, seconds)}  ${event.steps}/${event.stepsTotal}`);
  }

  #finishRound(summary: SyncedSummary): void {
    const { files, deleted, moved, failed, bytesSent } = summary;
    const nothing = files === 0 && moved === 0 && deleted === 0 && failed === 0 && bytesSent === 0;
    // When following, only what changed something is worth a line.
    if (!this.#synced || !nothing) this.#say(summaryLine(summary));
    this.#progress.clear();
    this.#synced = true;
  }

  #label(): string {
    return this.#options.label === undefined ? "" : `${shownPath(this.#options.label)}: `;
  }

  #say(line: string): void {
    this.#progress.clear();
    process.stdout.write(`${this.#label()}${line}\n`);
  }

  #note(line: string): void {
    this.#progress.clear();
    process.stderr.write(`${this.#label()}${escaped(line)}\n`);
  }
}

/** `synced: 3 files, 1.2 MiB sent, 0 deleted, 0.4 s` */
function summaryLine({ files, bytesSent, deleted, moved, seconds, failed }: SyncedSummary): string {
  const renamed = moved > 0 ? `, ${moved} moved` : "";
  const problems = failed > 0 ? `, ${failed} failed` : "";
  return `synced: ${files} files, ${formatBytes(bytesSent)} sent, ${deleted} deleted${renamed}, ${seconds.toFixed(1)} s${problems}`;
}

function planned(step: Step): string {
  const words: Record<Step["do"], string> = {
    mkdir: "make folder",
    put: "send",
    link: "make link",
    touch: "update",
    check: "compare",
    rename: "move to",
    move: "move to",
    hold: "keep for a move",
    remove: "delete",
  };
  return `${words[step.do]}  ${shownPath(step.path)}`;
}
