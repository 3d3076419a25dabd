/** What every part of the page can ask of the whole. */
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Me } from "../api.js";
import type { Live } from "../live.js";

export interface Shell {
  readonly me: Me;
  readonly live: Live;
  /** Says something to everybody, screen readers included. */
  readonly say: (text: string, kind?: "done" | "error") => void;
  readonly onUnauthenticated: () => void;
}

export const ShellContext = createContext<Shell | null>(null);

export function useShell(): Shell {
  const shell = useContext(ShellContext);
  if (shell === null) throw new Error("this part belongs inside the shell");
  return shell;
}
