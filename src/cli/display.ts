import type { MirrorEvent, Step, SyncedSummary } from "../sync/index.js";
import { sentence } from "../text/sentence.js";
import type { LiveArea, LiveSection } from "./live.js";
import { formatBytes, formatSeconds } from "./progress.js";
import { escaped, printWarning, shownPath } from "./report.js";
import { Status } from "./status.js";

export interface DisplayOptions {
  readonly folder: string;
  /** One summary line and nothing else. */
  readonly once: boolean;
  readonly dryRun: boolean;
  /** Begins each line, where several mirrors write. */
  readonly label?: string;
  /** Shared by all mirrors of the program. */
  readonly area: LiveArea;
}

/** A round of at most so many steps is told path by path; a larger one by its sum. */
const TOLD_BY_PATH = 20;

/** Limits the paths that are printed of deletes that are held back. */
const HELD_BY_PATH = 10;

/** Delays the line that more deletes are held back, as files are deleted one after the other. */
const HELD_AGAIN_MS = 2000;

/** What happens, for people: lines on stdout; on stderr, where that is a terminal, what is under way. */
export class Display {
  readonly #options: DisplayOptions;
  readonly #area: LiveArea;
  readonly #section: LiveSection;
  readonly #status = new Status();
  readonly #startedMs = performance.now();
  #total = { files: 0, bytesSent: 0, saved: 0, deleted: 0 };
  #tellsPaths = false;
  #synced = false;
  /** Why the connection is missing, as it was printed last; empty while there is one. */
  #trouble = "";
  /** Why deletes are held back, as it was said. */
  #holds: string | undefined;
  #heldAgain: NodeJS.Timeout | undefined;

  constructor(options: DisplayOptions) {
    this.#options = options;
    this.#area = options.area;
    this.#section = this.#area.section();
  }

