"use strict";
// Small pieces that charts are made of. All colours come from CSS, so that light and dark both work.
const SERIES = ["var(--a)", "var(--b)", "var(--c)", "var(--d)"];

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "rect", "circle", "g", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function percent(value, digits = 1) {
  return value === null || value === undefined ? "–" : (100 * value).toFixed(digits);
}

function key(place) {
  return element("span", { class: "key", style: `background:${SERIES[place]}` });
}

// Lines over x: series are [{name, points: [[x, y or null], …], dash}]; y from 0 to top.
function lineChart({ series, xLabel, yLabel, xTop, top = 1, diagonal = false, xTicks, format = (y) => percent(y, 0) }) {
  const [W, H, L, B, T, R] = [560, 260, 44, 40, 10, 12];
  const x = (v) => L + (W - L - R) * v / xTop;
  const y = (v) => H - B - (H - B - T) * v / top;
  const chart = element("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
  for (let i = 0; i <= 4; i++) {
    const value = top * i / 4;
    chart.append(element("line", { class: "axis", x1: L, x2: W - R, y1: y(value), y2: y(value) }),
      element("text", { x: L - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)));
  }
  for (const [value, words] of xTicks)
    chart.append(element("text", { x: x(value), y: H - B + 17, "text-anchor": "middle" }, words));
  chart.append(element("text", { x: (L + W - R) / 2, y: H - 5, "text-anchor": "middle" }, xLabel),
    element("text", { x: 12, y: (T + H - B) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(T + H - B) / 2})` }, yLabel));
  if (diagonal)
    chart.append(element("line", { x1: x(0), y1: y(0), x2: x(xTop), y2: y(top), stroke: "var(--dim)", "stroke-dasharray": "4 4" }));
  for (const line of series) {
    const points = line.points.filter((p) => p[1] !== null);
    const path = points.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(Math.min(p[1], top)).toFixed(1)}`).join("");
    chart.append(element("path", { d: path, fill: "none", stroke: line.colour, "stroke-width": 2.2, "stroke-dasharray": line.dash }));
    for (const p of points)
      chart.append(element("circle", { cx: x(p[0]), cy: y(Math.min(p[1], top)), r: p[2] || 3.4, fill: line.colour },
        element("title", {}, `${line.name}: ${format(p[1])} at ${p[3] || p[0]}`)));
  }
  return chart;
}

// Counts in equal bins, one outline per series of [{name, values, colour}].
function histogram({ series, xLabel, unit, bins = 30 }) {
  const all = series.flatMap((one) => one.values).sort((a, b) => a - b);
  if (!all.length) return element("p", { class: "hint" }, "nothing was measured");
  const reach = all[Math.min(all.length - 1, Math.floor(all.length * 0.995))];
  const top = niceAbove(reach * 1.02);
  const [W, H, L, B, T, R] = [560, 220, 44, 40, 10, 12];
  const counts = series.map((one) => {
    const count = new Array(bins).fill(0);
    for (const value of one.values) count[Math.min(bins - 1, Math.floor(bins * value / top))]++;
    return count;
  });
  const most = Math.max(1, ...counts.flat());
  const chart = element("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
  const width = (W - L - R) / bins;
  for (let i = 0; i <= 4; i++) {
    const value = top * i / 4;
    chart.append(element("text", { x: L + (W - L - R) * i / 4, y: H - B + 17, "text-anchor": "middle" }, Number(value.toPrecision(3)) + ""));
  }
  chart.append(element("line", { class: "axis", x1: L, x2: W - R, y1: H - B, y2: H - B }),
    element("text", { x: L - 6, y: T + 8, "text-anchor": "end" }, most + ""),
    element("text", { x: (L + W - R) / 2, y: H - 5, "text-anchor": "middle" }, xLabel));
  counts.forEach((count, place) => {
    const share = width / series.length;
    count.forEach((number, bin) => {
      if (!number) return;
      const height = (H - B - T) * number / most;
      chart.append(element("rect", { x: L + bin * width + place * share + 0.5, y: H - B - height, width: Math.max(1, share - 1), height, fill: series[place].colour, rx: 1.5 },
        element("title", {}, `${series[place].name}: ${number} frames, ${(top * bin / bins).toFixed(0)} to ${(top * (bin + 1) / bins).toFixed(0)} ${unit}`)));
    });
  });
  return chart;
}

function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value);
}
