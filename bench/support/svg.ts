/** Line charts, one above the other over the same time, for light and dark pages. */

export interface Panel {
  readonly title: string;
  /** Seconds and values. */
  readonly points: readonly (readonly [number, number])[];
  /** A value to compare with. */
  readonly line?: { readonly value: number; readonly title: string };
}

const WIDTH = 800;
const LEFT = 64;
const RIGHT = 16;
const TOP = 44;
const PANEL_HEIGHT = 150;
const GAP = 46;
const TICKS = 4;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #333 }
  .title { font-size: 14px; font-weight: 600 }
  .end { text-anchor: end } .middle { text-anchor: middle }
  .page { fill: #fff } .grid { stroke: #ddd } .axis { stroke: #888 }
  .data { stroke: #0b62c4; stroke-width: 1.5; fill: none; stroke-linejoin: round }
  .line { stroke: #c4500b; stroke-dasharray: 5 4 } .of-line { fill: #a8440a }
  @media (prefers-color-scheme: dark) {
    text { fill: #ccc } .page { fill: #0d1117 } .grid { stroke: #2b313a } .axis { stroke: #777 }
    .data { stroke: #58a6ff } .line { stroke: #f0883e } .of-line { fill: #f0883e }
  }`;

export function toSvg(title: string, seconds: number, panels: readonly Panel[]): string {
  const height = TOP + panels.length * (PANEL_HEIGHT + GAP);
  const parts = panels.map((panel, i) => drawPanel(panel, TOP + 16 + i * (PANEL_HEIGHT + GAP), seconds));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}">
<style>${STYLE}
</style>
<rect class="page" width="${WIDTH}" height="${height}"/>
<text class="title" x="16" y="24">${title}</text>
${parts.join("\n")}
</svg>
`;
}

function drawPanel({ title, points, line }: Panel, top: number, seconds: number): string {
  const highest = Math.max(...points.map(([, value]) => value), line?.value ?? 0) * 1.05;
  const stepY = niceStep(highest / TICKS);
  const stepX = niceStep(seconds / 8);
  const bottom = top + PANEL_HEIGHT;
  const right = WIDTH - RIGHT;
  const x = (at: number): string => (LEFT + (at / seconds) * (right - LEFT)).toFixed(1);
  const y = (value: number): string => (bottom - (value / highest) * PANEL_HEIGHT).toFixed(1);
  const parts = [`<text x="${LEFT}" y="${top - 8}">${title}</text>`];
  for (let value = 0; value <= highest; value += stepY) {
    parts.push(
      `<line class="grid" x1="${LEFT}" x2="${right}" y1="${y(value)}" y2="${y(value)}"/>`,
      `<text class="end" x="${LEFT - 6}" y="${Number(y(value)) + 4}">${tidy(value)}</text>`,
    );
  }
  for (let at = 0; at <= seconds; at += stepX) {
    parts.push(`<text class="middle" x="${x(at)}" y="${bottom + 16}">${tidy(at)} s</text>`);
  }
  parts.push(`<line class="axis" x1="${LEFT}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`);
  if (line !== undefined) {
    parts.push(
      `<line class="line" x1="${LEFT}" x2="${right}" y1="${y(line.value)}" y2="${y(line.value)}"/>`,
      `<text class="end of-line" x="${right}" y="${top - 8}">- - ${line.title}</text>`,
    );
  }
  parts.push(`<polyline class="data" points="${points.map(([at, value]) => `${x(at)},${y(value)}`).join(" ")}"/>`);
  return parts.join("\n");
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5].find((factor) => factor * power >= least) ?? 10) * power;
}

function tidy(value: number): string {
  return Number(value.toPrecision(6)).toLocaleString("en");
}
