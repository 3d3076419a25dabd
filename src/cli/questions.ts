/** Asks the person at the terminal, one question at a time. */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { LiveArea } from "./live.js";

interface Question {
  readonly text: string;
  readonly onAnswer: (yes: boolean) => void;
}

/**
 * Whether somebody sits at the terminal who can answer: input and output are one, and this program is in its foreground.
 * One in the background would be stopped by the system when it reads (SIGTTIN).
 */
export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true && inForeground();
}

function inForeground(): boolean {
  try {
    // proc_pid_stat(5): behind the name, the fields from 3 on; 5 is our group, 8 that of the terminal's foreground.
    const stat = readFileSync("/proc/self/stat", "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[2] === fields[5];
  } catch {
    // Elsewhere than on Linux it is not known.
    return true;
  }
}

export class Questions {
  readonly #area: LiveArea;
  readonly #waiting: Question[] = [];
  #asked: { readonly question: Question; readonly close: () => void } | undefined;

  /** `area`: where the questions stand, with all that is printed above them. */
  constructor(area: LiveArea = new LiveArea()) {
    this.#area = area;
  }

  /** Asks when all before are answered. Returns what withdraws the question. */
  ask(text: string, onAnswer: (yes: boolean) => void): () => void {
    const question = { text, onAnswer };
    this.#waiting.push(question);
    this.#next();
    return () => {
      const at = this.#waiting.indexOf(question);
      if (at >= 0) this.#waiting.splice(at, 1);
      if (this.#asked?.question !== question) return;
      this.#end(false);
    };
  }

  #next(): void {
    if (this.#asked !== undefined || !isInteractive()) return;
    const question = this.#waiting.shift();
    if (question === undefined) return;
    // Lines as the terminal gives them: Ctrl-C stays a signal.
    const lines = createInterface({ input: process.stdin, terminal: false });
    this.#asked = { question, close: () => lines.close() };
    this.#area.ask(question.text);
    lines.on("line", (line) => {
      if (this.#asked?.question !== question) return;
      const answer = /^\s*(?:(y|yes)|(n|no)?)\s*$/i.exec(line);
      if (answer === null) {
        this.#area.answered(true);
        this.#area.ask(`Please answer y or n: ${question.text}`);
        return;
      }
      this.#end(true);
      question.onAnswer(answer[1] !== undefined);
    });
    lines.on("close", () => {
      if (this.#asked?.question === question) this.#end(false);
    });
  }

  /** `typed`: the person ended the line. */
  #end(typed: boolean): void {
    const { close } = this.#asked ?? {};
    this.#asked = undefined;
    this.#area.answered(typed);
    close?.();
    process.stdin.pause();
    process.stdin.unref?.();
    this.#next();
  }
}
