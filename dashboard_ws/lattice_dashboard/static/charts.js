// Two charts over one time axis, drawn by uPlot in the colours of the page.

import UPlot from "./vendor/uplot.js";
import { clock } from "./format.js";
import { onTheme } from "./theme.js";

const HEIGHT = 188;
const FONT = '11px "Inter", system-ui, sans-serif';

/** Times of the day, with seconds where the marks are closer than a minute. */
function times(_, marks) {
  const seconds = marks.length > 1 && marks[1] - marks[0] < 60;
  return marks.map((at) => clock(at * 1000).slice(0, seconds ? 8 : 5));
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axis(values, size) {
  return {
    stroke: colour("--muted"),
    font: FONT,
    size,
    gap: 6,
    values,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
}

function options(width, lines, value, hover, least) {
  return {
    width,
    height: HEIGHT,
    padding: [10, 26, 0, 0], // half of the last mark's time of day has room
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { setScale: false, x: false, y: false } },
    scales: {
      x: { time: true },
      y: { range: (_, __, most) => [0, Math.max(least, (most ?? 0) * 1.12)] },
    },
    axes: [
      { ...axis(times, 28), space: 70 },
      { ...axis((_, marks) => marks.map(value), 56), space: 36 },
    ],
    series: [
      {},
      ...lines.map(({ label, stroke, fill }) => ({
        label,
        stroke: colour(stroke),
        width: 1.5,
        fill: fill ? colour(fill) : undefined,
        points: { show: false },
        spanGaps: false,
      })),
    ],
    hooks: { setCursor: [(plot) => hover(plot.cursor.idx ?? null)] },
  };
}

/** Draw into `place` until `end()`; `show(columns)` gives it other numbers. */
export class Chart {
  #plot = null;
  #columns = null;
  #range = null;

  constructor(place, { lines, value, hover, least }) {
    this.place = place;
    const draw = () => {
      this.#plot?.destroy();
      this.#plot = new UPlot(
        options(place.clientWidth, lines, value, hover, least),
        this.#columns ?? [[], ...lines.map(() => [])],
        place,
      );
      if (this.#range) this.#plot.setScale("x", this.#range);
    };
    draw();
    this.resize = new ResizeObserver(() => {
      const width = place.clientWidth;
      if (width && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
    });
    this.resize.observe(place);
    this.offTheme = onTheme(draw);
  }

  show(columns, from, to) {
    this.#columns = columns;
    this.#range = { min: from, max: to };
    this.#plot.batch(() => {
      this.#plot.setData(columns, false);
      this.#plot.setScale("x", this.#range);
    });
  }

  end() {
    this.resize.disconnect();
    this.offTheme();
    this.#plot.destroy();
  }
}
