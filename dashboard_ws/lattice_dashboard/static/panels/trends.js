// How it went: time to first token and throughput over a range somebody picks.

import { Chart } from "../charts.js";
import { serverNow } from "../clock.js";
import { clock, duration, rate } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Panel } from "./panel.js";

export const RANGES = [
  { label: "1 min", s: 60 },
  { label: "15 min", s: 900 },
  { label: "1 h", s: 3600 },
];

const FIRST = {
  id: "first-token",
  title: "Time to first token",
  hint: "Of the last 10 s, median and 95th percentile.",
  value: (ms) => duration(ms),
  least: 10,
  columns: [1, 2],
  lines: [
    { label: "p50", stroke: "--prefill", fill: "--prefill-wash" },
    { label: "p95", stroke: "--queue" },
  ],
};

const SPEED = {
  id: "throughput",
  title: "Throughput",
  hint: "Tokens decoded a second, all models together.",
  value: (rates) => rate(rates),
  least: 10,
  columns: [3],
  lines: [{ label: "tok/s", stroke: "--decode", fill: "--decode-wash" }],
};

/** The two charts; `history` is filled by the feed, and looked at once a second. */
export function Trends({ history }) {
  const [range, setRange] = useState(RANGES[1]);
  const picker = html`
    <div class="picker" role="radiogroup" aria-label="Range of the charts">
      ${RANGES.map((one) => html`
        <label key=${one.label} class=${one === range ? "chosen" : ""}>
          <input type="radio" name="range" checked=${one === range} onChange=${() => setRange(one)} />
          ${one.label}
        </label>`)}
    </div>`;
  return html`
    <${Plot} what=${FIRST} history=${history} range=${range} aside=${picker} />
    <${Plot} what=${SPEED} history=${history} range=${range} />
  `;
}

function Plot({ what, history, range, aside }) {
  const place = useRef(null);
  const chart = useRef(null);
  const [columns, setColumns] = useState(() => [[]]);
  const [hovered, setHovered] = useState(null);

  useEffect(() => {
    chart.current = new Chart(place.current, { ...what, hover: setHovered });
    return () => chart.current.end();
  }, [what]);

  useEffect(() => {
    const draw = () => {
      if (document.hidden) return;
      const to = Math.floor(serverNow() / 1000);
      const rows = history.ring.since(to - range.s);
      const next = [rows[0], ...what.columns.map((column) => rows[column])];
      // A page that has not seen so much yet does not show an empty hour.
      const begun = Math.min(rows[0][0] ?? to, to - RANGES[0].s);
      chart.current.show(next, Math.max(to - range.s, begun), to);
      setColumns(next);
    };
    draw();
    const timer = setInterval(draw, 1000);
    document.addEventListener("visibilitychange", draw);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", draw);
    };
  }, [history, range, what]);

  const at = hovered ?? lastKnown(columns);
  const read = what.lines.map((line, index) => ({ ...line, value: columns[index + 1]?.[at] }));
  const words = read.map(({ label, value }) => `${label} ${what.value(value ?? NaN)}`).join(", ");
  return html`
    <${Panel} id=${what.id} title=${what.title} hint=${what.hint} className="span-6" aside=${aside}>
      <div class="readout" aria-hidden="true">
        ${read.map(({ label, stroke, value }) => html`
          <span key=${label}><i class="swatch ${stroke.slice(2)}"></i>${label}
            <b>${what.value(value ?? NaN)}</b></span>`)}
        <time>${hovered === null ? "now" : clock((columns[0][at] ?? NaN) * 1000)}</time>
      </div>
      <div class="plot" role="img" aria-label=${`${what.title}, last value: ${words}`} ref=${place}></div>
    <//>
  `;
}

function lastKnown(columns) {
  for (let index = (columns[0]?.length ?? 0) - 1; index >= 0; index -= 1) {
    if (columns[1]?.[index] !== null && columns[1]?.[index] !== undefined) return index;
  }
  return 0;
}