  show(event: MirrorEvent): void {
    const now = performance.now();
    this.#status.take(event, now);
    this.#print(event);
    if (this.#area.visible) this.#section.set(this.#status.lines(now, this.#area.rows));
  }

  /** Nothing more comes. */
  end(): void {
    clearTimeout(this.#heldAgain);
    this.#section.set([]);
    if (!this.#area.visible || this.#options.once || this.#options.dryRun || !this.#synced) return;
    const { files, bytesSent, saved, deleted } = this.#total;
    const seconds = formatSeconds((performance.now() - this.#startedMs) / 1000);
    const also = saved > 0 ? `, ${formatBytes(saved)} not sent again` : "";
    this.#say(`followed for ${seconds}: ${files} files, ${formatBytes(bytesSent)} sent, ${deleted} deleted${also}`);
  }

  #print(event: MirrorEvent): void {
    switch (event.type) {
      case "connected":
        this.#trouble = "";
        if (event.reconnected) this.#say("connected again, going on");
        break;
      case "retrying":
        this.#retrying(event);
        break;
      case "planned":
        this.#plan(event);
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
        if (event.again) break;
        this.#warn(
          `${shownPath(event.path)}: ${sentence(event.message, event.path)} (${event.code}) It is tried again later.`,
        );
        break;
      case "held":
        this.#held(event);
        break;
      case "released":
        clearTimeout(this.#heldAgain);
        this.#holds = undefined;
        this.#say(event.approved ? "the deletes were approved" : "no deletes are held back any more");
        break;
      case "notice":
        // Told with its paths by the event that follows.
        if (event.code === "ERR_MASS_DELETE" && !this.#options.dryRun) break;
        this.#warn(
          event.path === undefined
            ? sentence(event.message)
            : `${shownPath(event.path)}: ${sentence(event.message, event.path)}`,
        );
        break;
      case "synced":
        this.#finishRound(event);
        break;
    }
  }

  /** Once for each reason: it may stay the same for days. */
  #retrying({ code, reason, delayMs }: Extract<MirrorEvent, { type: "retrying" }>): void {
    // Times and ports in it change from one attempt to the next.
    const trouble = reason.replace(/\d+/g, "");
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#note(`${sentence(reason)} Trying again in ${(delayMs / 1000).toFixed(1)} s. (${code})`);
  }

  /** In full once; while more files are deleted, only how many there are, when that has not changed for a while. */
  #held({ message, reason, files, paths }: Extract<MirrorEvent, { type: "held" }>): void {
    clearTimeout(this.#heldAgain);
    if (this.#holds === reason) {
      this.#heldAgain = setTimeout(() => this.#warn(`${files} deletes are held back now.`), HELD_AGAIN_MS).unref();
      return;
    }
    this.#holds = reason;
    this.#warn(`${sentence(message)} (ERR_MASS_DELETE)`);
    for (const path of paths.slice(0, HELD_BY_PATH)) this.#note(`  held back: ${shownPath(path)}`);
    if (files > HELD_BY_PATH) this.#note(`  held back: and ${files - HELD_BY_PATH} more`);
  }

  #plan(event: Extract<MirrorEvent, { type: "planned" }>): void {
    const { files, directories, links, touched, moved, removed } = event;
    const steps = files + directories + links + touched + moved + removed;
    this.#tellsPaths = !this.#options.once && steps <= TOLD_BY_PATH;
    if (!this.#options.dryRun) return;
    for (const step of event.steps ?? []) this.#say(planned(step));
    this.#say(
      `would send ${files} files (${formatBytes(event.bytes)}), make ${directories} folders and ${links} links, ` +
        `update ${touched}, ${moved > 0 ? `move ${moved}, ` : ""}delete ${removed}`,
    );
  }

  #finishRound(summary: SyncedSummary): void {
    const { files, deleted, moved, failed, bytesSent, bytesReused, bytesMoved } = summary;
    const nothing = files === 0 && moved === 0 && deleted === 0 && failed === 0 && bytesSent === 0;
    // When following, only what changed something is worth a line.
    if (!this.#synced || !nothing) this.#say(summaryLine(summary));
    if (!this.#synced && !this.#options.once) {
      this.#say(`following ${shownPath(this.#options.folder)}: changes are mirrored as they are made; Ctrl-C stops it`);
    }
    this.#synced = true;
    this.#total.files += files;
    this.#total.bytesSent += bytesSent;
    this.#total.saved += bytesReused + bytesMoved;
    this.#total.deleted += deleted;
  }

  #label(): string {
    return this.#options.label === undefined ? "" : `${shownPath(this.#options.label)}: `;
  }

  #say(line: string): void {
    this.#area.above(() => process.stdout.write(`${this.#label()}${line}\n`));
  }

  #note(line: string): void {
    this.#area.above(() => process.stderr.write(`${this.#label()}${escaped(line)}\n`));
  }

  #warn(message: string): void {
    this.#area.above(() => printWarning(message));
  }
}

/** `synced: 3 files, 1.2 MiB sent, 0 deleted, 0.4 s` */
function summaryLine(summary: SyncedSummary): string {
  const { files, bytesSent, bytesReused, bytesMoved, deleted, moved, seconds, failed, held = 0 } = summary;
  const renamed = moved > 0 ? `, ${moved} moved` : "";
  const problems = `${failed > 0 ? `, ${failed} failed` : ""}${held > 0 ? `, ${held} deletes held back` : ""}`;
  const ways = [
    ...(bytesReused > 0 ? [`${formatBytes(bytesReused)} reused`] : []),
    ...(bytesMoved > 0 ? [`${formatBytes(bytesMoved)} moved`] : []),
  ];
  const saved = ways.length > 0 ? ` (not sent again: ${ways.join(", ")})` : "";
  return `synced: ${files} files, ${formatBytes(bytesSent)} sent, ${deleted} deleted${renamed}, ${seconds.toFixed(1)} s${problems}${saved}`;
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
