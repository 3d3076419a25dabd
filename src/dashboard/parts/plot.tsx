/** One curve over the last minutes. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { moment } from "../format.js";
import "uplot/dist/uPlot.min.css";

export interface PlotProps {
  readonly title: string;
  /** Seconds since 1970, and the values there. */
  readonly times: readonly number[];
  readonly values: readonly (number | null)[];
  readonly format: (value: number) => string;
}

const HEIGHT = 150;

export function Plot({ title, times, values, format }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = new uPlot(optionsOf(title, element, format), [[], []], element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [title]);

  useEffect(() => plot.current?.setData([[...times], [...values]] as uPlot.AlignedData), [times, values]);

  const last = values.findLast((value) => value !== null);
  return (
    <figure class="plot">
      <figcaption>
        {title} <strong>{last === undefined || last === null ? "–" : format(last)}</strong>
      </figcaption>
      <div ref={place} role="img" aria-label={`${title} over the last minutes`} />
    </figure>
  );
}

function optionsOf(title: string, element: HTMLElement, format: (value: number) => string): uPlot.Options {
  const style = getComputedStyle(element);
  const ink = style.getPropertyValue("--quiet");
  const grid = { stroke: style.getPropertyValue("--line"), width: 1 };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, 1)] } },
    series: [{}, { label: title, stroke: style.getPropertyValue("--accent"), width: 2, points: { show: false } }],
    axes: [
      { stroke: ink, grid, ticks: grid, space: 90, values: (_plot, ticks) => ticks.map(timeOfDay) },
      { stroke: ink, grid, ticks: grid, size: 76, values: (_plot, ticks) => ticks.map(format) },
    ],
  };
}

function timeOfDay(seconds: number): string {
  return moment(seconds * 1000).slice(11);
}
