/** A real browser, where one is installed. */
import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** It is to talk to the page only. */
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Whether there is one. Throws where there has to be (CONFUNDO_REQUIRE_CHROMIUM=1) and is not. */
export function hasBrowser(): boolean {
  if (program() !== undefined) return true;
  if (process.env.CONFUNDO_REQUIRE_CHROMIUM === "1") throw new Error("chromium is not installed");
  return false;
}

export function openBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: program() ?? "chromium", args: FLAGS });
}

function program(): string | undefined {
  return PLACES.find((place) => place !== undefined && existsSync(place));
}
